//! Edits that are taken back. After a prune the old content is told by the edited one, while an older record still tells the
//! edited one by the old: of several records of a chunk only some lead anywhere.

use std::sync::Arc;

use keepstone_engine::backend::Backend;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Level, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::{Repo, Store, Usable};
use keepstone_testkit::scripted::{
    Dice, Streams, new_repo, noise, open_repo, prune_at, read_back, save,
};

const HOUR_NS: i64 = 3_600_000_000_000;

/// Chunks with several records: without any the case would not have come up.
fn told_twice(repo: &Repo) -> usize {
    let store = Store::load(repo, &Usable::Indexed, true).unwrap();
    store.with_index(|index| {
        let chunks = index.chunks();
        chunks.windows(2).filter(|two| two[0].0 == two[1].0).count()
    })
}

pub(crate) fn edited(before: &Streams) -> Streams {
    let mut after = before.clone();
    for bytes in after.values_mut() {
        bytes[10_000..10_100]
            .iter_mut()
            .for_each(|byte| *byte ^= 0x55);
    }
    after
}

/// Saves many small streams, edits some, prunes the rest away, and takes the edits back and makes them again. Answers what
/// snapshots are left and what they hold.
pub(crate) fn taken_back(
    backend: &Arc<dyn Backend>,
    repo: &Repo,
    seed: u64,
) -> Vec<(SnapshotId, Streams)> {
    let mut dice = Dice(seed);
    let all: Streams = (0..64)
        .map(|number| (format!("d/{number:02}"), noise(&mut dice, 30_000)))
        .collect();
    // Few of many are kept, so that a prune copies them out of the segment that they lie in.
    let few: Streams = all
        .iter()
        .step_by(10)
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect();
    let edited = edited(&few);
    let one = save(repo, &all, 0).unwrap();
    let two = save(repo, &edited, HOUR_NS).unwrap();
    forget(repo, &[one], "test", "host", HOUR_NS).unwrap();
    prune_at(repo, 2 * HOUR_NS).unwrap();
    assert!(told_twice(repo) > 0);
    let mut saved = vec![(two, edited.clone())];
    for (hour, streams) in (3..).zip([&few, &edited, &few]) {
        let repo = open_repo(backend.clone()).unwrap();
        let id = save(&repo, streams, hour * HOUR_NS).unwrap();
        saved.push((id, streams.clone()));
    }
    saved
}

fn assert_all_are_read(repo: &Repo, saved: &[(SnapshotId, Streams)]) {
    for (id, streams) in saved {
        assert_eq!(&read_back(repo, *id).unwrap(), streams);
    }
}

#[test]
fn an_edit_that_is_taken_back_after_a_prune_is_saved_and_read_again() {
    // Which record comes first is up to the names of the packs, which are random.
    for seed in 0..8 {
        println!("seed {seed}");
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let repo = new_repo(backend.clone()).unwrap();
        let saved = taken_back(&backend, &repo, seed);
        assert_all_are_read(&open_repo(backend.clone()).unwrap(), &saved);
        prune_at(&repo, 7 * HOUR_NS).unwrap();
        let repo = open_repo(backend).unwrap();
        assert_all_are_read(&repo, &saved);
        let report = check(&repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
        assert!(report.is_clean(), "{:#?}", report.problems);
    }
}
