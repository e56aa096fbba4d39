//! What a switch has kept: telling it, and removing it for good.
//!
//! A database is emptied only while it carries the mark of the restore. One that holds keys without the mark may hold
//! what was kept or what somebody has put there since: nobody can tell, so nothing is removed.

use std::collections::BTreeMap;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::Client;
use super::marker::{MARKER_KEY, Marker, Stage};
use super::plan::{Place, State};
use super::stage::all_done;
use super::switch::{UNDONE_MS, control, count_keys, holds_notes_only, is_ours, push_delete_notes};
use super::transaction::{Found, Transaction};

const ACT: &str = "discard what the restore kept";

/// What the switch has kept, for people: what was planned, and what came into an empty database before the switch.
pub(super) fn kept(
    client: &mut Client,
    state: &State,
    planned: &[String],
) -> Result<Vec<String>, SourceError> {
    let mut kept = planned.to_vec();
    for place in state.places.iter().filter(|place| place.keep.is_none()) {
        let whole = place.whole_kept();
        if !kept.contains(&whole) && !holds_notes_only(client, place.staging)? {
            kept.push(whole);
        }
    }
    Ok(kept)
}

/// Removes what the switch had kept, and what the restore wrote for itself. Of databases that are said to keep
/// nothing no other key is touched: a look and an emptying are two moments.
pub(super) fn discard(
    client: &mut Client,
    state: &State,
    kept: &[String],
) -> Result<(), SourceError> {
    let (found, mut transaction) =
        Transaction::watch(client, ACT, state.id, state.own_databases())?;
    let control = control(&found, state);
    if matches!(control, Found::Ours(Stage::Staging | Stage::Staged)) {
        transaction.leave()?;
        return Err(SourceError::new(
            SourceErrorKind::Occupied,
            "cannot discard what the restore kept: it was not switched, so roll it back",
        ));
    }
    let any_kept = found.values().any(|one| *one == Found::Ours(Stage::Kept));
    if any_kept && kept.is_empty() {
        for (db, _) in found.iter().filter(|(_, found)| is_ours(**found)) {
            transaction.select(*db)?;
            push_delete_notes(&mut transaction)?;
        }
        return all_done(transaction.commit()?, ACT);
    }
    // Behind an undone restore, or an emptying that was done, the databases are anybody's.
    if (any_kept || control != Found::Ours(Stage::Undone))
        && let Err(unmarked) = check_unmarked(transaction.client(), state, kept, &found)
    {
        transaction.leave()?;
        return Err(unmarked);
    }
    if any_kept {
        empty_kept(transaction, state, &found)?;
    } else {
        transaction.leave()?;
    }
    delete_marks(client, state)
}

/// Empties what is marked as kept. The marks of what is done stay until it is known to be: whoever was killed here finds
/// them, and not a database that somebody uses by then.
fn empty_kept(
    mut transaction: Transaction<'_>,
    state: &State,
    found: &BTreeMap<u32, Found>,
) -> Result<(), SourceError> {
    let is_kept = |found: Found| matches!(found, Found::Ours(stage) if stage != Stage::Undone);
    for (db, _) in found.iter().filter(|(_, found)| is_kept(**found)) {
        transaction.select(*db)?;
        transaction.push(&["FLUSHDB", "ASYNC"])?;
        transaction.mark(Stage::Undone, state.id, state.target_of(*db))?;
        transaction.push(&["PEXPIRE".as_bytes(), MARKER_KEY, UNDONE_MS.as_bytes()])?;
    }
    all_done(transaction.commit()?, ACT)
}

/// Takes the marks away that tell of something done: somebody may use the databases again.
fn delete_marks(client: &mut Client, state: &State) -> Result<(), SourceError> {
    let (found, mut transaction) =
        Transaction::watch(client, ACT, state.id, state.own_databases())?;
    let is_undone = |found: Found| found == Found::Ours(Stage::Undone);
    for (db, _) in found.iter().filter(|(_, found)| is_undone(**found)) {
        transaction.select(*db)?;
        transaction.push(&["DEL".as_bytes(), MARKER_KEY])?;
    }
    all_done(transaction.commit()?, ACT)
}

/// Refuses where a database should hold what was kept, has keys, and no mark tells whose they are. The mark of another
/// restore tells enough: that one took the database when it was empty.
fn check_unmarked(
    client: &mut Client,
    state: &State,
    kept: &[String],
    found: &BTreeMap<u32, Found>,
) -> Result<(), SourceError> {
    let should_hold = |place: &&Place| place.keep.is_some() || kept.contains(&place.whole_kept());
    for place in state.places.iter().filter(should_hold) {
        let db = place.bookkeeping();
        if let Some(Found::Ours(_) | Found::Other(Some(_))) = found.get(&db) {
            continue;
        }
        let (keys, _) = count_keys(client, db)?;
        let Some(keys) = keys.filter(|keys| *keys > 0) else {
            continue;
        };
        let text = format!(
            "cannot {ACT}: database {db} holds {keys} keys and no mark of the restore tells whether they are that"
        );
        let mark = Marker {
            stage: Stage::Undone,
            id: state.id,
            target: place.target,
        };
        return Err(
            SourceError::new(SourceErrorKind::Occupied, text).because(format!(
                "if they are, empty database {db}; if they are not, set keepstone:restore there to \"{mark}\""
            )),
        );
    }
    Ok(())
}
