//! Forgetting: a marker for each snapshot. Nothing is removed before a prune, and until its sweep `undelete` brings it back.

use std::collections::BTreeSet;

use crate::backend::ObjectKey;
use crate::error::{Error, Result};
use crate::id::SnapshotId;
use crate::repo::Repo;
use crate::session::ForgottenRecord;

/// What was forgotten.
#[derive(Debug, Default)]
pub struct ForgetReport {
    /// Snapshots that are forgotten now.
    pub forgotten: Vec<SnapshotId>,
    /// Snapshots that could not be, and why.
    pub failed: Vec<(SnapshotId, Error)>,
}

/// Puts the markers. One that fails does not keep the others.
pub fn forget(
    repo: &Repo,
    ids: &[SnapshotId],
    reason: &str,
    host: &str,
    now_ns: i64,
) -> Result<ForgetReport> {
    // One that cannot be read can be forgotten: no prune could do without it before.
    let found = repo.readable_snapshots()?;
    let damaged = found.damaged.iter().filter_map(|record| record.snapshot);
    let live: BTreeSet<_> = found
        .snapshots
        .iter()
        .map(|listed| listed.id)
        .chain(damaged)
        .collect();
    let mut report = ForgetReport::default();
    for id in ids {
        if !live.contains(id) {
            let what = format!("there is no snapshot {id}");
            report.failed.push((*id, Error::NotFound { what }));
            continue;
        }
        let record = ForgottenRecord {
            time_ns: now_ns,
            host: host.into(),
            reason: reason.into(),
        };
        match repo.put_small(&ObjectKey::forgotten(*id), &record) {
            Ok(()) => report.forgotten.push(*id),
            Err(error) => report.failed.push((*id, error)),
        }
    }
    Ok(report)
}
