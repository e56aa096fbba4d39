//! Round trips, damage, and the bytes of an example.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::redis::rdb::{RdbReader, open_payload, payload_of};
use crate::redis::record::{Entries, Group, Pending, Strings};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        vec(any::<u8>(), 4_000..5_000),
    ]
}

fn strings(each: usize) -> impl Strategy<Value = Strings> {
    vec(vec(bytes(), each..=each), 1..30).prop_map(|all| all.into_iter().flatten().collect())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        bytes().prop_map(Value::String),
        strings(1).prop_map(Value::List),
        btree_set(bytes(), 1..30)
            .prop_map(|members| Value::set(&members.into_iter().collect()).unwrap()),
        btree_map(
            bytes(),
            any::<f64>().prop_filter("a number", |s| !s.is_nan()),
            1..30
        )
        .prop_map(|members| {
            let scores: Vec<f64> = members.values().copied().collect();
            Value::sorted_set(&members.into_keys().collect(), &scores).unwrap()
        }),
        btree_map(bytes(), (bytes(), 0..3_u64), 1..30).prop_map(|fields| {
            let expiries: Vec<u64> = fields.values().map(|(_, at)| *at).collect();
            let pairs = fields
                .into_iter()
                .flat_map(|(field, (value, _))| [field, value]);
            Value::hash(&pairs.collect(), &expiries).unwrap()
        }),
        stream().prop_map(|stream| Value::Stream(Box::new(stream))),
    ]
}

fn id() -> impl Strategy<Value = StreamId> {
    (0..4_u64, any::<u64>()).prop_map(|(ms, seq)| StreamId { ms, seq })
}

fn entries() -> impl Strategy<Value = Entries> {
    let fields = prop_oneof![
        vec(bytes(), 2..=2).prop_map(|mut pair| {
            pair[0] = b"same".to_vec();
            pair
        }),
        vec(bytes(), 4..=4),
    ];
    btree_map(id(), fields, 0..250).prop_map(|all| {
        let mut entries = Entries::default();
        for (id, strings) in all {
            for string in &strings {
                entries.push_string(string);
            }
            entries.close(id);
        }
        entries
    })
}

fn stream() -> impl Strategy<Value = Stream> {
    let consumer = (
        any::<i64>(),
        any::<i64>(),
        btree_map(id(), (any::<i64>(), any::<u64>()), 0..5),
    );
    let group = (id(), any::<u64>(), btree_map(bytes(), consumer, 0..3));
    let detail = prop_oneof![
        Just(StreamDetail::Basic),
        Just(StreamDetail::Offsets),
        Just(StreamDetail::Activity),
    ];
    let groups = btree_map(bytes(), group, 0..3);
    (detail, entries(), id(), id(), any::<u64>(), groups).prop_map(
        |(detail, entries, last_id, max_deleted_id, entries_added, groups)| {
            let mut taken = std::collections::BTreeSet::new();
            let groups = groups
                .into_iter()
                .map(|(name, (last_id, entries_read, consumers))| {
                    taken.clear();
                    let consumers =
                        consumers
                            .into_iter()
                            .map(|(name, (seen_ms, active_ms, pending))| {
                                // An entry is pending with one consumer of a group only.
                                let pending =
                                    pending.into_iter().filter(|(id, _)| taken.insert(*id));
                                let pending =
                                    pending.map(|(id, (delivered_ms, deliveries))| Pending {
                                        id,
                                        delivered_ms,
                                        deliveries,
                                    });
                                Consumer {
                                    name,
                                    seen_ms,
                                    active_ms,
                                    pending: pending.collect(),
                                }
                            });
                    let consumers = consumers.collect();
                    Group {
                        name,
                        last_id,
                        entries_read,
                        consumers,
                    }
                });
            let mut record = Record {
                key: Vec::new(),
                expires_ms: None,
                value: Value::Stream(Box::new(Stream {
                    detail: StreamDetail::Activity,
                    groups: groups.collect(),
                    entries,
                    last_id,
                    max_deleted_id,
                    entries_added,
                })),
            };
            record.lower_to(detail);
            match record.value {
                Value::Stream(stream) => *stream,
                _ => unreachable!("it was a stream"),
            }
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    (bytes(), any::<Option<u64>>(), value()).prop_map(|(key, expires_ms, value)| Record {
        key,
        expires_ms,
        value,
    })
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_record(record, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_and_payloads_round_trip(record in record()) {
        let bytes = encoded(&record);
        prop_assert_eq!(&decode_record(&bytes).unwrap(), &record);
        let outline = outline_of(&bytes).unwrap();
        prop_assert_eq!(outline.elements, record.value.elements());
        let payload = payload_of(&record.value, StreamDetail::Activity);
        prop_assert_eq!(&open_payload(&payload).unwrap(), &record.value);
    }

    #[test]
    fn damage_gives_another_record_or_an_error(
        record in record(),
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let mut bytes = encoded(&record);
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        if let Ok(other) = decode_record(&bytes) {
            prop_assert_eq!(&encoded(&other), &bytes, "a second encoding of a record");
        }
        bytes.truncate(at);
        prop_assert!(decode_record(&bytes).is_err());
        let mut payload = payload_of(&record.value, StreamDetail::Activity);
        let at = at % payload.len();
        payload[at] ^= change;
        prop_assert!(open_payload(&payload).is_err());
        payload.truncate(at);
        prop_assert!(open_payload(&payload).is_err());
    }

    #[test]
    fn a_reader_takes_pieces_of_any_length(
        records in vec(record(), 0..6),
        piece in 1..500_usize,
    ) {
        let bytes: Vec<u8> = records.iter().flat_map(encoded).collect();
        let mut reader = RecordReader::new();
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Some((record, raw)) = reader.next_record().unwrap() {
                prop_assert_eq!(&encoded(&record), raw);
                found.push(record);
            }
        }
        reader.finish().unwrap();
        prop_assert_eq!(found, records);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..300), kind in 0..30_u8) {
        let _ = decode_record(&bytes);
        let mut dump = b"REDIS0011\xfe\x00".to_vec();
        dump.extend_from_slice(&[kind, 1, b'k']);
        dump.extend_from_slice(&bytes);
        let mut reader = RdbReader::new(dump.as_slice()).unwrap();
        while let Ok(Some(_)) = reader.next_event() {}
    }
}

#[test]
fn a_record_has_these_bytes() {
    let record = Record {
        key: b"k".to_vec(),
        expires_ms: Some(258),
        value: Value::hash(&["b", "2", "a", "1"].into_iter().collect(), &[]).unwrap(),
    };
    let expected = b"\x14\x84\x02\x01\0\0\0\0\0\0\x01k\x02\x01a\x011\x01b\x012";
    assert_eq!(encoded(&record), expected);
}

#[test]
fn what_is_not_canonical_is_refused() {
    let refused: &[&[u8]] = &[
        b"",
        b"\x02\x00\x00\x00",
        b"\x04\x00\x01k\x05",
        b"\x03\x07\x00\x00",
        // A padded length, and one beyond the record.
        b"\x83\x00\x00\x00\x00",
        b"\x03\x00\x80\x00\x00",
        // An empty list, members out of order, the same member twice.
        b"\x03\x01\x00\x00",
        b"\x07\x02\x00\x02\x01b\x01a",
        b"\x07\x02\x00\x02\x01a\x01a",
        // A score of negative zero.
        b"\x0d\x03\x00\x01\x01a\0\0\0\0\0\0\0\x80",
    ];
    for bytes in refused {
        assert!(decode_record(bytes).is_err(), "{bytes:?}");
    }
    assert!(RecordReader::new().next_record().unwrap().is_none());
    let mut reader = RecordReader::new();
    reader.feed(&[0xff; 10]);
    assert!(reader.next_record().is_err());
}
