//! A backend on which one object is said to be endless: whoever fetches it whole has lost.

use std::sync::Arc;

use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::{
    Backend, BackendError, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Level, check, scrub};
use keepstone_engine::codec::frame::Kind;
use keepstone_engine::crypto::seal_record;
use keepstone_engine::id::{ObjectId, SessionId};
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_engine::session::format::encode;
use keepstone_engine::session::{SettledRecord, TombstoneRecord};
use keepstone_testkit::scripted::{
    Streams, new_repo, open_repo, prune_at, read_listed, save, session_record,
};

const ENDLESS: u64 = 1 << 40;

#[derive(Debug)]
struct Swollen {
    inner: Arc<MemoryBackend>,
    key: ObjectKey,
}

impl Swollen {
    fn swell(&self, mut stat: ObjectStat) -> ObjectStat {
        if stat.key == self.key {
            stat.size_bytes = ENDLESS;
        }
        stat
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for Swollen {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        self.inner.put_new(key, body)
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        // A box in the middle of an indexed pack is as long as the index says.
        let bounded = matches!(range, ByteRange::FromTo { .. });
        assert!(bounded || *key != self.key, "{key} was fetched: {range:?}");
        self.inner.get(key, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let listed = self.inner.list(kind)?.into_iter();
        Ok(listed.map(|stat| self.swell(stat)).collect())
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        Ok(self.inner.stat(key)?.map(|stat| self.swell(stat)))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.inner.delete(key)
    }

    fn is_at_hand(&self, key: &ObjectKey) -> bool {
        self.inner.is_at_hand(key)
    }

    fn drop_copy(&self, key: &ObjectKey) -> bool {
        self.inner.drop_copy(key)
    }

    fn address(&self) -> String {
        self.inner.address()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn must_be_probed(&self) -> bool {
        self.inner.must_be_probed()
    }
}

/// Swells one object of every kind in turn, and does everything.
pub fn every_kind() {
    let memory = Arc::new(MemoryBackend::new());
    let repo = new_repo(memory.clone()).unwrap();
    let streams = Streams::from([("a".to_owned(), b"bytes".repeat(1000))]);
    save(&repo, &streams, 0).unwrap();
    put_small_records(&repo);
    for kind in ObjectKind::ALL {
        for stat in memory.list(kind).unwrap() {
            let copy = Arc::new(MemoryBackend::from_contents(memory.contents()));
            let swollen = Arc::new(Swollen {
                inner: copy,
                key: stat.key,
            });
            everything(&swollen, &streams);
        }
    }
}

fn everything(swollen: &Arc<Swollen>, streams: &Streams) {
    let key = &swollen.key;
    let repo = open_repo(swollen.clone()).unwrap();
    for listed in repo.readable_snapshots().unwrap().snapshots {
        if let Ok(read) = read_listed(&repo, &listed) {
            assert!(read == *streams, "{key}");
        }
    }
    let report = check(&repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
    let named = report
        .problems
        .iter()
        .any(|problem| problem.object == key.to_string());
    assert!(named, "{key} is not named: {:#?}", report.problems);
    let rotten = scrub(repo.backend().as_ref()).unwrap();
    assert_eq!(rotten.is_empty(), key.kind() != ObjectKind::Pack, "{key}");
    // Done or refused, but nothing is fetched.
    let _refused = save(&repo, streams, 1).is_err();
    let _refused = prune_at(&repo, 2).is_err();
}

fn put_small_records(repo: &Repo) {
    let put = |key: ObjectKey, kind, json: &[u8]| {
        let sealed = seal_record(repo.root(), repo.id(), kind, &key.path(), json);
        repo.backend().put_new(&key, &[&sealed]).unwrap();
    };
    let session = SessionId::from_bytes([4; 16]);
    let id = ObjectId::from_bytes([4; 16]);
    let tombstone = TombstoneRecord {
        time_ns: 0,
        host: "host".into(),
        packs: vec![],
    };
    let record = encode(&session_record("elsewhere"));
    put(ObjectKey::session(session), Kind::Session, &record);
    put(
        ObjectKey::tombstone(id),
        Kind::Tombstone,
        &encode(&tombstone),
    );
    let settled = encode(&SettledRecord::default());
    put(ObjectKey::settled(id), Kind::Settled, &settled);
    let forgotten = keepstone_engine::session::ForgottenRecord {
        time_ns: 0,
        host: "host".into(),
        reason: "test".into(),
    };
    let key = ObjectKey::forgotten(SessionId::from_bytes([5; 16]));
    put(key, Kind::Forgotten, &encode(&forgotten));
}
