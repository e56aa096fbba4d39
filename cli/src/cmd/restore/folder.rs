//! Restoring into a folder: files as they were, everything else in the form of its own tools.

use std::path::Path;

use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::{Event, Observer as _};
use keepstone_engine::restore::{export_to_folder, source_failed};
use keepstone_engine::snapshot::SnapshotSource;
use keepstone_sources::files::{
    Act, FilesEvent, FilesRestoreOptions, FilesRestoreReport, Pattern, restore_files,
};
use serde::Serialize;

use super::RestoreRun;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::{InSnapshot, places};
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
struct Done<'a> {
    source: &'a str,
    target: String,
    dry_run: bool,
    written_bytes: u64,
    problems: usize,
}

/// Writes `DIR/abs/path` for files and `DIR/NAME/…` for the rest; sources that go elsewhere are left out.
pub(super) fn restore(
    run: &RestoreRun<'_>,
    target: &Path,
    address: Option<&Address>,
    elsewhere: &[SourceSpec],
) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::Done;
    for InSnapshot { source, path } in
        places(&run.listed.snapshot, address.into_iter(), &run.args.filter)?
    {
        if elsewhere
            .iter()
            .any(|spec| spec.name.to_string() == source.name)
        {
            continue;
        }
        match export(&source.kind) {
            Some(export) => {
                let folder = target.join(&source.name);
                if run.args.dry_run {
                    let line = format!("{} would be exported to {}", source.name, folder.display());
                    run.context.ui.line(&printable(&line))?;
                    continue;
                }
                if !confirm_overwrite(run, &folder)? {
                    return Err(CliError::Refused("nothing was restored".into()));
                }
                let items = run.items(source)?;
                for file in export_to_folder(&source.name, &items, export.as_ref(), &folder)? {
                    run.context
                        .ui
                        .line(&printable(&format!("{} written", file.display())))?;
                }
                tell(run, source, &folder, source.counts.bytes, 0)?;
            }
            None if source.kind == "files" => {
                code = files(run, source, target, &path)?;
            }
            None => code = files(run, source, &target.join(&source.name), &path)?,
        }
    }
    Ok(code)
}

/// Restores files to where they were.
pub(super) fn in_place(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    address: Option<&Address>,
) -> Result<ExitCode, CliError> {
    let path = match address {
        None => RepoPath::root(),
        Some(Address::File(path) | Address::InSource { path, .. }) => path.clone(),
    };
    files(run, source, Path::new("/"), &path)
}

fn files(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    target: &Path,
    subpath: &RepoPath,
) -> Result<ExitCode, CliError> {
    let items = run.items(source)?;
    let typed = &run.args.files;
    let mut options = FilesRestoreOptions::new(target);
    options.include = typed.include.iter().map(Pattern::new).collect();
    options.exclude = typed.exclude.iter().map(Pattern::new).collect();
    options.subpath = (!subpath.is_root()).then(|| subpath.clone());
    options.delete = typed.delete;
    options.verify = typed.verify;
    options.privileged = typed.privileged;
    options.threads = parallel();
    options.dry_run = true;
    let planned = restore_files(&items, &options, &|_| {})
        .map_err(|error| source_failed(&source.name, error))?;
    if run.args.dry_run {
        show_plan(run, source, &planned)?;
        return Ok(ExitCode::Done);
    }
    let overwrites = planned.count(Act::Overwrite) + planned.count(Act::Delete);
    if overwrites > 0 && !run.args.force {
        let what = count(overwrites as u64, "entry").replace("entrys", "entries");
        let question = format!(
            "{what} in {} would be overwritten or removed. Go on?",
            target.display()
        );
        if !run.context.ui.confirm(&question)? {
            return Err(CliError::Refused("nothing was restored".into()));
        }
    }
    options.dry_run = false;
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
    let done = restore_files(&items, &options, &observe);
    drop(progress);
    let report = done.map_err(|error| source_failed(&source.name, error))?;
    end(run, source, target, &report)
}

fn show_plan(
    run: &RestoreRun<'_>,
    source: &SnapshotSource,
    planned: &FilesRestoreReport,
) -> Result<(), CliError> {
    for change in planned
        .changes
        .iter()
        .filter(|change| change.act != Act::Unchanged)
    {
        let act = format!("{:?}", change.act).to_lowercase();
        run.context
            .ui
            .line(&printable(&format!("{act:10} /{}", change.path)))?;
        let (source, path) = (source.name.as_str(), change.path.to_string());
        run.context
            .ui
            .object("change", &ChangeObject { source, act, path })?;
    }
    run.context.ui.line(&format!(
        "dry run: {} unchanged",
        planned.count(Act::Unchanged)
    ))
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
    let problems: Vec<_> = report.problems.iter().chain(&report.differing).collect();
    for problem in &problems {
        run.context
            .ui
            .warning(&printable(&format!("{}: {}", problem.path, problem.reason)));
    }
    tell(run, source, target, report.written_bytes, problems.len())?;
    Ok(
        match (report.differing.is_empty(), report.problems.is_empty()) {
            (false, _) => ExitCode::ValidationFailed,
            (true, false) => ExitCode::Incomplete,
            (true, true) => ExitCode::Done,
        },
    )
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
    let dry_run = run.args.dry_run;
    let done = Done {
        source: &source.name,
        target: shown,
        dry_run,
        written_bytes,
        problems,
    };
    run.context.ui.object("restored", &done)
}

fn confirm_overwrite(run: &RestoreRun<'_>, folder: &Path) -> Result<bool, CliError> {
    let used = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if !used || run.args.force {
        return Ok(true);
    }
    let question = format!(
        "{} is not empty; files of the export would be overwritten. Go on?",
        folder.display()
    );
    run.context.ui.confirm(&question)
}
