//! Objects that have no name yet: written and flushed in a folder of their own, then given their name in one step.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// What a killed process left is removed when it is older than this by the file system's own clock.
const LEFTOVER_AGE_S: i64 = 24 * 60 * 60;
/// Pieces in one call; the kernel takes no more than 1024.
const PIECES_MAX: usize = 512;
/// Names tried before giving up; only leftovers of a process of the same number are in the way.
const NAMES_MAX: u64 = 100_000;

/// Makes temporary names and remembers what the file system can do.
#[derive(Debug, Default)]
pub(super) struct Staging {
    count: AtomicU64,
    swept: AtomicBool,
    cannot_rename: AtomicBool,
}

impl Staging {
    /// Writes a body under a temporary name and flushes it to the disk.
    pub(super) fn write<'a>(
        &'a self,
        root: BorrowedFd<'a>,
        folder: &str,
        body: &[&[u8]],
    ) -> Result<Staged<'a>, Errno> {
        let staged = self.open(root, folder)?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            // Leftovers cost space and nothing else: that they cannot be removed stops nobody.
            let _: Result<(), Errno> = sweep(root, folder, &staged);
        }
        write_all(&staged.file, body)?;
        rustix::fs::fsync(&staged.file)?;
        Ok(staged)
    }

    fn open<'a>(&'a self, root: BorrowedFd<'a>, folder: &str) -> Result<Staged<'a>, Errno> {
        let process = rustix::process::getpid().as_raw_nonzero();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        for _ in 0..NAMES_MAX {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let path = format!("{folder}/{process}-{number}");
            match rustix::fs::openat(root, &path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    return Ok(Staged {
                        staging: self,
                        root,
                        path,
                        file,
                        renamed: false,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::MFILE)
    }
}

/// One object under its temporary name, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Staged<'a> {
    staging: &'a Staging,
    root: BorrowedFd<'a>,
    path: String,
    file: OwnedFd,
    renamed: bool,
}

impl Staged<'_> {
    /// Gives the object its name unless that is taken. The folder must be flushed after.
    pub(super) fn publish(mut self, path: &str) -> Result<(), Errno> {
        if !self.staging.cannot_rename.load(Ordering::Relaxed) {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(self.root, &self.path, self.root, path, flags) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.staging.cannot_rename.store(true, Ordering::Relaxed);
                }
                renamed => {
                    self.renamed = renamed.is_ok();
                    return renamed;
                }
            }
        }
        match rustix::fs::linkat(self.root, &self.path, self.root, path, AtFlags::empty()) {
            // Over a network a link that was made may be asked for again and then be called taken.
            Err(Errno::EXIST) if rustix::fs::fstat(&self.file)?.st_nlink > 1 => Ok(()),
            linked => linked,
        }
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // If this fails the leftover is swept another day.
            let _: Result<(), Errno> =
                rustix::fs::unlinkat(self.root, &self.path, AtFlags::empty());
        }
    }
}

/// Removes old leftovers. `fresh` was made this moment and so shows the file system's time.
fn sweep(root: BorrowedFd<'_>, folder: &str, fresh: &Staged<'_>) -> Result<(), Errno> {
    let now_s = rustix::fs::fstat(&fresh.file)?.st_mtime;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(root, folder, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let stat = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if now_s.saturating_sub(stat.st_mtime) > LEFTOVER_AGE_S {
            // A folder is refused, and so are the two dots.
            let _: Result<(), Errno> =
                rustix::fs::unlinkat(folder.as_fd(), entry.file_name(), AtFlags::empty());
        }
    }
    Ok(())
}

fn write_all(file: &OwnedFd, body: &[&[u8]]) -> Result<(), Errno> {
    for pieces in body.chunks(PIECES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0); // Drops empty pieces in front.
        while !rest.is_empty() {
            match rustix::io::writev(file, rest) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Timespec, Timestamps};

    use super::super::handles::Handle;
    use super::*;

    fn open(folder: &tempfile::TempDir) -> OwnedFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::open(folder.path(), flags, Mode::empty()).unwrap()
    }

    fn read(root: &OwnedFd, name: &str) -> Vec<u8> {
        let handle = Handle::open(root.as_fd(), name).unwrap();
        handle.read(0, handle.size_bytes()).unwrap().unwrap()
    }

    fn names(root: &OwnedFd) -> Vec<String> {
        let entries = Dir::read_from(root).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
            .filter(|name| !matches!(name.as_str(), "." | ".."))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_system_without_rename_no_replace_gets_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = open(&folder);
        let staging = Staging::default();
        staging.cannot_rename.store(true, Ordering::Relaxed);
        let write = |text: &[u8]| staging.write(root.as_fd(), ".", &[text]).unwrap();
        write(b"first").publish("name").unwrap();
        assert_eq!(write(b"second").publish("name"), Err(Errno::EXIST));
        assert_eq!(names(&root), ["name"]);
        assert_eq!(read(&root, "name"), b"first");
    }

    #[test]
    fn only_old_leftovers_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let root = open(&folder);
        let leave = |name: &str, age_s: i64| {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let file = rustix::fs::openat(&root, name, flags, Mode::RUSR).unwrap();
            let then = Timespec {
                tv_sec: rustix::fs::fstat(&file).unwrap().st_mtime - age_s,
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: then,
                last_modification: then,
            };
            rustix::fs::futimens(&file, &times).unwrap();
        };
        leave("old", 25 * 60 * 60);
        leave("young", 23 * 60 * 60);
        rustix::fs::mkdirat(&root, "folder", Mode::RWXU).unwrap();
        let staging = Staging::default();
        drop(staging.write(root.as_fd(), ".", &[b"body"]).unwrap());
        assert_eq!(names(&root), ["folder", "young"]);
    }

    #[test]
    fn many_pieces_and_empty_ones_are_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let root = open(&folder);
        let pieces: Vec<Vec<u8>> = (0..3000_usize)
            .map(|i| vec![i.to_le_bytes()[0]; i % 7])
            .collect();
        let body: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let staging = Staging::default();
        let staged = staging.write(root.as_fd(), ".", &body).unwrap();
        staged.publish("name").unwrap();
        assert_eq!(read(&root, "name"), body.concat());
    }
}
