//! Restoring into a live system: plan, stage beside, validate, switch. The journal is written before every effect, so that at
//! any kill the next process knows whether live data is all old or all new, or can make it so.

use super::journal::{Journal, JournalEntry};
use super::source_failed;
use crate::backup::{Cancel, chain};
use crate::error::{Error, Result};
use crate::progress::{Event, Observer};
use crate::source::{Items, Phase, SourceErrorKind, Target, Validation};

/// What a restore did.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreReport {
    /// The journal entry: what was planned, and how far it came.
    pub entry: JournalEntry,
    /// What validation found; none for a step that was only taken up again.
    pub validation: Option<Validation>,
}

/// Which way to end what was left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Finish the switch.
    Finish,
    /// Bring back what was there before.
    Undo,
}

/// Carries a planned restore out. `entry` holds the plan that the user has agreed to.
pub fn restore_to(
    items: &dyn Items,
    target: &dyn Target,
    mut entry: JournalEntry,
    journal: &Journal,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<RestoreReport> {
    entry.phase = Phase::Staging;
    journal.write(&entry)?;
    match stage_and_validate(items, target, &entry, observer, cancel) {
        Ok(validation) => {
            entry.phase = Phase::Staged;
            journal.write(&entry)?;
            observer.event(Event::Phase { name: "switching" });
            switch(target, &mut entry, journal)?;
            Ok(RestoreReport {
                entry,
                validation: Some(validation),
            })
        }
        Err(error) => Err(undo_after(error, target, &entry, journal)),
    }
}

/// Undoes a restore that failed. If that fails too, both failures are told: the first is what the user has to mend.
fn undo_after(error: Error, target: &dyn Target, entry: &JournalEntry, journal: &Journal) -> Error {
    match undo(target, entry, journal) {
        Ok(()) => error,
        Err(undone) => Error::NotUndone {
            failure: chain(&error),
            source: Box::new(undone),
        },
    }
}

fn stage_and_validate(
    items: &dyn Items,
    target: &dyn Target,
    entry: &JournalEntry,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Validation> {
    let failed = |error| source_failed(&entry.source, error);
    cancel.check()?;
    observer.event(Event::Phase { name: "staging" });
    target.stage(&entry.plan, items).map_err(failed)?;
    cancel.check()?;
    observer.event(Event::Phase { name: "validating" });
    let validation = target.validate(&entry.plan, items).map_err(failed)?;
    if let Some(difference) = validation.differences.first() {
        let (name, difference) = (entry.source.clone(), difference.clone());
        return Err(Error::Validation { name, difference });
    }
    cancel.check()?;
    Ok(validation)
}

/// A switch that fails is undone; one that is killed is taken up by `recover`.
fn switch(target: &dyn Target, entry: &mut JournalEntry, journal: &Journal) -> Result<()> {
    entry.phase = Phase::Switching;
    journal.write(entry)?;
    if let Err(error) = target.switch(&entry.plan) {
        let error = source_failed(&entry.source, error);
        return Err(undo_after(error, target, entry, journal));
    }
    // Live data may have come since the plan. If that cannot be told now, whoever takes the restore up asks again.
    let kept = target.kept(&entry.plan);
    entry.plan.keeps = kept.map_err(|error| source_failed(&entry.source, error))?;
    entry.phase = Phase::Switched;
    journal.write(entry)?;
    if entry.plan.keeps.is_empty() {
        // There is nothing to go back to: the marks that a way back would need go at once.
        discard(target, entry, journal)?;
    }
    Ok(())
}

fn undo(target: &dyn Target, entry: &JournalEntry, journal: &Journal) -> Result<()> {
    if entry.phase == Phase::Discarding {
        let what = format!(
            "restore {} can no longer be undone: what it had kept is being dropped",
            entry.id
        );
        return Err(Error::Refused { what });
    }
    target
        .rollback(&entry.plan, entry.phase)
        .map_err(|error| source_failed(&entry.source, error))?;
    journal.remove(entry.id)
}

/// Entries whose restore or discard was killed: not switched, or switched where nothing is kept and not yet tidied up.
pub fn unfinished(entries: &[JournalEntry]) -> impl Iterator<Item = &JournalEntry> {
    entries.iter().filter(|entry| is_unfinished(entry))
}

/// Whether a restore, or the discard of what it had kept, was killed before its end.
pub fn is_unfinished(entry: &JournalEntry) -> bool {
    entry.phase != Phase::Switched || entry.plan.keeps.is_empty()
}

/// Ends what a killed restore has left. Only a begun switch or discard can be finished; what was merely staged is undone.
pub fn recover(
    target: &dyn Target,
    entry: &JournalEntry,
    journal: &Journal,
    way: Recovery,
) -> Result<RestoreReport> {
    let mut entry = entry.clone();
    match (way, entry.phase) {
        // Nothing was kept, and only the marks of the restore may be left; or what was kept is to go.
        (Recovery::Finish, Phase::Switched | Phase::Discarding) => {
            discard(target, &entry, journal)?;
        }
        (Recovery::Finish, Phase::Staged | Phase::Switching) => {
            switch(target, &mut entry, journal)?;
        }
        (Recovery::Finish, Phase::Staging) | (Recovery::Undo, _) => undo(target, &entry, journal)?,
    }
    Ok(RestoreReport {
        entry,
        validation: None,
    })
}

/// Brings back what a finished restore had replaced.
pub fn rollback(target: &dyn Target, entry: &JournalEntry, journal: &Journal) -> Result<()> {
    undo(target, entry, journal)
}

/// Removes what a finished restore had replaced and kept. Once begun it can only be finished: what is left of it does
/// not tell a target what was there.
pub fn discard(target: &dyn Target, entry: &JournalEntry, journal: &Journal) -> Result<()> {
    if entry.phase < Phase::Switched {
        let what = format!(
            "restore {} is not finished: undo or finish it first",
            entry.id
        );
        return Err(Error::Refused { what });
    }
    if entry.phase == Phase::Switched {
        // What cannot even begin leaves the way back.
        target
            .may_discard(&entry.plan)
            .map_err(|error| source_failed(&entry.source, error))?;
    }
    let mut begun = entry.clone();
    begun.phase = Phase::Discarding;
    journal.write(&begun)?;
    if let Err(error) = target.discard(&entry.plan) {
        if error.kind() == SourceErrorKind::Occupied {
            // Nothing was removed now; what was before says the entry.
            journal.write(entry)?;
        }
        return Err(source_failed(&entry.source, error));
    }
    journal.remove(entry.id)
}
