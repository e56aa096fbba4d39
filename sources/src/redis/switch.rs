//! The switch and its undoing: each one transaction, decided by markers alone.
//!
//! | marker | live data | switch | rollback | discard |
//! |---|---|---|---|---|
//! | none | old, unless discarded | refused | nothing to do before the switch, refused after it | nothing to do |
//! | staging | old | refused | empties the spare databases | refused |
//! | staged | old | switches | empties the spare databases | refused |
//! | kept | new | finishes | switches back | empties what it kept, or takes its notes out where nothing is said to be kept |
//! | undone | old | refused | nothing to do | nothing to do |
//!
//! The marker of the first database (`State::control`) decides; a switch and its undoing also need the same of every
//! other one, since whoever empties a database takes its marker along. Staged are all databases of the restore, kept
//! those that hold what was live: where one of them is not, nothing is touched.
//!
//! Whatever step a process is killed at, the server has done all of a transaction or nothing. Where single keys are moved,
//! the mark also stays in the database they were staged in, until it is known that all of them were: a key that is
//! still there was not restored, and what is live under its name was not kept.

use std::collections::BTreeMap;

use keepstone_engine::source::{Phase, SourceError, SourceErrorKind};

use super::client::{Answer, Client, Value, integer_of, unexpected};
use super::marker::{MARKER_KEY, NEW_FUNCTIONS_KEY, OLD_FUNCTIONS_KEY, OWN_KEYS, Stage};
use super::names::Names;
use super::plan::{Place, State};
use super::resp::Batch;
use super::stage::all_done;
use super::transaction::{Found, Transaction, first_without};
use super::without_room;

/// How long the mark of an undone restore stays, so that undoing it a second time is known to be done.
pub(super) const UNDONE_MS: &str = "604800000";

/// Puts the staged data in the place of the live data; nothing to do where that was done.
pub(super) fn switch(client: &mut Client, state: &State) -> Result<(), SourceError> {
    let act = "switch to the restored data";
    let (found, mut transaction) =
        Transaction::watch(client, act, state.id, state.all_databases())?;
    let control = control(&found, state);
    if control == Found::Ours(Stage::Kept) {
        transaction.leave()?;
        all_kept(&found, state, act)?;
        let moved = settle_moves(client, state);
        or_undo(client, state, moved)?;
        return settle_functions(client, state);
    }
    if let Some((db, other)) = first_without(&found, state.own_databases(), Stage::Staged) {
        transaction.leave()?;
        return Err(match control {
            Found::Ours(Stage::Staged) => cannot_switch(db, other),
            control => cannot_switch(state.control(), control),
        });
    }
    if let Err(taken) = check_targets(&found, state, act) {
        transaction.leave()?;
        return Err(taken);
    }
    let functions = functions(transaction.client(), state, NEW_FUNCTIONS_KEY)?;
    let notes = check_kept(transaction.client(), state)?;
    // All questions come before the first command: behind it nothing is answered.
    let names = Names::of_all(transaction.client(), state)?;
    for keep in state.places.iter().filter_map(|place| place.keep) {
        transaction.select(keep)?;
        transaction.push(&["DBSIZE"])?;
    }
    for (place, names) in state.places.iter().zip(&names) {
        match place.keep {
            None => push_swap(&mut transaction, *place)?,
            Some(keep) => {
                push_moves(&mut transaction, *place, keep, names)?;
                transaction.mark(Stage::Kept, state.id, place.target)?;
            }
        }
        transaction.select(place.bookkeeping())?;
        transaction.mark(Stage::Kept, state.id, place.target)?;
    }
    if let Some(payload) = &functions {
        transaction.push(&[b"FUNCTION".as_slice(), b"RESTORE", payload, b"FLUSH"])?;
    }
    let answers = transaction.commit()?;
    let outcome = check_keeps_moved(client, state, &notes, &names, &answers)
        .and_then(|()| all_done(answers, act))
        .and_then(|()| settle_moves(client, state));
    or_undo(client, state, outcome)
}

/// A switch that did not go as it should is undone at once.
fn or_undo(
    client: &mut Client,
    state: &State,
    outcome: Result<(), SourceError>,
) -> Result<(), SourceError> {
    if outcome.is_err() {
        undo(client, state)?;
    }
    outcome
}

/// Brings back what was there before the restore, and empties what it worked in.
pub(super) fn rollback(
    client: &mut Client,
    state: &State,
    phase: Phase,
) -> Result<(), SourceError> {
    let act = "undo the restore";
    let (found, transaction) = Transaction::watch(client, act, state.id, state.own_databases())?;
    match control(&found, state) {
        Found::Ours(Stage::Kept) => {
            transaction.leave()?;
            undo(client, state)
        }
        Found::Ours(Stage::Undone) => transaction.leave(),
        Found::Ours(Stage::Staging | Stage::Staged) => {
            let emptied = empty(transaction, state, &found, act, true);
            or_without_room(emptied, client, state, act, true)
        }
        // Before a switch nothing live was touched, whoever took the marker away.
        Found::Nothing | Found::Other(_) if phase <= Phase::Staged => {
            let emptied = empty(transaction, state, &found, act, false);
            or_without_room(emptied, client, state, act, false)
        }
        Found::Nothing | Found::Other(_) => {
            transaction.leave()?;
            Err(no_longer_kept(state.control(), act))
        }
    }
}

pub(super) fn control(found: &BTreeMap<u32, Found>, state: &State) -> Found {
    found
        .get(&state.control())
        .copied()
        .unwrap_or(Found::Nothing)
}

fn is_ours(found: Found) -> bool {
    matches!(found, Found::Ours(_))
}

fn cannot_switch(db: u32, found: Found) -> SourceError {
    let (kind, why) = match found {
        Found::Ours(Stage::Undone) => (SourceErrorKind::Missing, "it was undone".to_owned()),
        Found::Ours(_) => (
            SourceErrorKind::Interrupted,
            "staging did not come to its end".to_owned(),
        ),
        Found::Nothing => (
            SourceErrorKind::Missing,
            format!("database {db} no longer holds what was staged"),
        ),
        Found::Other(_) => (
            SourceErrorKind::Occupied,
            format!("the spare database {db} holds something else"),
        ),
    };
    SourceError::new(kind, format!("cannot switch to the restored data: {why}"))
}

/// Refuses where another restore has taken a database that is this one's to fill or to empty: its marks, and what it
/// keeps there, would be taken away.
fn check_targets(
    found: &BTreeMap<u32, Found>,
    state: &State,
    act: &str,
) -> Result<(), SourceError> {
    let is_taken = |place: &&Place| {
        let there = found.get(&place.target);
        matches!(there, Some(Found::Other(Some(stage))) if *stage != Stage::Undone)
    };
    let Some(place) = state.places.iter().find(is_taken) else {
        return Ok(());
    };
    let text = format!(
        "cannot {act}: database {} holds what another restore has staged or kept: roll that back or discard it first",
        place.target
    );
    Err(SourceError::new(SourceErrorKind::Occupied, text))
}

/// Every database that should hold what was live does so.
fn all_kept(found: &BTreeMap<u32, Found>, state: &State, act: &str) -> Result<(), SourceError> {
    match first_without(found, state.keeping_databases(), Stage::Kept) {
        Some((db, _)) => Err(no_longer_kept(db, act)),
        None => Ok(()),
    }
}

fn no_longer_kept(db: u32, act: &str) -> SourceError {
    let text = format!("cannot {act}: database {db} no longer holds what the restore kept");
    SourceError::new(SourceErrorKind::Missing, text)
}

/// The databases change places; what the restore notes stays in the spare one. What an undone restore has left in the
/// live one would come along and be in the way there.
fn push_swap(transaction: &mut Transaction<'_>, place: Place) -> Result<(), SourceError> {
    let (target, staging) = (place.target.to_string(), place.staging.to_string());
    transaction.select(place.target)?;
    push_delete_notes(transaction)?;
    transaction.push(&["SWAPDB", &target, &staging])?;
    transaction.select(place.target)?;
    for key in OWN_KEYS {
        transaction.push(&[b"MOVE", key, staging.as_bytes()])?;
    }
    Ok(())
}

/// Live keys of the same names go to the keep, then the staged ones take their place.
fn push_moves(
    transaction: &mut Transaction<'_>,
    place: Place,
    keep: u32,
    names: &Names,
) -> Result<(), SourceError> {
    let (target, keep) = (place.target.to_string(), keep.to_string());
    transaction.select(place.target)?;
    names.each(&mut |name| transaction.push(&[b"MOVE", name, keep.as_bytes()]))?;
    transaction.select(place.staging)?;
    names.each(&mut |name| transaction.push(&[b"MOVE", name, target.as_bytes()]))
}

/// Switches back in one transaction and empties what is no longer needed. There is no other way, whatever it needs.
fn undo(client: &mut Client, state: &State) -> Result<(), SourceError> {
    undo_at_once(client, state).map_err(|error| {
        if !without_room::is_full(&error) {
            return error;
        }
        let text = "cannot undo the restore while the server has no memory left: raise maxmemory until that is done";
        SourceError::new(SourceErrorKind::NoSpace, text).because(error)
    })
}

fn undo_at_once(client: &mut Client, state: &State) -> Result<(), SourceError> {
    let act = "undo the restore";
    let (found, mut transaction) =
        Transaction::watch(client, act, state.id, state.all_databases())?;
    if control(&found, state) != Found::Ours(Stage::Kept) {
        return transaction.leave();
    }
    let may = all_kept(&found, state, act).and_then(|()| check_targets(&found, state, act));
    if let Err(refused) = may {
        transaction.leave()?;
        return Err(refused);
    }
    let functions = functions(transaction.client(), state, OLD_FUNCTIONS_KEY)?;
    let is_unsettled = |place: &Place| {
        place.keep.is_some() && found.get(&place.staging).copied().is_some_and(is_ours)
    };
    let mut names = Names::of_all(transaction.client(), state)?;
    for (place, names) in state.places.iter().zip(&mut names) {
        if is_unsettled(place) {
            names.drop_those_in(transaction.client(), place.staging)?;
        }
    }
    for (place, names) in state.places.iter().zip(&names) {
        match place.keep {
            None => {
                let (target, staging) = (place.target.to_string(), place.staging.to_string());
                transaction.select(place.staging)?;
                push_delete_notes(&mut transaction)?;
                transaction.push(&["SWAPDB", &target, &staging])?;
                transaction.select(place.staging)?;
            }
            Some(keep) => {
                push_moves_back(&mut transaction, *place, keep, names)?;
                if is_unsettled(place) {
                    transaction.select(place.staging)?;
                    transaction.push(&["FLUSHDB", "ASYNC"])?;
                }
                transaction.select(keep)?;
            }
        }
        transaction.push(&["FLUSHDB", "ASYNC"])?;
    }
    if let Some(payload) = &functions {
        transaction.push(&[b"FUNCTION".as_slice(), b"RESTORE", payload, b"FLUSH"])?;
    }
    push_undone(&mut transaction, state)?;
    all_done(transaction.commit()?, act)
}

/// Deletes what a restore has written for itself into the current database.
pub(super) fn push_delete_notes(transaction: &mut Transaction<'_>) -> Result<(), SourceError> {
    let mut delete = vec![b"DEL".as_slice()];
    delete.extend(OWN_KEYS);
    transaction.push(&delete)
}

/// Restored keys go away, and the kept ones come back. A kept key has a free place then, whatever came meanwhile.
fn push_moves_back(
    transaction: &mut Transaction<'_>,
    place: Place,
    keep: u32,
    names: &Names,
) -> Result<(), SourceError> {
    let target = place.target.to_string();
    transaction.select(place.target)?;
    names.each(&mut |name| transaction.push(&["UNLINK".as_bytes(), name]))?;
    transaction.select(keep)?;
    names.each(&mut |name| transaction.push(&[b"MOVE", name, target.as_bytes()]))
}

fn push_undone(transaction: &mut Transaction<'_>, state: &State) -> Result<(), SourceError> {
    transaction.select(state.control())?;
    let target = state.places.first().map_or(0, |place| place.target);
    transaction.mark(Stage::Undone, state.id, target)?;
    transaction.push(&["PEXPIRE".as_bytes(), MARKER_KEY, UNDONE_MS.as_bytes()])
}

/// Empties the databases that carry our marker, and only those.
fn empty(
    mut transaction: Transaction<'_>,
    state: &State,
    found: &BTreeMap<u32, Found>,
    act: &str,
    note_undone: bool,
) -> Result<(), SourceError> {
    for (db, _) in found.iter().filter(|(_, found)| is_ours(**found)) {
        transaction.select(*db)?;
        transaction.push(&["FLUSHDB", "ASYNC"])?;
    }
    if note_undone {
        push_undone(&mut transaction, state)?;
    }
    all_done(transaction.commit()?, act)
}

/// Where what is staged has filled the memory, it goes without a transaction. Nothing live was touched.
fn or_without_room(
    emptied: Result<(), SourceError>,
    client: &mut Client,
    state: &State,
    act: &str,
    note_undone: bool,
) -> Result<(), SourceError> {
    if !emptied.as_ref().is_err_and(without_room::is_full) {
        return emptied;
    }
    without_room::each(client, state, act, &mut |client, db, stage| match stage {
        Stage::Kept => Err(SourceError::new(
            SourceErrorKind::Interrupted,
            format!("cannot {act}: it was switched meanwhile, and database {db} is kept"),
        )),
        _ => client.call(act, &["FLUSHDB", "ASYNC"]).map(drop),
    })?;
    if note_undone {
        // Only a second undoing asks for it. The memory is given back by and by.
        let (_, mut transaction) = Transaction::watch(client, act, state.id, [state.control()])?;
        push_undone(&mut transaction, state)?;
        return match transaction.commit() {
            Err(error) if without_room::is_full(&error) => Ok(()),
            noted => all_done(noted?, act),
        };
    }
    Ok(())
}

/// The payload of functions that a step needs; none if functions are not restored.
fn functions(
    client: &mut Client,
    state: &State,
    key: &[u8],
) -> Result<Option<Vec<u8>>, SourceError> {
    if !state.functions {
        return Ok(None);
    }
    let act = "read the kept functions";
    client.select(state.control())?;
    match client.call(act, &["GET".as_bytes(), key])? {
        Value::BulkString(payload) => Ok(Some(payload)),
        _ => Err(unexpected(act, client.place())),
    }
}

/// Makes the functions the restored ones after a process died between the switch and its check.
fn settle_functions(client: &mut Client, state: &State) -> Result<(), SourceError> {
    let Some(payload) = functions(client, state, NEW_FUNCTIONS_KEY)? else {
        return Ok(());
    };
    let act = "restore the functions";
    let command: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &payload, b"FLUSH"];
    match client.ask(act, &command)? {
        Ok(_) => Ok(()),
        Err(refusal) => {
            undo(client, state)?;
            Err(refusal.of("cannot restore the functions, so the restore was undone"))
        }
    }
}

/// A key that somebody else put into a keep would be in the way of the one that is to be kept. Answers how many keys
/// each keep holds.
fn check_kept(client: &mut Client, state: &State) -> Result<Vec<Option<i64>>, SourceError> {
    let keeps = state.places.iter().filter_map(|place| place.keep);
    let check = |keep| {
        let (size, notes) = count_keys(client, keep)?;
        if size == notes {
            Ok(size)
        } else {
            Err(written_into(keep))
        }
    };
    keeps.map(check).collect()
}

fn written_into(keep: u32) -> SourceError {
    SourceError::new(
        SourceErrorKind::Occupied,
        format!("cannot switch to the restored data: somebody wrote into database {keep}"),
    )
}

/// Whether a database holds nothing but what a restore has written for itself.
pub(super) fn holds_notes_only(client: &mut Client, db: u32) -> Result<bool, SourceError> {
    let (size, notes) = count_keys(client, db)?;
    Ok(size == notes)
}

/// How many keys a database holds, and how many of them a restore has written for itself.
pub(super) fn count_keys(
    client: &mut Client,
    db: u32,
) -> Result<(Option<i64>, Option<i64>), SourceError> {
    let act = "count keys";
    client.select(db)?;
    let size = integer_of(&client.call(act, &["DBSIZE"])?);
    let mut exists = vec![b"EXISTS".as_slice()];
    exists.extend(OWN_KEYS);
    Ok((size, integer_of(&client.call(act, &exists)?)))
}

/// The keeps were in the moment of the switch what they were when we looked. If not, what is there under a name that was
/// not moved is somebody else's: it goes, so that nothing takes it for what was live.
fn check_keeps_moved(
    client: &mut Client,
    state: &State,
    notes: &[Option<i64>],
    names: &[Names],
    answers: &[Answer],
) -> Result<(), SourceError> {
    let number = |answer: Option<&Answer>| answer?.as_ref().ok().and_then(integer_of);
    let keeps: Vec<u32> = state.places.iter().filter_map(|place| place.keep).collect();
    let mut answers = answers.iter();
    let mut written = None;
    for (keep, notes) in keeps.iter().zip(notes) {
        // The answer before is that of SELECT.
        if number(answers.nth(1)) != *notes {
            written = Some(*keep);
        }
    }
    let Some(written) = written else {
        return Ok(());
    };
    for (keep, names) in keeps.iter().zip(names) {
        let mut batch = Batch::default();
        batch.push(&["SELECT", &keep.to_string()]);
        answers.next();
        names.each(&mut |name| {
            if number(answers.next()) == Some(0) {
                batch.push(&[b"UNLINK".as_slice(), name]);
            }
            Ok(())
        })?;
        client.pipeline("free the names of the kept keys", &batch)?;
        // SELECT, the moves of what was staged, its mark, SELECT, the mark of what is kept.
        answers.nth(names.count() + 3);
    }
    Err(written_into(written))
}

/// After single keys were moved nothing is left where they were staged: that database is free again.
fn settle_moves(client: &mut Client, state: &State) -> Result<(), SourceError> {
    let act = "leave the spare database";
    let staging = |place: &Place| place.keep.map(|_| place.staging);
    let databases = state.places.iter().filter_map(staging);
    let (found, mut transaction) = Transaction::watch(client, act, state.id, databases)?;
    let ours: Vec<u32> = found
        .iter()
        .filter(|(_, found)| is_ours(**found))
        .map(|(db, _)| *db)
        .collect();
    for db in &ours {
        if !holds_notes_only(transaction.client(), *db)? {
            transaction.leave()?;
            return Err(SourceError::new(
                SourceErrorKind::Other,
                format!(
                    "cannot switch to the restored data: database {db} still holds staged keys"
                ),
            ));
        }
    }
    for db in &ours {
        transaction.select(*db)?;
        transaction.push(&["DEL".as_bytes(), MARKER_KEY])?;
    }
    all_done(transaction.commit()?, act)
}
