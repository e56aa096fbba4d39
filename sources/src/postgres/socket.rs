//! A Unix socket where a program finds the session that it is lent, in a folder that only we can enter.
//!
//! The folder is locked for as long as we live. A process that is killed leaves its folder behind without the lock, and
//! the next one that needs a socket there removes it.

use std::fs::{DirEntry, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use tempfile::TempDir;

/// Port of the socket; it is only a part of its name.
pub(crate) const PORT: u16 = 5432;
/// How the name of a folder of ours begins.
const PREFIX: &str = "keepstone-pg-";
/// Where a folder is made if the user's own place for such things does not do.
const OTHER_PLACES: [&str; 2] = ["/run", "/tmp"];
/// How often a folder is made that another process takes for left behind before it is locked.
const ATTEMPTS: usize = 3;

/// The folder; gone with this value.
pub(crate) struct Socket {
    // Removed before the lock is given back.
    folder: TempDir,
    _lock: File,
}

/// Takes one connection.
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes folder and socket where temporary files belong, or else where there is room for its name.
    pub(crate) fn open() -> io::Result<(Self, Listener)> {
        let own = tempfile::env::temp_dir();
        let others = OTHER_PLACES.map(PathBuf::from);
        let others = others.into_iter().filter(|place| *place != own);
        let mut problems = Vec::new();
        for place in std::iter::once(own.clone()).chain(others) {
            match Self::open_in(&place) {
                Ok(opened) => return Ok(opened),
                Err(error) => problems.push(format!("{}: {error}", place.display())),
            }
        }
        Err(io::Error::other(problems.join("; ")))
    }

    fn open_in(place: &Path) -> io::Result<(Self, Listener)> {
        // What does not begin with a slash is the name of a host, and a comma ends it.
        if !place.is_absolute() || place.as_os_str().as_encoded_bytes().contains(&b',') {
            let problem = "pg_dump cannot be told a path that is relative or holds a comma";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        remove_left(place);
        for _ in 1..ATTEMPTS {
            match Self::make(place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => return made,
            }
        }
        Self::make(place)
    }

    fn make(place: &Path) -> io::Result<(Self, Listener)> {
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)?;
        let lock = File::open(folder.path())?;
        // Where a file system knows no locks, nobody takes the folder for left behind either.
        let _unlocked = flock(&lock, FlockOperation::LockExclusive);
        let path = path_in(folder.path());
        let listener = UnixListener::bind(&path)?;
        let socket = Self {
            folder,
            _lock: lock,
        };
        Ok((socket, Listener { listener, path }))
    }

    /// The folder: what the program is told as its host.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The socket.
    pub(crate) fn path(&self) -> PathBuf {
        path_in(self.folder())
    }
}

impl Listener {
    /// Waits for a connection. Another one is refused at once: it would wait for an answer for ever, as that by which
    /// pg_dump cancels its query when it is asked to end.
    pub(crate) fn accept_one(self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        // It goes with its folder at the latest.
        drop(std::fs::remove_file(&self.path));
        Ok(stream)
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

/// Removes the folders that processes of ours left when they were killed. What cannot be removed harms nobody.
fn remove_left(place: &Path) {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            let _in_use = remove_if_left(&entry);
        }
    }
}

fn remove_if_left(entry: &DirEntry) -> io::Result<()> {
    let path = entry.path();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(&path, flags, Mode::empty())?;
    if fstat(&folder)?.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    drop(std::fs::remove_file(path_in(&path)));
    std::fs::remove_dir(&path)
}
