//! The names of one restore, and the system calls on them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keepstone_engine::source::{SourceError, SourceErrorKind};
use rustix::fs::{Gid, Uid};

use super::lock::FileId;
use super::{beside, io_failure};

/// Mode of a file while it is being written, and of one whose mode was not recorded.
pub(super) const PRIVATE_MODE: u32 = 0o600;

/// Called with the name of every step that was taken.
pub(super) type StepHook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// Tells a test where it is.
#[derive(Clone, Default)]
pub(super) struct Steps(Option<StepHook>);

impl Steps {
    pub(super) fn calling(hook: StepHook) -> Self {
        Self(Some(hook))
    }

    pub(super) fn done(&self, step: &'static str) {
        if let Some(hook) = &self.0 {
            hook(step);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}

/// The names of one restore.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) live: PathBuf,
    pub(super) new: PathBuf,
    pub(super) old: PathBuf,
}

impl Files {
    pub(super) fn new(live: &Path, id: &str) -> Self {
        Self {
            live: live.to_owned(),
            new: beside(live, &format!(".keepstone-{id}.new")),
            old: beside(live, &format!(".keepstone-{id}.old")),
        }
    }

    /// The whole image that single tables are taken out of, for a file of their own.
    pub(super) fn image(&self) -> PathBuf {
        beside(&self.new, ".image")
    }

    /// Removes the staged file and whatever was left beside it.
    pub(super) fn remove_new(&self) -> Result<(), SourceError> {
        remove_with_sides(&self.image())?;
        remove_with_sides(&self.new)
    }

    /// Removes the copy of the old database that is half made, or has lost its name.
    pub(super) fn remove_copy(&self) -> Result<(), SourceError> {
        remove_with_sides(&self.copy())
    }

    /// There is nothing to put in place, and no sign that it was put there.
    pub(super) fn lost(&self) -> SourceError {
        let (new, live) = (self.new.display(), self.live.display());
        SourceError::new(
            SourceErrorKind::Missing,
            format!("{new} is gone, and nothing shows that it was put in the place of {live}"),
        )
    }

    /// Makes renames and removals last.
    pub(super) fn sync_folder(&self) -> Result<(), SourceError> {
        let folder = self.live.parent().unwrap_or(Path::new("/"));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| io_failure("cannot sync the folder", folder, e))
    }

    /// The copy of the old database, or of tables of it, until it gets its name.
    pub(super) fn copy(&self) -> PathBuf {
        beside(&self.old, ".part")
    }

    /// A second name of the live file for as long as it is overwritten: it tells that one from a file that took its place.
    pub(super) fn mark(&self) -> PathBuf {
        beside(&self.old, ".live")
    }
}

/// What SQLite may keep beside a database.
pub(super) fn side_files(path: &Path) -> [PathBuf; 3] {
    ["-wal", "-shm", "-journal"].map(|suffix| beside(path, suffix))
}

/// Which file a name means; none if there is none.
pub(super) fn id(path: &Path) -> Result<Option<FileId>, SourceError> {
    FileId::of(path).map_err(|e| io_failure("cannot look at", path, e))
}

/// Renames, over what is there.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), SourceError> {
    fs::rename(from, to).map_err(|e| io_failure("cannot rename", from, e))
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), SourceError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_failure("cannot remove", path, error))
        }
        _ => Ok(()),
    }
}

fn remove_with_sides(path: &Path) -> Result<(), SourceError> {
    for side in side_files(path) {
        remove(&side)?;
    }
    remove(path)
}

/// Makes a file that nobody else may read, where none is.
pub(super) fn create_private(path: &Path) -> Result<File, SourceError> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_MODE)
        .open(path)
        .map_err(|e| io_failure("cannot make", path, e))
}

/// Gives a file to the owner of another, if there is one, then sets its mode. What cannot be given away is not opened
/// either.
pub(super) fn take_owner_and_mode(file: &File, like: &Path, mut mode: u32) -> io::Result<()> {
    if let Ok(old) = fs::metadata(like) {
        let new = file.metadata()?;
        let group = Some(Gid::from_raw(old.gid()));
        if new.gid() != old.gid() && rustix::fs::fchown(file, None, group).is_err() {
            mode &= !0o070;
        }
        if new.uid() != old.uid() {
            // Refused to all but root; the plan warned.
            let _kept = rustix::fs::fchown(file, Some(Uid::from_raw(old.uid())), None);
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}
