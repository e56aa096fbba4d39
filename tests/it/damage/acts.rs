//! What is done with a damaged repository, and what comes of it, as cells of a row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keepstone_engine::backend::ObjectKey;
use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{CheckReport, Consequence, Level, check};
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_engine::{Error, Result};
use keepstone_testkit::scripted::{Streams, open_repo, prune_at, read_listed, save};

use super::life::{Action, HOUR_NS, Life, Target};

/// When a prune no longer waits for the open sessions.
const LATE_NS: i64 = 1_000 * HOUR_NS;

/// What a row ends with if the damage harms nothing that is done.
const HARMLESS: &str = "restores 0123 | same: saved, restores 0123 | next: saved, restores 0123 \
    | prune: pruned, swept";

/// Damages one object, and does everything with what is left, each on a copy. Answers what came of it in one line.
pub fn row(life: &Life, target: Target, action: Action) -> String {
    let case = Case {
        life,
        key: life.key(target),
        damaged: life.damaged(target, action),
    };
    let structure = case.checked(Level::Structure);
    let data = case.checked(Level::Data);
    let checked = if structure == data {
        format!("check: {data}")
    } else {
        format!("structure: {structure} | data: {data}")
    };
    let cells = [
        checked,
        case.restored(),
        case.saved("same", &life.live[3].1),
        case.saved("next", &life.next),
        case.pruned(),
    ];
    cells.join(" | ").replace(HARMLESS, "harmless")
}

struct Case<'a> {
    life: &'a Life,
    key: ObjectKey,
    damaged: Contents,
}

impl Case<'_> {
    fn open(&self) -> Result<(Arc<MemoryBackend>, Repo)> {
        let backend = Arc::new(MemoryBackend::from_contents(self.damaged.clone()));
        Ok((backend.clone(), open_repo(backend)?))
    }

    fn checked(&self, level: Level) -> String {
        let done = self
            .open()
            .and_then(|(_, repo)| check(&repo, level, 2, &NoObserver, &Cancel::default()));
        match done {
            Ok(report) => self.told(&report),
            Err(error) => failure(&error),
        }
    }

    /// Problems by what they are about; how often does not matter, only that the damaged object is named.
    fn told(&self, report: &CheckReport) -> String {
        if report.is_clean() {
            return "clean".into();
        }
        let mut healed = BTreeSet::new();
        let mut hits = BTreeMap::<_, Vec<_>>::new();
        for problem in &report.problems {
            let object = if problem.object == self.key.to_string() {
                "it"
            } else if problem.what.contains(&self.key.to_string()) {
                "what lies in it"
            } else if problem.object.starts_with("the snapshot before") {
                "its absence"
            } else {
                problem.object.split(['/', ' ']).next().unwrap()
            };
            match &problem.consequence {
                Consequence::Healed => drop(healed.insert(format!("{object} healed"))),
                Consequence::Nothing => drop(hits.entry(object).or_default()),
                Consequence::Snapshots(hit) => {
                    hits.entry(object).or_default().extend_from_slice(hit)
                }
            }
        }
        let hits = hits
            .iter()
            .map(|(object, hit)| format!("{object} hits {}", self.hours(hit)));
        Vec::from_iter(healed.into_iter().chain(hits)).join(", ")
    }

    fn hours(&self, hit: &[(String, String)]) -> String {
        let place = |short: &String| {
            let mut live = self.life.live.iter();
            live.position(|(id, _)| id.to_string() == *short)
        };
        numbers(hit.iter().map(|(short, _)| place(short)))
    }

    fn restored(&self) -> String {
        match self.open() {
            Ok((_, repo)) => format!("restores {}", self.good(&repo, &self.life.live)),
            Err(error) => format!("restores none: {}", failure(&error)),
        }
    }

    /// Which of these restore. Those that do must give the exact bytes.
    fn good(&self, repo: &Repo, wanted: &[(SnapshotId, Streams)]) -> String {
        numbers(
            (0..wanted.len())
                .filter(|at| restores(repo, &wanted[*at]))
                .map(Some),
        )
    }

    fn saved(&self, name: &str, streams: &Streams) -> String {
        let (_, repo) = match self.open() {
            Ok(opened) => opened,
            Err(error) => return format!("{name}: {}", failure(&error)),
        };
        let said = match save(&repo, streams, 20 * HOUR_NS) {
            Ok(id) if restores(&repo, &(id, streams.clone())) => "saved",
            Ok(_) => "saved on damage",
            Err(error) => return format!("{name}: {}", failure(&error)),
        };
        format!(
            "{name}: {said}, restores {}",
            self.good(&repo, &self.life.live)
        )
    }

    /// Whatever a prune does, what restored before restores after it; and what the damage hides is still there: with the
    /// object put back, all that is listed restores.
    fn pruned(&self) -> String {
        let (backend, repo) = match self.open() {
            Ok(opened) => opened,
            Err(error) => return format!("prune: {}", failure(&error)),
        };
        let before: Vec<_> = self
            .listed(&repo)
            .into_iter()
            .filter(|w| restores(&repo, w))
            .collect();
        let listed = self.listed(&repo);
        let said = match prune_at(&repo, LATE_NS) {
            Ok(report) => format!(
                "pruned, {}",
                if report.swept > 0 { "swept" } else { "waits" }
            ),
            Err(error) => failure(&error),
        };
        let again = open_repo(backend.clone()).unwrap();
        for wanted in &before {
            assert!(
                restores(&again, wanted),
                "{} is lost by a prune: {said}",
                wanted.0
            );
        }
        let whole = backend.contents();
        for key in [Some(self.key), self.swapped_with()].into_iter().flatten() {
            let bytes = self.life.contents[&key].bytes.to_vec();
            if whole.contains_key(&key) || !self.damaged.contains_key(&key) {
                backend.tamper(&key, Some(bytes));
            }
        }
        let repaired = open_repo(backend).unwrap();
        for wanted in &listed {
            assert!(
                restores(&repaired, wanted),
                "{} is hidden by damage and pruned: {said}",
                wanted.0
            );
        }
        format!("prune: {said}")
    }

    fn swapped_with(&self) -> Option<ObjectKey> {
        let differ = |key: &&ObjectKey| {
            **key != self.key
                && self
                    .damaged
                    .get(*key)
                    .is_some_and(|o| *o != self.life.contents[*key])
        };
        self.life.contents.keys().find(differ).copied()
    }

    /// Live snapshots that are listed, damaged or not.
    fn listed(&self, repo: &Repo) -> Vec<(SnapshotId, Streams)> {
        let there = |id: &SnapshotId| repo.backend().stat(&ObjectKey::end(*id)).unwrap().is_some();
        let live = self.life.live.iter();
        live.filter(|(id, _)| there(id)).cloned().collect()
    }
}

fn restores(repo: &Repo, wanted: &(SnapshotId, Streams)) -> bool {
    let listed: BTreeMap<_, _> = match repo.readable_snapshots() {
        Ok(listed) => listed
            .snapshots
            .into_iter()
            .map(|listed| (listed.id, listed))
            .collect(),
        Err(_) => return false,
    };
    let Some(listed) = listed.get(&wanted.0) else {
        return false;
    };
    match read_listed(repo, listed) {
        Ok(streams) => {
            assert!(
                streams == wanted.1,
                "{} restores as something else",
                wanted.0
            );
            true
        }
        Err(error) => {
            assert!(is_damage(&error), "{error}");
            false
        }
    }
}

fn is_damage(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. } | Error::Missing { .. } | Error::MissingChunk { .. }
    )
}

/// The error in one word; every one of them names an object of the repository.
fn failure(error: &Error) -> String {
    assert!(is_damage(error), "{error}");
    let text = error.to_string();
    let object = text.split([' ', '/', '.']).next().unwrap();
    format!("refused for {object}")
}

fn numbers(places: impl Iterator<Item = Option<usize>>) -> String {
    let places: BTreeSet<_> = places.collect();
    if places.is_empty() {
        return "none".into();
    }
    let text = places
        .iter()
        .map(|place| place.map_or("?".into(), |place| place.to_string()));
    text.collect::<Vec<_>>().concat()
}
