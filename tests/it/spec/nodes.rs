//! Nodes: lists, folders and what an entry says.

use keepstone_engine::id::ChunkId;
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Digest, FileIdentity, Meta, NodeKind, Profile, StreamFacts};
use keepstone_engine::tree::format::{
    decode_node, encode_entry, encode_folder, encode_folder_index, encode_list,
};
use keepstone_engine::tree::{Body, ChunkList, Content, Entry, ListEntry, Node};

use super::document::{Check, Example, array, example, hold};

pub(super) const CHECKS: &[Check] = &[
    ("list", list),
    ("list-keys", list_with_keys),
    ("folder-index", folder_index),
    ("folder", folder),
    ("folder-every-body", every_body),
    ("folder-every-flag", every_flag),
    ("folder-root", root_folder),
];

#[test]
fn nodes_are_as_written() {
    hold(CHECKS);
}

fn id(byte: u8) -> ChunkId {
    ChunkId::from_bytes([byte; 32])
}

fn says(example: &Example, node: &Node) {
    assert_eq!(&decode_node(&example.bytes()).unwrap(), node);
    let again = match node {
        Node::List { level, entries } => encode_list(*level, entries),
        Node::Folder(entries) => {
            let entries: Vec<_> = entries.iter().map(encode_entry).collect();
            encode_folder(&entries)
        }
        Node::FolderIndex { level, children } => encode_folder_index(*level, children),
    };
    assert_eq!(again, example.bytes());
}

fn list(example: &Example) {
    let entry = |byte, len| ListEntry {
        id: id(byte),
        len,
        keys: None,
    };
    let entries = vec![entry(0xc1, 131_072), entry(0xc2, 100)];
    says(example, &Node::List { level: 0, entries });
}

fn list_with_keys(example: &Example) {
    let entry = |byte, len, first: &str, last: &str| ListEntry {
        id: id(byte),
        len,
        keys: Some((first.into(), last.into())),
    };
    let entries = vec![
        entry(0xd1, 3_000_000, "a", "kz"),
        entry(0xd2, 70_000, "l", "z9"),
    ];
    says(example, &Node::List { level: 1, entries });
}

fn folder_index(example: &Example) {
    let children = vec![id(0xf1), id(0xf2)];
    says(example, &Node::FolderIndex { level: 1, children });
}

fn entry(name: &str, body: Body) -> Entry {
    Entry {
        name: name.into(),
        body,
        meta: Meta::default(),
        facts: StreamFacts::default(),
    }
}

fn inline(profile: Profile, chunks: Vec<(ChunkId, u32)>) -> Body {
    Body::File(Content {
        profile,
        size_bytes: chunks.iter().map(|(_, len)| u64::from(*len)).sum(),
        chunks: ChunkList::Inline(chunks),
    })
}

fn folder(example: &Example) {
    let entries = vec![entry("a.txt", inline(Profile::Bytes, vec![]))];
    says(example, &Node::Folder(entries));
}

fn every_body(example: &Example) {
    let path = RepoPath::parse("a/b").unwrap();
    let list = Body::File(Content {
        profile: Profile::Records,
        size_bytes: 3_000_000,
        chunks: ChunkList::Node(id(0xd1)),
    });
    let entries = vec![
        entry("a", Body::Dir(id(0xf1))),
        entry("b", inline(Profile::Bytes, vec![(id(0xc1), 16)])),
        entry("c", list),
        entry("d", Body::Other(NodeKind::Link(b"../x".to_vec()))),
        entry("e", Body::Other(NodeKind::HardLink(path))),
        entry("f", Body::Other(NodeKind::Fifo)),
        entry("g", Body::Other(NodeKind::Socket)),
        entry("h", Body::Other(NodeKind::BlockDevice(8, 1))),
        entry("i", Body::Other(NodeKind::CharDevice(1, 3))),
    ];
    says(example, &Node::Folder(entries));
}

fn every_flag(example: &Example) {
    let mut entry = entry("x", inline(Profile::Pages, vec![(id(0xc1), 16)]));
    entry.meta = Meta {
        mode: 0o640,
        uid: 1000,
        gid: 1001,
        mtime_ns: -1,
        user: Some("ann".into()),
        group: Some("ops".into()),
        sparse: true,
        identity: Some(FileIdentity {
            size_bytes: 16,
            ctime_ns: 2,
            inode: 7,
        }),
        xattrs: [(b"user.a".to_vec(), b"1".to_vec())].into(),
    };
    entry.facts.records = Some(3);
    entry.facts.digest = Some(Digest([0xdd; 32]));
    entry.facts.attributes.insert("rows".into(), 3.into());
    says(example, &Node::Folder(vec![entry]));
}

fn root_folder(folder: &Example) {
    let chunk = ChunkId::from_bytes(array(example("chunk-id").parts::<2>()[1]));
    let entries = vec![entry("output", inline(Profile::Bytes, vec![(chunk, 16)]))];
    says(folder, &Node::Folder(entries));
}
