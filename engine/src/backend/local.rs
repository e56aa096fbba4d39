//! A repository in a folder of this machine, safe against crashes of the process and of the machine.
//!
//! An object is written under a temporary name, flushed to the disk, and renamed into place only where nothing lies
//! yet; then the folder is flushed too. So a visible object is whole, and an answered write is there after a power cut.
//! Everything goes through one handle of the repository's folder and never follows a link to an object.

mod handles;
mod staging;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use self::handles::{Handle, Handles};
use self::staging::Staging;
use super::foreign::Look;
use super::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

/// What else may lie in a folder in which a repository is made: a fresh file system has this.
const HARMLESS: &str = "lost+found";
/// Where objects are written before they get their name.
const STAGING_FOLDER: &str = "tmp";

const FOLDER_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
const FOLDER_MODE: Mode = Mode::RWXU;

/// A repository in a folder.
pub struct LocalBackend {
    path: PathBuf,
    root: OwnedFd,
    handles: Handles,
    staging: Staging,
    /// Folders whose entry in the folder above is known to be on the disk.
    settled: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for LocalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalBackend({})", self.path.display())
    }
}

impl LocalBackend {
    /// Opens an existing folder. Writes nothing.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        let path = path.as_ref();
        let root = rustix::fs::openat(CWD, path, FOLDER_FLAGS, Mode::empty())
            .map_err(|errno| at_path(errno, "open the folder", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            root,
            handles: Handles::default(),
            staging: Staging::default(),
            settled: Mutex::default(),
        })
    }

    /// Makes the folder and the folders in it, for a new repository. `AlreadyExists` where a repository lies, and
    /// `Occupied` where anything else does. What an interrupted call left is taken up again.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        let path = path.as_ref();
        make_folders(path).map_err(|errno| at_path(errno, "create the folder", path))?;
        let backend = Self::open(path)?;
        let look = backend.look()?;
        for copy in [false, true] {
            let key = ObjectKey::config(copy);
            if look.files.contains(&key.path()) {
                return Err(BackendError::new(BackendErrorKind::AlreadyExists, "create").on(&key));
            }
        }
        if let Some(stranger) = look.stranger() {
            return Err(
                BackendError::new(BackendErrorKind::Occupied, "create a repository in")
                    .at(path.display().to_string())
                    .because(format!("the folder holds {stranger}")),
            );
        }
        let folders = ObjectKind::ALL.iter().filter_map(|kind| kind.folder());
        for folder in folders.chain([STAGING_FOLDER]) {
            backend
                .settle(folder)
                .map_err(|errno| at_path(errno, "create the folders in", path))?;
        }
        Ok(backend)
    }

    /// What lies in the folder, for recognising other tools' repositories.
    pub(super) fn look(&self) -> Result<Look, BackendError> {
        let failed = |errno| at_path(errno, "list the folder", &self.path);
        let mut look = Look::default();
        self.each_entry(".", &mut |name, stat| {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => look.folders.insert(name.to_owned()),
                _ => look.files.insert(name.to_owned()),
            };
        })
        .map_err(failed)?;
        if look.folders.contains("keys") {
            self.each_entry("keys", &mut |name, _| {
                look.keys.insert(name.to_owned());
            })
            .map_err(failed)?;
        }
        look.folders.remove(HARMLESS);
        for name in ["config", "README"] {
            if look.files.contains(name) {
                // A head that cannot be read recognises nothing; it is no reason to fail.
                let handle = Handle::open(self.root.as_fd(), name);
                let head = handle.and_then(|handle| handle.read(0, handle.size_bytes().min(4096)));
                let head = head.ok().flatten();
                look.heads.insert(name.to_owned(), head.unwrap_or_default());
            }
        }
        Ok(look)
    }

    /// Visits what lies in a folder, in no order. An entry that vanishes meanwhile is left out.
    fn each_entry(&self, folder: &str, visit: &mut dyn FnMut(&str, &Stat)) -> Result<(), Errno> {
        let folder = rustix::fs::openat(&self.root, folder, FOLDER_FLAGS, Mode::empty())?;
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue; // No name of ours or of anybody we know.
            };
            if matches!(name, "." | "..") {
                continue;
            }
            match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => visit(name, &stat),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Adds the objects that lie in a folder.
    fn list_folder(&self, folder: &str, found: &mut Vec<ObjectStat>) -> Result<(), Errno> {
        self.each_entry(folder, &mut |name, stat| {
            let key = ObjectKey::parse(&format!("{folder}/{name}"));
            found.extend(key.and_then(|key| object_stat(&key, stat)));
        })
    }

    fn list_kind(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, Errno> {
        let mut found = Vec::new();
        match kind.folder() {
            None => {
                for copy in [false, true] {
                    found.extend(self.stat_object(&ObjectKey::config(copy))?);
                }
            }
            Some(folder) if kind == ObjectKind::Pack => {
                let mut shards = Vec::new();
                self.each_entry(folder, &mut |name, _| {
                    shards.push(format!("{folder}/{name}"));
                })?;
                for shard in shards {
                    match self.list_folder(&shard, &mut found) {
                        Err(Errno::NOENT | Errno::NOTDIR) => {} // Foreign.
                        listed => listed?,
                    }
                }
            }
            Some(folder) => self.list_folder(folder, &mut found)?,
        }
        found.sort_unstable_by_key(|stat| stat.key);
        Ok(found)
    }

    fn stat_object(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, Errno> {
        match rustix::fs::statat(&self.root, key.path(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(object_stat(key, &stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Makes a folder of the repository if need be, and makes sure once that its entry is on the disk: who made it
    /// may not have come so far.
    fn settle(&self, folder: &str) -> Result<(), Errno> {
        if self.is_settled(folder) {
            return Ok(());
        }
        let parent = folder.rsplit_once('/').map_or(".", |(parent, _)| parent);
        if parent != "." {
            self.settle(parent)?;
        }
        match rustix::fs::mkdirat(&self.root, folder, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        self.flush_folder(parent)?;
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.insert(folder.to_owned());
        Ok(())
    }

    fn is_settled(&self, folder: &str) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.contains(folder)
    }

    /// Puts the entries of a folder on the disk.
    fn flush_folder(&self, folder: &str) -> Result<(), Errno> {
        let folder = rustix::fs::openat(&self.root, folder, FOLDER_FLAGS, Mode::empty())?;
        flush(&folder)
    }

    fn write(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), Errno> {
        let path = key.path();
        if self.stat_object(key)?.is_some() {
            return Err(Errno::EXIST); // Seen early, before megabytes are written in vain.
        }
        let folder = folder_of(&path);
        if folder != "." {
            self.settle(folder)?;
        }
        self.settle(STAGING_FOLDER)?;
        let staged = self
            .staging
            .write(self.root.as_fd(), STAGING_FOLDER, body)?;
        staged.publish(&path)?;
        self.flush_folder(folder)
    }

    fn read(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Vec<u8>>, Errno> {
        let open = || Handle::open(self.root.as_fd(), &key.path());
        let handle = match key {
            // Restores read many pieces of one pack; everything else is read once and whole.
            ObjectKey::Pack(name) => self.handles.get(name, open)?,
            _ => open()?.into(),
        };
        match range.within(handle.size_bytes()) {
            Some(range) => handle.read(range.start, range.end - range.start),
            None => Ok(None),
        }
    }

    fn remove(&self, key: &ObjectKey) -> Result<(), Errno> {
        let path = key.path();
        if let ObjectKey::Pack(name) = key {
            self.handles.forget(name);
        }
        match rustix::fs::unlinkat(&self.root, &path, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        match self.flush_folder(folder_of(&path)) {
            Err(Errno::NOENT) => Ok(()),
            flushed => flushed,
        }
    }

    /// Without the ends nothing looks needed: once a pack is there, their folder was lost. Before that the repository may
    /// have been copied without its empty folders, and it is made again, if that may be written.
    fn list_ends_anew(&self) -> Result<Vec<ObjectStat>, Errno> {
        let is_new = match self.list_kind(ObjectKind::Pack) {
            Ok(packs) => packs.is_empty(),
            Err(errno) => errno == Errno::NOENT,
        };
        if !is_new {
            // Unless another process has made it meanwhile.
            return self.list_kind(ObjectKind::End);
        }
        let _made = rustix::fs::mkdirat(&self.root, ObjectKind::End.to_string(), FOLDER_MODE);
        Ok(Vec::new())
    }
}

impl Backend for LocalBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        self.write(key, body)
            .map_err(|errno| of_errno(errno, "write").on(key))
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        match self.read(key, range) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(BackendError::new(BackendErrorKind::Truncated, "read").on(key)),
            Err(errno) if is_of_medium(errno) => {
                let unreadable = BackendError::new(BackendErrorKind::Unreadable, "read");
                Err(unreadable.because(std::io::Error::from(errno)).on(key))
            }
            Err(errno) => Err(of_errno(errno, "read").on(key)),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let failed = |errno| of_errno(errno, "list").at(kind.to_string());
        match self.list_kind(kind) {
            Err(Errno::NOENT) => {
                // A folder of a kind may be missing, but not the repository: a deleted one must not look empty.
                let root = rustix::fs::fstat(&self.root).map_err(failed)?;
                if root.st_nlink == 0 {
                    Err(failed(Errno::NOENT))
                } else if kind == ObjectKind::End {
                    self.list_ends_anew().map_err(failed)
                } else {
                    Ok(Vec::new())
                }
            }
            listed => listed.map_err(failed),
        }
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        self.stat_object(key)
            .map_err(|errno| of_errno(errno, "look at").on(key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.remove(key)
            .map_err(|errno| of_errno(errno, "delete").on(key))
    }

    fn address(&self) -> String {
        self.path.display().to_string()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn must_be_probed(&self) -> bool {
        false
    }
}

/// The folder that holds a path of the repository, below its root.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

/// Anything but a regular file is foreign.
fn object_stat(key: &ObjectKey, stat: &Stat) -> Option<ObjectStat> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let stored_at_ns = i64::try_from(stat.st_mtime_nsec)
        .ok()
        .and_then(|rest| stat.st_mtime.checked_mul(1_000_000_000)?.checked_add(rest));
    Some(ObjectStat {
        key: *key,
        size_bytes: u64::try_from(stat.st_size).ok()?,
        stored_at_ns,
    })
}

/// Makes a folder and those above it; each entry is put on the disk.
fn make_folders(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdirat(CWD, path, FOLDER_MODE) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            make_folders(parent.ok_or(Errno::NOENT)?)?;
            match rustix::fs::mkdirat(CWD, path, FOLDER_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(errno) => return Err(errno),
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    match rustix::fs::openat(CWD, parent, FOLDER_FLAGS, Mode::empty()) {
        Ok(parent) => flush(&parent),
        // One may be allowed to pass through a folder and not to read it; then it cannot be flushed either.
        Err(Errno::ACCESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Puts a folder's entries on the disk. Some network file systems cannot and say so; they write through.
fn flush(folder: &OwnedFd) -> Result<(), Errno> {
    match rustix::fs::fsync(folder) {
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        flushed => flushed,
    }
}

/// How a disk tells of a sector that is lost, and a file system of one whose sum is wrong.
fn is_of_medium(errno: Errno) -> bool {
    [Errno::IO, Errno::NODATA, Errno::BADMSG, Errno::UCLEAN].contains(&errno)
}

fn at_path(errno: Errno, act: &'static str, path: &Path) -> BackendError {
    of_errno(errno, act).at(path.display().to_string())
}

fn of_errno(errno: Errno, act: &'static str) -> BackendError {
    let kind = match errno {
        Errno::NOENT => BackendErrorKind::NotFound,
        Errno::EXIST => BackendErrorKind::AlreadyExists,
        Errno::NOSPC | Errno::DQUOT => BackendErrorKind::NoSpace,
        Errno::ROFS => BackendErrorKind::ReadOnly,
        Errno::ACCESS | Errno::PERM => BackendErrorKind::Denied,
        Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::HOSTUNREACH => BackendErrorKind::Unreachable,
        Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV => BackendErrorKind::Unsupported,
        _ => BackendErrorKind::Other,
    };
    BackendError::new(kind, act).because(std::io::Error::from(errno))
}
