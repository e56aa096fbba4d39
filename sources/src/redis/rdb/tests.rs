//! Every encoding that a server may send, made by hand: no single server makes them all.

use super::*;
use crate::redis::record::{Entries, Record, StreamId, Strings, Value};

const LISTPACK: &[u8] = b"\x11\0\0\0\x04\0\x81a\x02\x01\x01\x81b\x02\x02\x01\xff";
const ZIPLIST: &[u8] = b"\x15\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\xf3\xff";

/// A string in a dump.
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(bytes.len()).unwrap()];
    assert!(out[0] < 64, "a short string");
    out.extend_from_slice(bytes);
    out
}

fn payload(body: &[u8]) -> Vec<u8> {
    let mut payload = body.to_vec();
    payload.extend_from_slice(&11_u16.to_le_bytes());
    let sum = crc64::update(0, &payload).to_le_bytes();
    payload.extend_from_slice(&sum);
    payload
}

fn strings(words: &[&str]) -> Strings {
    words.iter().collect()
}

fn hash(words: &[&str], expiries: &[u64]) -> Value {
    Value::hash(&strings(words), expiries).unwrap()
}

fn check(kind: u8, rest: &[u8], expected: &Value) {
    let body = [&[kind], rest].concat();
    let whole = payload(&body);
    assert_eq!(&open_payload(&whole).unwrap(), expected, "type {kind}");
    for cut in 0..body.len() {
        assert!(
            open_payload(&payload(&body[..cut])).is_err(),
            "type {kind} cut at {cut}"
        );
    }
    let mut longer = body;
    longer.push(0);
    assert!(
        open_payload(&payload(&longer)).is_err(),
        "type {kind} with a byte more"
    );
}

#[test]
fn every_encoding_of_every_type_is_read() {
    let ab = strings(&["a", "1", "b", "2"]);
    let scores = Value::sorted_set(&strings(&["a", "b"]), &[1.0, 2.0]).unwrap();
    let list = Value::List(ab.clone());
    let fields = hash(&["a", "1", "b", "2"], &[]);
    let pack = string(LISTPACK);
    let zip = string(ZIPLIST);

    check(0, b"\x03abc", &Value::String(b"abc".to_vec()));
    check(0, b"\xc0\xff", &Value::String(b"-1".to_vec()));
    check(0, b"\xc1\x00\x80", &Value::String(b"-32768".to_vec()));
    check(
        0,
        b"\xc2\x00\x00\x00\x80",
        &Value::String(b"-2147483648".to_vec()),
    );
    check(
        0,
        b"\xc3\x07\x0c\x02abc\xe0\x00\x02",
        &Value::String(b"abcabcabcabc".to_vec()),
    );
    check(0, b"\x40\x01x", &Value::String(b"x".to_vec()));
    check(0, b"\x80\0\0\0\x01x", &Value::String(b"x".to_vec()));
    check(0, b"\x81\0\0\0\0\0\0\0\x01x", &Value::String(b"x".to_vec()));
    check(1, b"\x04\x01a\xc0\x01\x01b\xc0\x02", &list);
    check(
        2,
        b"\x02\x01b\x01a",
        &Value::set(&strings(&["a", "b"])).unwrap(),
    );
    check(3, b"\x02\x01a\x011\x01b\x012", &scores);
    let infinite = Value::sorted_set(&strings(&["a", "b"]), &[f64::NEG_INFINITY, f64::INFINITY]);
    check(3, b"\x02\x01a\xff\x01b\xfe", &infinite.unwrap());
    check(4, b"\x02\x01b\x012\x01a\x011", &fields);
    check(
        5,
        b"\x02\x01b\0\0\0\0\0\0\0\x40\x01a\0\0\0\0\0\0\xf0\x3f",
        &scores,
    );
    check(
        9,
        &string(b"\x02\x01a\x01\x001\x01b\x01\x022..\xff"),
        &fields,
    );
    check(10, &zip, &list);
    let numbers = Value::set(&strings(&["-1", "7"])).unwrap();
    check(11, &string(b"\x02\0\0\0\x02\0\0\0\xff\xff\x07\0"), &numbers);
    check(12, &zip, &scores);
    check(13, &zip, &fields);
    check(14, &[b"\x01".as_slice(), &zip].concat(), &list);
    check(16, &pack, &fields);
    check(17, &pack, &scores);
    let nodes = [b"\x02\x01\x05plain\x02".as_slice(), &pack].concat();
    check(
        18,
        &nodes,
        &Value::List(strings(&["plain", "a", "1", "b", "2"])),
    );
    check(20, &pack, &Value::set(&ab).unwrap());
    let expiring = b"\x10\0\0\0\0\0\0\0\x02\x00\x01a\x011\x03\x01b\x012";
    check(24, expiring, &hash(&["a", "1", "b", "2"], &[0, 18]));
    let triples = b"\x15\0\0\0\x06\0\x81a\x02\x01\x01\x00\x01\x81b\x02\x02\x01\x12\x01\xff";
    let triples = [b"\x12\0\0\0\0\0\0\0".as_slice(), &string(triples)].concat();
    check(25, &triples, &hash(&["a", "1", "b", "2"], &[0, 18]));
}

#[test]
fn what_cannot_be_kept_is_refused_by_name() {
    let refused = |body: &[u8]| open_payload(&payload(body)).unwrap_err().to_string();
    let module = b"\x07\x81\x91\xe2\x52\x6f\x38\xbe\x44\x03\x00";
    assert!(
        refused(module).contains("module type"),
        "{}",
        refused(module)
    );
    assert!(
        refused(b"\x16\x00").contains("type 22"),
        "{}",
        refused(b"\x16\x00")
    );
    // The same element twice, an empty collection, a score that is no number.
    for body in [
        b"\x02\x02\x01a\x01a".as_slice(),
        b"\x01\x00",
        b"\x03\x01\x01a\xfd",
    ] {
        assert!(refused(body).contains("damaged"), "{}", refused(body));
    }
    let whole = payload(b"\x00\x03abc");
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 1;
        assert!(open_payload(&other).is_err(), "a flip at {at}");
    }
}

/// Collections without elements, in every encoding that can say so: the type, then the value.
fn empties() -> Vec<Vec<u8>> {
    let listpack = string(b"\x07\0\0\0\0\0\xff");
    let ziplist = string(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff");
    let mut all: Vec<Vec<u8>> = (1..=5).map(|kind| vec![kind, 0]).collect();
    all.push([b"\x09".as_slice(), &string(b"\0\xff")].concat());
    all.push([b"\x0b".as_slice(), &string(b"\x02\0\0\0\0\0\0\0")].concat());
    all.extend([10, 12, 13].map(|kind| [&[kind], ziplist.as_slice()].concat()));
    all.extend([16, 17, 20].map(|kind| [&[kind], listpack.as_slice()].concat()));
    all.extend([14, 18].map(|kind| vec![kind, 0]));
    all.push([b"\x18".as_slice(), &[0; 9]].concat());
    all.push([b"\x19".as_slice(), &[0; 8], &listpack].concat());
    all
}

#[test]
fn a_collection_without_elements_is_no_value_and_spoils_no_dump() {
    let mut dump = b"REDIS0011\xfe\x01".to_vec();
    for body in empties() {
        let error = open_payload(&payload(&body)).unwrap_err();
        assert!(
            matches!(error, RdbError::Empty),
            "type {}: {error}",
            body[0]
        );
        dump.extend_from_slice(b"\xfc\x05\0\0\0\0\0\0\0");
        dump.extend_from_slice(&body[..1]);
        dump.extend_from_slice(b"\x01e");
        dump.extend_from_slice(&body[1..]);
    }
    dump.extend_from_slice(b"\x00\x01a\x011\xff\0\0\0\0\0\0\0\0");
    let mut found = events(&dump).unwrap();
    let last = Event::Key {
        db: 1,
        record: Record {
            key: b"a".to_vec(),
            // None of those before it.
            expires_ms: None,
            value: Value::String(b"1".to_vec()),
        },
    };
    assert_eq!(found.pop(), Some(last));
    let empty = Event::Empty {
        db: 1,
        key: b"e".to_vec(),
    };
    assert_eq!(found, vec![empty; empties().len()]);
}

/// A node of a stream: one field of ten bytes, and so many entries that have it.
fn node(entries: u8) -> Vec<u8> {
    let mut body = vec![entries, 1, 0, 1, 1, 1, 0x8a];
    body.extend_from_slice(b"0123456789\x0b\x00\x01");
    for at in 0..entries {
        body.extend_from_slice(&[2, 1, at, 1, 0, 1, 0x81, b'v', 2, 4, 1]);
    }
    let mut node = vec![u8::try_from(body.len() + 7).unwrap(), 0, 0, 0, 0xff, 0xff];
    node.extend_from_slice(&body);
    node.push(0xff);
    node
}

#[test]
fn fields_that_many_entries_share_do_not_fill_the_memory() {
    let first = StreamId { ms: 1, seq: 0 };
    let read = |bytes_max| {
        let mut entries = Entries::default();
        stream::read_node(first, &node(20), &mut entries, bytes_max).map(|()| entries)
    };
    let entries = read(220).unwrap();
    assert_eq!((entries.len(), entries.size_bytes()), (20, 220));
    let error = read(219).unwrap_err();
    assert!(matches!(error, RdbError::Unsupported(_)), "{error}");
}

fn dump() -> Vec<u8> {
    let mut dump = b"REDIS0011".to_vec();
    dump.extend_from_slice(b"\xfa\x05ctime\xc0\x07");
    dump.extend_from_slice(b"\xf5\x04code");
    // A module beside the keys, with one of each mark.
    dump.extend_from_slice(b"\xf7\x81\x91\xe2\x52\x6f\x38\xbe\x44\x03\x02\x01");
    dump.extend_from_slice(b"\x01\x05\x02\x06\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x05\x01s\x00");
    dump.extend_from_slice(b"\xfe\x02\xfb\x03\x01\xf4\x01\x01\x00");
    dump.extend_from_slice(b"\xfc\x05\0\0\0\0\0\0\0\xf8\x09\x00\x01a\x011");
    dump.extend_from_slice(b"\xfd\x06\0\0\0\xf9\x09\x00\x01b\x012");
    dump.extend_from_slice(b"\x00\x01c\x013\xff");
    let sum = crc64::update(0, &dump).to_le_bytes();
    dump.extend_from_slice(&sum);
    dump
}

fn events(dump: &[u8]) -> Result<Vec<Event>, RdbError> {
    let mut reader = RdbReader::new(dump)?;
    let mut events = Vec::new();
    while let Some(event) = reader.next_event()? {
        events.push(event);
    }
    Ok(events)
}

#[test]
fn a_whole_dump_is_read_to_its_proved_end() {
    let key = |key: &str, value: &str, expires_ms| Event::Key {
        db: 2,
        record: Record {
            key: key.as_bytes().to_vec(),
            expires_ms,
            value: Value::String(value.as_bytes().to_vec()),
        },
    };
    let expected = [
        Event::Aux {
            name: b"ctime".to_vec(),
            value: b"7".to_vec(),
        },
        Event::Function(b"code".to_vec()),
        Event::ModuleAux("keepstone".to_owned()),
        key("a", "1", Some(5)),
        key("b", "2", Some(6_000)),
        key("c", "3", None),
    ];
    let found = events(&dump()).unwrap();
    assert_eq!(found[..2], expected[..2]);
    assert!(matches!(found[2], Event::ModuleAux(_)));
    assert_eq!(found[3..], expected[3..]);
    let mut unsummed = dump();
    let body = unsummed.len() - 8;
    unsummed[body..].fill(0);
    assert_eq!(events(&unsummed).unwrap().len(), 6);
}

#[test]
fn a_dump_that_is_cut_or_changed_anywhere_is_refused() {
    let whole = dump();
    for cut in 0..whole.len() {
        let error = events(&whole[..cut]).unwrap_err();
        assert!(matches!(error, RdbError::Truncated), "{cut}: {error}");
    }
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 0x10;
        assert!(events(&other).is_err(), "a flip at {at}");
    }
}

#[test]
fn versions_that_are_not_understood_are_named() {
    for (head, text) in [
        ("REDIS0004", "version 4"),
        ("REDIS0013", "version 13"),
        ("VALKEY080", "VALKEY080"),
        ("REDISabcd", "does not begin"),
        ("HTTP/1.1 ", "does not begin"),
    ] {
        let error = events(head.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn a_claimed_length_takes_no_memory() {
    // A string of a terabyte, a list of 2^60, a compressed string that claims a gigabyte.
    for body in [
        b"\x00\x81\0\0\x01\0\0\0\0\0x".as_slice(),
        b"\x01\x81\x10\0\0\0\0\0\0\0\x01x",
        b"\x00\xc3\x03\x80\x40\0\0\0\x00ab",
    ] {
        assert!(open_payload(&payload(body)).is_err());
    }
}
