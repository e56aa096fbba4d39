//! Chunks with several records whose packs go while somebody reads, or are condemned while somebody relies on them.

use std::sync::Arc;

use keepstone_engine::backend::Backend;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backup::{Cancel, SourceRun, WriterHistory, backup};
use keepstone_engine::check::{Level, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_engine::source::{Consistency, Opened, Source, SourceError};
use keepstone_engine::undelete::recommit;
use keepstone_testkit::scripted::{
    Dice, ScriptedSource, Streams, new_repo, noise, open_repo, options, prune_at, read_back,
    read_while, save, session_record,
};

use crate::taken_back::edited;

const HOUR_NS: i64 = 3_600_000_000_000;
/// Which record of a chunk comes first is up to random names: as many tries.
const SEEDS: u64 = 12;

fn both(a: &Streams, b: &Streams) -> Streams {
    a.iter()
        .chain(b)
        .map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

fn some(of: &Streams, step: usize, most: usize) -> Streams {
    let some = of.iter().step_by(step).take(most);
    some.map(|(path, bytes)| (path.clone(), bytes.clone()))
        .collect()
}

fn many(dice: &mut Dice, folder: &str, count: u32, len: usize) -> Streams {
    (0..count)
        .map(|number| (format!("{folder}/{number:02}"), noise(dice, len)))
        .collect()
}

fn forget_at(repo: &Repo, ids: &[SnapshotId], hour: i64) {
    forget(repo, ids, "test", "host", hour * HOUR_NS).unwrap();
}

#[test]
fn a_restore_follows_chunks_that_a_prune_moves_under_it() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let open = || open_repo(backend.clone()).unwrap();
        let repo = new_repo(backend.clone()).unwrap();
        let mut dice = Dice(seed);
        let all = many(&mut dice, "d", 64, 30_000);
        // What lies beside them keeps their packs, and with these the records that lead nowhere.
        let beside = ["b", "c"].map(|folder| many(&mut dice, folder, 40, 3_000));
        let few = some(&all, 10, usize::MAX);
        let one = save(&repo, &all, 0).unwrap();
        let two = save(&repo, &both(&edited(&few), &beside[0]), HOUR_NS).unwrap();
        forget_at(&repo, &[one], 1);
        prune_at(&repo, 2 * HOUR_NS).unwrap();
        let three = save(&open(), &both(&few, &beside[1]), 3 * HOUR_NS).unwrap();
        let last = both(&both(&some(&few, 1, 1), &beside[0]), &beside[1]);
        let four = save(&open(), &last, 4 * HOUR_NS).unwrap();

        let repo = open();
        let listed = repo.snapshots().unwrap();
        let listed = listed.iter().find(|listed| listed.id == four).unwrap();
        let read = read_while(&repo, listed, || {
            forget_at(&repo, &[two, three], 5);
            assert!(prune_at(&open(), 6 * HOUR_NS).unwrap().swept > 0);
        });
        assert_eq!(read.unwrap(), last);
    }
}

/// A repository with a chunk of which one record leads to a segment that is gone; and a stream with this chunk.
fn with_a_record_that_leads_nowhere(repo: &Repo, dice: &mut Dice) -> Streams {
    let all = many(dice, "d", 40, 1_000_000);
    let later: Streams = all.clone().into_iter().skip(16).collect();
    let one = save(repo, &all, 0).unwrap();
    save(repo, &later, HOUR_NS).unwrap();
    forget_at(repo, &[one], 1);
    assert!(prune_at(repo, 2 * HOUR_NS).unwrap().swept > 0);
    some(&all, 1, 1)
}

/// A source during whose opening something happens.
struct Meanwhile<'a> {
    source: ScriptedSource,
    happens: &'a (dyn Fn() + Sync),
}

impl Source for Meanwhile<'_> {
    fn kind(&self) -> &'static str {
        self.source.kind()
    }

    fn address(&self) -> String {
        self.source.address()
    }

    fn consistency(&self) -> Consistency {
        self.source.consistency()
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        (self.happens)();
        self.source.open()
    }
}

/// Saves streams as another host.
fn save_while(repo: &Repo, streams: &Streams, happens: &(dyn Fn() + Sync)) -> SnapshotId {
    let source = ScriptedSource {
        streams: streams.clone(),
        ..ScriptedSource::default()
    };
    let run = SourceRun {
        name: "script".into(),
        source: &Meanwhile { source, happens },
    };
    let at_ns = 5 * HOUR_NS;
    let options = options("other", at_ns);
    let saved = backup(
        repo,
        &[run],
        &options,
        &|| at_ns,
        &NoObserver,
        &Cancel::default(),
    );
    saved.unwrap().id.unwrap()
}

#[test]
fn what_only_a_condemned_pack_holds_is_copied_out_of_it_whatever_other_records_say() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let open = || open_repo(backend.clone()).unwrap();
        let repo = new_repo(backend.clone()).unwrap();
        let streams = with_a_record_that_leads_nowhere(&repo, &mut Dice(seed));
        let three = save(&repo, &streams, 3 * HOUR_NS).unwrap();
        // Another host has seen the chunk and saves by it, when the pack that holds it is condemned.
        let happens = || {
            forget_at(&repo, &[three], 4);
            let report = prune_at(&open(), 4 * HOUR_NS).unwrap();
            assert!(report.waiting_packs > 0, "{report:?}");
        };
        let four = save_while(&open(), &streams, &happens);
        let report = prune_at(&open(), 6 * HOUR_NS).unwrap();
        assert!(report.swept > 0 && report.rescued > 0, "{report:?}");
        prune_at(&open(), 7 * HOUR_NS).unwrap();
        assert_eq!(read_back(&open(), four).unwrap(), streams);
        let report = check(&open(), Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
        assert!(report.is_clean(), "{:#?}", report.problems);
    }
}

#[test]
fn a_snapshot_that_is_only_condemned_is_brought_back_whatever_other_records_say() {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let repo = new_repo(backend.clone()).unwrap();
        let streams = with_a_record_that_leads_nowhere(&repo, &mut Dice(seed));
        let three = save(&repo, &streams, 3 * HOUR_NS).unwrap();
        let listed = repo.snapshots().unwrap();
        let listed = listed.into_iter().find(|listed| listed.id == three);
        let snapshot = listed.unwrap().snapshot;
        // A host that is silent keeps the sweep waiting.
        let happens = || {
            forget_at(&repo, &[three], 4);
            let report = prune_at(&repo, 4 * HOUR_NS).unwrap();
            assert!(report.waiting_packs > 0, "{report:?}");
            let (back, _) = recommit(
                &open_repo(backend.clone()).unwrap(),
                three,
                snapshot.clone(),
                &session_record("third"),
                &WriterHistory::default(),
                &Cancel::default(),
            )
            .unwrap();
            prune_at(&repo, 5 * HOUR_NS).unwrap();
            assert_eq!(read_back(&repo, back).unwrap(), streams);
        };
        save_while(&repo, &Streams::new(), &happens);
    }
}
