//! The formats of a repository: every `format.rs` of the engine.

use std::fmt::Debug;

use keepstone_engine::backend::{PackClass, PackName};
use keepstone_engine::codec::{Cursor, FormatError};
use keepstone_engine::compress::Codec;
use keepstone_engine::crypto::{BoxHeader, BoxKind, KdfParameters, RootKey, Secret, SlotInfo};
use keepstone_engine::id::{ChunkId, ObjectId, RepoId, SessionId, WriterId};
use keepstone_engine::index::IndexedPack;
use keepstone_engine::pack::{BoxPlace, Footer, KeyTable};
use keepstone_engine::path::RepoPath;
use keepstone_engine::record::{ChunkRecord, Extent};
use keepstone_engine::segment::SegmentId;
use keepstone_engine::session::{ForgottenRecord, SessionRecord, SettledRecord, TombstoneRecord};
use keepstone_engine::snapshot::format::End;
use keepstone_engine::source::{Digest, FileIdentity, Meta, NodeKind, Profile, StreamFacts};
use keepstone_engine::tree::{Body, ChunkList, Content, Entry, ListEntry, Node};
use keepstone_engine::{crypto, index, pack, record, repo, session, snapshot, tree};

fn session_id() -> SessionId {
    SessionId::from_bytes([0x5e; 16])
}

fn chunk_id() -> ChunkId {
    ChunkId::from_bytes([0xc1; 32])
}

/// What is accepted can be said again, and means the same.
fn says_again<T: PartialEq + Debug>(
    data: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> bool {
    decode(data).is_ok_and(|value| {
        assert_eq!(decode(&encode(&value)).as_ref(), Ok(&value));
        true
    })
}

/// The config.
pub fn config(data: &[u8]) -> bool {
    says_again(data, repo::format::decode, repo::format::encode)
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    vec![repo::format::encode(&repo::Config {
        format: repo::FORMAT_VERSION,
        id: RepoId::from_bytes([7; 16]),
        must_understand: vec!["planes".to_owned()],
        may_ignore: vec![],
        created_ns: 1_767_225_600_000_000_000,
        chunker: repo::CHUNKER.to_owned(),
        suite: repo::SUITE.to_owned(),
    })]
}

/// Key slots; opening one would stretch a key, so it stays sealed.
pub fn slot(data: &[u8]) -> bool {
    crypto::format::decode_slot(data).is_ok_and(|slot| {
        assert!(slot.info().host.len() <= 256);
        true
    })
}

pub fn slot_seeds() -> Vec<Vec<u8>> {
    let info = SlotInfo {
        created_ns: 1_767_225_600_000_000_000,
        host: "host".to_owned(),
        user: "user".to_owned(),
    };
    let root = RootKey::from_bytes([9; 32]);
    let secret = Secret::new(vec![1; 32]);
    let slot = crypto::seal_slot(&root, b"config", &secret, KdfParameters::Raw, info);
    vec![slot.expect("a raw slot")]
}

/// Session, forgotten, tombstone and settled records.
pub fn session(data: &[u8]) -> bool {
    use keepstone_engine::session::format::{decode, encode};
    // All four are tried: `|` stops at none.
    says_again::<SessionRecord>(data, decode, encode)
        | says_again::<ForgottenRecord>(data, decode, encode)
        | says_again::<TombstoneRecord>(data, decode, encode)
        | says_again::<SettledRecord>(data, decode, encode)
}

pub fn session_seeds() -> Vec<Vec<u8>> {
    let settled = SettledRecord {
        aborted: vec![session_id()],
        forgotten: vec![session_id(), session_id()],
    };
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        session::format::encode(&settled),
        text(
            r#"{"host":"a","boot":"b","pid":1,"process_start":2,
               "writer":"00000000000000000000000000000000","start_ns":3,"program":"p"}"#,
        ),
        text(r#"{"time_ns":1,"host":"a","reason":"tést"}"#),
        text(r#"{"time_ns":1,"host":"a","packs":["x","y"]}"#),
    ]
}

/// End records.
pub fn end(data: &[u8]) -> bool {
    says_again(data, snapshot::format::decode, snapshot::format::encode)
}

pub fn end_seeds() -> Vec<Vec<u8>> {
    let writer = WriterId::from_bytes([3; 16]);
    let committed = format!(
        r#"{{"outcome":"committed","time_ns":1,"end_ns":2,"host":"h","program":"p","writer":"{writer}",
           "counter":4,"sources":[]}}"#
    );
    let aborted = End::Aborted {
        time_ns: 5,
        host: "h".to_owned(),
        reason: "fenced".to_owned(),
    };
    let committed = snapshot::format::decode(committed.as_bytes()).expect("a snapshot");
    vec![
        snapshot::format::encode(&committed),
        snapshot::format::encode(&aborted),
    ]
}

/// The clear end of a pack: one value has one encoding.
pub fn trailer(data: &[u8]) -> bool {
    let Ok(Ok(trailer)) = pack::format::decode_trailer(data, data.len() as u64) else {
        return false;
    };
    let mut again = pack::format::encode_trailer_head(&trailer.keys, &trailer.footer);
    again.extend(pack::format::encode_trailer_tail(
        &again,
        &trailer.outer_hash,
    ));
    assert!(data.ends_with(&again));
    assert_eq!(again.len(), trailer.len);
    true
}

pub fn trailer_seeds() -> Vec<Vec<u8>> {
    let head = pack::format::encode_trailer_head(&keys(), &header(BoxKind::Footer, 16, 40));
    let tail = pack::format::encode_trailer_tail(&head, &[8; 32]);
    vec![[vec![0; 60], head, tail].concat()]
}

/// Wrapped keys and the footer that names their sessions.
pub fn footer(data: &[u8]) -> bool {
    let decode = |data: &[u8]| {
        let mut input = Cursor::new("footer", data);
        let keys = pack::format::decode_keys(&mut input)?;
        let footer = pack::format::decode_footer(&mut input, &keys)?;
        Ok((keys, footer))
    };
    says_again(data, decode, |(keys, footer)| encode_footer(keys, footer))
}

pub fn footer_seeds() -> Vec<Vec<u8>> {
    vec![encode_footer(&keys(), &a_footer())]
}

fn encode_footer(keys: &KeyTable, footer: &Footer) -> Vec<u8> {
    let mut out = Vec::new();
    pack::format::encode_keys(&mut out, keys);
    out.extend(pack::format::encode_footer(footer, keys));
    out
}

fn keys() -> KeyTable {
    KeyTable {
        keys: vec![
            (session_id(), [4; 48]),
            (SessionId::from_bytes([6; 16]), [5; 48]),
        ],
    }
}

fn header(kind: BoxKind, raw_len: u32, stored_len: u32) -> BoxHeader {
    BoxHeader {
        kind,
        session: session_id(),
        counter: 300,
        codec: Codec::Zstd,
        raw_len,
        stored_len,
    }
}

fn a_footer() -> Footer {
    let place = |kind, offset| BoxPlace {
        header: header(kind, 1000, 500),
        offset,
    };
    Footer {
        boxes: vec![place(BoxKind::Data, 8), place(BoxKind::Records, 508)],
        chunks: vec![vec![chunk_id(), ChunkId::from_bytes([0xc2; 32])]],
    }
}

/// Index segments, opened.
pub fn index(data: &[u8]) -> bool {
    let encode = |packs: &Vec<IndexedPack>| index::format::encode_body(packs);
    says_again(data, index::format::decode_body, encode)
}

pub fn index_seeds() -> Vec<Vec<u8>> {
    let pack = |class| IndexedPack {
        name: PackName {
            session: session_id(),
            random: ObjectId::from_bytes([2; 16]),
            class,
        },
        size_bytes: 5000,
        keys: keys(),
        footer: a_footer(),
    };
    vec![index::format::encode_body(&[
        pack(PackClass::Data),
        pack(PackClass::Meta),
    ])]
}

/// Record blocks.
pub fn record(data: &[u8]) -> bool {
    let decode = |data: &[u8]| {
        let block = record::format::decode(data)?;
        let count = u16::try_from(block.len()).expect("ordinals are 16 bits");
        let record = |ordinal| {
            block
                .record(ordinal)
                .expect("a record leads into its tables")
        };
        Ok((0..count).map(record).collect::<Vec<_>>())
    };
    says_again(data, decode, |records: &Vec<ChunkRecord>| {
        record::format::encode(records)
    })
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    let stored = |counter, offset, len| Extent::Stored {
        segment: SegmentId {
            session: session_id(),
            counter,
        },
        offset,
        len,
    };
    let copy = |offset, len| Extent::Copy {
        base: chunk_id(),
        offset,
        len,
    };
    let record = |depth, extents: Vec<Extent>| ChunkRecord {
        len: extents.iter().map(Extent::len).sum(),
        depth,
        extents,
    };
    let records = [
        record(0, vec![stored(1, 0, 70_000)]),
        record(
            1,
            vec![
                copy(0, 500),
                stored(2, 0, 30),
                copy(540, 9000),
                stored(2, 30, 7),
            ],
        ),
        record(2, vec![copy(100, 50), stored(1, 400, 1), copy(20, 30)]),
    ];
    vec![
        record::format::encode(&records),
        record::format::encode(&[]),
    ]
}

/// Nodes of lists and folders.
pub fn tree(data: &[u8]) -> bool {
    says_again(data, tree::format::decode_node, encode_node)
}

fn encode_node(node: &Node) -> Vec<u8> {
    match node {
        Node::List { level, entries } => tree::format::encode_list(*level, entries),
        Node::Folder(entries) => {
            let entries: Vec<_> = entries.iter().map(tree::format::encode_entry).collect();
            tree::format::encode_folder(&entries)
        }
        Node::FolderIndex { level, children } => {
            tree::format::encode_folder_index(*level, children)
        }
    }
}

pub fn tree_seeds() -> Vec<Vec<u8>> {
    let list = |keys: Option<(Vec<u8>, Vec<u8>)>| Node::List {
        level: 0,
        entries: vec![ListEntry {
            id: chunk_id(),
            len: 70_000,
            keys,
        }],
    };
    [
        list(None),
        list(Some((b"1".to_vec(), b"2".to_vec()))),
        Node::Folder(entries()),
        Node::FolderIndex {
            level: 1,
            children: vec![chunk_id(), chunk_id()],
        },
    ]
    .iter()
    .map(encode_node)
    .collect()
}

fn entries() -> Vec<Entry> {
    let content = |chunks| Content {
        profile: Profile::Records,
        size_bytes: 70_000,
        chunks,
    };
    let link = RepoPath::parse("a/b").expect("a path");
    let bodies = [
        Body::Dir(chunk_id()),
        Body::File(content(ChunkList::Inline(vec![(chunk_id(), 70_000)]))),
        Body::File(content(ChunkList::Node(chunk_id()))),
        Body::Other(NodeKind::Link(b"../target".to_vec())),
        Body::Other(NodeKind::HardLink(link)),
        Body::Other(NodeKind::Fifo),
        Body::Other(NodeKind::BlockDevice(8, 1)),
    ];
    let meta = Meta {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime_ns: -5,
        user: Some("user".to_owned()),
        sparse: true,
        identity: Some(FileIdentity {
            size_bytes: 9,
            ctime_ns: 8,
            inode: 7,
        }),
        xattrs: [(b"user.a".to_vec(), b"1".to_vec())].into(),
        ..Meta::default()
    };
    let mut facts = StreamFacts {
        records: Some(12),
        digest: Some(Digest([1; 32])),
        ..StreamFacts::default()
    };
    facts.attributes.insert("rows".to_owned(), 12.into());
    let entry = |(name, body)| Entry {
        name: vec![name],
        body,
        meta: meta.clone(),
        facts: facts.clone(),
    };
    (b'a'..).zip(bodies).map(entry).collect()
}
