//! Prunes and checks beside a prune, and what two writers stored side by side.

use std::sync::{Arc, Mutex};

use keepstone_engine::backend::Backend;
use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backend::{ObjectKey, ObjectKind, PackClass};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{CheckReport, Consequence, Level, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::{Repo, Store, Usable};
use keepstone_testkit::meanwhile::MeanwhileBackend;
use keepstone_testkit::recording::Operation;
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, noise, open_repo, options, prune_at, read_back, save,
    save_as, table,
};

const HOUR_NS: i64 = 3_600_000_000_000;

fn checked(repo: &Repo, level: Level) -> CheckReport {
    check(repo, level, 2, &NoObserver, &Cancel::default()).unwrap()
}

/// Hours of a table and of small files that come and go: prune has packs to drop, to move and to rewrite.
fn hours(repo: &Repo) -> Vec<(SnapshotId, Streams)> {
    let mut dice = Dice(5);
    let mut bytes = table(&mut dice, 1_500);
    let small: Vec<_> = (0..60).map(|_| noise(&mut dice, 20_000)).collect();
    let mut saved = Vec::new();
    for hour in 0..5 {
        let mut streams = Streams::from([("t/data".to_owned(), bytes.clone())]);
        let here = small.iter().enumerate().skip(hour * 8).step_by(1 + hour);
        streams.extend(here.map(|(number, bytes)| (format!("s/{number:02}"), bytes.clone())));
        let time_ns = i64::try_from(hour).unwrap() * HOUR_NS;
        saved.push((save(repo, &streams, time_ns).unwrap(), streams));
        bytes = an_hour_later(&mut dice, &bytes);
    }
    saved
}

/// A repository of which some snapshots are forgotten; and the others.
fn to_prune() -> (Contents, Vec<(SnapshotId, Streams)>) {
    let memory = Arc::new(MemoryBackend::new());
    let repo = new_repo(memory.clone()).unwrap();
    let mut saved = hours(&repo);
    let gone: Vec<_> = saved.iter().step_by(2).map(|(id, _)| *id).collect();
    forget(&repo, &gone, "test", "host", 6 * HOUR_NS).unwrap();
    saved.retain(|(id, _)| !gone.contains(id));
    (memory.contents(), saved)
}

fn assert_all_are_there(memory: &Arc<MemoryBackend>, saved: &[(SnapshotId, Streams)]) {
    let repo = open_repo(memory.clone()).unwrap();
    for (id, streams) in saved {
        assert_eq!(&read_back(&repo, *id).unwrap(), streams);
    }
    let report = checked(&repo, Level::Data);
    assert!(report.is_clean(), "{:#?}", report.problems);
}

/// Does something while another prune runs from its begin to its end before the nth call of it, for every n.
fn beside_a_prune(act: impl Fn(&Repo) -> Option<String>) {
    let (contents, saved) = to_prune();
    let mut failed = Vec::new();
    for nth in 1.. {
        let memory = Arc::new(MemoryBackend::from_contents(contents.clone()));
        let other: Arc<dyn Backend> = memory.clone();
        let swept = Arc::new(Mutex::new(0));
        let told = Arc::clone(&swept);
        let backend = Arc::new(MeanwhileBackend::before_call(
            nth,
            memory.clone(),
            move || {
                let report = prune_at(&open_repo(other).unwrap(), 7 * HOUR_NS).unwrap();
                *told.lock().unwrap() = report.swept;
            },
        ));
        let repo = open_repo(backend.clone()).unwrap();
        if let Some(problem) = act(&repo) {
            failed.push(format!("call {nth}: {problem}"));
        }
        if !backend.has_happened() {
            assert!(nth > 20, "only {nth} calls");
            break;
        }
        assert_all_are_there(&memory, &saved);
        let is_swept = *swept.lock().unwrap() > 0;
        assert!(is_swept || nth > 20, "the other prune did nothing");
    }
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn a_prune_beside_a_prune_gets_to_its_end() {
    beside_a_prune(|repo| {
        prune_at(repo, 7 * HOUR_NS)
            .err()
            .map(|error| error.to_string())
    });
}

#[test]
fn a_check_beside_a_prune_finds_nothing() {
    for level in [Level::Structure, Level::Data] {
        beside_a_prune(|repo| {
            let report = checked(repo, level);
            (!report.is_clean()).then(|| format!("{level:?}: {:?}", report.problems))
        });
    }
}

/// The same streams by two hosts at once: neither finds what the other stores.
fn twins() -> (Contents, [SnapshotId; 2], Streams) {
    let memory = Arc::new(MemoryBackend::new());
    new_repo(memory.clone()).unwrap();
    let mut dice = Dice(9);
    let streams: Streams = (0..12)
        .map(|number| (format!("d/{number:02}"), noise(&mut dice, 40_000)))
        .collect();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let (other, of_other, same) = (memory.clone(), Arc::clone(&ids), streams.clone());
    let backend = MeanwhileBackend::before_first(
        Operation::Put,
        ObjectKind::Pack,
        memory.clone(),
        move || {
            let repo = open_repo(other).unwrap();
            let report = save_as(&repo, &same, &options("other", HOUR_NS)).unwrap();
            of_other.lock().unwrap().push(report.id.unwrap());
        },
    );
    let repo = open_repo(Arc::new(backend)).unwrap();
    let id = save(&repo, &streams, 0).unwrap();
    let other = ids.lock().unwrap()[0];
    let store = Store::load(&repo, &Usable::Indexed, true).unwrap();
    let doubled = store.with_index(|index| {
        let chunks = index.chunks();
        chunks.windows(2).filter(|two| two[0].0 == two[1].0).count()
    });
    assert!(doubled >= streams.len(), "{doubled}");
    (memory.contents(), [id, other], streams)
}

#[test]
fn of_twins_the_one_that_can_be_read_outlives_a_prune() {
    let (contents, ids, streams) = twins();
    let packs: Vec<_> = contents
        .keys()
        .filter(|key| matches!(key, ObjectKey::Pack(_)))
        .copied()
        .collect();
    assert!(packs.len() >= 4);
    let mut told = 0;
    for (gone, kept) in [(ids[0], ids[1]), (ids[1], ids[0])] {
        for pack in &packs {
            let memory = Arc::new(MemoryBackend::from_contents(contents.clone()));
            let mut bytes = contents[pack].bytes.to_vec();
            // In the middle of the first box.
            bytes[600] ^= 1;
            memory.tamper(pack, Some(bytes));
            let repo = open_repo(memory.clone()).unwrap();
            assert_eq!(read_back(&repo, kept).unwrap(), streams);
            let before = checked(&repo, Level::Data);
            let lost = |problem: &&keepstone_engine::check::Problem| {
                matches!(problem.consequence, Consequence::Snapshots(_))
            };
            assert!(
                !before.problems.iter().any(|problem| lost(&problem)),
                "{before:#?}"
            );
            let is_data = matches!(pack, ObjectKey::Pack(name) if name.class == PackClass::Data);
            let nothing = |problem: &&keepstone_engine::check::Problem| {
                problem.consequence == Consequence::Nothing
            };
            told += usize::from(is_data);
            assert!(
                !before.problems.iter().any(|problem| nothing(&problem)),
                "{before:#?}"
            );
            forget(&repo, &[gone], "test", "host", 2 * HOUR_NS).unwrap();
            for _ in 0..2 {
                prune_at(&repo, 3 * HOUR_NS).unwrap();
                let repo = open_repo(memory.clone()).unwrap();
                assert_eq!(read_back(&repo, kept).unwrap(), streams);
            }
        }
    }
    assert!(told >= 4, "{told} packs of data");
}
