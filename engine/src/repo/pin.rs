//! What a client remembers of a repository, to notice that it was replaced or that snapshots were taken away. Pure.
//!
//! A store can show an older state of itself, or another repository under the same address; seals do not tell. The newest
//! snapshot of each writer that was ever seen must still be there, or be forgotten by a record.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{RepoId, SnapshotId, WriterId};
use crate::snapshot::select::Listed;

/// What was seen of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its identity.
    pub repository: RepoId,
    /// Fingerprint of its root key.
    pub key: String,
    /// The newest snapshot of each writer.
    #[serde(default)]
    pub heads: BTreeMap<WriterId, Head>,
}

/// The newest snapshot of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its name.
    pub snapshot: SnapshotId,
    /// How many the writer had committed before it.
    pub counter: u64,
}

impl Pin {
    /// Refuses another repository or another key in the place of the one that is remembered.
    pub fn check_identity(&self, repository: RepoId, key: &str) -> Result<()> {
        let what = if self.repository != repository {
            format!(
                "the repository is {repository}, this machine remembers {} there",
                self.repository
            )
        } else if self.key != key {
            format!("the key of repository {repository} is not the one that this machine remembers")
        } else {
            return Ok(());
        };
        Err(Error::RolledBack { what })
    }

    /// The remembered snapshots that are not listed any more: forgotten, or taken away.
    pub fn missing_from(&self, listed: &[Listed]) -> Vec<Head> {
        let listed: BTreeSet<_> = listed.iter().map(|listed| listed.id).collect();
        let heads = self.heads.values().copied();
        heads
            .filter(|head| !listed.contains(&head.snapshot))
            .collect()
    }

    /// Remembers what is newer than what was known. Answers whether anything was.
    pub fn take(&mut self, listed: &[Listed]) -> bool {
        let before = self.heads.clone();
        for Listed { id, snapshot, .. } in listed {
            let head = Head {
                snapshot: *id,
                counter: snapshot.counter,
            };
            let known = self.heads.entry(snapshot.writer).or_insert(head);
            if known.counter < head.counter {
                *known = head;
            }
        }
        self.heads != before
    }
}

/// Refuses a listing from which snapshots are missing that no record forgets.
pub fn check_missing(missing: &[Head], forgotten: &BTreeSet<SnapshotId>) -> Result<()> {
    match missing
        .iter()
        .find(|head| !forgotten.contains(&head.snapshot))
    {
        None => Ok(()),
        Some(head) => Err(Error::RolledBack {
            what: format!(
                "snapshot {}, which this machine has seen, is gone without having been forgotten",
                head.snapshot
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(heads: &[(u8, u8, u64)]) -> Pin {
        let head = |snapshot, counter| Head {
            snapshot: SnapshotId::from_bytes([snapshot; 16]),
            counter,
        };
        Pin {
            repository: RepoId::from_bytes([1; 16]),
            key: "k".into(),
            heads: heads
                .iter()
                .map(|(writer, snapshot, counter)| {
                    (
                        WriterId::from_bytes([*writer; 16]),
                        head(*snapshot, *counter),
                    )
                })
                .collect(),
        }
    }

    #[test]
    fn another_repository_and_another_key_are_refused() {
        let pin = pin(&[]);
        let check = |id, key: &str| {
            pin.check_identity(RepoId::from_bytes([id; 16]), key)
                .is_ok()
        };
        assert!(check(1, "k"));
        assert!(!check(2, "k"));
        assert!(!check(1, "l"));
    }

    #[test]
    fn what_is_gone_must_have_been_forgotten() {
        let missing = pin(&[(1, 7, 3), (2, 8, 0)]).missing_from(&[]);
        assert_eq!(missing.len(), 2);
        let forgotten = |ids: &[u8]| {
            let ids = ids.iter().map(|id| SnapshotId::from_bytes([*id; 16]));
            check_missing(&missing, &ids.collect()).is_ok()
        };
        assert!(forgotten(&[7, 8, 9]));
        assert!(!forgotten(&[7]));
        assert!(!forgotten(&[]));
    }
}
