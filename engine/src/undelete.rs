//! Bringing a forgotten snapshot back: a new session that commits the same trees, by the writer's steps. Nothing is
//! un-forgotten. A changed tag is the same act.

use std::sync::Arc;

use crate::backend::ObjectKey;
use crate::backup::{Builders, Cancel, WriterHistory, commit, load_for_writing};
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::id::{SessionId, SnapshotId};
use crate::prune::{finish_copies, ground_for_copies, reach::Reach, rescue};
use crate::repo::Repo;
use crate::session::SessionRecord;
use crate::snapshot::Snapshot;
use crate::snapshot::format::End;

/// Commits a snapshot anew: what is condemned is copied, what is gone makes it fail. Answers its new name.
pub fn recommit(
    repo: &Repo,
    original: SnapshotId,
    snapshot: Snapshot,
    record: &SessionRecord,
    history: &WriterHistory,
    cancel: &Cancel,
) -> Result<(SnapshotId, WriterHistory)> {
    let session = SessionId(random());
    repo.put_small(&ObjectKey::session(session), record)?;
    let done = carry_out(repo, session, original, snapshot, record, history, cancel);
    if let Err(error) = &done {
        let reason = error.to_string();
        let end = End::Aborted {
            time_ns: record.start_ns,
            host: record.host.clone(),
            reason,
        };
        repo.put_end(session, &repo.seal_end(session, &end))?;
    }
    done.map(|history| (session, history))
}

fn carry_out(
    repo: &Repo,
    session: SessionId,
    original: SnapshotId,
    snapshot: Snapshot,
    record: &SessionRecord,
    history: &WriterHistory,
    cancel: &Cancel,
) -> Result<WriterHistory> {
    let store = load_for_writing(repo)?;
    let ground = ground_for_copies(repo, store, session);
    let mut builders = Builders::new(Arc::clone(&ground));
    let store = Arc::clone(&ground.store);
    let mut reach = Reach::new(&store, cancel);
    reach
        .snapshot(&snapshot, &mut |reached| {
            rescue(&ground, &mut builders, reached).map(drop)
        })
        .map_err(|error| match error {
            Error::Missing { .. } | Error::MissingChunk { .. } => Error::Refused {
                what: format!(
                    "snapshot {original} cannot be brought back: part of it has been pruned"
                ),
            },
            other => other,
        })?;
    builders.flush()?;
    drop(builders);
    finish_copies(ground)?;
    let snapshot = Snapshot {
        original: Some(original),
        writer: record.writer,
        counter: history.counter,
        previous: history.previous.clone(),
        ..snapshot
    };
    commit(repo, session, &snapshot)
}
