//! What operations ask of the store: counted, so that nobody makes them dearer unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::{Backend as _, ObjectKey, ObjectKind, PackClass};
use keepstone_engine::id::SnapshotId;
use keepstone_engine::repo::Repo;
use keepstone_testkit::recording::{Call, Operation, RecordingBackend};
use keepstone_testkit::scripted::{
    Dice, ScriptedSource, Streams, an_hour_later, new_repo, noise, open_repo, options, prune_at,
    read_back, save, save_source, table,
};

const HOUR_NS: i64 = 3_600_000_000_000;

/// Three hours in a store that counts.
struct Stage {
    recording: Arc<RecordingBackend>,
    repo: Repo,
    saved: Vec<(SnapshotId, Streams)>,
}

impl Stage {
    fn new() -> Self {
        let recording = Arc::new(RecordingBackend::new(Arc::new(MemoryBackend::new())));
        let repo = new_repo(recording.clone()).unwrap();
        let mut dice = Dice(41);
        let mut bytes = table(&mut dice, 6_000);
        let mut saved = Vec::new();
        for hour in 0..3 {
            let streams = Streams::from([("t/data".to_owned(), bytes.clone())]);
            saved.push((save(&repo, &streams, hour * HOUR_NS).unwrap(), streams));
            bytes = an_hour_later(&mut dice, &bytes);
        }
        recording.take_calls();
        Self {
            recording,
            repo,
            saved,
        }
    }

    /// How often each operation was asked of each kind since the last look.
    fn counts(&self) -> BTreeMap<(Operation, ObjectKind), usize> {
        let mut counts = BTreeMap::new();
        for call in self.recording.take_calls() {
            *counts.entry((call.operation, call.kind)).or_default() += 1;
        }
        counts
    }
}

fn is_data_get(call: &Call) -> bool {
    call.operation == Operation::Get
        && matches!(call.key, Some(ObjectKey::Pack(name)) if name.class == PackClass::Data)
}

#[test]
fn an_unchanged_backup_reads_no_data_and_writes_two_small_records() {
    let stage = Stage::new();
    let (_, streams) = &stage.saved[2];
    save(&stage.repo, streams, 9 * HOUR_NS).unwrap();
    let calls = stage.recording.take_calls();
    assert!(!calls.iter().any(is_data_get), "data was read");
    let puts = calls.iter().filter(|call| call.operation == Operation::Put);
    let kinds: Vec<_> = puts.map(|call| call.kind).collect();
    assert_eq!(kinds, [ObjectKind::Session, ObjectKind::End]);
    assert!(!calls.iter().any(|call| call.operation == Operation::Delete));
    // Each of three parents' end records once, each index segment once.
    let gets = |kind| {
        let of_kind = |call: &&Call| call.operation == Operation::Get && call.kind == kind;
        calls.iter().filter(of_kind).count()
    };
    assert_eq!(gets(ObjectKind::End), 3);
    assert_eq!(gets(ObjectKind::Index), 3);
}

#[test]
fn listing_snapshots_is_one_get_for_each() {
    let stage = Stage::new();
    assert_eq!(stage.repo.snapshots().unwrap().len(), 3);
    let wanted = [
        ((Operation::Get, ObjectKind::End), 3),
        ((Operation::List, ObjectKind::End), 1),
        ((Operation::List, ObjectKind::Forgotten), 1),
        ((Operation::List, ObjectKind::Settled), 1),
    ];
    assert_eq!(stage.counts(), BTreeMap::from(wanted));
}

#[test]
fn opening_is_config_and_slot_twice_each() {
    let stage = Stage::new();
    open_repo(stage.recording.clone()).unwrap();
    let wanted = [
        ((Operation::Get, ObjectKind::Config), 2),
        ((Operation::Get, ObjectKind::Key), 2),
        ((Operation::List, ObjectKind::Key), 1),
        ((Operation::Stat, ObjectKind::Config), 2),
    ];
    assert_eq!(stage.counts(), BTreeMap::from(wanted));
}

#[test]
fn a_restore_reads_each_box_once() {
    let stage = Stage::new();
    for (id, streams) in &stage.saved {
        assert!(read_back(&stage.repo, *id).unwrap() == *streams);
        let calls = stage.recording.take_calls();
        let mut reads = BTreeMap::<_, usize>::new();
        for call in calls.iter().filter(|call| call.kind == ObjectKind::Pack) {
            if call.operation == Operation::Get {
                *reads.entry((call.key, call.amount)).or_default() += 1;
            }
        }
        // Boxes of one pack have different lengths here, so that key and length name a box.
        let again: Vec<_> = reads.into_iter().filter(|(_, count)| *count > 1).collect();
        assert!(again.is_empty(), "{again:?}");
        assert!(calls.iter().any(is_data_get));
        assert!(!calls.iter().any(|call| call.operation.is_mutating()));
    }
}

#[test]
fn a_prune_without_work_changes_nothing() {
    let stage = Stage::new();
    let first = prune_at(&stage.repo, 9 * HOUR_NS).unwrap();
    assert_eq!((first.condemned, first.swept), (0, 0), "{first:?}");
    // The first one tidies away the records of sessions that have ended.
    let counts = stage.counts();
    let deletes = counts
        .iter()
        .filter(|((operation, _), _)| operation.is_mutating());
    let deletes: Vec<_> = deletes.map(|(what, count)| (*what, *count)).collect();
    assert_eq!(deletes, [((Operation::Delete, ObjectKind::Session), 3)]);
    prune_at(&stage.repo, 10 * HOUR_NS).unwrap();
    let calls = stage.recording.take_calls();
    assert!(!calls.iter().any(|call| call.operation.is_mutating()));
    assert!(
        !calls.iter().any(is_data_get),
        "a prune without work reads no data"
    );
}

#[test]
fn a_long_chain_stands_on_few_hours_and_costs_little_more() {
    const HOURS: i64 = 72;
    let recording = Arc::new(RecordingBackend::new(Arc::new(MemoryBackend::new())));
    let repo = new_repo(recording.clone()).unwrap();
    let mut dice = Dice(43);
    let mut bytes = table(&mut dice, 3_000);
    let mut saved = Vec::new();
    let mut streams = Streams::new();
    for hour in 0..HOURS {
        streams = Streams::from([("t/data".to_owned(), bytes.clone())]);
        saved.push(save(&repo, &streams, hour * HOUR_NS).unwrap());
        bytes = with_a_tenth_new(&mut dice, &bytes);
    }
    let mut put = BTreeMap::<_, u64>::new();
    for call in recording.take_calls() {
        if let (Operation::Put, Some(ObjectKey::Pack(name))) = (call.operation, call.key)
            && name.class == PackClass::Data
        {
            *put.entry(name.session).or_default() += call.amount;
        }
    }
    let (first, second, newest) = (saved[0], saved[1], saved[saved.len() - 1]);
    // What is written anew adds less than a fourth to what an hour costs by itself.
    let later = put.values().sum::<u64>() - put[&first];
    let alone = put[&second] * (put.len() as u64 - 1);
    assert!(later * 4 < alone * 5, "{later} B, {alone} B alone");
    assert!(read_back(&repo, newest).unwrap() == streams);
    let calls = recording.take_calls();
    let read: BTreeSet<_> = calls
        .iter()
        .filter(|call| is_data_get(call))
        .map(|call| call.key)
        .collect();
    let (read, written) = (read.len(), put.len());
    assert!(read * 2 <= written, "{read} of {written} hours are read");
}

/// The same rows, a tenth of them with other words: after 17 hours a sixth of what an hour has brought is still there.
fn with_a_tenth_new(dice: &mut Dice, before: &[u8]) -> Vec<u8> {
    let mut rows: Vec<_> = before
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for _ in 0..rows.len() / 10 {
        let at = dice.below(rows.len());
        rows[at] = table(dice, 1);
    }
    rows.concat()
}

#[test]
fn changes_in_one_large_record_cost_what_changed() {
    let memory = Arc::new(MemoryBackend::new());
    let repo = new_repo(memory.clone()).unwrap();
    let mut dice = Dice(6);
    // Longer than what of the parent is at hand at once.
    let mut bytes = noise(&mut dice, 36 * 1024 * 1024);
    let stored = || {
        let packs = memory.list(ObjectKind::Pack).unwrap();
        packs.iter().map(|stat| stat.size_bytes).sum::<u64>()
    };
    let mut added = Vec::new();
    for hour in 0..2 {
        let source = ScriptedSource {
            streams: Streams::from([("large".to_owned(), bytes.clone())]),
            records: true,
            ..ScriptedSource::default()
        };
        let before = stored();
        save_source(&repo, &source, &options("host", hour * HOUR_NS)).unwrap();
        added.push(stored() - before);
        for at in (0..bytes.len()).step_by(20_000) {
            bytes[at] ^= 1;
        }
    }
    assert!(added[1] * 20 < added[0], "{added:?}");
}
