//! Copies of objects as files of a folder, bounded in bytes.
//!
//! Nothing here may fail a run: a copy that cannot be written is not kept, one that cannot be read is not there.
#![expect(
    clippy::disallowed_methods,
    reason = "the cache keeps its copies on a disk of this machine"
)]

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use crate::backend::{ByteRange, ObjectKey, ObjectKind};

/// Tells backup programs that nothing here is worth keeping: bford.info/cachedir.
const TAG_FILE: &str = "CACHEDIR.TAG";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# Copies of a keepstone repository; can be deleted at any time.\n";
/// Where copies are written before they get their name.
const STAGING: &str = "tmp";

/// By the clock of the file system: this library reads none.
const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// What is kept, by name.
#[derive(Debug)]
pub(super) struct Copies {
    folder: PathBuf,
    quota_bytes: u64,
    known: Mutex<Known>,
    staged: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    copies: HashMap<ObjectKey, Copy>,
    total_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Copy {
    size_bytes: u64,
    used_at: SystemTime,
    is_used_now: bool,
}

impl Copies {
    /// Looks what an earlier run has kept.
    pub(super) fn open(folder: &Path, quota_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder.join(STAGING))?;
        fs::write(folder.join(TAG_FILE), TAG)?;
        let mut known = Known::default();
        for kind in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::End] {
            let below = folder.join(kind.to_string());
            fs::create_dir_all(&below)?;
            known.look(folder, &below)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            quota_bytes,
            known: Mutex::new(known),
            staged: AtomicU64::new(0),
        })
    }

    /// Bytes of all copies.
    pub(super) fn total_bytes(&self) -> u64 {
        lock(&self.known).total_bytes
    }

    /// Whether there is a copy; it counts as used.
    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        self.note_use(key)
    }

    /// Reads a copy or a range of it; none if there is none, or not all of it.
    pub(super) fn read(&self, key: &ObjectKey, range: ByteRange) -> Option<Vec<u8>> {
        if !self.note_use(key) {
            return None;
        }
        let bytes = read_range(&self.path(key), range);
        if bytes.is_err() {
            self.drop_copy(key);
        }
        bytes.ok()
    }

    /// Whether a copy of this size could be kept without dropping what this run has used.
    pub(super) fn has_room_for(&self, size_bytes: u64) -> bool {
        let known = lock(&self.known);
        let used = known.copies.values().filter(|copy| copy.is_used_now);
        used.map(|copy| copy.size_bytes).sum::<u64>() + size_bytes <= self.quota_bytes
    }

    /// Keeps a copy, if it can be.
    pub(super) fn keep(&self, key: &ObjectKey, body: &[&[u8]]) {
        let size_bytes = body.iter().map(|piece| piece.len() as u64).sum();
        self.make_room(size_bytes);
        if self.write(key, body).is_ok() {
            let copy = Copy {
                size_bytes,
                used_at: SystemTime::UNIX_EPOCH,
                is_used_now: true,
            };
            lock(&self.known).add(*key, copy);
        }
    }

    /// Drops a copy; answers whether there was one.
    pub(super) fn drop_copy(&self, key: &ObjectKey) -> bool {
        let was_kept = lock(&self.known).remove(key);
        was_kept && fs::remove_file(self.path(key)).is_ok()
    }

    /// Drops the copies of objects of a kind that exist no longer.
    pub(super) fn retain(&self, kind: ObjectKind, exist: &BTreeSet<ObjectKey>) {
        let gone: Vec<_> = {
            let known = lock(&self.known);
            let keys = known.copies.keys().copied();
            keys.filter(|key| key.kind() == kind && !exist.contains(key))
                .collect()
        };
        for key in gone {
            self.drop_copy(&key);
        }
    }

    /// Marks a copy as used: for this run in memory, for later runs by the file's time, once.
    fn note_use(&self, key: &ObjectKey) -> bool {
        let mut known = lock(&self.known);
        let Some(copy) = known.copies.get_mut(key) else {
            return false;
        };
        let first = !std::mem::replace(&mut copy.is_used_now, true);
        drop(known);
        if first {
            let touched = utimensat(CWD, self.path(key), &USED_NOW, AtFlags::empty());
            if touched.is_err() {
                // Another run has dropped it.
                lock(&self.known).remove(key);
                return false;
            }
        }
        true
    }

    fn make_room(&self, size_bytes: u64) {
        let mut going = Vec::new();
        {
            let mut known = lock(&self.known);
            if known.total_bytes + size_bytes <= self.quota_bytes {
                return;
            }
            let mut unused: Vec<_> = known
                .copies
                .iter()
                .filter(|(_, copy)| !copy.is_used_now)
                .map(|(key, copy)| (copy.used_at, *key))
                .collect();
            unused.sort_unstable();
            for (_, key) in unused {
                if known.total_bytes + size_bytes <= self.quota_bytes {
                    break;
                }
                known.remove(&key);
                going.push(key);
            }
        }
        for key in going {
            // Gone already is as good.
            drop(fs::remove_file(self.path(&key)));
        }
    }

    fn write(&self, key: &ObjectKey, body: &[&[u8]]) -> io::Result<()> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let staged = self
            .folder
            .join(STAGING)
            .join(format!("{}.{number}", std::process::id()));
        let path = self.path(key);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&staged)?;
        let written = body.iter().try_for_each(|piece| file.write_all(piece));
        // Not flushed to the disk: a copy that a power cut has torn does not open, and is dropped then.
        let done = written.and_then(|()| fs::rename(&staged, &path));
        if done.is_err() {
            drop(fs::remove_file(&staged));
        }
        done
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.folder.join(key.path())
    }
}

impl Known {
    fn look(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
            if entry?.is_dir() {
                self.look(root, &path)?;
                continue;
            }
            let name = path.strip_prefix(root).ok().and_then(Path::to_str);
            let Some(key) = name.and_then(ObjectKey::parse) else {
                continue;
            };
            // Another run may drop it meanwhile.
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let copy = Copy {
                size_bytes: metadata.len(),
                used_at: metadata.modified()?,
                is_used_now: false,
            };
            self.add(key, copy);
        }
        Ok(())
    }

    fn add(&mut self, key: ObjectKey, copy: Copy) {
        self.remove(&key);
        self.total_bytes += copy.size_bytes;
        self.copies.insert(key, copy);
    }

    fn remove(&mut self, key: &ObjectKey) -> bool {
        let removed = self.copies.remove(key);
        self.total_bytes -= removed.map_or(0, |copy| copy.size_bytes);
        removed.is_some()
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_range(path: &Path, range: ByteRange) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let part = range
        .within(size_bytes)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    file.seek(SeekFrom::Start(part.start))?;
    let length = part.end - part.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
