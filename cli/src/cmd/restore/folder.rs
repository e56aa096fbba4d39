//! Restoring into a folder: files as they were, everything else in the form of its own tools.

use std::path::{Path, PathBuf};

use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::{Event, Observer as _};
use keepstone_engine::restore::{export_to_folder, source_failed};
use keepstone_engine::snapshot::SnapshotSource;
use keepstone_engine::source::{Export, Skipped};
use keepstone_sources::files::{
    Act, FilesEvent, FilesRestoreOptions, FilesRestoreReport, Pattern, restore_files,
};
use serde::Serialize;

use super::RestoreRun;
use crate::error::{CliError, DAMAGE_ADVICE};
use crate::exit::ExitCode;
use crate::place_in::{InSnapshot, places_that_exist};
use crate::reference::Address;
use crate::repository::parallel;
use crate::source_spec::SourceSpec;
use crate::sources::export;
use crate::ui::format::{count, printable, size};

#[derive(Serialize)]
struct ChangeObject<'a> {
    source: &'a str,
    act: String,
    path: String,
}

#[derive(Serialize)]
struct ExportedObject<'a> {
    source: &'a str,
    file: String,
}

#[derive(Serialize)]
struct Done<'a> {
    source: &'a str,
    target: String,
    written_bytes: u64,
    problems: usize,
}

/// What is to be done with one source.
pub(super) enum Step<'a> {
    /// Files, in a folder, of which a part may be meant.
    Files {
        source: &'a SnapshotSource,
        options: Box<FilesRestoreOptions>,
    },
    /// An export into a folder of its own below this one.
    Export {
        source: &'a SnapshotSource,
        export: Box<dyn Export>,
        target: PathBuf,
    },
}

/// Writes `DIR/abs/path` for files and `DIR/NAME/…` for the rest; sources that go elsewhere are left out.
pub(super) fn steps<'a>(
    run: &RestoreRun<'a>,
    target: &Path,
    address: Option<&Address>,
    elsewhere: &[SourceSpec],
) -> Result<Vec<Step<'a>>, CliError> {
    let filter = &run.args.filter;
    let places = places_that_exist(
        &run.listed.snapshot,
        address.into_iter(),
        filter,
        &run.store,
    )?;
    let is_elsewhere = |source: &SnapshotSource| {
        let mut names = elsewhere.iter().map(|spec| spec.name.to_string());
        names.any(|name| name == source.name)
    };
    let mut steps = Vec::new();
    for InSnapshot { source, path } in places {
        if is_elsewhere(source) {
            continue;
        }
        steps.push(match export(&source.kind) {
            Some(_) if !path.is_root() => {
                return Err(CliError::usage(format!(
                    "source {} is exported as a whole",
                    source.name
                ))
                .hint("Leave out the path; keepstone dump writes one stream."));
            }
            Some(export) => Step::Export {
                source,
                export,
                target: target.into(),
            },
            None if source.kind == "files" => files_step(run, source, target, &path),
            None => files_step(run, source, &target.join(&source.name), &path),
        });
    }
    Ok(steps)
}

/// Files to where they were.
pub(super) fn in_place<'a>(
    run: &RestoreRun<'a>,
    source: &'a SnapshotSource,
    path: &RepoPath,
) -> Step<'a> {
    files_step(run, source, Path::new("/"), path)
}

fn files_step<'a>(
    run: &RestoreRun<'_>,
    source: &'a SnapshotSource,
    target: &Path,
    subpath: &RepoPath,
) -> Step<'a> {
    let typed = &run.args.files;
    let mut options = FilesRestoreOptions::new(target);
    options.include = typed.include.iter().map(Pattern::new).collect();
    options.exclude = typed.exclude.iter().map(Pattern::new).collect();
    options.subpath = (!subpath.is_root()).then(|| subpath.clone());
    options.delete = typed.delete;
    options.verify = typed.verify;
    options.privileged = typed.privileged;
    options.threads = parallel();
    let options = Box::new(options);
    Step::Files { source, options }
}

impl Step<'_> {
    /// The source.
    pub(super) fn name(&self) -> &str {
        let (Self::Files { source, .. } | Self::Export { source, .. }) = self;
        &source.name
    }

    /// Shows what would be done, or asks for it where something would be lost.
    pub(super) fn agree(&self, run: &RestoreRun<'_>) -> Result<ExitCode, CliError> {
        match self {
            Self::Files { source, options } => return plan_files(run, source, options),
            Self::Export { source, target, .. } => {
                let folder = target.join(&source.name);
                if run.args.dry_run {
                    show_export(run, source, &folder)?;
                } else {
                    confirm_overwrite(run, &folder)?;
                }
            }
        }
        Ok(ExitCode::Done)
    }

    /// Writes.
    pub(super) fn carry_out(&self, run: &RestoreRun<'_>) -> Result<ExitCode, CliError> {
        match self {
            Self::Files { source, options } => files(run, source, options),
            Self::Export {
                source,
                export,
                target,
            } => export_source(run, source, export.as_ref(), target),
        }
    }
}

fn export_source(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    export: &dyn Export,
    target: &Path,
) -> Result<ExitCode, CliError> {
    let ui = &run.context.ui;
    let items = run.items(source)?;
    let mut written_bytes = 0;
    for file in export_to_folder(&source.name, &items, export, target)? {
        written_bytes += file.bytes;
        let shown = file.path.display().to_string();
        ui.line(&printable(&format!("{shown} written")))?;
        let (source, file) = (source.name.as_str(), shown);
        ui.object("exported", &ExportedObject { source, file })?;
    }
    tell(run, source, &target.join(&source.name), written_bytes, 0)?;
    Ok(ExitCode::Done)
}

fn show_export(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    folder: &Path,
) -> Result<(), CliError> {
    let shown = folder.display().to_string();
    let line = format!("{:10} {shown}", "export");
    run.context.ui.line(&printable(&line))?;
    let change = ChangeObject {
        source: &source.name,
        act: "export".into(),
        path: shown,
    };
    run.context.ui.object("restore_change", &change)
}

fn plan_files(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    options: &FilesRestoreOptions,
) -> Result<ExitCode, CliError> {
    let items = run.items(source)?;
    let mut dry = options.clone();
    dry.dry_run = true;
    let planned =
        restore_files(&items, &dry, &|_| {}).map_err(|error| source_failed(&source.name, error))?;
    if run.args.dry_run {
        return show_plan(run, source, &options.target, &planned);
    }
    let overwrites = planned.count(Act::Overwrite) + planned.count(Act::Delete);
    if overwrites == 0 || run.args.force {
        return Ok(ExitCode::Done);
    }
    let what = count(overwrites as u64, "entry").replace("entrys", "entries");
    let question = format!(
        "{what} in {} would be overwritten or removed. Go on?",
        options.target.display()
    );
    confirm(run, &question)?;
    Ok(ExitCode::Done)
}

fn files(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    options: &FilesRestoreOptions,
) -> Result<ExitCode, CliError> {
    let items = run.items(source)?;
    let progress = run.context.ui.progress();
    let observe = |event: FilesEvent<'_>| match event {
        FilesEvent::Planned {
            entries,
            write_bytes,
        } => {
            progress.event(Event::Total {
                bytes: write_bytes,
                items: entries as u64,
            });
        }
        FilesEvent::Written(bytes) => progress.event(Event::BytesRead {
            source: None,
            bytes,
        }),
        FilesEvent::Verifying => progress.event(Event::Phase {
            name: "reading back",
        }),
        _ => progress.event(Event::ItemFinished),
    };
    let done = restore_files(&items, options, &observe);
    drop(progress);
    let report = done.map_err(|error| source_failed(&source.name, error))?;
    end(run, source, &options.target, &report)
}

fn show_plan(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    target: &Path,
    planned: &FilesRestoreReport,
) -> Result<ExitCode, CliError> {
    for change in planned
        .changes
        .iter()
        .filter(|change| change.act != Act::Unchanged)
    {
        let act = format!("{:?}", change.act).to_lowercase();
        let path = target.join(change.path.to_string()).display().to_string();
        run.context
            .ui
            .line(&printable(&format!("{act:10} {path}")))?;
        let source = source.name.as_str();
        run.context
            .ui
            .object("restore_change", &ChangeObject { source, act, path })?;
    }
    tell_problems(run, target, &planned.problems);
    let unchanged = planned.count(Act::Unchanged);
    let changes = planned.changes.len() - unchanged - planned.count(Act::Keep);
    let changes = count(changes as u64, "change");
    run.context
        .ui
        .line(&format!("dry run: {changes}, {unchanged} unchanged"))?;
    if planned.damaged {
        let text = format!("what is damaged would be left out. {DAMAGE_ADVICE}");
        run.context.ui.warning(&text);
        return Ok(ExitCode::Damage);
    }
    Ok(if planned.problems.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Incomplete
    })
}

fn end(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    target: &Path,
    report: &FilesRestoreReport,
) -> Result<ExitCode, CliError> {
    for note in &report.notes {
        run.context.ui.status(&printable(note));
    }
    tell_problems(run, target, &report.problems);
    tell_problems(run, target, &report.differing);
    let problems = report.problems.len() + report.differing.len();
    tell(run, source, target, report.written_bytes, problems)?;
    if !report.differing.is_empty() {
        let differing = count(report.differing.len() as u64, "entry").replace("entrys", "entries");
        let text = format!(
            "{differing} not read back as written, and left in place: something else writes there, this user may not read \
             it, or the disk fails"
        );
        run.context.ui.warning(&text);
    }
    if report.damaged {
        let text = format!("what is damaged was left out. {DAMAGE_ADVICE}");
        run.context.ui.warning(&text);
        return Ok(ExitCode::Damage);
    }
    Ok(
        match (report.differing.is_empty(), report.problems.is_empty()) {
            (false, _) => ExitCode::ValidationFailed,
            (true, false) => ExitCode::Incomplete,
            (true, true) => ExitCode::Done,
        },
    )
}

fn tell_problems(run: &RestoreRun<'_>, target: &Path, problems: &[Skipped]) {
    for Skipped { path, reason } in problems {
        let place = target.join(path);
        let text = format!("{}: {reason}", place.display());
        run.context.ui.warning(&printable(&text));
    }
}

fn tell(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    target: &Path,
    written_bytes: u64,
    problems: usize,
) -> Result<(), CliError> {
    let shown = target.display().to_string();
    let written = size(written_bytes);
    run.context.ui.line(&printable(&format!(
        "{}: {written} restored to {shown}",
        source.name
    )))?;
    let done = Done {
        source: &source.name,
        target: shown,
        written_bytes,
        problems,
    };
    run.context.ui.object("restored", &done)
}

fn confirm_overwrite(run: &RestoreRun<'_>, folder: &Path) -> Result<(), CliError> {
    let used = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if !used || run.args.force {
        return Ok(());
    }
    let question = format!(
        "{} is not empty; files of the export would be overwritten. Go on?",
        folder.display()
    );
    confirm(run, &question)
}

fn confirm(run: &RestoreRun<'_>, question: &str) -> Result<(), CliError> {
    if run.context.ui.confirm(&printable(question))? {
        Ok(())
    } else {
        Err(CliError::Refused("nothing was restored".into()))
    }
}
