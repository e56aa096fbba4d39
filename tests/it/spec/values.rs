//! Numbers, texts, names, the frame, the record digest.

use keepstone_engine::backend::ObjectKey;
use keepstone_engine::codec::frame::{self, Kind};
use keepstone_engine::codec::{Cursor, put_bytes, put_signed, put_varint};
use keepstone_engine::path::{percent_decode, percent_encode};
use keepstone_engine::source::{Digest, RecordDigest};

use super::document::{Check, Example, array, hold};

pub(super) const CHECKS: &[Check] = &[
    ("varint", varint),
    ("varint-refused", varint_refused),
    ("signed", signed),
    ("bytes", bytes),
    ("layout", layout),
    ("frame", every_frame),
    ("percent", percent),
    ("record-digest", record_digest),
];

#[test]
fn values_are_as_written() {
    hold(CHECKS);
}

fn varint(example: &Example) {
    for line in &example.lines {
        let value = line.remark.parse().unwrap();
        let mut input = Cursor::new("varint", &line.bytes);
        assert_eq!(input.varint().unwrap(), value);
        input.finish().unwrap();
        let mut again = Vec::new();
        put_varint(&mut again, value);
        assert_eq!(again, line.bytes);
    }
}

fn varint_refused(example: &Example) {
    for line in &example.lines {
        let read = Cursor::new("varint", &line.bytes).varint();
        assert!(read.is_err(), "{}: {read:?}", line.remark);
    }
}

fn signed(example: &Example) {
    for line in &example.lines {
        let value = line.remark.parse().unwrap();
        let mut input = Cursor::new("signed", &line.bytes);
        assert_eq!(input.signed().unwrap(), value);
        input.finish().unwrap();
        let mut again = Vec::new();
        put_signed(&mut again, value);
        assert_eq!(again, line.bytes);
    }
}

fn bytes(example: &Example) {
    let encoded = example.bytes();
    let mut input = Cursor::new("bytes", &encoded);
    assert_eq!(input.bytes(5).unwrap(), b"hello");
    input.finish().unwrap();
    assert!(Cursor::new("bytes", &encoded).bytes(4).is_err());
    let mut again = Vec::new();
    put_bytes(&mut again, b"hello");
    assert_eq!(again, encoded);
}

fn layout(example: &Example) {
    for line in &example.lines {
        let path = std::str::from_utf8(&line.bytes).unwrap();
        let key = ObjectKey::parse(path).unwrap_or_else(|| panic!("{path} is foreign"));
        assert_eq!(key.path(), path);
        let (folder, name) = path.split_once('/').unwrap();
        let capitals = format!("{folder}/{}", name.to_uppercase());
        assert_eq!(ObjectKey::parse(&capitals), None);
    }
}

fn every_frame(example: &Example) {
    let kinds = [
        (Kind::Config, "config"),
        (Kind::Slot, "key slot"),
        (Kind::Pack, "pack"),
        (Kind::Index, "index segment"),
        (Kind::Session, "session"),
        (Kind::End, "end"),
        (Kind::Forgotten, "forgotten"),
        (Kind::Tombstone, "tombstone"),
        (Kind::Settled, "settled"),
    ];
    assert_eq!(example.lines.len(), kinds.len());
    for (line, (kind, name)) in example.lines.iter().zip(kinds) {
        assert_eq!(line.remark, name);
        assert_eq!(frame::encode(kind).as_slice(), line.bytes);
        for (other, _) in kinds {
            let mut input = Cursor::new("frame", &line.bytes);
            assert_eq!(frame::decode(&mut input, other).is_ok(), other == kind);
        }
    }
}

fn percent(example: &Example) {
    for pair in example.lines.chunks(2) {
        let [name, component] = pair else {
            panic!("a name without its component")
        };
        let name = std::str::from_utf8(&name.bytes).unwrap();
        assert_eq!(percent_encode(name).into_bytes(), component.bytes);
        assert_eq!(percent_decode(&component.bytes).as_deref(), Some(name));
    }
}

fn record_digest(example: &Example) {
    let (digest, records) = example.lines.split_last().unwrap();
    let digest = Digest(array(&digest.bytes));
    let mut forward = RecordDigest::new();
    records.iter().for_each(|line| forward.add(&line.bytes));
    let mut backward = RecordDigest::new();
    let back = records.iter().rev();
    back.for_each(|line| backward.add(&line.bytes));
    assert_eq!((forward.finish(), forward.count()), (digest, 3));
    assert_eq!(backward.finish(), digest);
    assert_eq!(RecordDigest::new().finish(), Digest([0; 32]));
}
