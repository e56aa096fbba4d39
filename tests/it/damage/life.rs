//! The repository that is damaged: hours of deltas, resolved lists, forgotten snapshots, two tombstones that wait, open
//! sessions, a settled list. Made once.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use keepstone_engine::backend::memory::{Contents, MemoryBackend, StoredObject};
use keepstone_engine::backend::{ObjectKey, ObjectKind, PackClass};
use keepstone_engine::backup::{BackupOptions, WriterHistory};
use keepstone_engine::codec::frame::Kind;
use keepstone_engine::crypto::seal_record;
use keepstone_engine::forget::forget;
use keepstone_engine::id::{ObjectId, SessionId, SnapshotId};
use keepstone_engine::pack::format::decode_trailer;
use keepstone_engine::repo::{Repo, Store, Usable};
use keepstone_engine::session::format::encode;
use keepstone_engine::session::{SessionRecord, SettledRecord};
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, options, prune_at, save_as, session_record, table,
};

pub const HOUR_NS: i64 = 3_600_000_000_000;
/// Hours that are saved; the last one is deeper than lists are kept as copies.
const HOURS: i64 = 19;
/// Hours that stay.
const KEPT: [i64; 4] = [0, 9, 17, 18];

/// The one repository of the matrix.
pub static LIFE: LazyLock<Life> = LazyLock::new(Life::new);

/// A whole repository, and what it should hold.
pub struct Life {
    /// Every object.
    pub contents: Contents,
    /// Objects of another repository, for swapping in what has no twin in this one.
    strange: Contents,
    /// Live snapshots, oldest first, and their streams.
    pub live: Vec<(SnapshotId, Streams)>,
    /// The hour after the newest.
    pub next: Streams,
}

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Config,
    ConfigCopy,
    Slot,
    SlotCopy,
    Session,
    End,
    Forgotten,
    Tombstone,
    Settled,
    Index,
    /// The data pack of the first hour, on which every hour stands.
    DataBody,
    DataFooter,
    DataTrailer,
    /// The meta pack of the newest hour, on which nothing else stands.
    MetaBody,
    MetaFooter,
    MetaTrailer,
    /// The footers of the same packs, where no index segment is left.
    LoneData,
    LoneMeta,
}

/// How it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Flip,
    Truncate,
    Delete,
    Swap,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Flip, Self::Truncate, Self::Delete, Self::Swap];
}

impl Life {
    fn new() -> Self {
        let backend = Arc::new(MemoryBackend::new());
        backend.set_now_ns(HOURS * HOUR_NS);
        let repo = new_repo(backend.clone()).unwrap();
        let mut dice = Dice(31);
        let mut bytes = table(&mut dice, 9_000);
        let mut saved = BTreeMap::new();
        let mut history = WriterHistory::default();
        let mut save_hour = |hour| {
            let streams = streams(&bytes);
            let options = BackupOptions {
                history: history.clone(),
                ..options("host", hour * HOUR_NS)
            };
            let report = save_as(&repo, &streams, &options).unwrap();
            history = report.history;
            bytes = an_hour_later(&mut dice, &bytes);
            (report.id.unwrap(), streams)
        };
        for hour in 0..HOURS - 1 {
            saved.insert(hour, save_hour(hour));
        }
        // Two snapshots of another host, on which nothing stands once they are forgotten.
        let others = [1, 2].map(|seed| {
            let streams = streams(&table(&mut Dice(seed), 300));
            let options = options("another", HOURS * HOUR_NS);
            save_as(&repo, &streams, &options).unwrap().id.unwrap()
        });
        put_session(&repo, [9; 16]);
        put_session(&repo, [10; 16]);
        let aborted = SettledRecord {
            aborted: vec![SessionId::from_bytes([11; 16])],
            forgotten: vec![],
        };
        for number in [12, 13] {
            let key = ObjectKey::settled(ObjectId::from_bytes([number; 16]));
            put(&repo, &key, Kind::Settled, &encode(&aborted));
        }
        // Two prunes that have to wait for the open sessions leave two tombstones.
        for (part, other) in [1..9, 10..17].into_iter().zip(others) {
            let mut ids: Vec<_> = part.map(|hour| saved[&hour].0).collect();
            ids.push(other);
            forget(&repo, &ids, "test", "host", HOURS * HOUR_NS).unwrap();
            let report = prune_at(&repo, HOURS * HOUR_NS).unwrap();
            assert!(report.condemned > 0 && report.swept == 0, "{report:?}");
        }
        // The last one has an index segment of its own.
        saved.insert(HOURS - 1, save_hour(HOURS - 1));
        saved.retain(|hour, _| KEPT.contains(hour));
        let other = Arc::new(MemoryBackend::new());
        new_repo(other.clone()).unwrap();
        Self {
            contents: backend.contents(),
            strange: other.contents(),
            live: saved.into_values().collect(),
            next: streams(&bytes),
        }
    }

    /// Deltas, resolved lists and nodes of lists are there; so are two objects of every kind.
    pub fn assert_is_rich(&self) {
        let repo = keepstone_testkit::scripted::open_repo(self.store()).unwrap();
        let store = Store::load(&repo, &Usable::Indexed, true).unwrap();
        let (mut copies, mut resolved) = (false, false);
        let chunks = store.with_index(|index| index.chunks().to_vec());
        for (id, _) in chunks {
            let record = store.record(id).unwrap().1;
            copies |= record.depth > 3;
            resolved |= record.depth == 0 && record.extents.len() > 20;
        }
        assert!(copies && resolved, "copies {copies}, resolved {resolved}");
        for kind in ObjectKind::ALL {
            let count = self.contents.keys().filter(|key| key.kind() == kind);
            assert!(count.count() >= 2, "{kind}");
        }
    }

    /// A fresh store with all of it.
    pub fn store(&self) -> Arc<MemoryBackend> {
        Arc::new(MemoryBackend::from_contents(self.contents.clone()))
    }

    /// The name of what is damaged.
    pub fn key(&self, target: Target) -> ObjectKey {
        let first_of = |kind| *self.of(kind)[0];
        match target {
            Target::Config => ObjectKey::config(false),
            Target::ConfigCopy => ObjectKey::config(true),
            Target::Slot => *self.of(ObjectKind::Key)[0],
            Target::SlotCopy => *self.of(ObjectKind::Key)[1],
            Target::Session => first_of(ObjectKind::Session),
            // A live one in the middle.
            Target::End => ObjectKey::end(self.live[1].0),
            Target::Forgotten => first_of(ObjectKind::Forgotten),
            Target::Tombstone => first_of(ObjectKind::Tombstone),
            Target::Settled => first_of(ObjectKind::Settled),
            // The one that names nearly all packs.
            Target::Index => self.largest(ObjectKind::Index),
            Target::DataBody | Target::DataFooter | Target::DataTrailer | Target::LoneData => {
                self.pack(self.live[0].0, PackClass::Data)
            }
            Target::MetaBody | Target::MetaFooter | Target::MetaTrailer | Target::LoneMeta => {
                self.pack(self.live[3].0, PackClass::Meta)
            }
        }
    }

    /// The store with one object damaged.
    pub fn damaged(&self, target: Target, action: Action) -> Contents {
        let key = self.key(target);
        let bytes = self.contents[&key].bytes.to_vec();
        let mut contents = self.contents.clone();
        if matches!(target, Target::LoneData | Target::LoneMeta) {
            contents.retain(|key, _| key.kind() != ObjectKind::Index);
        }
        let mut set = |key: ObjectKey, bytes: Vec<u8>| {
            contents.get_mut(&key).unwrap().bytes = bytes.into();
        };
        match action {
            Action::Flip => {
                let mut flipped = bytes.clone();
                let place = place(target, &bytes);
                flipped[place] ^= 1;
                set(key, flipped);
            }
            Action::Truncate => set(key, bytes[..place(target, &bytes)].to_vec()),
            Action::Delete => drop(contents.remove(&key)),
            Action::Swap => {
                let (twin, strange) = self.twin(target, &key);
                set(key, strange.bytes.to_vec());
                if let Some(twin) = twin {
                    set(twin, bytes);
                }
            }
        }
        contents
    }

    /// Another object of the kind: of this repository, and then both change places, or of another.
    fn twin(&self, target: Target, key: &ObjectKey) -> (Option<ObjectKey>, &StoredObject) {
        let kind = key.kind();
        if matches!(kind, ObjectKind::Config | ObjectKind::Key) {
            let mut of_kind = self.strange.iter().filter(|(key, _)| key.kind() == kind);
            return (None, of_kind.next().unwrap().1);
        }
        let is_twin = |other: &&ObjectKey| match (other, key) {
            (ObjectKey::Pack(other), ObjectKey::Pack(own)) => {
                let newest = if own.class == PackClass::Data { 3 } else { 2 };
                other.class == own.class && other.session == self.live[newest].0
            }
            (ObjectKey::End(other), ObjectKey::End(_)) => self.live[0].0 == *other,
            _ => other.kind() == kind && *other != key,
        };
        let twin = self.contents.keys().find(is_twin);
        let twin = *twin.unwrap_or_else(|| panic!("{target:?} has no twin"));
        (Some(twin), &self.contents[&twin])
    }

    fn of(&self, kind: ObjectKind) -> Vec<&ObjectKey> {
        let keys = self.contents.keys();
        keys.filter(|key| key.kind() == kind).collect()
    }

    fn pack(&self, session: SessionId, class: PackClass) -> ObjectKey {
        let mut packs = self.of(ObjectKind::Pack).into_iter().filter(|key| {
            matches!(key, ObjectKey::Pack(name) if name.session == session && name.class == class)
        });
        let found = *packs.next().unwrap();
        assert!(packs.next().is_none(), "one pack for each hour");
        found
    }

    fn largest(&self, kind: ObjectKind) -> ObjectKey {
        let all = self.of(kind).into_iter();
        *all.max_by_key(|key| self.contents[key].bytes.len())
            .unwrap()
    }
}

/// A byte in the part that is meant.
fn place(target: Target, bytes: &[u8]) -> usize {
    let trailer = || decode_trailer(bytes, bytes.len() as u64).unwrap().unwrap();
    match target {
        Target::DataFooter | Target::MetaFooter | Target::LoneData | Target::LoneMeta => {
            usize::try_from(trailer().footer_offset).unwrap() + 5
        }
        // The outer hash, the one thing that only a scrub looks at; cut, it takes the end with it.
        Target::DataTrailer | Target::MetaTrailer => bytes.len() - 20,
        _ => bytes.len() / 2,
    }
}

fn streams(bytes: &[u8]) -> Streams {
    let note = b"the same at every hour".repeat(2_000);
    Streams::from([
        ("n/note".to_owned(), note),
        ("t/data".to_owned(), bytes.to_vec()),
    ])
}

fn put_session(repo: &Repo, id: [u8; 16]) {
    let record = SessionRecord {
        start_ns: HOURS * HOUR_NS,
        ..session_record("elsewhere")
    };
    let key = ObjectKey::session(SessionId::from_bytes(id));
    put(repo, &key, Kind::Session, &encode(&record));
}

fn put(repo: &Repo, key: &ObjectKey, kind: Kind, json: &[u8]) {
    let sealed = seal_record(repo.root(), repo.id(), kind, &key.path(), json);
    repo.backend().put_new(key, &[&sealed]).unwrap();
}
