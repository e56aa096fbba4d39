//! Random operations against a map of what was committed: modify, back up, forget, prune, undelete, check, restore, crash
//! in the middle and go on. `KEEPSTONE_MODEL_SEED` chooses another life than the usual ones.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use keepstone_engine::backend::Backend;
use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Consequence, Level, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_engine::undelete::recommit;
use keepstone_engine::{Error, Result};
use keepstone_testkit::crash::CrashBackend;
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, noise, open_repo, prune_at, read_back, save,
    session_record, table,
};

const SEEDS: [u64; 3] = [1, 2, 3];
const STEPS: usize = 140;
const STEP_NS: i64 = 60_000_000_000;
const ENV: &str = "KEEPSTONE_MODEL_SEED";

#[derive(Debug, Clone, Copy)]
enum Step {
    Modify,
    Backup,
    Forget,
    Prune,
    Undelete,
    Check,
    Restore,
}

/// Small streams, at first.
const NOTES: usize = 30;

fn note(number: usize) -> String {
    format!("notes/{number:02}")
}

/// What is believed.
struct Model {
    dice: Dice,
    now_ns: i64,
    streams: Streams,
    /// Snapshots that are listed, and what they hold.
    live: BTreeMap<SnapshotId, Streams>,
    /// Snapshots that were forgotten: they may come back whole, or not at all.
    forgotten: BTreeMap<SnapshotId, Streams>,
    contents: Contents,
    log: Vec<String>,
}

/// Prints how the life went if it ends badly.
struct Told<'a>(u64, &'a mut Model);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.1.log.len().saturating_sub(25);
            println!(
                "{ENV}={} after {} steps, the last:",
                self.0,
                self.1.log.len()
            );
            self.1.log[last..]
                .iter()
                .for_each(|line| println!("  {line}"));
        }
    }
}

#[test]
fn whatever_is_done_what_is_listed_restores() {
    let seeds = match std::env::var(ENV) {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => SEEDS.to_vec(),
    };
    for seed in seeds {
        let mut model = Model::new(seed);
        let told = Told(seed, &mut model);
        for _ in 0..STEPS {
            told.1.step();
        }
        told.1.assert_all_restore();
    }
}

impl Model {
    fn new(seed: u64) -> Self {
        let backend = Arc::new(MemoryBackend::new());
        new_repo(backend.clone()).unwrap();
        let mut dice = Dice(seed);
        let mut streams = Streams::from([
            ("t/large".to_owned(), table(&mut dice, 5_000)),
            ("t/small".to_owned(), table(&mut dice, 40)),
            ("empty".to_owned(), vec![]),
        ]);
        for number in 0..NOTES {
            streams.insert(note(number), noise(&mut dice, 20_000));
        }
        Self {
            dice,
            now_ns: 0,
            streams,
            live: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            contents: backend.contents(),
            log: vec![],
        }
    }

    fn step(&mut self) {
        self.now_ns += STEP_NS;
        let step = match self.dice.below(20) {
            0..=4 => Step::Modify,
            5..=10 => Step::Backup,
            11..=13 => Step::Forget,
            14..=15 => Step::Prune,
            16 => Step::Undelete,
            17 => Step::Check,
            _ => Step::Restore,
        };
        // One act in four is cut off after some changes of the store, and its last answer may be lost.
        let survived = match self.dice.below(4) {
            0 => self.dice.below(8),
            _ => usize::MAX,
        };
        let mut crash = CrashBackend::over(self.contents.clone(), survived);
        if self.dice.below(2) == 0 {
            crash = crash.losing_the_last_answer();
        }
        let crash = Arc::new(crash);
        let done = open_repo(crash.clone()).and_then(|repo| self.act(step, &repo));
        self.contents = crash.after_reboot().contents();
        self.log.push(match &done {
            Ok(text) => format!("{step:?}: {text}"),
            Err(error) => format!("{step:?} failed: {error}"),
        });
        if crash.is_dead() {
            self.look_after_a_crash(step);
        } else {
            done.unwrap();
        }
    }

    fn act(&mut self, step: Step, repo: &Repo) -> Result<String> {
        match step {
            Step::Modify => Ok(self.modify()),
            Step::Backup => self.backup(repo),
            Step::Forget => self.forget(repo),
            Step::Prune => {
                let report = prune_at(repo, self.now_ns)?;
                assert!(report.waiting.is_empty(), "{report:?}");
                Ok(format!("{report:?}"))
            }
            Step::Undelete => self.undelete(repo),
            Step::Check => {
                self.assert_clean(repo);
                Ok("clean".into())
            }
            Step::Restore => match self.any(&self.live.clone()) {
                Some((id, streams)) => {
                    assert!(read_back(repo, id)? == streams, "{id} holds something else");
                    Ok(id.to_string())
                }
                None => Ok("nothing".into()),
            },
        }
    }

    /// Many small streams share a segment, so that prunes copy some out of it; and what was before comes again.
    fn modify(&mut self) -> String {
        match self.dice.below(6) {
            0 => return self.take_back(),
            1 => {
                let keep = 1 + self.dice.below(NOTES / 4);
                for number in (0..NOTES).filter(|number| number % keep != 0) {
                    self.streams.remove(&note(number));
                }
                return format!("one note in {keep} is left");
            }
            2 => {
                for (path, bytes) in &mut self.streams {
                    if path.starts_with("notes/") {
                        let at = self.dice.below(bytes.len() - 100);
                        bytes[at..at + 100]
                            .iter_mut()
                            .for_each(|byte| *byte ^= 0x55);
                    }
                }
                return "every note is edited".into();
            }
            _ => {}
        }
        let path = ["t/large", "t/small", "dump-1", "dump-2"][self.dice.below(4)];
        let before = self.streams.get(path).cloned().unwrap_or_default();
        let after = match self.dice.below(8) {
            0 => table(&mut self.dice, 600),
            1 => self.streams["t/large"].clone(),
            2 => before[..before.len() / 2].to_vec(),
            3 => [before.as_slice(), before.as_slice()].concat()[..before.len() * 3 / 2].to_vec(),
            _ if before.is_empty() => table(&mut self.dice, 200),
            _ => an_hour_later(&mut self.dice, &before),
        };
        let text = format!("{path} has {} bytes", after.len());
        self.streams.insert(path.to_owned(), after);
        text
    }

    /// Everything is as some snapshot had it, forgotten or not.
    fn take_back(&mut self) -> String {
        let among = match self.dice.below(2) {
            0 => self.live.clone(),
            _ => self.forgotten.clone(),
        };
        match self.any(&among) {
            Some((id, streams)) => {
                self.streams = streams;
                format!("back to {id}")
            }
            None => "nothing to go back to".into(),
        }
    }

    fn backup(&mut self, repo: &Repo) -> Result<String> {
        let id = save(repo, &self.streams, self.now_ns)?;
        self.live.insert(id, self.streams.clone());
        Ok(id.to_string())
    }

    fn forget(&mut self, repo: &Repo) -> Result<String> {
        let Some((id, streams)) = self.any(&self.live.clone()) else {
            return Ok("nothing".into());
        };
        let report = forget(repo, &[id], "model", "host", self.now_ns)?;
        if let Some((_, error)) = report.failed.into_iter().next() {
            return Err(error);
        }
        self.live.remove(&id);
        self.forgotten.insert(id, streams);
        Ok(id.to_string())
    }

    /// A forgotten snapshot comes back whole under a new name, or it is said that part of it is gone.
    fn undelete(&mut self, repo: &Repo) -> Result<String> {
        let Some((id, streams)) = self.any(&self.forgotten.clone()) else {
            return Ok("nothing".into());
        };
        let listed = repo.forgotten_snapshots()?.snapshots;
        let listed = listed.into_iter().find(|listed| listed.id == id).unwrap();
        let (record, history) = (session_record("host"), Default::default());
        let back = recommit(
            repo,
            id,
            listed.snapshot,
            &record,
            &history,
            &Cancel::default(),
        );
        match back {
            Ok((new_id, _)) => {
                self.live.insert(new_id, streams);
                Ok(format!("{id} is {new_id}"))
            }
            Err(Error::Refused { what }) => Ok(what),
            Err(error) => Err(error),
        }
    }

    fn any(&mut self, among: &BTreeMap<SnapshotId, Streams>) -> Option<(SnapshotId, Streams)> {
        let at = self.dice.below(among.len().max(1));
        let (id, streams) = among.iter().nth(at)?;
        Some((*id, streams.clone()))
    }

    /// Nobody was told how the act ended: the store tells. Only what was under way may differ from what is believed.
    fn look_after_a_crash(&mut self, step: Step) {
        let repo = open_repo(self.store()).unwrap();
        let listed: Vec<_> = repo
            .snapshots()
            .unwrap()
            .into_iter()
            .map(|l| l.id)
            .collect();
        let gone: Vec<_> = self
            .live
            .keys()
            .filter(|id| !listed.contains(id))
            .copied()
            .collect();
        let new: Vec<_> = listed
            .into_iter()
            .filter(|id| !self.live.contains_key(id))
            .collect();
        match step {
            Step::Forget => assert!(new.is_empty() && gone.len() <= 1, "{new:?} {gone:?}"),
            Step::Backup | Step::Undelete => {
                assert!(new.len() <= 1 && gone.is_empty(), "{new:?} {gone:?}");
            }
            _ => assert!(new.is_empty() && gone.is_empty(), "{new:?} {gone:?}"),
        }
        for id in gone {
            let streams = self.live.remove(&id).unwrap();
            self.forgotten.insert(id, streams);
        }
        for id in new {
            let read = read_back(&repo, id).unwrap();
            let wanted = match step {
                Step::Backup => read == self.streams,
                _ => self.forgotten.values().any(|streams| *streams == read),
            };
            assert!(wanted, "{id} is listed and holds something else");
            self.live.insert(id, read);
        }
        self.assert_nothing_lost(&repo);
    }

    fn assert_clean(&self, repo: &Repo) {
        let report = check(repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
        assert!(report.is_clean(), "{}", Lines(&report.problems));
        assert_eq!(report.snapshots, self.live.len() as u64);
    }

    fn assert_nothing_lost(&self, repo: &Repo) {
        let mut problems = check(repo, Level::Structure, 2, &NoObserver, &Cancel::default())
            .unwrap()
            .problems;
        problems.retain(|problem| problem.consequence != Consequence::Healed);
        assert!(problems.is_empty(), "{}", Lines(&problems));
    }

    fn assert_all_restore(&self) {
        let repo = open_repo(self.store()).unwrap();
        self.assert_clean(&repo);
        for (id, streams) in &self.live {
            assert!(
                read_back(&repo, *id).unwrap() == *streams,
                "{id} holds something else"
            );
        }
    }

    fn store(&self) -> Arc<dyn Backend> {
        Arc::new(MemoryBackend::from_contents(self.contents.clone()))
    }
}

struct Lines<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Lines<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
