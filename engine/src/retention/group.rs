//! Groups: snapshots that compete for the same places.

use std::collections::{BTreeMap, BTreeSet};

use super::SnapshotFacts;

/// What makes a group: usually host and set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouping {
    /// Snapshots of different hosts do not compete.
    pub by_host: bool,
    /// Snapshots of different sets do not compete; without a set, its source names stand for one.
    pub by_set: bool,
    /// Snapshots with different tags do not compete.
    pub by_tags: bool,
}

impl Default for Grouping {
    fn default() -> Self {
        Self {
            by_host: true,
            by_set: true,
            by_tags: false,
        }
    }
}

/// What the members of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Their host, if hosts are kept apart.
    pub host: Option<String>,
    /// Their set, if sets are kept apart.
    pub set: Option<SetKey>,
    /// Their tags, if tags are kept apart.
    pub tags: Option<BTreeSet<String>>,
}

/// What stands for a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKey {
    /// Its name.
    Named(String),
    /// The sorted names of the sources, where no set was named.
    Sources(Vec<String>),
}

/// Snapshots to be judged together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// The snapshots, in the order they were given.
    pub snapshots: Vec<SnapshotFacts>,
}

/// Sorts snapshots into groups, ordered by key.
pub fn group(snapshots: Vec<SnapshotFacts>, by: Grouping) -> Vec<Group> {
    let mut groups: BTreeMap<GroupKey, Vec<SnapshotFacts>> = BTreeMap::new();
    for snapshot in snapshots {
        groups
            .entry(key_of(&snapshot, by))
            .or_default()
            .push(snapshot);
    }
    groups
        .into_iter()
        .map(|(key, snapshots)| Group { key, snapshots })
        .collect()
}

fn key_of(snapshot: &SnapshotFacts, by: Grouping) -> GroupKey {
    let set = || {
        snapshot.set.clone().map_or_else(
            || SetKey::Sources(snapshot.sources.keys().cloned().collect()),
            SetKey::Named,
        )
    };
    GroupKey {
        host: by.by_host.then(|| snapshot.host.clone()),
        set: by.by_set.then(set),
        tags: by.by_tags.then(|| snapshot.tags.clone()),
    }
}
