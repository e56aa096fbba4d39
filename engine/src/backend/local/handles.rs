//! Open files of the repository: reading at a position, and a small cache for packs that are read in many pieces.
//!
//! Objects never change, so a handle that outlives its name still reads the same bytes.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::backend::key::PackName;

/// How many packs are held open at once. Well below the usual limit of 1024 files of a process.
const OPEN_PACKS_MAX: usize = 64;

/// One object, open for reading.
#[derive(Debug)]
pub(super) struct Handle {
    file: OwnedFd,
    size_bytes: u64,
}

impl Handle {
    /// Opens a regular file below the repository's root. A link or a pipe in its place is no object.
    pub(super) fn open(root: BorrowedFd<'_>, path: &str) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(root, path, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO) => return Err(Errno::NOENT),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::NOENT);
        }
        let size_bytes = u64::try_from(stat.st_size).map_err(|_| Errno::OVERFLOW)?;
        Ok(Self { file, size_bytes })
    }

    /// Length when it was opened; it stays so.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads exactly these bytes; `None` if the file has become shorter.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Option<Vec<u8>>, Errno> {
        let length = usize::try_from(length).map_err(|_| Errno::NOMEM)?;
        let mut bytes = Vec::new();
        // A hole of petabytes is a valid file: it must not bring the process down.
        bytes.try_reserve_exact(length).map_err(|_| Errno::NOMEM)?;
        while bytes.len() < length {
            let position = offset + bytes.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), position) {
                Ok(0) => return Ok(None),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        bytes.truncate(length); // The allocator may have given more room than was asked for.
        Ok(Some(bytes))
    }
}

/// Packs held open, the last used first.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: Mutex<Vec<(PackName, Arc<Handle>)>>,
}

impl Handles {
    /// The handle of a pack, opened if it is not open yet.
    pub(super) fn get(
        &self,
        name: &PackName,
        open: impl FnOnce() -> Result<Handle, Errno>,
    ) -> Result<Arc<Handle>, Errno> {
        if let Some(handle) = self.take_front(name) {
            return Ok(handle);
        }
        let handle = Arc::new(open()?); // Outside the lock: a slow disk stops no other reader.
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(0, (*name, Arc::clone(&handle)));
        all.truncate(OPEN_PACKS_MAX);
        Ok(handle)
    }

    /// Closes a pack, so that its space is freed when it is deleted.
    pub(super) fn forget(&self, name: &PackName) {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| other != name);
    }

    fn take_front(&self, name: &PackName) -> Option<Arc<Handle>> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let place = all.iter().position(|(other, _)| other == name)?;
        all.get_mut(..=place)?.rotate_right(1);
        all.first().map(|(_, handle)| Arc::clone(handle))
    }
}
