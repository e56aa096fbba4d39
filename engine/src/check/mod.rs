//! check(): verifies a repository. Damage found is data; only a backend that cannot be reached is an error.

mod blast;
mod content;
mod packs;
mod problem;
mod records;
mod snapshots;

pub use packs::scrub;
pub use problem::{Consequence, Problem};

use crate::backup::Cancel;
use crate::error::{Error, Result};
use crate::progress::{Event, Observer};
use crate::repo::Repo;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Level {
    /// That everything a snapshot needs is there.
    Structure,
    /// And every byte of it.
    Data,
    /// Structure, and every byte of some packs.
    Subset(Subset),
}

/// Some packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// Part `number` (from 1) of `of` parts; all parts together are all packs.
    Part {
        /// Which part, from 1.
        number: u32,
        /// Of how many.
        of: u32,
    },
    /// About so many of a hundred, chosen by `seed`.
    Percent {
        /// Share in percent.
        percent: f64,
        /// What chooses.
        seed: u64,
    },
    /// About so many bytes, chosen by `seed`.
    Bytes {
        /// How many.
        bytes: u64,
        /// What chooses.
        seed: u64,
    },
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What is wrong, sorted.
    pub problems: Vec<Problem>,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Chunks and nodes looked at.
    pub chunks: u64,
    /// Packs listed.
    pub packs: u64,
    /// Packs of which every byte was read.
    pub packs_read: u64,
    /// Bytes read of them.
    pub bytes_read: u64,
}

impl CheckReport {
    /// Whether nothing is damaged that anything stands on.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(
        &mut self,
        object: impl Into<String>,
        what: impl Into<String>,
        consequence: Consequence,
    ) {
        let (object, what) = (object.into(), what.into());
        // Errors begin with their object.
        let rest = what.strip_prefix(&object).unwrap_or(&what).trim_start();
        self.problems.push(Problem {
            what: rest.to_owned(),
            object,
            consequence,
        });
    }
}

/// Verifies the repository. `parallel`: threads that read.
pub fn check(
    repo: &Repo,
    level: Level,
    parallel: usize,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    observer.event(Event::Phase {
        name: "checking records",
    });
    records::check(repo, &mut report)?;
    observer.event(Event::Phase {
        name: "checking packs and index",
    });
    let mut packs = packs::check_index(repo, &mut report, cancel)?;
    if level != Level::Structure {
        observer.event(Event::Phase {
            name: "reading packs",
        });
        let how = packs::How { level, parallel };
        packs::read(repo, how, &mut packs, &mut report, observer, cancel)?;
    }
    observer.event(Event::Phase {
        name: "checking snapshots",
    });
    let readers = if level == Level::Data { parallel } else { 0 };
    snapshots::check(repo, readers, &packs, &mut report, observer, cancel)?;
    report.problems.sort();
    report.problems.dedup();
    Ok(report)
}

/// What is damage and what ends the check: a backend that fails says nothing about the repository.
fn damage(error: Error) -> Result<String> {
    if error.is_damage() {
        Ok(crate::backup::chain(&error))
    } else {
        Err(error)
    }
}
