//! The examples of repo-format.md are executed: each is decoded, compared with what the text says, and encoded again.

use keepstone_engine::codec::Cursor;
use keepstone_engine::codec::frame::{self, Kind};
use keepstone_engine::id::SessionId;
use keepstone_engine::record::{ChunkRecord, format as record_format};
use keepstone_engine::segment::SegmentId;
use keepstone_engine::source::Profile;
use keepstone_engine::tree::{Body, ChunkList, Node, format as tree_format};
use keepstone_testkit::tools::workspace;

/// The bytes of the example of this kind.
fn example(kind: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(workspace().join("repo-format.md")).unwrap();
    let start = format!("```hex {kind}\n");
    let (_, rest) = text
        .split_once(&start)
        .unwrap_or_else(|| panic!("no example of {kind}"));
    let (hex, _) = rest.split_once("```").unwrap();
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_frame_is_as_written() {
    let bytes = example("frame");
    let mut input = Cursor::new("frame", &bytes);
    frame::decode(&mut input, Kind::Pack).unwrap();
    input.finish().unwrap();
    assert_eq!(frame::encode(Kind::Pack).as_slice(), bytes);
}

#[test]
fn the_record_block_is_as_written() {
    let bytes = example("record-block");
    let block = record_format::decode(&bytes).unwrap();
    let segment = SegmentId {
        session: SessionId::from_bytes([2; 16]),
        counter: 7,
    };
    let record = ChunkRecord::whole(segment, 100, 2000);
    assert_eq!(block.record(0).unwrap(), record);
    assert_eq!(block.len(), 1);
    assert_eq!(record_format::encode(&[record]), bytes);
}

#[test]
fn the_folder_is_as_written() {
    let bytes = example("folder");
    let Node::Folder(entries) = tree_format::decode_node(&bytes).unwrap() else {
        panic!("no folder");
    };
    let [entry] = entries.as_slice() else {
        panic!("one entry")
    };
    assert_eq!(entry.name, b"a.txt");
    let Body::File(content) = &entry.body else {
        panic!("a file")
    };
    assert_eq!((content.profile, content.size_bytes), (Profile::Bytes, 0));
    assert_eq!(content.chunks, ChunkList::Inline(vec![]));
    assert_eq!(
        tree_format::encode_folder(&[tree_format::encode_entry(entry)]),
        bytes
    );
}
