//! Forges snapshots: whoever holds the key can write anything that the formats can say, and some that they cannot.

use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::ObjectKey;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backup::Cancel;
use keepstone_engine::backup::writer::Writer;
use keepstone_engine::check::{Level, check};
use keepstone_engine::codec::frame::Kind;
use keepstone_engine::crypto::{BoxKind, seal_record};
use keepstone_engine::id::{ChunkId, SessionId};
use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::record::{ChunkRecord, Extent, format as record_format};
use keepstone_engine::repo::Repo;
use keepstone_engine::segment::SegmentId;
use keepstone_engine::snapshot::format::{End, encode};
use keepstone_engine::snapshot::select::Listed;
use keepstone_engine::source::{Meta, Profile, StreamFacts};
use keepstone_engine::tree::format::{encode_entry, encode_folder};
use keepstone_engine::tree::{Body, ChunkList, Content, Entry};
use keepstone_testkit::scripted::{Streams, new_repo, prune_at, read_listed, save};

const EVIL: [u8; 16] = [0xee; 16];

/// A repository with one honest snapshot, and a forged one in the making.
pub struct Forge {
    pub repo: Repo,
    writer: Option<Writer>,
    records: Vec<ChunkRecord>,
    ids: Vec<ChunkId>,
}

impl Forge {
    pub fn new() -> Self {
        let repo = new_repo(Arc::new(MemoryBackend::new())).unwrap();
        save(
            &repo,
            &Streams::from([("a".to_owned(), b"honest".to_vec())]),
            0,
        )
        .unwrap();
        let session = SessionId::from_bytes(EVIL);
        let writer = Some(Writer::start(&repo, session, 1, 1, false));
        Self {
            repo,
            writer,
            records: vec![],
            ids: vec![],
        }
    }

    fn writer(&self) -> &Writer {
        self.writer.as_ref().unwrap()
    }

    /// Seals any bytes as a segment.
    pub fn segment(&mut self, kind: BoxKind, bytes: &[u8]) -> SegmentId {
        let segment = self.writer().next_segment();
        let stored = Arc::default();
        self.writer()
            .seal_segment(kind, segment, 3, bytes.to_vec(), &stored)
            .unwrap();
        segment
    }

    /// Says of a name what makes it, true or not.
    pub fn record(&mut self, id: ChunkId, record: ChunkRecord) {
        self.ids.push(id);
        self.records.push(record);
    }

    /// Seals any bytes as a block of records of these names.
    pub fn block(&mut self, raw: Vec<u8>, ids: Vec<ChunkId>) {
        self.writer()
            .seal_records(raw, ids, &Arc::default())
            .unwrap();
    }

    /// Keeps a chunk as an honest writer would.
    pub fn chunk(&mut self, bytes: &[u8]) -> (ChunkId, u32) {
        let id = self.repo.root().chunk_id(bytes);
        let len = u32::try_from(bytes.len()).unwrap();
        let segment = self.segment(BoxKind::Data, bytes);
        self.record(id, ChunkRecord::whole(segment, 0, len));
        (id, len)
    }

    /// Keeps a node, whatever it says.
    pub fn node(&mut self, bytes: &[u8]) -> ChunkId {
        let id = self.repo.root().node_id(bytes);
        self.node_named(id, bytes);
        id
    }

    /// Keeps bytes under a name that may not be theirs.
    pub fn node_named(&mut self, id: ChunkId, bytes: &[u8]) {
        let segment = self.segment(BoxKind::Nodes, bytes);
        let len = u32::try_from(bytes.len()).unwrap();
        self.record(id, ChunkRecord::whole(segment, 0, len));
    }

    /// A folder with one file of these chunks.
    pub fn file(&mut self, size_bytes: u64, chunks: ChunkList) -> ChunkId {
        let entry = file_entry(b"f", size_bytes, chunks);
        self.node(&encode_folder(&[encode_entry(&entry)]))
    }

    /// A folder with one file of one chunk.
    pub fn file_of(&mut self, id: ChunkId, len: u32) -> ChunkId {
        self.file(len.into(), ChunkList::Inline(vec![(id, len)]))
    }

    /// Commits a snapshot of this root; nothing of the kind is ever right. Answers all that was said of it.
    pub fn refused(self, root: ChunkId) -> String {
        let (repo, listed) = self.commit(root, "script");
        let restored = read_listed(&repo, &listed).expect_err("it restores");
        assert!(is_damage(&restored), "{restored}");
        let report = check(&repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
        assert!(!report.is_clean(), "check finds nothing");
        let structure = check(&repo, Level::Structure, 2, &NoObserver, &Cancel::default());
        drop(structure.unwrap());
        if let Err(error) = prune_at(&repo, i64::MAX / 2) {
            assert!(is_damage(&error), "{error}");
        }
        // The honest neighbour is as it was.
        let honest = repo.snapshots().unwrap().remove(0);
        assert_eq!(read_listed(&repo, &honest).unwrap()["a"], b"honest");
        chain(&restored)
    }

    pub fn commit(mut self, root: ChunkId, name: &str) -> (Repo, Listed) {
        if !self.records.is_empty() {
            // A few to a block, as many blocks as it takes.
            let records = std::mem::take(&mut self.records);
            let ids = std::mem::take(&mut self.ids);
            for (records, ids) in records.chunks(1000).zip(ids.chunks(1000)) {
                self.block(record_format::encode(records), ids.to_vec());
            }
        }
        self.writer.take().unwrap().finish().unwrap();
        let mut listed = self.repo.snapshots().unwrap().remove(0);
        listed.id = SessionId::from_bytes(EVIL);
        listed.snapshot.time_ns = 1;
        let source = &mut listed.snapshot.sources[0];
        (source.root, source.details) = (Some(root), None);
        source.name = name.into();
        let end = encode(&End::Committed(listed.snapshot.clone()));
        let key = ObjectKey::end(listed.id);
        let (root, id) = (self.repo.root(), self.repo.id());
        let sealed = seal_record(root, id, Kind::End, &key.path(), &end);
        self.repo.backend().put_new(&key, &[&sealed]).unwrap();
        (self.repo, listed)
    }
}

pub fn file_entry(name: &[u8], size_bytes: u64, chunks: ChunkList) -> Entry {
    let content = Content {
        profile: Profile::Bytes,
        size_bytes,
        chunks,
    };
    entry(name, Body::File(content))
}

pub fn entry(name: &[u8], body: Body) -> Entry {
    Entry {
        name: name.to_vec(),
        body,
        meta: Meta::default(),
        facts: StreamFacts::default(),
    }
}

/// A folder of folders.
pub fn folder(entries: &[(&[u8], ChunkId)]) -> Vec<u8> {
    let encode = |(name, below): &(&[u8], ChunkId)| encode_entry(&entry(name, Body::Dir(*below)));
    encode_folder(&entries.iter().map(encode).collect::<Vec<_>>())
}

pub fn copy(base: ChunkId, offset: u32, len: u32) -> ChunkRecord {
    let extents = vec![Extent::Copy { base, offset, len }];
    ChunkRecord {
        len,
        depth: 1,
        extents,
    }
}

pub fn name(number: u8) -> ChunkId {
    ChunkId::from_bytes([number; 32])
}

pub fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. } | Error::Missing { .. } | Error::MissingChunk { .. }
    )
}

pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

/// A path of so many folders, one in the other.
pub fn deep_path(depth: usize) -> RepoPath {
    RepoPath::parse(vec!["d"; depth].join("/")).unwrap()
}
