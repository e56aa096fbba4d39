//! The cache of a remote repository: what it saves, what it may cost, and that it is never believed.

use std::sync::Arc;

use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::{Backend, ByteRange, ObjectKey, ObjectKind, PackClass};
use keepstone_engine::backup::{BackupOptions, Bases};
use keepstone_engine::cache::{CachePolicy, CachedBackend};
use keepstone_engine::repo::Repo;
use keepstone_testkit::folders::files_below;
use keepstone_testkit::recording::{Call, Operation, RecordingBackend};
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, open_repo, options, prune_at, read_back, save_as, table,
};
use tempfile::TempDir;

const LARGE: u64 = 1 << 30;

/// A remote store that counts its calls, and a folder for a cache of it.
struct Place {
    store: Arc<RecordingBackend>,
    memory: Arc<MemoryBackend>,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let memory = Arc::new(MemoryBackend::remote());
        Self {
            store: Arc::new(RecordingBackend::new(memory.clone())),
            memory,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// What another run on this machine sees.
    fn cached(&self, quota_bytes: u64, keep_data_reads: bool) -> Arc<CachedBackend> {
        let policy = CachePolicy {
            quota_bytes,
            keep_data_reads,
        };
        let cached = CachedBackend::open(self.store.clone(), self.folder.path(), policy);
        Arc::new(cached.unwrap())
    }

    fn repo(&self) -> Repo {
        open_repo(self.cached(LARGE, false)).unwrap()
    }

    fn reads_of_data_packs(&self) -> Vec<Call> {
        let is_data = |call: &Call| matches!(call.key, Some(ObjectKey::Pack(name)) if name.class == PackClass::Data);
        let calls = self.store.take_calls().into_iter();
        calls
            .filter(|call| call.operation == Operation::Get && is_data(call))
            .collect()
    }
}

fn streams(bytes: &[u8]) -> Streams {
    Streams::from([("t/data".to_owned(), bytes.to_vec())])
}

fn at(hour: i64) -> BackupOptions {
    options("host", hour * 3_600_000_000_000)
}

#[test]
fn an_hour_with_a_warm_cache_costs_what_changed_and_reads_no_data() {
    let place = Place::new();
    new_repo(place.cached(LARGE, false)).unwrap();
    let mut dice = Dice(1);
    let mut bytes = table(&mut dice, 20_000);
    let first = save_as(&place.repo(), &streams(&bytes), &at(0)).unwrap();
    for hour in 1..4 {
        bytes = an_hour_later(&mut dice, &bytes);
        place.store.take_calls();
        let report = save_as(&place.repo(), &streams(&bytes), &at(hour)).unwrap();
        assert_eq!(place.reads_of_data_packs(), []);
        assert!(!report.snapshot.sources[0].counts.cold_cache);
        assert!(
            report.snapshot.stored_bytes * 8 < first.snapshot.stored_bytes,
            "hour {hour}"
        );
        assert_eq!(
            read_back(&place.repo(), report.id.unwrap()).unwrap(),
            streams(&bytes)
        );
    }
}

#[test]
fn a_cold_cache_stores_what_changed_whole_says_so_and_is_warm_then() {
    let place = Place::new();
    let mut dice = Dice(2);
    let bytes = table(&mut dice, 20_000);
    // Without a cache at first, as another machine.
    let repo = new_repo(place.store.clone()).unwrap();
    save_as(&repo, &streams(&bytes), &at(0)).unwrap();
    place.store.take_calls();

    let later = an_hour_later(&mut dice, &bytes);
    let report = save_as(&place.repo(), &streams(&later), &at(1)).unwrap();
    let counts = report.snapshot.sources[0].counts;
    assert!(counts.cold_cache);
    assert_eq!(counts.literal_bytes, counts.changed_bytes);
    assert_eq!(place.reads_of_data_packs(), []);

    let latest = an_hour_later(&mut dice, &later);
    let report = save_as(&place.repo(), &streams(&latest), &at(2)).unwrap();
    let counts = report.snapshot.sources[0].counts;
    assert!(
        counts.literal_bytes * 4 < counts.changed_bytes,
        "what was stored whole is at hand: {counts:?}"
    );
    assert_eq!(
        read_back(&place.repo(), report.id.unwrap()).unwrap(),
        streams(&latest)
    );
}

#[test]
fn bases_are_fetched_when_asked_for_and_kept() {
    let place = Place::new();
    let mut dice = Dice(3);
    let bytes = table(&mut dice, 20_000);
    let repo = new_repo(place.store.clone()).unwrap();
    save_as(&repo, &streams(&bytes), &at(0)).unwrap();

    let later = an_hour_later(&mut dice, &bytes);
    let repo = open_repo(place.cached(LARGE, true)).unwrap();
    let fetching = BackupOptions {
        bases: Bases::Fetch,
        ..at(1)
    };
    place.store.take_calls();
    let report = save_as(&repo, &streams(&later), &fetching).unwrap();
    let counts = report.snapshot.sources[0].counts;
    assert!(!counts.cold_cache && counts.literal_bytes * 4 < counts.changed_bytes);
    assert!(!place.reads_of_data_packs().is_empty());

    let latest = an_hour_later(&mut dice, &later);
    save_as(&place.repo(), &streams(&latest), &at(2)).unwrap();
    assert_eq!(place.reads_of_data_packs(), []);
}

#[test]
fn a_listing_asks_for_each_new_record_once() {
    let place = Place::new();
    new_repo(place.cached(LARGE, false)).unwrap();
    for hour in 0..5 {
        save_as(&place.repo(), &streams(b"text"), &at(hour)).unwrap();
    }
    let count = || place.store.count(Operation::Get, ObjectKind::End);
    place.store.take_calls();
    assert_eq!(place.repo().snapshots().unwrap().len(), 5);
    assert_eq!(count(), 0, "this machine wrote them");

    let elsewhere = tempfile::tempdir().unwrap();
    for expected in [5, 0] {
        place.store.take_calls();
        let policy = CachePolicy {
            quota_bytes: LARGE,
            keep_data_reads: false,
        };
        let cached = CachedBackend::open(place.store.clone(), elsewhere.path(), policy).unwrap();
        let repo = open_repo(Arc::new(cached)).unwrap();
        assert_eq!(repo.snapshots().unwrap().len(), 5);
        assert_eq!(count(), expected);
    }
}

#[test]
fn a_damaged_copy_is_dropped_and_the_store_is_asked() {
    for damage in ["flip", "cut", "empty"] {
        let place = Place::new();
        new_repo(place.cached(LARGE, false)).unwrap();
        let mut dice = Dice(4);
        let bytes = table(&mut dice, 5_000);
        let id = save_as(&place.repo(), &streams(&bytes), &at(0)).unwrap();
        for file in files_below(place.folder.path()) {
            let mut content = std::fs::read(&file).unwrap();
            match damage {
                "flip" => content.iter_mut().for_each(|byte| *byte ^= 1),
                "cut" => content.truncate(content.len() / 2),
                _ => content.clear(),
            }
            std::fs::write(&file, content).unwrap();
        }
        let repo = place.repo();
        assert_eq!(
            read_back(&repo, id.id.unwrap()).unwrap(),
            streams(&bytes),
            "{damage}"
        );
        let later = an_hour_later(&mut dice, &bytes);
        let again = save_as(&place.repo(), &streams(&later), &at(1)).unwrap();
        assert_eq!(
            read_back(&place.repo(), again.id.unwrap()).unwrap(),
            streams(&later)
        );
    }
}

#[test]
fn the_quota_holds_and_what_was_not_used_for_longest_goes() {
    let place = Place::new();
    let quota = 700_000;
    let cached = place.cached(quota, false);
    new_repo(cached).unwrap();
    let mut dice = Dice(5);
    for hour in 0..6 {
        let cached = place.cached(quota, false);
        let repo = open_repo(cached.clone()).unwrap();
        save_as(&repo, &streams(&table(&mut dice, 5_000)), &at(hour)).unwrap();
        assert!(cached.kept_bytes() <= quota, "{}", cached.kept_bytes());
        let on_disk: u64 = files_below(place.folder.path())
            .iter()
            .map(|file| file.metadata().unwrap().len())
            .sum();
        assert!(on_disk <= quota + 1000, "{on_disk}");
    }
    for listed in place.repo().snapshots().unwrap() {
        read_back(&place.repo(), listed.id).unwrap();
    }
}

#[test]
fn what_is_gone_from_the_store_is_gone_from_the_cache() {
    let place = Place::new();
    new_repo(place.cached(LARGE, false)).unwrap();
    let mut dice = Dice(6);
    let mut ids = Vec::new();
    for hour in 0..3 {
        let bytes = table(&mut dice, 5_000);
        let report = save_as(&place.repo(), &streams(&bytes), &at(hour)).unwrap();
        ids.push(report.id.unwrap());
    }
    // Another machine forgets and prunes.
    let other = open_repo(place.store.clone()).unwrap();
    keepstone_engine::forget::forget(&other, &ids[..2], "test", "other", 0).unwrap();
    prune_at(&other, 1_000_000_000_000_000).unwrap();

    let cached = place.cached(LARGE, false);
    let before = cached.kept_bytes();
    let repo = open_repo(cached.clone()).unwrap();
    read_back(&repo, ids[2]).unwrap();
    assert!(cached.kept_bytes() * 2 < before);
    let packs = place.memory.list(ObjectKind::Pack).unwrap();
    for file in files_below(&place.folder.path().join("packs")) {
        let name = file.strip_prefix(place.folder.path()).unwrap();
        let key = ObjectKey::parse(name.to_str().unwrap()).unwrap();
        assert!(packs.iter().any(|stat| stat.key == key), "{key}");
        let kept = std::fs::read(&file).unwrap();
        assert_eq!(kept, place.memory.get(&key, ByteRange::All).unwrap());
    }
}
