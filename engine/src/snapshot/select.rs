//! Which snapshot is meant: `latest`, `latest~2`, the first digits of an id, or the newest at a time. Pure.

use super::Snapshot;
use crate::error::{Error, Result};
use crate::id::SnapshotId;

/// A listed snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its name.
    pub id: SnapshotId,
    /// The record.
    pub snapshot: Snapshot,
    /// When the backend stored it, by the backend's own time.
    pub stored_at_ns: Option<i64>,
}

/// Which snapshots count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of these hosts; empty: of any.
    pub hosts: Vec<String>,
    /// Only with all tags of one of these lists; empty: with any.
    pub tags: Vec<Vec<String>>,
    /// Only with all of these sources captured.
    pub sources: Vec<String>,
}

/// A way to name a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest, or the n-th before it.
    Latest(usize),
    /// The first digits of its id.
    Prefix(String),
    /// The newest whose last consistent point is at or before this time.
    At(i64),
}

impl Filter {
    /// Whether a snapshot counts.
    pub fn accepts(&self, snapshot: &Snapshot) -> bool {
        self.is_near(snapshot)
            && self
                .sources
                .iter()
                .all(|name| snapshot.source(name).is_some())
    }

    /// Whether its host and its tags are meant, whatever it holds.
    fn is_near(&self, snapshot: &Snapshot) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.host))
            && (self.tags.is_empty()
                || self
                    .tags
                    .iter()
                    .any(|all| all.iter().all(|tag| snapshot.tags.contains(tag))))
    }

    /// Whether a snapshot counts, and is whole as far as it is asked for.
    fn accepts_whole(&self, snapshot: &Snapshot) -> bool {
        self.accepts(snapshot) && (!snapshot.is_partial() || !self.sources.is_empty())
    }

    /// Whether a snapshot would have counted, had nothing failed in it.
    fn misses(&self, snapshot: &Snapshot) -> bool {
        let names = |name: &String| snapshot.sources.iter().any(|source| source.name == *name);
        snapshot.is_partial()
            && self.is_near(snapshot)
            && self.sources.iter().all(names)
            && !self.accepts_whole(snapshot)
    }
}

impl Wanted {
    /// Whether a snapshot is old enough.
    fn reaches(&self, snapshot: &Snapshot) -> bool {
        match self {
            Self::At(time_ns) => snapshot.consistent_ns() <= *time_ns,
            Self::Latest(_) | Self::Prefix(_) => true,
        }
    }
}

/// Oldest first; ties in the order of ids, so that the order is always the same.
pub fn sort(snapshots: &mut [Listed]) {
    snapshots.sort_by_key(|listed| (listed.snapshot.time_ns, listed.id));
}

/// Finds one snapshot among all. A prefix looks at all of them, the others only at what the filter accepts; a partial
/// snapshot is the latest only for sources that it holds.
pub fn select<'a>(all: &'a [Listed], wanted: &Wanted, filter: &Filter) -> Result<&'a Listed> {
    let whole = |listed: &&Listed| filter.accepts_whole(&listed.snapshot);
    let found = match wanted {
        Wanted::Latest(back) => all.iter().rev().filter(whole).nth(*back),
        Wanted::At(_) => {
            let before = |listed: &&Listed| wanted.reaches(&listed.snapshot);
            all.iter().rev().filter(whole).find(before)
        }
        Wanted::Prefix(prefix) => {
            return only_with_prefix(all, |listed| listed.id, prefix, "snapshot");
        }
    };
    found.ok_or_else(|| Error::NotFound {
        what: match wanted {
            Wanted::Latest(_) if all.is_empty() => "there is no snapshot yet".into(),
            Wanted::Latest(0) => "no complete snapshot fits the filters".into(),
            Wanted::Latest(back) => {
                let fitting = all.iter().filter(whole).count();
                format!("latest~{back} goes back too far: {fitting} complete snapshots fit")
            }
            _ => "there is no complete snapshot at or before that time".into(),
        },
    })
}

/// The newest partial snapshot that was passed over for the one that was selected, or for want of one.
pub fn passed_over<'a>(
    all: &'a [Listed],
    wanted: &Wanted,
    filter: &Filter,
    selected: Option<&Listed>,
) -> Option<&'a Listed> {
    if matches!(wanted, Wanted::Prefix(_)) {
        return None;
    }
    let is_newer = |listed: &&Listed| selected.is_none_or(|selected| selected.id != listed.id);
    let mut newer = all.iter().rev().take_while(is_newer);
    newer.find(|listed| filter.misses(&listed.snapshot) && wanted.reaches(&listed.snapshot))
}

/// The only one whose id begins so; `what` it is one of, for the error.
pub fn only_with_prefix<T>(
    all: impl IntoIterator<Item = T>,
    id: impl Fn(&T) -> SnapshotId,
    prefix: &str,
    what: &str,
) -> Result<T> {
    let mut found = all.into_iter().filter(|one| id(one).matches_prefix(prefix));
    let what = match (found.next(), found.next()) {
        (Some(only), None) => return Ok(only),
        (Some(first), Some(second)) => {
            format!("{prefix} could be {} or {}", id(&first), id(&second))
        }
        (None, _) => format!("no {what} begins with {prefix}"),
    };
    Err(Error::NotFound { what })
}
