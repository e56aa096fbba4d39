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
    let live: BTreeSet<_> = repo
        .snapshots()?
        .into_iter()
        .map(|listed| listed.id)
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
