//! Redis: records of a capture, dumps of a server, and everything inside them.

use keepstone_sources::redis::format::{decode_record, encode_record};
use keepstone_sources::redis::rdb::{Event, RdbReader, open_payload, payload_of};
use keepstone_sources::redis::record::{Record, StreamDetail, Strings, Value};

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_record(record, &mut bytes);
    bytes
}

fn values() -> Vec<Value> {
    let words: Strings = ["b", "1", "a", "-70000"].into_iter().collect();
    vec![
        Value::String(b"text".to_vec()),
        Value::List(words.clone()),
        Value::set(&words).expect("different members"),
        Value::sorted_set(&words, &[1.5, -2.0, 0.0, f64::INFINITY]).expect("different members"),
        Value::hash(&words, &[]).expect("different fields"),
        Value::hash(&words, &[0, 7]).expect("different fields"),
    ]
}

/// What is accepted is the only encoding of what it says.
pub fn record(data: &[u8]) -> bool {
    decode_record(data).is_ok_and(|record| {
        assert_eq!(encoded(&record), data);
        true
    })
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    let record = |value| Record {
        key: b"key".to_vec(),
        expires_ms: Some(1_767_225_600_000),
        value,
    };
    let mut seeds: Vec<_> = values()
        .into_iter()
        .map(|value| encoded(&record(value)))
        .collect();
    let stream = open_payload(&stream_payload()).expect("a stream");
    seeds.push(encoded(&record(stream)));
    seeds
}

/// What a dump holds is what a capture keeps: it is there again when the record is read.
fn is_kept(record: &Record) {
    assert_eq!(decode_record(&encoded(record)).as_ref(), Ok(record));
}

/// A value is the same after it was written and read again. The checksum is put right first.
pub fn payload(data: &[u8]) -> bool {
    let mut data = data.to_vec();
    // All zero: the writer computed none.
    let body = data.len().saturating_sub(8);
    data.iter_mut().skip(body).for_each(|byte| *byte = 0);
    open_payload(&data).is_ok_and(|value| {
        let again = payload_of(&value, StreamDetail::Activity);
        assert_eq!(open_payload(&again).ok().as_ref(), Some(&value));
        is_kept(&Record {
            key: b"key".to_vec(),
            expires_ms: None,
            value,
        });
        true
    })
}

pub fn payload_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = bodies()
        .into_iter()
        .map(|body| with_footer(&body))
        .collect();
    let plain = values()
        .into_iter()
        .map(|value| payload_of(&value, StreamDetail::Activity));
    seeds.extend(plain);
    seeds.push(stream_payload());
    seeds
}

/// A whole dump is read to its end or refused.
pub fn dump(data: &[u8]) -> bool {
    let Ok(mut reader) = RdbReader::new(data) else {
        return false;
    };
    loop {
        match reader.next_event() {
            Ok(Some(Event::Key { record, .. })) => is_kept(&record),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

pub fn dump_seeds() -> Vec<Vec<u8>> {
    let mut dump =
        b"REDIS0011\xfa\x05ctime\xc2\x00\x00\x00\x60\xf5\x09#!lua n=l\xfe\x00\xfb\x02\x01".to_vec();
    dump.extend_from_slice(b"\xfc\x00\x00\x00\x00\x00\x01\x00\x00");
    // One without elements is no payload, and in a dump no key.
    for body in bodies().into_iter().chain([b"\x02\x00".to_vec()]) {
        let (kind, value) = body.split_at(1);
        dump.extend_from_slice(kind);
        dump.extend_from_slice(b"\x01k");
        dump.extend_from_slice(value);
    }
    dump.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    vec![dump]
}

fn with_footer(body: &[u8]) -> Vec<u8> {
    let mut payload = body.to_vec();
    payload.extend_from_slice(b"\x0b\x00\0\0\0\0\0\0\0\0");
    payload
}

/// Values in the compact encodings that this project reads and never writes: the type, then the value.
fn bodies() -> Vec<Vec<u8>> {
    let listpack = b"\x11\0\0\0\x04\0\x81a\x02\x01\x01\x81b\x02\x02\x01\xff";
    let ziplist = b"\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf2\xff";
    let string = |bytes: &[u8]| {
        let mut out = vec![u8::try_from(bytes.len()).expect("a short string")];
        out.extend_from_slice(bytes);
        out
    };
    let mut bodies = vec![
        b"\x00\xc3\x0b\x16\x02abc\xe0\x08\x02\x00d\x00e".to_vec(),
        [
            b"\x0b".as_slice(),
            &string(b"\x02\0\0\0\x02\0\0\0\xff\xff\x07\0"),
        ]
        .concat(),
        [b"\x09".as_slice(), &string(b"\x01\x03foo\x03\x00bar\xff")].concat(),
        b"\x03\x02\x01a\x031.5\x01b\xfe".to_vec(),
    ];
    for kind in [16_u8, 17, 20] {
        bodies.push([&[kind], string(listpack).as_slice()].concat());
    }
    for kind in [10_u8, 12, 13] {
        bodies.push([&[kind], string(ziplist).as_slice()].concat());
    }
    bodies.push([b"\x12\x01\x02".as_slice(), &string(listpack)].concat());
    bodies
}

/// A stream with two entries, a group and a pending entry.
fn stream_payload() -> Vec<u8> {
    let mut body = vec![21, 1, 16];
    body.extend_from_slice(&[0; 15]);
    body.push(5);
    let pack = b"\x25\0\0\0\x0e\0\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01";
    let mut pack = pack.to_vec();
    pack.push(0xff);
    pack[0] = u8::try_from(pack.len()).expect("a short pack");
    body.push(pack[0]);
    body.extend_from_slice(&pack);
    // Length, last, first and greatest deleted id, entries added.
    body.extend_from_slice(&[1, 0, 5, 0, 5, 0, 0, 1]);
    // A group with one pending entry of one consumer.
    body.extend_from_slice(&[1, 1, b'g', 0, 5, 1, 1]);
    body.extend_from_slice(&[0; 15]);
    body.push(5);
    body.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 1]);
    body.extend_from_slice(&[
        1, 1, b'c', 9, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1,
    ]);
    body.extend_from_slice(&[0; 15]);
    body.push(5);
    with_footer(&body)
}
