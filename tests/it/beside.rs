//! Prunes and checks beside a prune, and what two writers stored side by side.

use std::iter::repeat_with;
use std::sync::{Arc, Mutex};

use keepstone_engine::backend::Backend;
use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backend::{BackendErrorKind, ObjectKey, ObjectKind, PackClass};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{CheckReport, Consequence, Level, Problem, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::index::BoxRef;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::{Repo, Store, Usable};
use keepstone_testkit::faulty::{Effect, Fault, FaultyBackend};
use keepstone_testkit::meanwhile::MeanwhileBackend;
use keepstone_testkit::recording::{Operation, RecordingBackend};
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

/// The same streams by two hosts at once: neither finds what the other stores. The other one has one more.
fn twins(count: usize) -> (Contents, [SnapshotId; 2], Streams) {
    let memory = Arc::new(MemoryBackend::new());
    new_repo(memory.clone()).unwrap();
    let mut dice = Dice(9);
    let streams: Streams = (0..count)
        .map(|number| (format!("d/{number:03}"), noise(&mut dice, 40_000)))
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
    assert!(doubled >= count, "{doubled}");
    (memory.contents(), [id, other], streams)
}

#[test]
fn of_twins_the_one_that_can_be_read_outlives_a_prune() {
    let (contents, ids, streams) = twins(12);
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
            let is_data = matches!(pack, ObjectKey::Pack(name) if name.class == PackClass::Data);
            let is_read = read_back(&repo, kept).is_ok_and(|read| read == streams);
            if !is_read {
                // The node of the folder, which only one of them stored.
                assert!(!is_data);
                continue;
            }
            let before = checked(&repo, Level::Data);
            let lost =
                |problem: &&Problem| matches!(problem.consequence, Consequence::Snapshots(_));
            assert!(
                !before.problems.iter().any(|problem| lost(&problem)),
                "{before:#?}"
            );
            let nothing = |problem: &&Problem| problem.consequence == Consequence::Nothing;
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

#[test]
fn of_twins_the_one_on_a_sector_that_is_lost_hinders_nobody() {
    let (contents, ids, streams) = twins(12);
    let is_data =
        |key: &&ObjectKey| matches!(key, ObjectKey::Pack(name) if name.class == PackClass::Data);
    for pack in contents.keys().filter(is_data) {
        for (gone, kept) in [(ids[0], ids[1]), (ids[1], ids[0])] {
            let memory = Arc::new(MemoryBackend::from_contents(contents.clone()));
            let faulty = Arc::new(FaultyBackend::new(memory));
            let fails = Effect::Fail(BackendErrorKind::Unreadable);
            faulty.script(Fault::on(Operation::Get, fails).at(*pack).for_ever());
            let repo = open_repo(faulty.clone()).unwrap();
            assert_eq!(read_back(&repo, kept).unwrap(), streams);
            let problems = checked(&repo, Level::Data).problems;
            assert!(!problems.is_empty());
            let lost = |problem: &Problem| matches!(problem.consequence, Consequence::Snapshots(_));
            assert!(!problems.iter().any(lost), "{problems:#?}");
            forget(&repo, &[gone], "test", "host", 2 * HOUR_NS).unwrap();
            for _ in 0..2 {
                prune_at(&repo, 3 * HOUR_NS).unwrap();
                let repo = open_repo(faulty.clone()).unwrap();
                assert_eq!(read_back(&repo, kept).unwrap(), streams);
            }
            assert!(!faulty.fired().is_empty());
        }
    }
}

/// The middle of each block of which every chunk has a record elsewhere too.
fn spare_blocks(contents: &Contents) -> Vec<(ObjectKey, usize)> {
    let repo = open_repo(Arc::new(MemoryBackend::from_contents(contents.clone()))).unwrap();
    let store = Store::load(&repo, &Usable::Indexed, true).unwrap();
    store.with_index(|index| {
        let is_spare = |block: u32| {
            let mut told = index.chunks().iter().filter(|(_, at)| at.block == block);
            told.all(|(id, _)| index.chunk(*id).iter().any(|(_, at)| at.block != block))
        };
        let place = |place: &BoxRef| {
            let pack = index.pack(place.pack).unwrap().name;
            let middle = place.offset + u64::from(place.header.stored_len) / 2;
            (ObjectKey::Pack(pack), usize::try_from(middle).unwrap())
        };
        let spare = (0..)
            .zip(index.blocks())
            .filter(|(block, _)| is_spare(*block));
        spare.map(|(_, found)| place(found)).collect()
    })
}

/// A chunk is read by another record of it where the block of one has rotted.
#[test]
fn of_twin_records_the_block_that_can_be_read_is_enough() {
    // Which of the two stores the folder that both have is chance.
    let mut all = repeat_with(|| twins(12)).take(30);
    let with_spare = all.find(|(contents, ..)| spare_blocks(contents).len() >= 2);
    let (contents, ids, streams) = with_spare.unwrap();
    let spare = spare_blocks(&contents);
    for (pack, middle) in spare {
        let memory = Arc::new(MemoryBackend::from_contents(contents.clone()));
        let mut bytes = contents[&pack].bytes.to_vec();
        bytes[middle] ^= 1;
        memory.tamper(&pack, Some(bytes));
        let repo = open_repo(memory).unwrap();
        assert!(!checked(&repo, Level::Data).problems.is_empty(), "{pack}");
        for id in ids {
            assert_eq!(read_back(&repo, id).unwrap(), streams, "{pack}");
        }
    }
}

/// What the other one of two writers had beside their twins lives on in a segment that is rewritten: the twins in it go.
#[test]
fn of_twins_in_a_segment_that_is_rewritten_the_one_that_can_be_read_stays() {
    let (contents, [one, other], streams) = twins(12);
    let few: Streams = streams
        .iter()
        .take(1)
        .map(|(path, bytes)| (format!("own/{path}"), bytes.clone()))
        .collect();
    let memory = Arc::new(MemoryBackend::from_contents(contents));
    let repo = open_repo(memory.clone()).unwrap();
    // One of the twins is told by a further snapshot, so that some of the segment stays live.
    let further = save(&repo, &few, 2 * HOUR_NS).unwrap();
    let contents = memory.contents();
    let packs = contents
        .keys()
        .filter(|key| matches!(key, ObjectKey::Pack(_)));
    for (gone, kept) in [(one, other), (other, one)] {
        for pack in packs.clone() {
            let memory = Arc::new(MemoryBackend::from_contents(contents.clone()));
            let mut bytes = contents[pack].bytes.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            memory.tamper(pack, Some(bytes));
            let repo = open_repo(memory.clone()).unwrap();
            forget(&repo, &[gone], "test", "host", 3 * HOUR_NS).unwrap();
            let readable = |repo: &Repo| {
                [(kept, &streams), (further, &few)]
                    .map(|(id, streams)| read_back(repo, id).is_ok_and(|read| read == *streams))
            };
            let before = readable(&repo);
            // It may stop at what it cannot open, and loses nothing.
            let _pruned = prune_at(&repo, 4 * HOUR_NS);
            let after = readable(&open_repo(memory.clone()).unwrap());
            assert_eq!(before, after, "{pack}");
        }
    }
}

#[test]
fn a_prune_opens_each_segment_of_twins_once_and_a_dry_run_none() {
    let (contents, [one, other], mut streams) = twins(300);
    let memory = Arc::new(MemoryBackend::from_contents(contents));
    // Some hours of changes, so that chunks stand on several segments.
    for hour in 2..5 {
        let repo = open_repo(memory.clone()).unwrap();
        for bytes in streams.values_mut() {
            bytes[hour * 5_000] ^= 1;
        }
        save(&repo, &streams, i64::try_from(hour).unwrap() * HOUR_NS).unwrap();
    }
    let recording = Arc::new(RecordingBackend::new(memory.clone()));
    let repo = open_repo(recording.clone()).unwrap();
    forget(&repo, &[one, other], "test", "host", 6 * HOUR_NS).unwrap();
    recording.take_calls();
    prune_at(&repo, 7 * HOUR_NS).unwrap();
    let read: u64 = recording
        .take_calls()
        .iter()
        .filter(|call| call.operation == Operation::Get)
        .filter(
            |call| matches!(call.key, Some(ObjectKey::Pack(name)) if name.class == PackClass::Data),
        )
        .map(|call| call.amount)
        .sum();
    let one_copy = streams
        .values()
        .map(|bytes| bytes.len() as u64)
        .sum::<u64>();
    assert!(read > 0, "nothing was opened");
    assert!(read < one_copy * 3 / 2, "{read} bytes of {one_copy}");
}
