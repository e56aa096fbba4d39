//! Files: folders and files of this machine, with everything the file system says of them.
//!
//! # What is captured
//!
//! Every root is an absolute path; its entries keep their paths from `/`, and the folders above it are kept with
//! their own facts. Kept are folders, files, symbolic links (never followed), hard links, pipes, sockets and devices,
//! each with mode, owner and group by number and name, modification time to the nanosecond and extended attributes,
//! access control lists among them. Holes of a sparse file are not read. Access and creation times are not kept.
//! Names behind numbers come from `/etc/passwd` and `/etc/group`.
//!
//! A root is named as it really lies: links on the way to it are resolved, and the report says so. A root that is itself
//! a link is kept as that link alone.
//!
//! Left out is what the settings exclude: patterns as in a gitignore file (one that begins with `/` is a path from
//! the root, any other may match at any depth, `!` takes an exclusion back), folders with a mark such as
//! `CACHEDIR.TAG` (the folder and the mark stay), files above a size, other file systems. Roots are never excluded, not
//! even by what holds for another root that they lie in: a folder on the way to them that is left out is passed. What
//! lies deeper than a repository can hold is left out and named.
//!
//! # Consistency
//!
//! Files are read one after another while the system runs. A file that changed while it was read is kept as it
//! was read and named in the report; one that vanished or cannot be read is left out and named. A root that is
//! missing fails the capture. A file whose path, size, inode, modification and change time are those of the parent
//! capture is not read again.
//!
//! # Privileges
//!
//! Reading needs only the right to read. Without root, some attributes and files of others stay out of reach.
//!
//! # Restore
//!
//! Everything is written beneath one folder (`/` to restore in place), through handles that cannot leave it: a
//! symbolic link in the way is replaced, never followed. A file gets its content, owner, attributes, mode and
//! times under a temporary name that only its owner can read, and then its final name in one step. Folders are closed
//! to others until their content is complete. What is already equal is skipped, so that a restore that was
//! interrupted is taken up by running it again; temporary files of a dead run are removed.
//!
//! Set-user-id and set-group-id bits of files, devices, and attributes outside `user.` and access control lists are
//! restored only with `privileged`. Sockets are not restored. Without root, owners stay those of the user; where a
//! group cannot be set, its permissions are cut to those of everybody, so that nothing is wider than it was.

mod apply;
mod capture;
mod client;
mod excludes;
mod extent;
mod fitting;
mod gather;
mod ledger;
mod metadata;
mod plan;
mod rebuild;
mod scope;
mod spare;
mod stack;
mod survey;
mod verify;
mod walk;
mod write;

pub use excludes::{FolderMark, Pattern};
pub use plan::{Act, Change, Overwrite};
pub use rebuild::{FilesEvent, FilesRestoreOptions, FilesRestoreReport, restore_files};

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Attributes, Consistency, OpenFacts, Opened, Source, SourceError, SourceErrorKind,
};

use capture::FilesOpened;
use client::Folder;
use excludes::{Patterns, Rules};

/// Most text of patterns that is recorded in a capture.
const RECORDED_PATTERN_BYTES: usize = 32 * 1024;
/// Names of what a capture records of its settings.
const ROOTS: &str = "roots";
const PATTERNS: &str = "patterns";
const LARGER_THAN: &str = "larger_than_bytes";

/// What to capture, and what of it to leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesSettings {
    /// Absolute paths of folders or files.
    pub roots: Vec<PathBuf>,
    /// Entries to leave out.
    pub exclude: Vec<Pattern>,
    /// Files with a pattern on each line, and whether their letters match in either case.
    pub exclude_files: Vec<(PathBuf, bool)>,
    /// Folders to leave out but for the mark.
    pub exclude_marked: Vec<FolderMark>,
    /// Files with more bytes than this are left out.
    pub exclude_larger_than_bytes: Option<u64>,
    /// Stay on the file system of each root.
    pub one_file_system: bool,
    /// Threads that look at entries and read small files ahead.
    pub threads: usize,
}

impl FilesSettings {
    /// Captures all of these roots.
    pub fn new(roots: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            roots: roots.into_iter().map(Into::into).collect(),
            exclude: Vec::new(),
            exclude_files: Vec::new(),
            exclude_marked: Vec::new(),
            exclude_larger_than_bytes: None,
            one_file_system: false,
            threads: 2,
        }
    }
}

/// Folders and files of this machine.
#[derive(Debug, Clone)]
pub struct FilesSource {
    settings: FilesSettings,
}

impl FilesSource {
    /// A source over these settings. Nothing is looked at before it is opened.
    pub fn new(settings: FilesSettings) -> Self {
        Self { settings }
    }

    /// All patterns, those in files included.
    fn patterns(&self) -> Result<Vec<Pattern>, SourceError> {
        let mut patterns = self.settings.exclude.clone();
        for (path, ignore_case) in &self.settings.exclude_files {
            let text = client::read_text(path).map_err(|error| {
                let act = format!("cannot read patterns from {}", path.display());
                SourceError::new(SourceErrorKind::Settings, act).because(error)
            })?;
            patterns.extend(text.lines().map(|line| Pattern {
                text: line.to_owned(),
                ignore_case: *ignore_case,
            }));
        }
        patterns.retain(|pattern| !pattern.text.trim().is_empty());
        Ok(patterns)
    }
}

impl Source for FilesSource {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn address(&self) -> String {
        let roots = self.settings.roots.iter();
        let roots: Vec<_> = roots.map(|root| root.display().to_string()).collect();
        roots.join(", ")
    }

    fn consistency(&self) -> Consistency {
        Consistency::Fuzzy
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        let patterns = self.patterns()?;
        let rules = Rules {
            patterns: Patterns::compile(&patterns)?,
            marks: self.settings.exclude_marked.clone(),
            larger_than_bytes: self.settings.exclude_larger_than_bytes,
            one_file_system: self.settings.one_file_system,
        };
        let mut warnings = Vec::new();
        let mut roots = Vec::new();
        for root in &self.settings.roots {
            roots.push(find_root(root, &mut warnings)?);
        }
        let (roots, inner) = outermost(roots);
        if !client::has_proc() {
            warnings.push("/proc is not mounted: extended attributes are not all saved".into());
        }
        let base = Folder::open_trusted(Path::new("/")).map_err(|error| {
            SourceError::new(SourceErrorKind::Denied, "cannot open /").because(error)
        })?;
        Ok(Box::new(FilesOpened {
            facts: OpenFacts {
                version: None,
                attributes: record(&roots, &patterns, rules.larger_than_bytes)?,
            },
            roots,
            inner,
            rules,
            warnings,
            base: Arc::new(base),
            threads: self.settings.threads,
        }))
    }
}

/// The path of a root as it really lies, relative to `/`.
fn find_root(root: &Path, warnings: &mut Vec<String>) -> Result<RepoPath, SourceError> {
    let shown = root.display();
    if !root.is_absolute() {
        let act = format!("cannot back up {shown}: the path is not absolute");
        return Err(SourceError::new(SourceErrorKind::Settings, act));
    }
    let given = RepoPath::parse(root.as_os_str().as_bytes()).ok();
    let (real, is_link) =
        client::real_path(root).map_err(|error| walk::root_failed(&shown.to_string(), error))?;
    let path = RepoPath::parse(real.as_os_str().as_bytes()).map_err(|error| {
        SourceError::new(SourceErrorKind::Settings, format!("cannot back up {shown}"))
            .because(error)
    })?;
    if is_link {
        warnings.push(format!(
            "{shown} is a symbolic link: what it points to is not saved"
        ));
    } else if given.is_some_and(|given| given != path) {
        warnings.push(format!("{shown} is saved as /{path}, where it really lies"));
    }
    Ok(path)
}

/// Parts the roots from those that lie in others; both are in order.
fn outermost(mut roots: Vec<RepoPath>) -> (Vec<RepoPath>, Vec<RepoPath>) {
    roots.sort();
    roots.dedup();
    let mut outer: Vec<RepoPath> = Vec::with_capacity(roots.len());
    let mut inner = Vec::new();
    for root in roots {
        match outer.last() {
            Some(above) if root.starts_with(above) => inner.push(root),
            _ => outer.push(root),
        }
    }
    (outer, inner)
}

/// What a capture says of its settings, so that a restore knows what was left out on purpose.
fn record(
    roots: &[RepoPath],
    patterns: &[Pattern],
    larger_than_bytes: Option<u64>,
) -> Result<Attributes, SourceError> {
    let mut attributes = Attributes::new();
    let roots: Vec<_> = roots.iter().map(|root| format!("/{root}")).collect();
    attributes.insert(ROOTS.into(), roots.into());
    if let Some(bytes) = larger_than_bytes {
        attributes.insert(LARGER_THAN.into(), bytes.into());
    }
    let length: usize = patterns.iter().map(|pattern| pattern.text.len()).sum();
    let recorded = if length <= RECORDED_PATTERN_BYTES {
        serde_json::to_value(patterns).map_err(|error| {
            SourceError::new(SourceErrorKind::Settings, "cannot record the patterns").because(error)
        })?
    } else {
        serde_json::Value::Null
    };
    attributes.insert(PATTERNS.into(), recorded);
    Ok(attributes)
}
