//! A repository's life: hours of changes as deltas, forgotten in any order, pruned, crashed, written by many.

use std::collections::BTreeMap;
use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::Backend;
use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Consequence, Level, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_engine::undelete::recommit;
use keepstone_testkit::crash::CrashBackend;
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, open_repo, options, prune_at, read_back, save, save_as,
    session_record, table,
};

const HOUR_NS: i64 = 3_600_000_000_000;

fn memory() -> Arc<MemoryBackend> {
    Arc::new(MemoryBackend::from_contents(Contents::new()))
}

/// Hours of one table, each saved; the newest last.
fn hours(repo: &Repo, dice: &mut Dice, count: i64, rows: usize) -> Vec<(SnapshotId, Streams)> {
    let mut bytes = table(dice, rows);
    let mut saved = Vec::new();
    for hour in 0..count {
        let streams = Streams::from([("t/data".to_owned(), bytes.clone())]);
        saved.push((save(repo, &streams, hour * HOUR_NS).unwrap(), streams));
        bytes = an_hour_later(dice, &bytes);
    }
    saved
}

fn stored_bytes(backend: &dyn Backend) -> u64 {
    let packs = backend
        .list(keepstone_engine::backend::ObjectKind::Pack)
        .unwrap();
    packs.iter().map(|stat| stat.size_bytes).sum()
}

fn assert_clean(repo: &Repo) {
    let report = check(repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}

/// A crash inside init may leave one of two copies of the config; nothing else may be wrong.
fn assert_nothing_lost(repo: &Repo) {
    let report = check(repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
    let lost = report
        .problems
        .iter()
        .find(|problem| problem.consequence != Consequence::Healed);
    assert!(lost.is_none(), "{:#?}", report.problems);
}

#[test]
fn an_hour_costs_what_changed_and_every_hour_restores() {
    let backend = memory();
    let repo = new_repo(backend.clone()).unwrap();
    let mut dice = Dice(1);
    let first = hours(&repo, &mut dice, 1, 12_000);
    let full = stored_bytes(backend.as_ref());
    let mut bytes = first[0].1["t/data"].clone();
    let mut saved = first;
    // Deeper than the depth at which lists are written resolved.
    for hour in 1..20 {
        bytes = an_hour_later(&mut dice, &bytes);
        let before = stored_bytes(backend.as_ref());
        let streams = Streams::from([("t/data".to_owned(), bytes.clone())]);
        saved.push((save(&repo, &streams, hour * HOUR_NS).unwrap(), streams));
        let added = stored_bytes(backend.as_ref()) - before;
        assert!(
            added * 8 < full,
            "hour {hour} added {added} bytes to {full}"
        );
    }
    for (id, streams) in &saved {
        assert_eq!(&read_back(&repo, *id).unwrap(), streams);
    }
    assert_clean(&repo);
}

#[test]
fn snapshots_are_forgotten_in_any_order_and_every_other_one_restores() {
    let seed = 42;
    println!("seed {seed}");
    let backend = memory();
    let repo = new_repo(backend.clone()).unwrap();
    let mut dice = Dice(seed);
    let mut left: BTreeMap<SnapshotId, Streams> =
        hours(&repo, &mut dice, 22, 4_000).into_iter().collect();
    let mut now_ns = 100 * HOUR_NS;
    while left.len() > 1 {
        let count = 1 + dice.below(4).min(left.len() - 2);
        for _ in 0..count {
            let at = dice.below(left.len());
            let id = *left.keys().nth(at).unwrap();
            left.remove(&id);
            forget(&repo, &[id], "test", "host", now_ns).unwrap();
        }
        now_ns += HOUR_NS;
        let report = prune_at(&repo, now_ns).unwrap();
        assert!(report.waiting.is_empty(), "{report:?}");
        let repo = open_repo(backend.clone()).unwrap();
        for (id, streams) in &left {
            assert_eq!(&read_back(&repo, *id).unwrap(), streams, "after {report:?}");
        }
        assert_clean(&repo);
    }
    // What is left takes about what it would take alone.
    let alone = memory();
    let (_, streams) = left.first_key_value().unwrap();
    save(&new_repo(alone.clone()).unwrap(), streams, 0).unwrap();
    let (pruned, fresh) = (stored_bytes(backend.as_ref()), stored_bytes(alone.as_ref()));
    assert!(
        pruned < fresh * 2,
        "{pruned} bytes are left, alone it takes {fresh}"
    );
}

#[test]
fn everything_forgotten_leaves_nothing() {
    let backend = memory();
    let repo = new_repo(backend.clone()).unwrap();
    let saved = hours(&repo, &mut Dice(3), 3, 2_000);
    let ids: Vec<_> = saved.iter().map(|(id, _)| *id).collect();
    forget(&repo, &ids, "test", "host", 0).unwrap();
    prune_at(&repo, HOUR_NS).unwrap();
    assert_eq!(stored_bytes(backend.as_ref()), 0);
    // And the repository goes on.
    let again = hours(&repo, &mut Dice(4), 2, 2_000);
    assert_eq!(read_back(&repo, again[1].0).unwrap(), again[1].1);
}

#[test]
fn a_forgotten_snapshot_comes_back_until_it_is_swept() {
    let backend = memory();
    let repo = new_repo(backend).unwrap();
    let saved = hours(&repo, &mut Dice(5), 3, 3_000);
    let (id, streams) = &saved[0];
    let listed = repo.snapshots().unwrap().remove(0);
    forget(&repo, &[*id], "test", "host", 0).unwrap();
    assert_eq!(repo.snapshots().unwrap().len(), 2);
    let history = Default::default();
    let record = session_record("host");
    let back = |snapshot| recommit(&repo, *id, snapshot, &record, &history, &Cancel::default());
    let (new_id, _) = back(listed.snapshot.clone()).unwrap();
    assert_eq!(&read_back(&repo, new_id).unwrap(), streams);
    forget(&repo, &[new_id], "test", "host", 0).unwrap();
    let kept: Vec<_> = repo
        .snapshots()
        .unwrap()
        .iter()
        .map(|listed| listed.id)
        .collect();
    forget(&repo, &kept, "test", "host", 0).unwrap();
    prune_at(&repo, HOUR_NS).unwrap();
    let error = back(listed.snapshot).unwrap_err();
    assert!(error.to_string().contains("has been pruned"), "{error}");
}

/// Two backups, a forget, a prune and another backup, on whatever backend it is given.
fn a_life(backend: &Arc<dyn Backend>) -> keepstone_engine::Result<()> {
    let repo = new_repo(Arc::clone(backend))?;
    let mut dice = Dice(6);
    let mut bytes = table(&mut dice, 1_500);
    let mut ids = Vec::new();
    for hour in 0..3 {
        ids.push(save(&repo, &streams_of(&bytes), hour * HOUR_NS)?);
        bytes = an_hour_later(&mut dice, &bytes);
    }
    forget(&repo, &ids[..2], "test", "host", 3 * HOUR_NS)?;
    prune_at(&repo, 4 * HOUR_NS)?;
    save(&repo, &streams_of(&bytes), 5 * HOUR_NS)?;
    Ok(())
}

fn streams_of(bytes: &[u8]) -> Streams {
    Streams::from([("t/data".to_owned(), bytes.to_vec())])
}

#[test]
fn every_listed_snapshot_restores_after_a_crash_at_any_write() {
    // What each hour held, by the time that it claims.
    let mut dice = Dice(6);
    let mut bytes = table(&mut dice, 1_500);
    let mut expected = BTreeMap::new();
    for hour in [0, 1, 2, 5] {
        expected.insert(hour * HOUR_NS, streams_of(&bytes));
        bytes = an_hour_later(&mut dice, &bytes);
    }
    let mut survived = 0;
    loop {
        let crashing = Arc::new(CrashBackend::keeping_first(survived));
        let backend: Arc<dyn Backend> = crashing.clone();
        let finished = a_life(&backend).is_ok();
        let after = Arc::new(crashing.after_reboot());
        match open_repo(after.clone()) {
            Ok(repo) => {
                for listed in repo.snapshots().unwrap() {
                    let read = read_back(&repo, listed.id).unwrap();
                    assert_eq!(
                        read, expected[&listed.snapshot.time_ns],
                        "{survived} writes"
                    );
                }
                // The next prune finishes what the dead one began.
                prune_at(&repo, 50 * HOUR_NS).unwrap();
                assert_nothing_lost(&repo);
                for listed in repo.snapshots().unwrap() {
                    let read = read_back(&repo, listed.id).unwrap();
                    assert_eq!(
                        read, expected[&listed.snapshot.time_ns],
                        "{survived} writes, pruned"
                    );
                }
            }
            Err(Error::NoRepository { .. } | Error::Missing { .. }) => {}
            Err(error) => panic!("after {survived} writes: {error}"),
        }
        if finished {
            break;
        }
        survived += 1;
    }
    println!("{survived} writes");
    assert!(survived > 20, "only {survived} writes");
}

#[test]
fn a_fenced_writer_is_told_and_leaves_no_snapshot() {
    let backend = memory();
    let repo = new_repo(backend.clone()).unwrap();
    hours(&repo, &mut Dice(8), 1, 500);
    // A session of this host whose process is gone: the prune fences it at once.
    let dead = keepstone_engine::id::SessionId::from_bytes([9; 16]);
    let key = keepstone_engine::backend::ObjectKey::session(dead);
    let record = session_record("host");
    let sealed = keepstone_engine::crypto::seal_record(
        repo.root(),
        repo.id(),
        keepstone_engine::codec::frame::Kind::Session,
        &key.path(),
        &keepstone_engine::session::format::encode(&record),
    );
    backend.put_new(&key, &[&sealed]).unwrap();
    let ids: Vec<_> = repo
        .snapshots()
        .unwrap()
        .iter()
        .map(|listed| listed.id)
        .collect();
    forget(&repo, &ids, "test", "host", 0).unwrap();
    let report = prune_at(&repo, HOUR_NS).unwrap();
    assert_eq!(report.fenced.len(), 1, "{report:?}");
    assert!(matches!(
        repo.end(dead).unwrap(),
        Some(keepstone_engine::snapshot::format::End::Aborted { .. })
    ));
    assert_eq!(stored_bytes(backend.as_ref()), 0);
}

#[test]
fn a_live_session_of_another_host_keeps_the_sweep_waiting() {
    let backend = memory();
    let repo = new_repo(backend.clone()).unwrap();
    let saved = hours(&repo, &mut Dice(9), 2, 500);
    let open = keepstone_engine::id::SessionId::from_bytes([9; 16]);
    let key = keepstone_engine::backend::ObjectKey::session(open);
    let mut record = session_record("elsewhere");
    record.start_ns = i64::MAX / 2;
    let sealed = keepstone_engine::crypto::seal_record(
        repo.root(),
        repo.id(),
        keepstone_engine::codec::frame::Kind::Session,
        &key.path(),
        &keepstone_engine::session::format::encode(&record),
    );
    backend.put_new(&key, &[&sealed]).unwrap();
    let ids: Vec<_> = saved.iter().map(|(id, _)| *id).collect();
    forget(&repo, &ids, "test", "host", 0).unwrap();
    let report = prune_at(&repo, HOUR_NS).unwrap();
    assert_eq!(report.waiting.len(), 1, "{report:?}");
    assert!(report.swept == 0 && stored_bytes(backend.as_ref()) > 0);
    // Another prune meanwhile condemns nothing twice.
    let again = prune_at(&repo, HOUR_NS).unwrap();
    assert_eq!(again.condemned, 0, "{again:?}");
}

#[test]
fn many_writers_and_a_looping_prune_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let backend: Arc<dyn Backend> =
        Arc::new(LocalBackend::create(folder.path().join("r")).unwrap());
    new_repo(backend.clone()).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let backend = backend.clone();
                scope.spawn(move || {
                    let repo = open_repo(backend).unwrap();
                    let mut dice = Dice(100 + writer);
                    // All begin alike, so that they find each other's chunks.
                    let mut bytes = table(&mut Dice(77), 1_000);
                    let mut saved = Vec::new();
                    for round in 0..8 {
                        bytes = an_hour_later(&mut dice, &bytes);
                        let host = format!("host{writer}");
                        let options = options(&host, round * HOUR_NS);
                        match save_as(&repo, &streams_of(&bytes), &options) {
                            Ok(report) => saved.push((report.id.unwrap(), streams_of(&bytes))),
                            // Fenced by the prune: it is told, and tries again later.
                            Err(Error::Fenced { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        if round % 3 == 2 {
                            let (id, _) = saved.remove(0);
                            forget(&repo, &[id], "test", &host, 0).unwrap();
                        }
                    }
                    saved
                })
            })
            .collect();
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let pruning = {
            let (backend, done) = (backend.clone(), done.clone());
            scope.spawn(move || {
                let repo = open_repo(backend).unwrap();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    prune_at(&repo, HOUR_NS).unwrap();
                }
            })
        };
        let saved: Vec<_> = writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        pruning.join().unwrap();
        let repo = open_repo(backend.clone()).unwrap();
        for (id, streams) in &saved {
            assert_eq!(&read_back(&repo, *id).unwrap(), streams);
        }
        assert_clean(&repo);
    });
}
