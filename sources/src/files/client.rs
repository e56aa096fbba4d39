//! The operating system, as this source sees it: folders, files and their facts, always through an open folder.
//!
//! Invariant: below the folder that was opened first, no symbolic link is ever followed. Nothing outside this
//! file and its folder speaks to the operating system.

mod accounts;
mod attributes;
mod make;

pub(super) use accounts::{Accounts, Powers};
pub(super) use attributes::{
    Xattrs, own_xattrs, remove_xattr, set_mode, set_mtime, set_owner, set_xattr, xattrs_of,
};
pub(super) use make::{NewFile, TempName, is_dead_leftover, is_leftover};

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use rustix::fs::{
    self, Advice, AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Statx,
    StatxAttributes, StatxFlags, StatxTimestamp,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// Longest path that is handed to the kernel at once; it refuses 4096 bytes and more.
const PATH_PIECE_BYTES: usize = 4000;

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Dir,
    File,
    Link,
    Fifo,
    Socket,
    BlockDevice,
    CharDevice,
}

/// What the system says of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size_bytes: u64,
    /// Space that is really taken.
    pub allocated_bytes: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub inode: u64,
    /// Number of the file system.
    pub device: u64,
    pub links: u32,
    /// Whether something is mounted here, as far as the kernel tells.
    pub mount_root: bool,
    /// Major and minor number of a device node.
    pub node: (u32, u32),
}

impl Stat {
    /// Whether a file that was read between the two was the same before and after.
    pub(super) fn same_content(&self, later: &Self) -> bool {
        self.kind == later.kind
            && self.size_bytes == later.size_bytes
            && self.mtime_ns == later.mtime_ns
            && self.ctime_ns == later.ctime_ns
            && self.same_inode(later)
    }

    /// Whether both are the same object of the same file system.
    pub(super) fn same_inode(&self, other: &Self) -> bool {
        self.inode == other.inode && self.device == other.device
    }
}

/// A name in a folder and its kind, where the folder says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: Vec<u8>,
    pub kind: Option<FileKind>,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Folder {
    /// Opens a folder by a path that the user gave: here, and only here, links are followed.
    pub(super) fn open_trusted(path: &Path) -> io::Result<Self> {
        let fd = fs::open(path, folder_flags() - OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Opens a folder in this one.
    pub(super) fn open(&self, name: &[u8]) -> io::Result<Self> {
        let fd = fs::openat(&self.fd, name, folder_flags(), Mode::empty())?;
        Ok(Self { fd })
    }

    /// Opens a folder in this one to pass through, even where it may not be listed.
    pub(super) fn open_to_pass(&self, name: &[u8]) -> io::Result<Self> {
        match self.open(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let flags = folder_flags() | OFlags::PATH;
                let fd = fs::openat(&self.fd, name, flags, Mode::empty())?;
                Ok(Self { fd })
            }
            opened => opened,
        }
    }

    /// Opens a folder any number of steps below this one, through folders only. One that may not be listed is opened to
    /// pass through.
    pub(super) fn open_below(&self, path: &RepoPath) -> io::Result<Self> {
        let mut folder = None;
        for piece in pieces(path) {
            let from = folder.as_ref().unwrap_or(self);
            folder = Some(from.open_piece(&piece)?);
        }
        folder.map_or_else(|| self.open(b"."), Ok)
    }

    fn open_piece(&self, piece: &[u8]) -> io::Result<Self> {
        if has_openat2() {
            let open = |flags| fs::openat2(&self.fd, piece, flags, Mode::empty(), beneath());
            let fd = match open(folder_flags()) {
                Err(Errno::ACCESS) => open(folder_flags() | OFlags::PATH),
                fd => fd,
            };
            return Ok(Self { fd: fd? });
        }
        let mut folder = None;
        for name in piece.split(|byte| *byte == b'/') {
            let from: &Self = folder.as_ref().unwrap_or(self);
            folder = Some(from.open_to_pass(name)?);
        }
        folder.ok_or_else(|| Errno::INVAL.into())
    }

    /// Every name but `.` and `..`, in no order.
    pub(super) fn names(&self) -> io::Result<Vec<Listed>> {
        fs::seek(&self.fd, SeekFrom::Start(0))?;
        let mut buffer = Vec::with_capacity(32 * 1024);
        let mut entries = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(Listed {
                    name: name.to_vec(),
                    kind: kind_of(entry.file_type()),
                });
            }
        }
        Ok(names)
    }

    /// Facts of an entry, of a link itself and not of what it points to.
    pub(super) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        stat_of(&fs::statx(&self.fd, name, flags, StatxFlags::BASIC_STATS)?)
    }

    /// Facts of the folder itself.
    pub(super) fn stat_self(&self) -> io::Result<Stat> {
        stat_fd(self.as_fd())
    }

    /// Opens a file to read it.
    pub(super) fn open_file(&self, name: &[u8], stat: &Stat, powers: &Powers) -> io::Result<File> {
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Should a pipe have taken the place of the file, opening it must not wait for a writer.
        flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        if powers.owns(stat.uid) {
            flags |= OFlags::NOATIME;
        }
        match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::PERM) => {
                let fd = fs::openat(&self.fd, name, flags - OFlags::NOATIME, Mode::empty())?;
                Ok(File { fd })
            }
            fd => Ok(File { fd: fd? }),
        }
    }

    /// The bytes that a symbolic link points to.
    pub(super) fn link_target(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes())
    }

    /// Removes one entry; a folder must be empty.
    pub(super) fn remove(&self, name: &[u8], is_dir: bool) -> io::Result<()> {
        let flags = if is_dir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        Ok(fs::unlinkat(&self.fd, name, flags)?)
    }

    /// Bytes and entries that can still be made on this file system.
    pub(super) fn free(&self, powers: &Powers) -> io::Result<(u64, Option<u64>)> {
        let facts = fs::fstatvfs(&self.fd)?;
        let blocks = if powers.root {
            facts.f_bfree
        } else {
            facts.f_bavail
        };
        let entries = (facts.f_files > 0).then_some(facts.f_ffree);
        Ok((blocks.saturating_mul(facts.f_frsize), entries))
    }

    /// Waits until everything written to this file system is on its disk.
    pub(super) fn sync_file_system(&self) -> io::Result<()> {
        match fs::syncfs(&self.fd) {
            // It was opened to pass through, which is not enough to ask for one file system.
            Err(Errno::BADF) => {
                fs::sync();
                Ok(())
            }
            synced => Ok(synced?),
        }
    }

    /// A path that leads to an entry through this open folder, for calls that take only paths.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }
}

/// A file, open for reading.
#[derive(Debug)]
pub(super) struct File {
    fd: OwnedFd,
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl File {
    /// Facts of the open file.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        stat_fd(self.as_fd())
    }

    /// Appends up to the spare room of `buffer`; answers how much came, 0 at the end.
    pub(super) fn read_more(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(&self.fd, rustix::buffer::spare_capacity(buffer))
        })?)
    }

    /// Tells the kernel to read ahead eagerly. Advice only.
    pub(super) fn will_read_all(&self) {
        // Refused by some file systems, and nothing depends on it.
        fs::fadvise(&self.fd, 0, None, Advice::Sequential).unwrap_or_default();
    }

    /// Asks that the next read comes from the disk. What is still dirty is written first.
    pub(super) fn forget_cached(&self) -> io::Result<()> {
        fs::fdatasync(&self.fd)?;
        Ok(fs::fadvise(&self.fd, 0, None, Advice::DontNeed)?)
    }

    /// The next run of data at or after `offset`, as start and end; none when only a hole is left.
    pub(super) fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let start = match fs::seek(&self.fd, SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => return Ok(None),
            start => start?,
        };
        let end = fs::seek(&self.fd, SeekFrom::Hole(start))?;
        fs::seek(&self.fd, SeekFrom::Start(start))?;
        Ok(Some((start, end)))
    }
}

/// The real path of the folder that holds `path`, joined with the last name, and whether that is a link: links on
/// the way are resolved, the last name is not.
pub(super) fn real_path(path: &Path) -> io::Result<(PathBuf, bool)> {
    let path = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => std::fs::canonicalize(parent)?.join(name),
        _ => std::fs::canonicalize(path)?,
    };
    let is_link = std::fs::symlink_metadata(&path)?.is_symlink();
    Ok((path, is_link))
}

/// Reads a small text file that the user named, such as a list of patterns.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    std::fs::read_to_string(path)
}

/// Makes the target of a restore and the folders above it, for this user alone.
pub(super) fn make_target(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Facts of what is open, whatever it is.
pub(super) fn stat_open(fd: impl AsFd) -> io::Result<Stat> {
    stat_fd(fd.as_fd())
}

/// Whether attributes of entries that are not opened can be asked for.
pub(super) fn has_proc() -> bool {
    std::fs::exists("/proc/self/fd").unwrap_or(false)
}

/// The clock by which file systems stamp, in nanoseconds since 1970.
pub(super) fn file_clock_ns() -> i64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    nanoseconds(now.tv_sec, now.tv_nsec)
}

/// Waits until the clock of the file systems has moved on by so much.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock is what is awaited, for a known time"
)]
pub(super) fn wait_ns(duration_ns: i64) {
    std::thread::sleep(Duration::from_nanos(duration_ns.unsigned_abs()));
}

/// Says in lower case what went wrong.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such entry".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::StorageFull => "no space left".into(),
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE) => "too many open files".into(),
            Some(Errno::LOOP) => "a symbolic link is in the way".into(),
            Some(_) => error.to_string().to_lowercase(),
            // Our own words are in lower case already, and may name a path.
            None => error.to_string(),
        },
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// Whether the kernel has openat2 and lets us call it. Old kernels lack it, old container filters refuse it.
fn has_openat2() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let flags = folder_flags() | OFlags::PATH;
        fs::openat2(
            fs::CWD,
            "/",
            flags,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        )
        .is_ok()
    })
}

/// Cuts a path into runs of whole components that the kernel takes at once.
fn pieces(path: &RepoPath) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for component in path.components() {
        match pieces.last_mut() {
            Some(piece) if piece.len() + 1 + component.len() <= PATH_PIECE_BYTES => {
                piece.push(b'/');
                piece.extend_from_slice(component);
            }
            _ => pieces.push(component.to_vec()),
        }
    }
    pieces
}

fn stat_fd(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    stat_of(&fs::statx(
        fd,
        c"",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS,
    )?)
}

fn stat_of(facts: &Statx) -> io::Result<Stat> {
    let mode = u32::from(facts.stx_mode);
    let kind = kind_of(FileType::from_raw_mode(mode)).ok_or(Errno::NOSYS)?;
    Ok(Stat {
        kind,
        mode: mode & 0o7777,
        uid: facts.stx_uid,
        gid: facts.stx_gid,
        size_bytes: facts.stx_size,
        allocated_bytes: facts.stx_blocks.saturating_mul(512),
        mtime_ns: stamp(&facts.stx_mtime),
        ctime_ns: stamp(&facts.stx_ctime),
        inode: facts.stx_ino,
        device: fs::makedev(facts.stx_dev_major, facts.stx_dev_minor),
        links: facts.stx_nlink,
        mount_root: facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        node: (facts.stx_rdev_major, facts.stx_rdev_minor),
    })
}

fn stamp(time: &StatxTimestamp) -> i64 {
    nanoseconds(time.tv_sec, i64::from(time.tv_nsec))
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

fn kind_of(kind: FileType) -> Option<FileKind> {
    match kind {
        FileType::Directory => Some(FileKind::Dir),
        FileType::RegularFile => Some(FileKind::File),
        FileType::Symlink => Some(FileKind::Link),
        FileType::Fifo => Some(FileKind::Fifo),
        FileType::Socket => Some(FileKind::Socket),
        FileType::BlockDevice => Some(FileKind::BlockDevice),
        FileType::CharacterDevice => Some(FileKind::CharDevice),
        FileType::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_in_lower_case_and_paths_stay_as_they_are() {
        let own = io::Error::other("its first name Photos/A.JPG was not restored");
        assert_eq!(reason(&own), "its first name Photos/A.JPG was not restored");
        let system = io::Error::from(Errno::NOTEMPTY);
        assert!(reason(&system).starts_with("directory not empty"));
    }
}
