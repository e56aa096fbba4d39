//! What a switch has kept: telling it, and removing it for good.
//!
//! A database is emptied only while it carries the mark of the restore. One that holds keys without the mark may hold
//! what was kept or what somebody has put there since: nobody can tell, so nothing is removed.

use std::collections::BTreeMap;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::Client;
use super::marker::{MARKER_KEY, Marker, OWN_KEYS, Stage};
use super::plan::{Place, State};
use super::stage::all_done;
use super::switch::{UNDONE_MS, control, count_keys, holds_notes_only, push_delete_notes};
use super::transaction::{Found, Transaction};
use super::without_room;

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

/// Refuses what `discard` would refuse, and changes nothing. A server that cannot be reached has lost nothing: the way
/// back stays.
pub(super) fn may_discard(
    client: &mut Client,
    state: &State,
    kept: &[String],
) -> Result<(), SourceError> {
    let (found, mut transaction) =
        Transaction::watch(client, ACT, state.id, state.own_databases())?;
    check(transaction.client(), state, kept, &found)?;
    transaction.leave()
}

/// Removes what the switch had kept, and what the restore wrote for itself. Of databases that are said to keep
/// nothing no other key is touched: a look and an emptying are two moments.
pub(super) fn discard(
    client: &mut Client,
    state: &State,
    kept: &[String],
) -> Result<(), SourceError> {
    match discard_at_once(client, state, kept) {
        Err(error) if without_room::is_full(&error) => discard_without_room(client, state, kept),
        done => done,
    }
}

fn discard_at_once(client: &mut Client, state: &State, kept: &[String]) -> Result<(), SourceError> {
    let (found, mut transaction) =
        Transaction::watch(client, ACT, state.id, state.own_databases())?;
    if let Err(refused) = check(transaction.client(), state, kept, &found) {
        transaction.leave()?;
        return Err(refused);
    }
    if is_any_kept(&found) {
        empty_kept(transaction, state, kept, &found)?;
    } else {
        transaction.leave()?;
    }
    delete_marks(client, state)
}

fn discard_without_room(
    client: &mut Client,
    state: &State,
    kept: &[String],
) -> Result<(), SourceError> {
    without_room::each(client, state, ACT, &mut |client, db, stage| {
        if stage != Stage::Undone && is_to_empty(state, kept, db) {
            return client.call(ACT, &["FLUSHDB", "ASYNC"]).map(drop);
        }
        let mut delete = vec![b"DEL".as_slice()];
        delete.extend(OWN_KEYS);
        client.call(ACT, &delete).map(drop)
    })
}

/// Refuses a discard that could remove something else than what was kept.
fn check(
    client: &mut Client,
    state: &State,
    kept: &[String],
    found: &BTreeMap<u32, Found>,
) -> Result<(), SourceError> {
    let control = control(found, state);
    if matches!(control, Found::Ours(Stage::Staging | Stage::Staged)) {
        return Err(SourceError::new(
            SourceErrorKind::Occupied,
            "cannot discard what the restore kept: it was not switched, so roll it back",
        ));
    }
    let any_kept = is_any_kept(found);
    // Behind an undone restore, or an emptying that was done, the databases are anybody's. Where nothing is said to be
    // kept nothing is emptied.
    if (any_kept && kept.is_empty()) || (!any_kept && control == Found::Ours(Stage::Undone)) {
        return Ok(());
    }
    check_unmarked(client, state, kept, found)
}

fn is_any_kept(found: &BTreeMap<u32, Found>) -> bool {
    found.values().any(|one| *one == Found::Ours(Stage::Kept))
}

/// Whether a place is said to keep something.
fn holds(place: &Place, kept: &[String]) -> bool {
    place.keep.is_some() || kept.contains(&place.whole_kept())
}

/// Whether all that is in a database of ours is said to be kept: if not, only our notes go.
fn is_to_empty(state: &State, kept: &[String], db: u32) -> bool {
    let belongs = |place: &Place| place.staging == db || place.keep == Some(db);
    let mut places = state.places.iter();
    !kept.is_empty() && places.any(|place| belongs(place) && holds(place, kept))
}

/// Empties what is marked as kept. The marks of what is done stay until it is known to be: whoever was killed here finds
/// them, and not a database that somebody uses by then.
fn empty_kept(
    mut transaction: Transaction<'_>,
    state: &State,
    kept: &[String],
    found: &BTreeMap<u32, Found>,
) -> Result<(), SourceError> {
    let is_kept = |found: Found| matches!(found, Found::Ours(stage) if stage != Stage::Undone);
    for (db, _) in found.iter().filter(|(_, found)| is_kept(**found)) {
        transaction.select(*db)?;
        if !is_to_empty(state, kept, *db) {
            push_delete_notes(&mut transaction)?;
            continue;
        }
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
    for place in state.places.iter().filter(|place| holds(place, kept)) {
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
