//! What a restore looks at before it touches anything.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keepstone_engine::source::{SourceError, SourceErrorKind};
use rustix::fs::{Access, AtFlags, CWD};

use super::hindrance::Hindrance;
use super::image::read_header;
use super::io_failure;
use super::lock::{self, FileId};

/// What lies at the target already.
#[derive(Debug, Default)]
pub(super) struct Old {
    /// Whether there is a file.
    pub(super) exists: bool,
    /// Its mode.
    pub(super) mode: Option<u32>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

impl Old {
    /// Looks at the place; refuses what a restore must not replace.
    pub(super) fn at(live: &Path, force: bool) -> Result<Self, SourceError> {
        let meta = match fs::symlink_metadata(live) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io_failure("cannot look at", live, error)),
        };
        let shown = live.display();
        let occupied = |problem: &str| {
            let act = format!("{shown} {problem}");
            SourceError::new(SourceErrorKind::Occupied, act)
        };
        if !meta.is_file() {
            return Err(occupied("is not a file"));
        }
        if !force && !may_be_database(live)? {
            return Err(Hindrance::not_a_database(live));
        }
        let mut warnings = Vec::new();
        let is_ours = rustix::process::geteuid().as_raw() == meta.uid();
        if !is_ours && !rustix::process::geteuid().is_root() {
            warnings.push(format!("{shown} will belong to the user who restores it"));
        }
        if meta.nlink() > 1 {
            warnings.push(format!(
                "{shown} has further names, which will keep the old content"
            ));
        }
        Ok(Self {
            exists: true,
            mode: Some(meta.mode() & 0o777),
            warnings,
        })
    }
}

/// What to say of those who have the database open that is to be replaced as a whole.
pub(super) fn warn_of_users(live: &Path, force: bool) -> Option<String> {
    let id = FileId::of(live).ok().flatten()?;
    let users = lock::holders(id, live);
    let (who, shown) = (users.join(", "), live.display());
    match (users.is_empty(), force) {
        (true, _) => None,
        (false, true) => Some(format!(
            "{who} has {shown} open: it is overwritten in place, in one transaction"
        )),
        (false, false) => Some(format!("{who} has {shown} open and must be stopped before")),
    }
}

/// Whether a file is a database, or empty, which is one too.
fn may_be_database(path: &Path) -> Result<bool, SourceError> {
    match read_header(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == SourceErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file that the name means: links followed, absolute.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, SourceError> {
    let fail = |e| io_failure("cannot find the place of", path, e);
    if path.to_str().is_none() {
        return Err(super::unusable("its path is not UTF-8"));
    }
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| fail(error))?;
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            Ok(folder.canonicalize().map_err(fail)?.join(name))
        }
        Err(error) => Err(fail(error)),
    }
}

/// Refuses a folder that cannot be written to or is too full.
pub(super) fn check_folder(folder: &Path, size_bytes: u64) -> Result<(), SourceError> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, folder, access, AtFlags::EACCESS)
        .map_err(|e| io_failure("cannot write to the folder", folder, e.into()))?;
    let room = rustix::fs::statvfs(folder)
        .map_err(|e| io_failure("cannot look at the folder", folder, e.into()))?;
    let free_bytes = room.f_bavail.saturating_mul(room.f_frsize);
    let needed_bytes = size_bytes.saturating_mul(2);
    if free_bytes < needed_bytes {
        return Err(SourceError::new(
            SourceErrorKind::NoSpace,
            format!(
                "{} has {free_bytes} bytes free; the restore asks for {needed_bytes}, twice the database",
                folder.display()
            ),
        ));
    }
    Ok(())
}
