//! Restoring into live systems.

use keepstone_engine::Error as EngineError;
use keepstone_engine::id::ObjectId;
use keepstone_engine::restore::{CapturedItems, Journal, JournalEntry, RestoreReport, restore_to};
use keepstone_engine::snapshot::SnapshotSource;
use keepstone_engine::source::{Phase, Target};
use keepstone_sources::sqlite::Hindrance;
use serde::Serialize;

use super::earlier::{hold, object_of};
use super::record::record;
use super::{RestoreArgs, RestoreRun};
use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::place_in::not_held;
use crate::source_name::SourceName;
use crate::source_options::SourceOptions;
use crate::source_spec::{Scheme, SourceSpec, parse_address};
use crate::ui::format::{printable, size};

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

/// Folder of the journal in the state folder.
const RESTORES: &str = "restores";

/// Where restores are written down.
pub(super) fn journal(context: &Context) -> Result<Journal, CliError> {
    Ok(Journal::open(context.state()?.folder(RESTORES)?.path()))
}

/// The same, to look into: a folder that is not there is not made, and holds nothing.
pub(super) fn journal_if_any(context: &Context) -> Result<Option<Journal>, CliError> {
    let path = context.settings.state_dir.join(RESTORES);
    let is_there = path.try_exists().map_err(|source| CliError::File {
        act: "look for the folder",
        path,
        source,
    })?;
    is_there.then(|| journal(context)).transpose()
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

/// One source on its way into a live system: nothing is planned yet.
pub(super) struct Step<'a> {
    source: &'a SnapshotSource,
    target: Box<dyn Target>,
    record: serde_json::Value,
}

/// The same, planned and agreed to.
pub(super) struct Agreed {
    items: CapturedItems,
    target: Box<dyn Target>,
    entry: JournalEntry,
}

impl<'a> Step<'a> {
    /// Of the source that has the name of the spec, if that is of its kind.
    pub(super) fn new(run: &RestoreRun<'a>, spec: &SourceSpec) -> Result<Self, CliError> {
        let name = spec.name.to_string();
        let snapshot = &run.listed.snapshot;
        let source = snapshot
            .source(&name)
            .ok_or_else(|| not_held(format!("the snapshot holds no source {name}"), snapshot))?;
        if source.kind != spec.address.scheme().as_str() {
            return Err(CliError::usage(format!(
                "source {name} is of kind {}, its target of kind {}",
                source.kind,
                spec.address.scheme().as_str()
            )));
        }
        let target = run.context.target(spec, &run.args.databases)?;
        let record = record(spec, target.as_ref());
        Ok(Self {
            source,
            target,
            record,
        })
    }

    /// The source.
    pub(super) fn name(&self) -> &'a str {
        &self.source.name
    }

    /// Where it goes, if nothing else can go there too.
    pub(super) fn place(&self) -> Option<String> {
        // Two runs of one program may do different things.
        (self.source.kind != Scheme::Command.as_str()).then(|| self.target.address())
    }

    /// Plans, shows the plan and asks for it. None: it was only to be shown.
    pub(super) fn agree(self, run: &RestoreRun<'_>) -> Result<Option<Agreed>, CliError> {
        let Self {
            source,
            target,
            record,
        } = self;
        let name = &source.name;
        let items = run.items(source)?;
        let plan = target.plan(&items);
        let plan = plan.map_err(|error| advise(run.args, engine(name, error)))?;
        show_plan(run, name, target.as_ref(), &plan)?;
        if run.args.dry_run {
            return Ok(None);
        }
        if !plan.replaces.is_empty() && !run.args.force {
            let replaces = plan.replaces.join(", ");
            let question = format!("Replace {replaces} in {}?", target.address());
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
            target: record,
            plan,
            phase: Phase::Staging,
            time_ns: run.context.clock.now_ns(),
        };
        Ok(Some(Agreed {
            items,
            target,
            entry,
        }))
    }
}

impl Agreed {
    /// The source.
    pub(super) fn name(&self) -> &str {
        &self.entry.source
    }

    /// Stages, validates, switches.
    pub(super) fn carry_out(self, run: &RestoreRun<'_>) -> Result<(), CliError> {
        let context = run.context;
        let journal = journal(context)?;
        let _held = hold(&journal, self.entry.id)?;
        let (id, is_command) = (self.entry.id, is_command(&self.entry));
        let done = carry_out(
            &self.items,
            self.target.as_ref(),
            self.entry,
            &journal,
            context,
        );
        done.map_err(|error| match error {
            CliError::Engine(EngineError::NotUndone { .. }) if is_command => {
                error.hint(accept_command(id))
            }
            error => advise(run.args, error),
        })
    }
}

/// Whether a restore ran a command: nothing of it can be finished or undone.
pub(super) fn is_command(entry: &JournalEntry) -> bool {
    entry.kind == Scheme::Command.as_str()
}

/// What to do about a command that failed, or was cut off.
pub(super) fn accept_command(id: ObjectId) -> String {
    format!(
        "Look at what the command has left behind. It can be neither finished nor undone; keepstone restore --discard-old {} \
         lets it be.",
        id.short()
    )
}

/// Adds which flag takes away what is in the way.
fn advise(args: &RestoreArgs, error: CliError) -> CliError {
    let advice = match (hindrance(&error), args.databases.in_use) {
        (None, _) => return error,
        (Some(Hindrance::NotADatabase(_)), _) => {
            "Name another target, or say --in-use: it replaces the file all the same."
        }
        (Some(Hindrance::InUse(..)), false) => {
            "Stop what uses it, or say --in-use: the database is overwritten in place, in one transaction."
        }
        (Some(Hindrance::InUse(..)), true) => "Stop what uses it, and run it again.",
    };
    error.hint(advice)
}

fn hindrance(error: &CliError) -> Option<&Hindrance> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(hindrance) = error.downcast_ref() {
            return Some(hindrance);
        }
        cause = error.source();
    }
    None
}

/// Carries out what was planned. The caller holds the entry.
pub(super) fn carry_out(
    items: &CapturedItems,
    target: &dyn Target,
    entry: JournalEntry,
    journal: &Journal,
    context: &Context,
) -> Result<(), CliError> {
    let progress = context.ui.progress();
    let done = restore_to(items, target, entry, journal, &progress, &cancel());
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

/// Says what is kept, and how to get rid of it.
pub(super) fn tell_kept(report: &RestoreReport, context: &Context) -> Result<(), CliError> {
    let kept = report.entry.plan.keeps.join(", ");
    // Where nothing was replaced, there is nothing to go back to.
    if !kept.is_empty() {
        let id = report.entry.id.short();
        context.ui.line(&printable(&format!(
            "kept: {kept}; undo with --rollback {id}, drop with --discard-old {id}"
        )))?;
    }
    context
        .ui
        .object("restored_live", &object_of(&report.entry))
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

fn engine(name: &str, error: keepstone_engine::source::SourceError) -> CliError {
    keepstone_engine::restore::source_failed(name, error).into()
}
