//! Rebuild: writes items as folders and files beneath one folder: survey, plan, apply, and a report.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, Skipped, SourceError, SourceErrorKind};

use super::apply::Apply;
use super::client::{self, Folder, Powers};
use super::excludes::Pattern;
use super::ledger::Ledger;
use super::metadata::Notes;
use super::plan::{Act, Change, Overwrite, Plan};
use super::scope::Scope;
use super::survey::Survey;

/// How to restore files.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the command line"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesRestoreOptions {
    /// The folder that everything is written beneath; made if it is missing. `/` restores in place.
    pub target: PathBuf,
    /// Restores only what these match, and everything in folders that they match. None: everything.
    pub include: Vec<Pattern>,
    /// Leaves out what these match.
    pub exclude: Vec<Pattern>,
    /// Restores only this item and what is in it.
    pub subpath: Option<RepoPath>,
    /// Puts the content of the subpath directly into the target.
    pub strip_subpath: bool,
    /// When an entry that is there is replaced.
    pub overwrite: Overwrite,
    /// Removes what the snapshot does not have, in the folders that it has wholly.
    pub delete: bool,
    /// Compares content, of what is there before and of what was written after.
    pub verify: bool,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Restores set-user-id bits, devices, and attributes of the system.
    pub privileged: bool,
    /// Leaves runs of zeros unwritten in every file, not only in those that had holes.
    pub sparse: bool,
    /// Ends only when everything is on the disks of the target.
    pub sync: bool,
    /// Threads that read and write files.
    pub threads: usize,
}

impl FilesRestoreOptions {
    /// Restores everything beneath a folder.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            include: Vec::new(),
            exclude: Vec::new(),
            subpath: None,
            strip_subpath: false,
            overwrite: Overwrite::default(),
            delete: false,
            verify: false,
            dry_run: false,
            privileged: false,
            sparse: false,
            sync: true,
            threads: 4,
        }
    }
}

/// What a restore did, or with `dry_run` would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesRestoreReport {
    /// Every entry and what happened to it, in the order of paths.
    pub changes: Vec<Change>,
    /// Entries that were not restored or removed as they should be.
    pub problems: Vec<Skipped>,
    /// Files that were read back differently from how they were written.
    pub differing: Vec<Skipped>,
    /// Sentences for the user: what is otherwise than recorded, and why.
    pub notes: Vec<String>,
    /// Bytes of content written.
    pub written_bytes: u64,
    /// Whether some of the problems are damage of the repository.
    pub damaged: bool,
}

impl FilesRestoreReport {
    /// How many entries something happened to.
    pub fn count(&self, act: Act) -> usize {
        self.changes
            .iter()
            .filter(|change| change.act == act)
            .count()
    }
}

/// What happens while files are restored. Comes from several threads.
#[derive(Debug, Clone, Copy)]
pub enum FilesEvent<'a> {
    /// The plan is made: so many entries to make or change, so many bytes to write.
    Planned {
        /// Entries that are not right already.
        entries: usize,
        /// Bytes of content to write.
        write_bytes: u64,
    },
    /// One entry is done.
    Done(&'a Change),
    /// So many bytes of content were written.
    Written(u64),
    /// One entry failed.
    Problem(&'a Skipped),
    /// What was written is being read back.
    Verifying,
}

/// Leaves what was done: neither what failed, nor what was to go for it.
fn drop_unmade(changes: &mut Vec<Change>, plan: &Plan, failed: &BTreeMap<RepoPath, String>) {
    let unmade = plan.steps.iter();
    let unmade = unmade.filter(|step| failed.contains_key(&step.path));
    let left: BTreeSet<_> = unmade
        .flat_map(|step| step.clear.iter().map(|doomed| &doomed.path))
        .collect();
    changes.retain(|change| !failed.contains_key(&change.path) && !left.contains(&change.path));
}

/// Restores the items of a capture as folders and files.
///
/// An error means that the restore ended early; what it had done stays, complete file by complete file, and running
/// it again goes on from there. What failed for single entries is in the report.
pub fn restore_files(
    items: &dyn Items,
    options: &FilesRestoreOptions,
    observe: &(dyn Fn(FilesEvent<'_>) + Sync),
) -> Result<FilesRestoreReport, SourceError> {
    let powers = Powers::of_this_process();
    let notes = Notes::default();
    let scope = Scope::of(options, items)?;
    let (base, exists) = open_target(&options.target)?;
    let survey = Survey::new(
        items,
        options,
        &scope,
        &powers,
        (&notes, (Arc::clone(&base), exists)),
    )?;
    let plan = survey.run()?;
    check_space(&plan, &base, options, &powers)?;
    let pending = |step: &&super::plan::Step| !matches!(step.act, Act::Unchanged | Act::Keep);
    observe(FilesEvent::Planned {
        entries: plan.steps.iter().filter(pending).count() + plan.deletions.len(),
        write_bytes: plan.write_bytes,
    });
    let changes = plan.changes();
    let problems = plan.problems.clone();
    if options.dry_run {
        let notes = notes.sentences();
        return Ok(FilesRestoreReport {
            changes,
            problems,
            notes,
            damaged: plan.damaged,
            ..FilesRestoreReport::default()
        });
    }
    let base = if exists {
        base
    } else {
        make_target(&options.target)?
    };
    let apply = Apply {
        plan: &plan,
        items,
        options,
        powers: &powers,
        notes: &notes,
        base,
        observe,
        ledger: Ledger::default(),
    };
    apply.run()?;
    let differing = if options.verify {
        apply.verify()
    } else {
        Vec::new()
    };
    let mut report = FilesRestoreReport {
        changes,
        problems,
        differing,
        notes: notes.sentences(),
        written_bytes: apply.ledger.written_bytes(),
        damaged: plan.damaged || apply.ledger.is_damaged(),
    };
    let failed = apply.ledger.into_failed();
    drop_unmade(&mut report.changes, &plan, &failed);
    report
        .problems
        .extend(failed.into_iter().map(|(path, reason)| Skipped {
            path: path.to_string(),
            reason,
        }));
    Ok(report)
}

/// Opens the target, or the lowest folder above it that exists, and tells which.
fn open_target(target: &Path) -> Result<(Arc<Folder>, bool), SourceError> {
    let mut path = target;
    loop {
        let asked = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match (Folder::open_trusted(asked), path.parent()) {
            (Ok(folder), _) => return Ok((Arc::new(folder), path == target)),
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => path = parent,
            (Err(error), _) => return Err(target_failed(target, error)),
        }
    }
}

fn make_target(target: &Path) -> Result<Arc<Folder>, SourceError> {
    client::make_target(target)
        .and_then(|()| Folder::open_trusted(target))
        .map(Arc::new)
        .map_err(|error| target_failed(target, error))
}

fn target_failed(target: &Path, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => SourceErrorKind::Denied,
        io::ErrorKind::NotADirectory => SourceErrorKind::Occupied,
        io::ErrorKind::StorageFull => SourceErrorKind::NoSpace,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, format!("cannot restore into {}", target.display())).because(error)
}

/// Refuses before anything is written what cannot fit on one of the file systems at and below the target.
fn check_space(
    plan: &Plan,
    base: &Folder,
    options: &FilesRestoreOptions,
    powers: &Powers,
) -> Result<(), SourceError> {
    for need in plan.needs.values() {
        let mut target = options.target.clone();
        let free = if need.folder.is_root() {
            let free = base.free(powers);
            free.map_err(|error| target_failed(&target, error))?
        } else {
            target.push(OsStr::from_bytes(need.folder.as_bytes()));
            match base.open_below(&need.folder).and_then(|at| at.free(powers)) {
                Ok(free) => free,
                // It moved meanwhile: what fails for that is named when it is tried.
                Err(_) => continue,
            }
        };
        let (target, (free_bytes, free_entries)) = (target.display(), free);
        let need_bytes = if options.sparse { 0 } else { need.bytes };
        if need_bytes > free_bytes {
            let act =
                format!("{target} has {free_bytes} bytes free, the restore needs {need_bytes}");
            return Err(SourceError::new(SourceErrorKind::NoSpace, act));
        }
        if let Some(free) = free_entries.filter(|free| *free < need.entries) {
            let need = need.entries;
            let act =
                format!("{target} has room for {free} more entries, the restore makes {need}");
            return Err(SourceError::new(SourceErrorKind::NoSpace, act));
        }
    }
    Ok(())
}
