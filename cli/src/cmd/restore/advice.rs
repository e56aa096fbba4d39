//! What to do where an earlier restore cannot be ended as asked.

use keepstone_engine::Error as EngineError;
use keepstone_engine::id::ObjectId;
use keepstone_engine::restore::JournalEntry;
use keepstone_engine::source::{Phase, SourceErrorKind, Target};

use super::earlier::is_dropping;
use crate::error::CliError;

/// Of a restore whose kept state may be gone in part.
pub(super) fn is_discarded(entry: &JournalEntry) -> CliError {
    let id = entry.id.short();
    if !is_dropping(entry) {
        let refused = format!("restore {id} can no longer be undone: it had replaced nothing");
        let hint = format!("Finish it with keepstone restore --resume {id}.");
        return CliError::Refused(refused).hint(hint);
    }
    let refused =
        format!("restore {id} can no longer be undone: what it had kept is being dropped");
    let hint = format!("Finish that with keepstone restore --discard-old {id}.");
    CliError::Refused(refused).hint(hint)
}

/// Says how to go on where a rollback would take away what its restore has not made.
pub(super) fn advise_rollback(
    error: EngineError,
    entry: &JournalEntry,
    target: &dyn Target,
) -> CliError {
    if !is_occupied(&error) {
        return error.into();
    }
    // What was not switched for sure is let be by it.
    let may_discard = entry.phase < Phase::Switched || target.may_discard(&entry.plan).is_ok();
    let first = if may_discard {
        ""
    } else {
        "remove what is kept yourself, and then "
    };
    CliError::from(error).hint(format!(
        "What is live was left as it is. To stay with it, {first}say --discard-old {}; to go back all the same, put what is \
         live away first, with what lies beside it (SQLite's -wal and -journal).",
        entry.id.short()
    ))
}

/// Says how to go on where nothing shows that what is kept is not all there is.
pub(super) fn advise_discard(error: EngineError, id: ObjectId) -> CliError {
    if !is_occupied(&error) {
        return error.into();
    }
    CliError::from(error).hint(format!(
        "What is live was left as it is. Bring back what shows that this restore made it, or remove what is kept yourself; \
         then say --discard-old {} again.",
        id.short()
    ))
}

fn is_occupied(error: &EngineError) -> bool {
    matches!(error, EngineError::Source { source, .. } if source.kind() == SourceErrorKind::Occupied)
}
