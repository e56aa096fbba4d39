//! Trees on disk for the tests: making them, describing them exactly, capturing and restoring them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, SourceError};
use keepstone_sources::files::{
    Act, FilesRestoreOptions, FilesRestoreReport, FilesSettings, FilesSource, restore_files,
};
use keepstone_testkit::memory::MemoryCapture;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// Everything a restore must bring back of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: String,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime_ns: i128,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub content: Vec<u8>,
    /// The first path, in order, that is the same file.
    pub same_as: Option<Vec<u8>>,
}

/// Describes a tree by paths relative to its root, which is the empty path.
pub fn describe(root: &Path) -> BTreeMap<Vec<u8>, Facts> {
    let mut paths = vec![root.to_owned()];
    let mut at = 0;
    while at < paths.len() {
        if fs::symlink_metadata(&paths[at]).unwrap().is_dir() {
            let names = fs::read_dir(&paths[at]).unwrap();
            paths.extend(names.map(|entry| entry.unwrap().path()).collect::<Vec<_>>());
        }
        at += 1;
    }
    paths.sort();
    let mut firsts = BTreeMap::new();
    let mut facts = BTreeMap::new();
    for path in paths {
        let relative = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let same_as = (kind.is_file() && meta.nlink() > 1).then(|| {
            firsts
                .entry(meta.ino())
                .or_insert_with(|| relative.clone())
                .clone()
        });
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            Vec::new()
        };
        let kind = if kind.is_dir() {
            "dir".to_owned()
        } else if kind.is_file() {
            "file".to_owned()
        } else if kind.is_symlink() {
            "link".to_owned()
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else if kind.is_socket() {
            "socket".to_owned()
        } else {
            format!("device {}", meta.rdev())
        };
        let names = xattr::list(&path).unwrap().collect::<Vec<_>>();
        let xattrs = names.into_iter().map(|name| {
            let value = xattr::get(&path, &name).unwrap().unwrap();
            (name.as_bytes().to_vec(), value)
        });
        facts.insert(
            relative,
            Facts {
                kind,
                mode: meta.mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
                xattrs: xattrs.collect(),
                content,
                same_as,
            },
        );
    }
    facts
}

/// Compares two trees and names the first entries that differ.
#[track_caller]
pub fn assert_same(expected: &Path, found: &Path) {
    let (expected, found) = (describe(expected), describe(found));
    let names = |tree: &BTreeMap<Vec<u8>, Facts>| {
        tree.keys()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&expected), names(&found));
    for (path, facts) in &expected {
        assert_eq!(facts, &found[path], "{}", String::from_utf8_lossy(path));
    }
}

/// A temporary folder in which a test makes what it needs.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The folder to capture.
    pub fn source(&self) -> PathBuf {
        let path = self.folder.path().join("source");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The target to restore into. Not made.
    pub fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// A folder beside both, which nothing may touch.
    pub fn outside(&self) -> PathBuf {
        let path = self.folder.path().join("outside");
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Where the captured folder is after a restore into the target.
    pub fn restored(&self) -> PathBuf {
        let source = self.source();
        self.target().join(source.strip_prefix("/").unwrap())
    }

    /// Captures the source.
    pub fn capture(&self) -> MemoryCapture {
        capture(FilesSettings::new([self.source()]))
    }

    /// Options to restore into the target.
    pub fn options(&self) -> FilesRestoreOptions {
        let mut options = FilesRestoreOptions::new(self.target());
        // It would wait for everything that any other program writes to the same disk.
        options.sync = false;
        options
    }

    /// Path of an item below the source.
    pub fn item(&self, name: &str) -> RepoPath {
        let source = RepoPath::parse(self.source().as_os_str().as_bytes()).unwrap();
        source.join_path(&RepoPath::parse(name).unwrap()).unwrap()
    }
}

impl Drop for Place {
    /// The standard library cannot remove what is deeper than a process may have open files.
    fn drop(&mut self) {
        let path = self.folder.path();
        Command::new("rm").arg("-rf").arg(path).status().unwrap();
    }
}

/// Captures into memory; nothing may have been skipped.
#[track_caller]
pub fn capture(settings: FilesSettings) -> MemoryCapture {
    let captured = MemoryCapture::of(&FilesSource::new(settings)).unwrap();
    assert_eq!(captured.report.skipped, []);
    captured
}

/// Restores without a word.
pub fn restore(
    items: &dyn Items,
    options: &FilesRestoreOptions,
) -> Result<FilesRestoreReport, SourceError> {
    restore_files(items, options, &|_| {})
}

/// Restores; nothing may go wrong.
#[track_caller]
pub fn restore_well(items: &dyn Items, options: &FilesRestoreOptions) -> FilesRestoreReport {
    let report = restore(items, options).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.differing, []);
    report
}

/// What happened to the entries whose path ends so.
pub fn acts(report: &FilesRestoreReport, ending: &str) -> Vec<Act> {
    let ends = |path: &RepoPath| path.as_bytes().ends_with(ending.as_bytes());
    report
        .changes
        .iter()
        .filter(|change| ends(&change.path))
        .map(|change| change.act)
        .collect()
}

/// Writes a file and the folders above it.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Sets the permission bits.
pub fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Permission bits of a path.
pub fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Sets the modification time, of a link itself.
pub fn set_mtime(path: impl AsRef<Path>, seconds: i64, nanoseconds: i64) {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(1_000_000_000, 0),
        last_modification: time(seconds, nanoseconds),
    };
    rustix::fs::utimensat(CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A name that is no text.
pub fn bytes(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// An access control list that gives one more user these rights.
pub fn acl(user: u32, rights: u16) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    for (tag, rights, id) in [
        (0x01u16, 6u16, nobody),
        (0x02, rights, user),
        (0x04, 4, nobody),
        (0x10, rights | 4, nobody),
        (0x20, 0, nobody),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Something mounted until it is dropped.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts a file system in memory of this size. Needs root.
    pub fn tmpfs(path: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        Self::with(&["-t", "tmpfs", "-o", &options, "none"], path)
    }

    /// Shows a folder at another place too. Needs root.
    pub fn bind(folder: &Path, path: &Path) -> Self {
        Self::with(&["--bind", folder.to_str().unwrap()], path)
    }

    fn with(arguments: &[&str], path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(arguments).arg(path);
        assert!(mount.status().unwrap().success(), "mounting needs root");
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .status()
            .unwrap();
    }
}

/// Does something as a user who may nothing that root may. Credentials belong to a thread and those it starts; the
/// other tests keep theirs.
pub fn as_user<T: Send>(id: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(id)).unwrap();
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(id)).unwrap();
            act()
        });
        user.join().unwrap()
    })
}
