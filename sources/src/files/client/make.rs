//! Making entries: under a temporary name first, then moved to the final one, so that nothing half-made ever
//! stands under a final name.
//!
//! A temporary file is locked while its maker lives. One that nobody holds was left by a dead run.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{FileKind, Folder};

const TEMP_START: &[u8] = b".keepstone-";
const TEMP_END: &[u8] = b".part";
/// Hexadecimal digits between the two: eight of the process, eight of the file.
const TEMP_DIGITS: usize = 16;

/// Whether a name is one that `NewFile` would choose.
pub(in crate::files) fn is_leftover(name: &[u8]) -> bool {
    name.strip_prefix(TEMP_START)
        .and_then(|rest| rest.strip_suffix(TEMP_END))
        .is_some_and(|digits| {
            digits.len() == TEMP_DIGITS && digits.iter().all(u8::is_ascii_hexdigit)
        })
}

/// Whether the maker of a temporary file is gone. Links and pipes are made in one step: theirs always is.
pub(in crate::files) fn is_dead_leftover(folder: &Folder, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match fs::openat(folder, name, flags, Mode::empty()) {
        Ok(fd) => fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(error) => error == Errno::LOOP,
    }
}

/// A file under a temporary name, readable by its owner alone. Dropped before it is placed, it is removed.
#[derive(Debug)]
pub(in crate::files) struct NewFile {
    fd: OwnedFd,
    name: TempName,
}

impl AsFd for NewFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl NewFile {
    /// Makes an empty file in a folder.
    pub(in crate::files) fn create(folder: &Arc<Folder>) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let (fd, name) = TempName::claim(folder, |name| {
            fs::openat(&**folder, name, flags | OFlags::CLOEXEC, mode)
        })?;
        let file = Self { fd, name };
        match fs::flock(&file.fd, FlockOperation::NonBlockingLockExclusive) {
            // A file system without locks: then a parallel run may take it for a leftover.
            Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => Ok(file),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of `bytes` at the end.
    pub(in crate::files) fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, bytes))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Leaves `length_bytes` unwritten: they read as zeros and take no space.
    pub(in crate::files) fn skip(&self, length_bytes: u64) -> io::Result<()> {
        let length = i64::try_from(length_bytes).map_err(|_| Errno::FBIG)?;
        fs::seek(&self.fd, SeekFrom::Current(length))?;
        Ok(())
    }

    /// Sets the length, for a file that ends in a hole.
    pub(in crate::files) fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        Ok(fs::ftruncate(&self.fd, length_bytes)?)
    }

    /// Moves the file to its final name, in one step, over whatever file or link is there.
    pub(in crate::files) fn place(self, name: &[u8]) -> io::Result<()> {
        self.name.place(name)
    }
}

impl Folder {
    /// Makes a folder that only its owner may enter.
    pub(in crate::files) fn make_dir(&self, name: &[u8]) -> io::Result<()> {
        Ok(fs::mkdirat(self, name, Mode::RWXU)?)
    }
}

/// A name in use for an entry that is being made.
#[derive(Debug)]
pub(in crate::files) struct TempName {
    folder: Arc<Folder>,
    name: Option<Vec<u8>>,
}

impl TempName {
    /// Makes a symbolic link under a temporary name.
    pub(in crate::files) fn link(folder: &Arc<Folder>, target: &[u8]) -> io::Result<Self> {
        Self::claim(folder, |name| fs::symlinkat(target, &**folder, name)).map(|((), name)| name)
    }

    /// Makes a further name of a file under a temporary name. A link that took the place of the file is not
    /// followed.
    pub(in crate::files) fn hard_link(
        folder: &Arc<Folder>,
        of_folder: &Folder,
        of: &[u8],
    ) -> io::Result<Self> {
        let make = |name: &[u8]| fs::linkat(of_folder, of, &**folder, name, AtFlags::empty());
        Self::claim(folder, make).map(|((), name)| name)
    }

    /// Makes a pipe or a device under a temporary name, for its owner alone.
    pub(in crate::files) fn node(
        folder: &Arc<Folder>,
        kind: FileKind,
        (major, minor): (u32, u32),
    ) -> io::Result<Self> {
        let kind = match kind {
            FileKind::Fifo => FileType::Fifo,
            FileKind::BlockDevice => FileType::BlockDevice,
            FileKind::CharDevice => FileType::CharacterDevice,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mode = Mode::RUSR | Mode::WUSR;
        let device = fs::makedev(major, minor);
        Self::claim(folder, |name| {
            fs::mknodat(&**folder, name, kind, mode, device)
        })
        .map(|((), name)| name)
    }

    /// The temporary name.
    pub(in crate::files) fn as_bytes(&self) -> &[u8] {
        self.name.as_deref().unwrap_or_default()
    }

    /// Moves the entry to its final name, in one step, over whatever file or link is there.
    pub(in crate::files) fn place(mut self, name: &[u8]) -> io::Result<()> {
        fs::renameat(&*self.folder, self.as_bytes(), &*self.folder, name)?;
        self.name = None;
        Ok(())
    }

    fn claim<T>(
        folder: &Arc<Folder>,
        make: impl Fn(&[u8]) -> rustix::io::Result<T>,
    ) -> io::Result<(T, Self)> {
        loop {
            let name = next_name()?;
            match make(&name) {
                Err(Errno::EXIST) => {}
                made => {
                    let name = Self {
                        folder: Arc::clone(folder),
                        name: Some(name),
                    };
                    // On failure nothing was made, and removing nothing is harmless.
                    return Ok((made?, name));
                }
            }
        }
    }
}

impl Drop for TempName {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Nothing more can be done; the next run finds the name and removes it.
            self.folder.remove(&name, false).unwrap_or_default();
        }
    }
}

/// Names differ between processes by chance and within one by counting.
fn next_name() -> io::Result<Vec<u8>> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = if let Some(number) = PROCESS.get() {
        *number
    } else {
        let number = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        *PROCESS.get_or_init(|| number)
    };
    let count = COUNT.fetch_add(1, Ordering::Relaxed) & u64::from(u32::MAX);
    Ok(format!(".keepstone-{process:08x}{count:08x}.part").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_leftovers() {
        assert!(is_leftover(&next_name().unwrap()));
        for other in [
            ".keepstone-0123456789abcdef.par",
            ".keepstone-0123456789abcde.part",
            ".keepstone-0123456789abcdeg.part",
            "keepstone-0123456789abcdef.part",
            ".keepstone-.part",
        ] {
            assert!(!is_leftover(other.as_bytes()), "{other}");
        }
    }
}
