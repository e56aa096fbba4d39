//! What earlier restores have kept or left: it is listed, finished, undone or dropped. Nothing is touched that a process
//! still works on.

use std::sync::Arc;

use keepstone_engine::Error as EngineError;
use keepstone_engine::id::ObjectId;
use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::{
    CapturedItems, HeldEntry, Journal, JournalEntry, Recovery, discard as discard_old,
    is_unfinished, recover, rollback as roll_back, unfinished,
};
use keepstone_engine::source::{Phase, SourceErrorKind, Target};
use serde::Serialize;

use super::DatabaseArgs;
use super::live::{accept_command, carry_out, is_command, journal, journal_if_any, tell_kept};
use super::record::spec_of;
use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::reference::HexPrefix;
use crate::repository::parallel;
use crate::time::rfc3339;
use crate::ui::Table;
use crate::ui::format::printable;
use crate::ui::table::Align;

/// A restore as `--json` gives it.
#[derive(Serialize)]
pub(super) struct EntryObject<'a> {
    id: String,
    time: String,
    source: &'a str,
    target: &'a str,
    phase: Phase,
    kept: &'a [String],
}

#[derive(Serialize)]
struct ListedObject<'a> {
    #[serde(flatten)]
    entry: EntryObject<'a>,
    left: &'a [String],
    running: bool,
}

/// Said of a rollback that finds nothing to bring back.
const AND_SINCE: &str = ", with every change made to it since";
/// Said of a rollback that brings something back.
const AND_DROP: &str = ", and drop what has taken its place, with every change made to it since";

/// An earlier restore that is to be ended, and how.
pub(super) struct Ending<'a> {
    pub(super) id: &'a HexPrefix,
    pub(super) force: bool,
    pub(super) dry_run: bool,
    pub(super) context: &'a Context,
}

/// An earlier restore that nobody else works on, until this is dropped.
struct Found {
    journal: Journal,
    entry: JournalEntry,
    target: Box<dyn Target>,
    _held: HeldEntry,
}

/// Lists what earlier restores have kept or left.
pub(super) fn list(context: &Context) -> Result<ExitCode, CliError> {
    let Some(journal) = journal_if_any(context)? else {
        return Ok(nothing_left(context));
    };
    let (entries, unreadable) = journal.list()?;
    let columns = ["ID", "Time", "Source", "Target", "State", "Keeps"];
    let mut table = Table::new(&columns.map(|name| (name, Align::Left)));
    for entry in &entries {
        let running = journal.is_held(entry.id)?;
        let state = match (running, is_unfinished(entry)) {
            (true, _) => "running",
            (false, true) => "UNFINISHED",
            (false, false) => "done",
        };
        table.row([
            entry.id.short(),
            context.clock.show(entry.time_ns),
            entry.source.clone(),
            entry.address.clone(),
            state.into(),
            kept_or_left(entry),
        ]);
        context.ui.object("restore", &listed(entry, running))?;
    }
    for problem in &unreadable {
        context.ui.warning(&printable(problem));
    }
    if entries.is_empty() {
        return Ok(match unreadable.as_slice() {
            [] => nothing_left(context),
            _ => ExitCode::Done,
        });
    }
    context.ui.table(table)?;
    Ok(ExitCode::Done)
}

/// What lies where because of a restore, for people.
fn kept_or_left(entry: &JournalEntry) -> String {
    if is_dropping(entry) {
        return format!("drops {}", entry.plan.keeps.join(", "));
    }
    match left_of(entry) {
        [] => kept_of(entry).join(", "),
        left => format!("may have left {}", left.join(", ")),
    }
}

/// What is kept: nothing is before the switch began.
fn kept_of(entry: &JournalEntry) -> &[String] {
    if entry.phase < Phase::Switching {
        &[]
    } else {
        &entry.plan.keeps
    }
}

/// What a restore may have made beside the live data, if it has not come to its switch.
fn left_of(entry: &JournalEntry) -> &[String] {
    if entry.phase < Phase::Switching {
        &entry.plan.creates
    } else {
        &[]
    }
}

fn listed(entry: &JournalEntry, running: bool) -> ListedObject<'_> {
    ListedObject {
        entry: object_of(entry),
        left: left_of(entry),
        running,
    }
}

fn nothing_left(context: &Context) -> ExitCode {
    let text = "no earlier restore has kept or left anything";
    context.ui.status(text);
    ExitCode::Done
}

/// Names restores that did not come to their end. What cannot be looked at keeps nobody from a restore.
pub(crate) fn name_unfinished(context: &Context) {
    let unfinished = match unfinished_ones(context) {
        Ok(entries) => entries,
        Err(error) => {
            let why = error.message();
            let text = format!("restores that were cut off earlier cannot be looked for: {why}");
            return context.ui.warning(&printable(&text));
        }
    };
    for entry in unfinished {
        let id = entry.id.short();
        let what = format!("a restore of {} to {}", entry.source, entry.address);
        context.ui.warning(&printable(&if is_command(&entry) {
            let advice = accept_command(entry.id);
            format!("{what} failed or was cut off. {advice}")
        } else if is_dropping(&entry) {
            let kept = entry.plan.keeps.join(", ");
            format!("dropping {kept}, which {what} had kept, was cut off: finish it with keepstone restore --discard-old {id}")
        } else {
            format!(
                "{what} was cut off: finish it with keepstone restore --resume {id}, or undo it with --rollback {id}"
            )
        }));
    }
}

/// Whether a process that dropped what a restore had kept was cut off.
fn is_dropping(entry: &JournalEntry) -> bool {
    entry.phase == Phase::Discarding && !entry.plan.keeps.is_empty()
}

fn unfinished_ones(context: &Context) -> Result<Vec<JournalEntry>, CliError> {
    let Some(journal) = journal_if_any(context)? else {
        return Ok(Vec::new());
    };
    let (entries, _) = journal.list()?;
    let mut found = Vec::new();
    for entry in unfinished(&entries) {
        if !journal.is_held(entry.id)? {
            found.push(entry.clone());
        }
    }
    Ok(found)
}

impl Ending<'_> {
    /// Finishes a restore that was cut off: from the snapshot where it was not yet staged and validated.
    pub(super) fn resume(&self) -> Result<ExitCode, CliError> {
        let found = self.find()?;
        if is_dropping(&found.entry) {
            return self.drop_kept(&found);
        }
        let Found { entry, target, .. } = &found;
        let id = entry.id.short();
        if !is_unfinished(entry) {
            return Err(CliError::usage(format!("restore {id} was finished")));
        }
        let is_begun_anew = entry.phase == Phase::Staging;
        if is_begun_anew && is_command(entry) {
            return Err(CliError::usage(format!(
                "restore {id} ran a command, whose arguments are not kept: they may hold secrets"
            ))
            .hint(format!(
                "Restore it anew with --to; restore --discard-old {id} lets this one be."
            )));
        }
        let replaced = match entry.plan.replaces.as_slice() {
            [] => String::new(),
            replaces => format!(" and replace {}", replaces.join(", ")),
        };
        let what = format!("the restore of {} to {}", entry.source, entry.address);
        if self.dry_run {
            return self.show(entry, &format!("would finish {what}{replaced}"));
        }
        self.confirm(&format!("Finish {what}{replaced}?"))?;
        if is_begun_anew {
            let items = items_of(entry, self.context)?;
            let entry = entry.clone();
            carry_out(&items, target.as_ref(), entry, &found.journal, self.context)?;
            return Ok(ExitCode::Done);
        }
        let report = recover(target.as_ref(), entry, &found.journal, Recovery::Finish)?;
        self.context.ui.line(&printable(&format!(
            "{}: restored to {}, as it was staged and validated before",
            entry.source, entry.address
        )))?;
        tell_kept(&report, self.context)?;
        Ok(ExitCode::Done)
    }

    /// Brings back what a restore had replaced, or undoes one that was cut off.
    pub(super) fn rollback(&self) -> Result<ExitCode, CliError> {
        let found = self.find()?;
        let Found { entry, target, .. } = &found;
        let (kept, address) = (entry.plan.keeps.join(", "), &entry.address);
        if entry.phase == Phase::Discarding {
            return Err(is_discarded(entry));
        }
        let is_switched = entry.phase == Phase::Switched;
        if self.dry_run {
            let act = match (is_switched, kept.as_str()) {
                (true, "") => format!("would remove what was restored to {address}{AND_SINCE}"),
                (true, kept) => format!("would bring back {kept} in {address}{AND_DROP}"),
                (false, _) => format!("would undo the restore of {} to {address}", entry.source),
            };
            return self.show(entry, &act);
        }
        if is_switched {
            self.confirm(&match kept.as_str() {
                "" => format!("Remove what was restored to {address}{AND_SINCE}?"),
                kept => format!("Bring back {kept} in {address}{AND_DROP}?"),
            })?;
            roll_back(target.as_ref(), entry, &found.journal)
                .map_err(|error| advise_rollback(error, entry.id))?;
        } else {
            let undone = recover(target.as_ref(), entry, &found.journal, Recovery::Undo);
            undone.map_err(|error| match CliError::from(error) {
                error if is_command(entry) => error.hint(accept_command(entry.id)),
                error => error,
            })?;
        }
        let ui = &self.context.ui;
        ui.line(&printable(&format!("{address} is as it was before")))?;
        ui.object("rolled_back", &object_of(entry))?;
        Ok(ExitCode::Done)
    }

    /// Drops what a restore had replaced.
    pub(super) fn discard(&self) -> Result<ExitCode, CliError> {
        self.drop_kept(&self.find()?)
    }

    fn drop_kept(&self, found: &Found) -> Result<ExitCode, CliError> {
        let Found { entry, target, .. } = found;
        let kept = entry.plan.keeps.join(", ");
        let is_switched = entry.phase >= Phase::Switched;
        if self.dry_run {
            let act = match (is_switched, kept.as_str()) {
                (true, "") => format!("restore {} had replaced nothing", entry.id.short()),
                (true, kept) => format!("would remove {kept} for ever"),
                (false, _) => format!("would let be whatever was left in {}", entry.address),
            };
            return self.show(entry, &act);
        }
        let said = if !is_switched {
            self.confirm(&format!("Let be whatever was left in {}?", entry.address))?;
            if recover(target.as_ref(), entry, &found.journal, Recovery::Undo).is_err() {
                found.journal.remove(entry.id)?;
            }
            format!("restore {} is let be", entry.id.short())
        } else if kept.is_empty() {
            discard_old(target.as_ref(), entry, &found.journal)?;
            format!("restore {} had replaced nothing", entry.id.short())
        } else {
            self.confirm(&format!("Remove {kept} for ever?"))?;
            discard_old(target.as_ref(), entry, &found.journal)?;
            format!("{kept} removed")
        };
        self.context.ui.line(&printable(&said))?;
        self.context.ui.object("discarded", &object_of(entry))?;
        Ok(ExitCode::Done)
    }

    fn show(&self, entry: &JournalEntry, act: &str) -> Result<ExitCode, CliError> {
        self.context.ui.line(&printable(act))?;
        self.context.ui.object("restore", &listed(entry, false))?;
        Ok(ExitCode::Done)
    }

    fn confirm(&self, question: &str) -> Result<(), CliError> {
        if self.force || self.context.ui.confirm(&printable(question))? {
            Ok(())
        } else {
            Err(CliError::Refused("nothing was changed".into()))
        }
    }

    fn find(&self) -> Result<Found, CliError> {
        let journal = journal(self.context)?;
        let (entries, _) = journal.list()?;
        let mut fitting = entries
            .into_iter()
            .filter(|entry| entry.id.to_string().starts_with(self.id.as_str()));
        let id = match (fitting.next(), fitting.next()) {
            (Some(only), None) => only.id,
            (None, _) => {
                return Err(not_found(format!(
                    "no earlier restore begins with {}",
                    self.id
                )));
            }
            _ => {
                return Err(not_found(format!(
                    "several earlier restores begin with {}",
                    self.id
                )));
            }
        };
        let held = hold(&journal, id)?;
        // Read again: until now another process may have gone on with it.
        let (entries, _) = journal.list()?;
        let entry = entries.into_iter().find(|entry| entry.id == id);
        let entry = entry.ok_or_else(|| not_found(format!("restore {} is over", id.short())))?;
        let spec = spec_of(&entry)?;
        let target = self.context.target(&spec, &DatabaseArgs::default())?;
        Ok(Found {
            journal,
            entry,
            target,
            _held: held,
        })
    }
}

/// Keeps other processes from a restore while this one works on it.
pub(super) fn hold(journal: &Journal, id: ObjectId) -> Result<HeldEntry, CliError> {
    let held = journal.hold(id)?;
    held.ok_or_else(|| CliError::Running(format!("restore {} is running", id.short())))
}

/// Of a restore whose kept state may be gone in part.
fn is_discarded(entry: &JournalEntry) -> CliError {
    let id = entry.id.short();
    let refused =
        format!("restore {id} can no longer be undone: what it had kept is being dropped");
    let hint = format!("Finish that with keepstone restore --discard-old {id}.");
    CliError::Refused(refused).hint(hint)
}

/// Says how to go on where a rollback would take away what its restore has not made.
fn advise_rollback(error: EngineError, id: ObjectId) -> CliError {
    let is_refused = matches!(&error, EngineError::Source { source, .. }
        if source.kind() == SourceErrorKind::Occupied);
    let error = CliError::from(error);
    if !is_refused {
        return error;
    }
    error.hint(format!(
        "What is live was left as it is. To stay with it, say --discard-old {}; to go back all the same, put what is live \
         away first.",
        id.short()
    ))
}

/// What a restore that was cut off has read.
fn items_of(entry: &JournalEntry, context: &Context) -> Result<CapturedItems, CliError> {
    let repo = context.open_repo()?;
    if repo.id() != entry.repository {
        return Err(CliError::usage(format!(
            "restore {} is of another repository",
            entry.id.short()
        ))
        .hint("Name that one with --repo, or undo the restore with --rollback."));
    }
    let all = context.snapshots(&repo)?.snapshots;
    let listed = all.iter().find(|listed| listed.id == entry.snapshot);
    let source = listed.and_then(|listed| listed.snapshot.source(&entry.source));
    let source = source.ok_or_else(|| {
        not_found(format!(
            "snapshot {} is gone, so that restore {} can only be undone",
            entry.snapshot.short(),
            entry.id.short()
        ))
    })?;
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    Ok(CapturedItems::open(&store, source, parallel(), &cancel())?)
}

pub(super) fn not_found(what: String) -> CliError {
    keepstone_engine::Error::NotFound { what }.into()
}

pub(super) fn object_of(entry: &JournalEntry) -> EntryObject<'_> {
    EntryObject {
        id: entry.id.to_string(),
        time: rfc3339(entry.time_ns),
        source: &entry.source,
        target: &entry.address,
        phase: entry.phase,
        kept: kept_of(entry),
    }
}
