//! Restoring into live systems, and what earlier restores have kept or left.

use std::sync::Arc;

use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::{
    CapturedItems, Journal, JournalEntry, Recovery, RestoreReport, discard as discard_old,
    is_unfinished, recover, restore_to, rollback as roll_back, unfinished,
};
use keepstone_engine::snapshot::SnapshotSource;
use keepstone_engine::source::{Phase, Target};
use serde::{Deserialize, Serialize};

use super::{DatabaseArgs, RestoreRun};
use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::password::PasswordFrom;
use crate::reference::HexPrefix;
use crate::repository::parallel;
use crate::source_name::SourceName;
use crate::source_options::SourceOptions;
use crate::source_spec::{SourceAddress, SourceSpec, parse_address};
use crate::time::rfc3339;
use crate::ui::Table;
use crate::ui::format::{printable, size};
use crate::ui::table::Align;

/// What makes a target again: as the user gave it, without a secret. What is chosen of the capture stands in the plan.
#[derive(Debug, Serialize, Deserialize)]
struct TargetRecord {
    url: String,
    password_file: Option<std::path::PathBuf>,
    password_command: Option<String>,
    #[serde(default)]
    source_options: SourceOptions,
}

#[derive(Serialize)]
struct EntryObject<'a> {
    id: String,
    time: String,
    source: &'a str,
    target: &'a str,
    phase: Phase,
    kept: &'a [String],
}

#[derive(Serialize)]
struct PlanObject<'a> {
    source: &'a str,
    target: &'a str,
    creates: &'a [String],
    replaces: &'a [String],
    keeps: &'a [String],
    warnings: &'a [String],
    bytes: u64,
}

fn journal(context: &Context) -> Result<Journal, CliError> {
    Ok(Journal::open(context.state()?.folder("restores")?.path()))
}

/// The target that a source was captured from: by its name in the configuration, or by its recorded address.
pub(super) fn spec_of(source: &SnapshotSource, context: &Context) -> Result<SourceSpec, CliError> {
    let name: SourceName = source
        .name
        .parse()
        .map_err(|error| CliError::usage(format!("source {}: {error}", source.name)))?;
    if source.kind == "command" {
        let problem = format!("source {name} is the output of a command");
        let hint = format!("Say which command takes it: --to {name}=command:PROGRAM.");
        return Err(CliError::usage(problem).hint(hint));
    }
    if let Ok(spec) = context.settings.config.source(&name) {
        return Ok(spec);
    }
    let (address, password) = parse_address(&source.address).map_err(|error| {
        error.hint(format!(
            "Say where: --to {}=URL, or [source.{}] in keepstone.toml.",
            source.name, source.name
        ))
    })?;
    Ok(SourceSpec {
        name,
        address,
        password,
        options: SourceOptions::Default,
        was_named: true,
    })
}

/// Restores one source into a live system: plan, ask, stage, validate, switch.
pub(super) fn restore(run: &RestoreRun<'_>, spec: &SourceSpec) -> Result<(), CliError> {
    let name = spec.name.to_string();
    let source =
        run.listed
            .snapshot
            .source(&name)
            .ok_or_else(|| keepstone_engine::Error::NotFound {
                what: format!("the snapshot holds no source {name}"),
            })?;
    if source.kind != spec.address.scheme().as_str() {
        return Err(CliError::usage(format!(
            "source {name} is of kind {}, its target of kind {}",
            source.kind,
            spec.address.scheme().as_str()
        )));
    }
    let items = run.items(source)?;
    let target = run.context.target(spec, &run.args.databases)?;
    let plan = target.plan(&items).map_err(|error| engine(&name, error))?;
    show_plan(run, &name, target.as_ref(), &plan)?;
    if run.args.dry_run {
        return Ok(());
    }
    if !plan.replaces.is_empty() && !run.args.force {
        let question = format!(
            "Replace {} in {}?",
            plan.replaces.join(", "),
            target.address()
        );
        if !run.context.ui.confirm(&printable(&question))? {
            return Err(CliError::Refused("nothing was restored".into()));
        }
    }
    let entry = JournalEntry {
        id: Journal::new_id(),
        repository: run.store.repo().id(),
        snapshot: run.listed.id,
        source: name.clone(),
        kind: source.kind.clone(),
        address: target.address(),
        target: serde_json::to_value(record(spec)).unwrap_or_default(),
        plan,
        phase: Phase::Staging,
        time_ns: run.context.clock.now_ns(),
    };
    carry_out(&items, target.as_ref(), entry, run.context)
}

fn carry_out(
    items: &CapturedItems,
    target: &dyn Target,
    entry: JournalEntry,
    context: &Context,
) -> Result<(), CliError> {
    let journal = journal(context)?;
    let progress = context.ui.progress();
    let done = restore_to(items, target, entry, &journal, &progress, &cancel());
    drop(progress);
    let report = done?;
    let validation = report.validation.clone().unwrap_or_default();
    for note in &validation.notes {
        context.ui.status(&printable(note));
    }
    let expired = match validation.expired {
        0 => String::new(),
        expired => format!(", {expired} expired meanwhile"),
    };
    let RestoreReport { entry, .. } = &report;
    let (name, address) = (&entry.source, &entry.address);
    context.ui.line(&printable(&match validation.records {
        0 => format!("{name}: restored to {address}{expired}"),
        count => format!("{name}: {count} records restored to {address} and validated{expired}"),
    }))?;
    tell_kept(&report, context)
}

fn tell_kept(report: &RestoreReport, context: &Context) -> Result<(), CliError> {
    let kept = report.entry.plan.keeps.join(", ");
    // Where nothing was replaced, there is nothing to go back to.
    if !kept.is_empty() {
        let id = report.entry.id.short();
        context.ui.line(&printable(&format!(
            "kept: {kept}; undo with --rollback {id}, drop with --discard-old {id}"
        )))?;
    }
    context.ui.object("restored_live", &object(&report.entry))
}

fn show_plan(
    run: &RestoreRun<'_>,
    name: &str,
    target: &dyn Target,
    plan: &keepstone_engine::source::RestorePlan,
) -> Result<(), CliError> {
    let ui = &run.context.ui;
    let say = |line: String| {
        if run.args.dry_run {
            ui.line(&printable(&line))
        } else {
            ui.status(&printable(&line));
            Ok(())
        }
    };
    say(format!(
        "{name} to {}, {}",
        target.address(),
        size(plan.size_bytes)
    ))?;
    for (word, things) in [
        ("makes", &plan.creates),
        ("replaces", &plan.replaces),
        ("keeps", &plan.keeps),
    ] {
        for thing in things {
            say(format!("  {word} {thing}"))?;
        }
    }
    for warning in &plan.warnings {
        ui.warning(&printable(warning));
    }
    if run.args.dry_run {
        ui.object(
            "restore_plan",
            &PlanObject {
                source: name,
                target: &target.address(),
                creates: &plan.creates,
                replaces: &plan.replaces,
                keeps: &plan.keeps,
                warnings: &plan.warnings,
                bytes: plan.size_bytes,
            },
        )
    } else {
        Ok(())
    }
}

/// Lists what earlier restores have kept or left.
pub(super) fn list(context: &Context) -> Result<ExitCode, CliError> {
    let (entries, unreadable) = journal(context)?.list()?;
    let columns = ["ID", "Time", "Source", "Target", "State", "Keeps"];
    let mut table = Table::new(&columns.map(|name| (name, Align::Left)));
    for entry in &entries {
        let phase = if is_unfinished(entry) {
            "UNFINISHED"
        } else {
            "done"
        };
        table.row([
            entry.id.short(),
            context.clock.show(entry.time_ns),
            entry.source.clone(),
            entry.address.clone(),
            phase.into(),
            entry.plan.keeps.join(", "),
        ]);
        context.ui.object("restore", &object(entry))?;
    }
    for problem in unreadable {
        context.ui.warning(&printable(&problem));
    }
    if entries.is_empty() {
        context
            .ui
            .status("no earlier restore has kept or left anything");
        return Ok(ExitCode::Done);
    }
    context.ui.table(table)?;
    Ok(ExitCode::Done)
}

/// Names restores that were killed before their end.
pub(crate) fn name_unfinished(context: &Context) -> Result<(), CliError> {
    let (entries, _) = journal(context)?.list()?;
    for entry in unfinished(&entries) {
        let id = entry.id.short();
        context.ui.warning(&printable(&format!(
            "a restore of {} to {} was cut off: finish it with keepstone restore --resume {id}, or undo it with \
             --rollback {id}",
            entry.source, entry.address
        )));
    }
    Ok(())
}

/// Finishes a restore that was cut off: from the snapshot where it was not yet staged and validated.
pub(super) fn resume(id: &HexPrefix, context: &Context) -> Result<ExitCode, CliError> {
    let (journal, entry, target) = find(id, context)?;
    if !is_unfinished(&entry) {
        return Err(CliError::usage(format!(
            "restore {} was finished",
            entry.id.short()
        )));
    }
    if entry.phase == Phase::Staging {
        let items = items_of(&entry, context)?;
        carry_out(&items, target.as_ref(), entry, context)?;
        return Ok(ExitCode::Done);
    }
    let report = recover(target.as_ref(), &entry, &journal, Recovery::Finish)?;
    context.ui.line(&printable(&format!(
        "{}: restored to {}, as it was staged and validated before",
        entry.source, entry.address
    )))?;
    tell_kept(&report, context)?;
    Ok(ExitCode::Done)
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
    let all = context.snapshots(&repo)?;
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

/// Brings back what a restore had replaced, or undoes one that was cut off.
pub(super) fn rollback(
    id: &HexPrefix,
    force: bool,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let (journal, entry, target) = find(id, context)?;
    if entry.phase == Phase::Switched {
        let question = if entry.plan.keeps.is_empty() {
            format!("Remove what was restored to {}?", entry.address)
        } else {
            let kept = entry.plan.keeps.join(", ");
            format!("Bring back {kept} in {}?", entry.address)
        };
        confirm(&question, force, context)?;
        roll_back(target.as_ref(), &entry, &journal)?;
    } else {
        recover(target.as_ref(), &entry, &journal, Recovery::Undo)?;
    }
    context.ui.line(&printable(&format!(
        "{} is as it was before",
        entry.address
    )))?;
    context.ui.object("rolled_back", &object(&entry))?;
    Ok(ExitCode::Done)
}

/// Drops what a restore had replaced.
pub(super) fn discard(
    id: &HexPrefix,
    force: bool,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let (journal, entry, target) = find(id, context)?;
    if entry.phase != Phase::Switched {
        let question = format!("Let be whatever was left in {}?", entry.address);
        confirm(&question, force, context)?;
        if recover(target.as_ref(), &entry, &journal, Recovery::Undo).is_err() {
            journal.remove(entry.id)?;
        }
        context.ui.line(&printable(&format!(
            "restore {} is let be",
            entry.id.short()
        )))?;
        context.ui.object("discarded", &object(&entry))?;
        return Ok(ExitCode::Done);
    }
    let kept = entry.plan.keeps.join(", ");
    if !kept.is_empty() {
        confirm(&format!("Remove {kept} for ever?"), force, context)?;
    }
    discard_old(target.as_ref(), &entry, &journal)?;
    let said = if kept.is_empty() {
        format!("restore {} had replaced nothing", entry.id.short())
    } else {
        format!("{kept} removed")
    };
    context.ui.line(&printable(&said))?;
    context.ui.object("discarded", &object(&entry))?;
    Ok(ExitCode::Done)
}

fn confirm(question: &str, force: bool, context: &Context) -> Result<(), CliError> {
    if force || context.ui.confirm(&printable(question))? {
        Ok(())
    } else {
        Err(CliError::Refused("nothing was changed".into()))
    }
}

fn find(
    id: &HexPrefix,
    context: &Context,
) -> Result<(Journal, JournalEntry, Box<dyn Target>), CliError> {
    let journal = journal(context)?;
    let (entries, _) = journal.list()?;
    let mut found = entries
        .into_iter()
        .filter(|entry| entry.id.to_string().starts_with(id.as_str()));
    let entry = match (found.next(), found.next()) {
        (Some(only), None) => only,
        (None, _) => return Err(not_found(format!("no earlier restore begins with {id}"))),
        _ => {
            return Err(not_found(format!(
                "several earlier restores begin with {id}"
            )));
        }
    };
    let record: TargetRecord = serde_json::from_value(entry.target.clone()).map_err(|error| {
        not_found(format!(
            "the journal of restore {} is damaged: {error}",
            entry.id
        ))
    })?;
    let (address, password) = parse_address(&record.url)?;
    let name = entry
        .source
        .parse()
        .map_err(|_| not_found("the journal names no source".into()))?;
    let password = record
        .password_file
        .clone()
        .map(PasswordFrom::File)
        .or_else(|| record.password_command.clone().map(PasswordFrom::Command))
        .or(password);
    let spec = SourceSpec {
        name,
        address,
        password,
        options: record.source_options.clone(),
        was_named: true,
    };
    let target = context.target(&spec, &DatabaseArgs::default())?;
    Ok((journal, entry, target))
}

fn not_found(what: String) -> CliError {
    keepstone_engine::Error::NotFound { what }.into()
}

fn engine(name: &str, error: keepstone_engine::source::SourceError) -> CliError {
    keepstone_engine::restore::source_failed(name, error).into()
}

fn record(spec: &SourceSpec) -> TargetRecord {
    let url = match &spec.address {
        SourceAddress::Url(_, url) => url.clone(),
        SourceAddress::Files(_) => String::new(),
    };
    let (password_file, password_command) = match &spec.password {
        Some(PasswordFrom::File(path)) => (Some(path.clone()), None),
        Some(PasswordFrom::Command(command)) => (None, Some(command.clone())),
        _ => (None, None),
    };
    TargetRecord {
        url,
        password_file,
        password_command,
        source_options: spec.options.recordable(),
    }
}

fn object(entry: &JournalEntry) -> EntryObject<'_> {
    EntryObject {
        id: entry.id.to_string(),
        time: rfc3339(entry.time_ns),
        source: &entry.source,
        target: &entry.address,
        phase: entry.phase,
        kept: &entry.plan.keeps,
    }
}
