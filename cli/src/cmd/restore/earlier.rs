//! What earlier restores have kept or left: it is listed, finished, undone or dropped. Nothing is touched that a process
//! still works on.

use std::sync::Arc;

use keepstone_engine::id::ObjectId;
use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::{
    CapturedItems, HeldEntry, Journal, JournalEntry, Recovery, discard as discard_old,
    is_unfinished, recover, rollback as roll_back, unfinished,
};
use keepstone_engine::source::{Phase, Target};
use serde::Serialize;

use super::DatabaseArgs;
use super::advice::{advise_discard, advise_rollback, is_discarded};
use super::live::{accept_command, carry_out, is_command, journal, journal_if_any, tell_kept};
use super::record::spec_of;
use crate::cancel::cancel;
use crate::context::Context;
use crate::error::{CliError, in_one_line};
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
/// Said of a rollback of what may have been switched.
const AND_MAY: &str =
    ", and drop what it has put in place if it came so far, with every change made to it since";

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
        } else if entry.phase == Phase::Discarding {
            format!("the end of {what} was cut off: finish it with keepstone restore --resume {id}")
        } else {
            format!(
                "{what} was cut off: finish it with keepstone restore --resume {id}, or undo it with --rollback {id}"
            )
        }));
    }
}

/// Whether a process that dropped what a restore had kept was cut off.
pub(super) fn is_dropping(entry: &JournalEntry) -> bool {
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
        let restore = format!("the restore of {} to {address}", entry.source);
        let (would, act, what) = match kept.as_str() {
            "" if is_switched => {
                let what = format!("what was restored to {address}{AND_SINCE}");
                ("remove", "Remove", what)
            }
            kept if is_switched => {
                let what = format!("{kept} in {address}{AND_DROP}");
                ("bring back", "Bring back", what)
            }
            _ if may_be_switched(entry) => ("undo", "Undo", restore + AND_MAY),
            _ => ("undo", "Undo", restore),
        };
        if self.dry_run {
            return self.show(entry, &format!("would {would} {what}"));
        }
        if is_switched || may_be_switched(entry) {
            self.confirm(&format!("{act} {what}?"))?;
        }
        let undone = if is_switched {
            roll_back(target.as_ref(), entry, &found.journal)
        } else {
            recover(target.as_ref(), entry, &found.journal, Recovery::Undo).map(drop)
        };
        undone.map_err(|error| match error {
            error if is_command(entry) => CliError::from(error).hint(accept_command(entry.id)),
            error => advise_rollback(error, entry, target.as_ref()),
        })?;
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
        let said = if is_switched {
            if !kept.is_empty() {
                self.confirm(&format!("Remove {kept} for ever?"))?;
            }
            discard_old(target.as_ref(), entry, &found.journal)
                .map_err(|error| advise_discard(error, entry.id))?;
            match kept.as_str() {
                "" => format!("restore {} had replaced nothing", entry.id.short()),
                kept => format!("{kept} removed"),
            }
        } else {
            self.let_be(found)?
        };
        self.context.ui.line(&printable(&said))?;
        self.context.ui.object("discarded", &object_of(entry))?;
        Ok(ExitCode::Done)
    }

    /// Forgets a restore that did not come to its end. What was only staged goes, where it can. Once the switch was begun
    /// nothing is touched: it may be done, and what is live may be all there is.
    fn let_be(&self, found: &Found) -> Result<String, CliError> {
        let Found { entry, target, .. } = found;
        let (id, address) = (entry.id.short(), &entry.address);
        if may_be_switched(entry) {
            self.confirm(&format!(
                "The switch of restore {id} may be done: --resume finishes it, --rollback undoes it. Forget it, and let be \
                 whatever is in {address}?"
            ))?;
            found.journal.remove(entry.id)?;
            let plan = &entry.plan;
            let left: Vec<_> = plan.creates.iter().chain(&plan.keeps).cloned().collect();
            let left = left.join(", ");
            return Ok(format!(
                "restore {id} is let be; what it may have left: {left}"
            ));
        }
        self.confirm(&format!("Let be whatever was left in {address}?"))?;
        if is_command(entry) {
            found.journal.remove(entry.id)?;
        } else if let Err(error) = recover(target.as_ref(), entry, &found.journal, Recovery::Undo) {
            let (why, left) = (in_one_line(&error), entry.plan.creates.join(", "));
            let text = format!("what restore {id} may have left was not removed: {left}: {why}");
            self.context.ui.warning(&printable(&text));
            found.journal.remove(entry.id)?;
        }
        Ok(format!("restore {id} is let be"))
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

/// Whether only the target could tell if the switch is done.
fn may_be_switched(entry: &JournalEntry) -> bool {
    entry.phase == Phase::Switching && !is_command(entry)
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
