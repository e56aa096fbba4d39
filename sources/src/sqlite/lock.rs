//! Locks in SQLite's own protocol, on our own file descriptors, and who else has a file open.
//!
//! SQLite's locks belong to a process and fall when *any* descriptor of the file is closed in it. A backup that also
//! reads the folder as plain files would lose them in the middle of a capture, and a writer could step in. Locks of
//! an open file description stay until they are taken back, and SQLite's honour them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// A range of bytes that stands for a lock in SQLite's protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockRange {
    start: i64,
    length: i64,
}

/// In a database file: read-locked by every reader, write-locked by a writer that changes the file.
pub(super) const DATABASE_READERS: LockRange = LockRange {
    start: 0x4000_0002,
    length: 510,
};
/// In a database file: write-locked by who waits for the readers to go; no new ones come meanwhile.
pub(super) const DATABASE_PENDING: LockRange = LockRange {
    start: 0x4000_0000,
    length: 1,
};
/// In a database file: everything; write-locked, nobody else may read or write, in any journal mode.
pub(super) const DATABASE_ALL: LockRange = LockRange {
    start: 0x4000_0000,
    length: 512,
};
/// In a `-shm` file: the read mark for readers of the database alone. Read-locked, nothing of the log can be moved into the
/// database.
pub(super) const SHM_DATABASE: LockRange = LockRange {
    start: 123,
    length: 1,
};
/// In a `-shm` file: the last of the read marks for readers of the log, and the mark of being in use. Read-locked, the log
/// cannot start over, and the index is not thrown away. The other marks are left to others: a writer needs one.
pub(super) const SHM_LOG: LockRange = LockRange {
    start: 127,
    length: 2,
};
/// In a `-shm` file: the mark of being in use alone.
pub(super) const SHM_IN_USE: LockRange = LockRange {
    start: 128,
    length: 1,
};
/// In a `-shm` file: write-locked by the one writer.
pub(super) const SHM_WRITER: LockRange = LockRange {
    start: 120,
    length: 1,
};

/// Takes a shared lock without waiting; answers whether it was free.
pub(super) fn try_shared(file: &File, range: LockRange) -> io::Result<bool> {
    set(file, range, libc::F_RDLCK)
}

/// Takes an exclusive lock without waiting; answers whether it was free. The file must be open for writing.
pub(super) fn try_exclusive(file: &File, range: LockRange) -> io::Result<bool> {
    set(file, range, libc::F_WRLCK)
}

/// Gives a lock back.
pub(super) fn unlock(file: &File, range: LockRange) -> io::Result<()> {
    set(file, range, libc::F_UNLCK).map(drop)
}

/// Whether anybody holds a lock there, be it shared.
pub(super) fn is_held(file: &File, range: LockRange) -> io::Result<bool> {
    let mut lock = flock_of(range, libc::F_WRLCK)?;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}

fn set(file: &File, range: LockRange, kind: libc::c_int) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&flock_of(range, kind)?)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn flock_of(range: LockRange, kind: libc::c_int) -> io::Result<libc::flock> {
    let short = |number: libc::c_int| libc::c_short::try_from(number).map_err(io::Error::other);
    Ok(libc::flock {
        l_type: short(kind)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: range.start,
        l_len: range.length,
        l_pid: 0,
    })
}

/// Waits before a lock is tried again.
#[expect(
    clippy::disallowed_methods,
    reason = "a lock that another process holds does not tell when it is given back"
)]
pub(super) fn pause(moment: Duration) {
    std::thread::sleep(moment);
}

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file behind a name, symbolic links followed; none if there is none.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Self::of_meta(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An open file.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of_meta(&file.metadata()?))
    }

    fn of_meta(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

/// Other processes that have a file open under its name, as far as this user may see them: `4711 (grafana)`.
pub(super) fn holders(file: FileId, path: &Path) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        let is_process = name.bytes().all(|byte| byte.is_ascii_digit());
        if !is_process || name == own {
            continue;
        }
        let descriptors = fs::read_dir(process.path().join("fd"));
        let holds = descriptors
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| is_file(&entry.path(), file, path));
        if holds {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{name} ({})", program.trim_end()));
        }
    }
    found
}

/// Whether a descriptor is this file. Names are compared first: to look at a file on a dead network drive may hang.
fn is_file(descriptor: &Path, file: FileId, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let has_name = fs::read_link(descriptor).is_ok_and(|target| {
        target
            .file_name()
            // The kernel puts ` (deleted)` behind a name that is gone.
            .is_some_and(|other| other.as_encoded_bytes().starts_with(name))
    });
    has_name && fs::metadata(descriptor).is_ok_and(|meta| FileId::of_meta(&meta) == file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_two_descriptors_exclude_each_other_and_survive_a_foreign_close() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        fs::write(&path, b"x").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let (one, two) = (open(), open());
        assert!(try_shared(&one, DATABASE_READERS).unwrap());
        assert!(try_shared(&two, DATABASE_READERS).unwrap());
        unlock(&two, DATABASE_READERS).unwrap();
        drop(File::open(&path).unwrap());
        assert!(!try_exclusive(&two, DATABASE_ALL).unwrap());
        unlock(&one, DATABASE_READERS).unwrap();
        assert!(try_exclusive(&two, DATABASE_ALL).unwrap());
        assert!(!try_shared(&one, DATABASE_READERS).unwrap());
    }
}
