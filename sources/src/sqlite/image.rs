//! The image of a database at one instant: which bytes it is made of, and what keeps them from changing.
//!
//! Three ways lead to it, all without stopping a writer for longer than a local copy takes:
//!
//! - **With a log** that somebody uses: the database file with the log's frames laid over it, up to one commit. A shared lock
//!   on two read marks keeps everybody from moving frames into the file and from starting the log over. Writers go
//!   on appending. Nothing is copied to disk. The connection that digests the rows reads the same commit, because the
//!   log's index is the same before and after its transaction began.
//! - **Without a log**: a reader blocks writers, so the file is copied (cloned, where the file system can) into a file
//!   without a name under the lock of a reader, and streamed from there.
//! - **With a log that nobody uses**: opening it would create files, so it is copied as it lies, and the copy counts if
//!   neither the file nor its folder showed a change meanwhile.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{self, Access, Client};
use super::header::{HEADER_BYTES, Header};
use super::lock::{self, DATABASE_READERS, SHM_DATABASE, SHM_LOG, SHM_WRITER};
use super::wal::{Frames, IndexHeader};
use super::{SqliteSettings, beside, io_failure};

/// Bytes read at once; a multiple of every page size.
const BLOCK_BYTES: u32 = 1 << 20;
/// Attempts to find the log between two commits before the writer is held back for a moment.
const PATIENT_ATTEMPTS: u32 = 50;
/// How long a file must have rested for its times to show any change.
const REST: Duration = Duration::from_secs(1);
/// Where a copy goes if the database's own folder cannot be written to.
const OTHER_SPOOL_DIR: &str = "/var/tmp";

/// A pinned image with a connection that sees the same instant.
#[derive(Debug)]
pub(super) struct Pinned {
    /// What is streamed.
    pub(super) image: Image,
    /// What digests the rows.
    pub(super) client: Client,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
    locks: Option<LogLocks>,
}

/// The bytes of a database at one instant.
#[derive(Debug)]
pub(super) struct Image {
    /// The header as of that instant; none for an empty database.
    pub(super) header: Option<Header>,
    /// Its size.
    pub(super) size_bytes: u64,
    base: File,
    log: Option<(File, Frames)>,
    shown: PathBuf,
}

#[derive(Debug)]
struct LogLocks {
    database: File,
    shm: File,
}

impl Pinned {
    /// Pins the database as it is now. The path is absolute and free of links.
    pub(super) fn new(path: &Path, settings: &SqliteSettings) -> Result<Self, SourceError> {
        let database = File::open(path).map_err(|e| cannot_read(path, e))?;
        let head = header_of(&database, path)?;
        let log_exists = beside(path, "-wal").exists();
        match head {
            None => pin_copy(path, &database, settings),
            Some(header) if header.wal && !log_exists => {
                match pin_idle(path, &database, settings)? {
                    Some(pinned) => Ok(pinned),
                    None => pin_live(
                        path,
                        database,
                        settings,
                        Access::WithLog { keeps_log: false },
                    ),
                }
            }
            Some(_) if log_exists => pin_live(
                path,
                database,
                settings,
                Access::WithLog { keeps_log: true },
            ),
            Some(_) => pin_live(path, database, settings, Access::ReadOnly),
        }
    }

    /// Lets go, in the order that leaves nothing behind: SQLite's own closing needs the locks to be free, and our
    /// descriptors must outlive its locks.
    pub(super) fn release(self) -> Result<(), SourceError> {
        if let Some(locks) = &self.locks {
            thaw(&locks.database, &locks.shm)
                .map_err(|e| io_failure("cannot unlock", &self.image.shown, e))?;
        }
        self.client.end_read()?;
        self.client.close()
    }
}

impl Image {
    /// Hands the image over in order.
    pub(super) fn copy_to(
        &self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut buffer = vec![0; BLOCK_BYTES as usize];
        let mut offset = 0;
        while offset < self.size_bytes {
            let length = (self.size_bytes - offset).min(u64::from(BLOCK_BYTES));
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let block = buffer.get_mut(..length).unwrap_or_default();
            self.read_block(offset, block)
                .map_err(|e| cannot_read(&self.shown, e))?;
            take(block)?;
            offset += block.len() as u64;
        }
        Ok(())
    }

    fn read_block(&self, offset: u64, block: &mut [u8]) -> io::Result<()> {
        let mut missing_from = read_up_to(&self.base, offset, block)?;
        if let (Some((log, frames)), Some(header)) = (&self.log, &self.header) {
            let page_bytes = header.page_size as usize;
            let page_at = |bytes: u64| u32::try_from(bytes / u64::from(header.page_size));
            let first = page_at(offset).map_err(io::Error::other)?;
            let pages = u32::try_from(block.len() / page_bytes).map_err(io::Error::other)?;
            // Pages count from 1.
            for (page, at) in frames.between(first + 1, first + 1 + pages) {
                let start = (page - 1 - first) as usize * page_bytes;
                let target = block.get_mut(start..start + page_bytes).unwrap_or_default();
                log.read_exact_at(target, at)?;
                if start <= missing_from {
                    missing_from = missing_from.max(start + page_bytes);
                }
            }
        }
        if missing_from < block.len() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than its header says",
            ));
        }
        Ok(())
    }
}

/// Reads as much as there is; answers how much.
fn read_up_to(file: &File, offset: u64, block: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = block.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Pins a database through SQLite, with a log or without.
fn pin_live(
    path: &Path,
    database: File,
    settings: &SqliteSettings,
    access: Access,
) -> Result<Pinned, SourceError> {
    let busy = settings.busy_timeout;
    let mut warnings = Vec::new();
    // The first reader rolls back what a killed writer left, and builds the index of the log.
    let start = |access| {
        let client = Client::open(path, access, busy)?;
        client.begin_read().map(|()| client)
    };
    let client = match start(access) {
        Err(error) if client::needs_recovery(&error) => {
            warnings.push(format!(
                "a transaction that a killed process had left in {} was rolled back",
                path.display()
            ));
            start(Access::WithLog { keeps_log: true })
        }
        started => started.map_err(|error| with_advice(error, access)),
    }?;
    let uses_log = client.uses_log()?;
    client.end_read()?;
    let mut pinned = if uses_log {
        pin_log(path, database, client, busy)?
    } else {
        let pinned = pin_under_lock(path, &database, &client, settings);
        let ended = client.end_read();
        client.close()?;
        ended?;
        pinned?
    };
    pinned.warnings = warnings;
    Ok(pinned)
}

fn with_advice(error: SourceError, access: Access) -> SourceError {
    let needs_folder = error.kind() == SourceErrorKind::Denied && access != Access::ReadOnly;
    if !needs_folder {
        return error;
    }
    let act = format!(
        "{error}: with a write-ahead log a reader must be able to write the database, its -wal and -shm, and their folder"
    );
    let kind = error.kind();
    match error.into_cause() {
        Some(cause) => SourceError::new(kind, act).because(cause),
        None => SourceError::new(kind, act),
    }
}

/// Finds an instant between two commits and freezes it.
fn pin_log(
    path: &Path,
    database: File,
    client: Client,
    busy: Duration,
) -> Result<Pinned, SourceError> {
    let shm_path = beside(path, "-shm");
    let shm = File::options()
        .read(true)
        .write(true)
        .open(&shm_path)
        .or_else(|_| File::open(&shm_path))
        .map_err(|e| cannot_read(&shm_path, e))?;
    let log_path = beside(path, "-wal");
    let log = File::open(&log_path).map_err(|e| cannot_read(&log_path, e))?;
    let index = freeze(path, &database, &shm, &client, busy)?;
    let frames = Frames::read(&log, &index).map_err(|e| cannot_read(&log_path, e))?;
    let mut image = Image {
        header: header_of(&database, path)?,
        size_bytes: 0,
        base: database.try_clone().map_err(|e| cannot_read(path, e))?,
        log: Some((log, frames)),
        shown: path.to_owned(),
    };
    image.measure(&index)?;
    Ok(Pinned {
        image,
        client,
        warnings: Vec::new(),
        locks: Some(LogLocks { database, shm }),
    })
}

impl Image {
    /// Learns size and header as of the pinned commit.
    fn measure(&mut self, index: &IndexHeader) -> Result<(), SourceError> {
        let shown = self.shown.clone();
        let fail = |e| cannot_read(&shown, e);
        if let Some(header) = &mut self.header {
            if index.frames > 0 {
                header.page_size = index.page_size;
            }
            let file_bytes = self.base.metadata().map_err(fail)?.len();
            let pages = match index.frames {
                0 => header.pages_in(file_bytes),
                _ => u64::from(index.pages),
            };
            self.size_bytes = pages * u64::from(header.page_size);
            let mut first_page = vec![0; header.page_size as usize];
            self.read_block(0, &mut first_page).map_err(fail)?;
            self.header = Header::parse(&first_page);
        }
        match &self.header {
            Some(header) if u64::from(header.page_size) <= self.size_bytes => Ok(()),
            _ => Err(not_a_database(&self.shown)),
        }
    }
}

/// Begins a read transaction and locks log and database such that both show the commit that is answered.
fn freeze(
    path: &Path,
    database: &File,
    shm: &File,
    client: &Client,
    busy: Duration,
) -> Result<IndexHeader, SourceError> {
    let fail = |e| io_failure("cannot lock", path, e);
    let deadline = Instant::now() + busy;
    for attempt in 0_u32.. {
        // A very busy writer is held back for the moment that it takes; a reader of another user may not.
        let holds_writer =
            attempt > PATIENT_ATTEMPTS && lock::try_exclusive(shm, SHM_WRITER).unwrap_or_default();
        let frozen = try_freeze(database, shm, client);
        if holds_writer {
            lock::unlock(shm, SHM_WRITER).map_err(fail)?;
        }
        match frozen {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(Frozen::Io(error)) => return Err(fail(error)),
            Err(Frozen::Source(error)) => return Err(error),
        }
        thaw(database, shm).map_err(fail)?;
        client.end_read()?;
        if Instant::now() >= deadline {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(stayed_locked(path, busy))
}

enum Frozen {
    Io(io::Error),
    Source(SourceError),
}

impl From<io::Error> for Frozen {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn try_freeze(database: &File, shm: &File, client: &Client) -> Result<Option<IndexHeader>, Frozen> {
    let Some(before) = IndexHeader::read(shm)? else {
        return Ok(None);
    };
    client.begin_read().map_err(Frozen::Source)?;
    let is_locked = lock::try_shared(shm, SHM_DATABASE)?
        && lock::try_shared(shm, SHM_LOG)?
        && lock::try_shared(database, DATABASE_READERS)?;
    if !is_locked {
        return Ok(None);
    }
    // The index did not change while the transaction began: this is the commit that the connection sees.
    Ok(IndexHeader::read(shm)?.filter(|after| *after == before))
}

fn thaw(database: &File, shm: &File) -> io::Result<()> {
    lock::unlock(shm, SHM_DATABASE)?;
    lock::unlock(shm, SHM_LOG)?;
    lock::unlock(database, DATABASE_READERS)
}

/// Copies a database without a log under the lock of a reader.
fn pin_under_lock(
    path: &Path,
    database: &File,
    client: &Client,
    settings: &SqliteSettings,
) -> Result<Pinned, SourceError> {
    let deadline = Instant::now() + settings.busy_timeout;
    loop {
        client.begin_read()?;
        let locked = lock::try_shared(database, DATABASE_READERS)
            .map_err(|e| io_failure("cannot lock", path, e))?;
        if locked {
            break;
        }
        client.end_read()?;
        if Instant::now() >= deadline {
            return Err(stayed_locked(path, settings.busy_timeout));
        }
        thread::sleep(Duration::from_millis(5));
    }
    let filled = pin_copy(path, database, settings);
    lock::unlock(database, DATABASE_READERS).map_err(|e| io_failure("cannot unlock", path, e))?;
    filled
}

/// Copies a database as it lies. (Of an empty one SQLite would only remove a left-over log.)
fn pin_copy(
    path: &Path,
    database: &File,
    settings: &SqliteSettings,
) -> Result<Pinned, SourceError> {
    Spool::new(path, database, settings)?.fill(database)
}

/// Copies a database whose log does not exist, which means that nobody has it open; none if somebody came.
fn pin_idle(
    path: &Path,
    database: &File,
    settings: &SqliteSettings,
) -> Result<Option<Pinned>, SourceError> {
    let spool = Spool::new(path, database, settings)?;
    let fail = |e| cannot_read(path, e);
    let before = database.metadata().map_err(fail)?;
    // The clock of the file system, as it was when the spool file was made.
    let now = spool
        .named
        .as_file()
        .metadata()
        .and_then(|meta| meta.modified());
    let modified = before.modified().map_err(fail)?;
    if now.map_err(fail)? < modified + REST {
        return Ok(None);
    }
    let pinned = spool.fill(database)?;
    let after = database.metadata().map_err(fail)?;
    let times = |meta: &fs::Metadata| {
        let modified = (meta.mtime(), meta.mtime_nsec());
        (modified, (meta.ctime(), meta.ctime_nsec()), meta.len())
    };
    if times(&before) != times(&after) || beside(path, "-wal").exists() {
        return Ok(None);
    }
    Ok(Some(pinned))
}

/// A file for a copy, which has a name only as long as it is empty.
struct Spool {
    named: tempfile::NamedTempFile,
    shown: PathBuf,
}

impl Spool {
    fn new(path: &Path, database: &File, settings: &SqliteSettings) -> Result<Self, SourceError> {
        let size_bytes = database.metadata().map_err(|e| cannot_read(path, e))?.len();
        let own_folder = path.parent().unwrap_or(Path::new("/"));
        let folders = match &settings.spool_dir {
            Some(folder) => vec![folder.as_path()],
            None => vec![own_folder, Path::new(OTHER_SPOOL_DIR)],
        };
        let mut last = None;
        for folder in folders {
            match tempfile::Builder::new()
                .prefix(".keepstone-")
                .tempfile_in(folder)
            {
                Ok(named) => {
                    check_room(&named, size_bytes, path)?;
                    let shown = path.to_owned();
                    return Ok(Self { named, shown });
                }
                Err(error) => last = Some(io_failure("cannot make a copy in", folder, error)),
            }
        }
        Err(last.unwrap_or_else(|| not_a_database(path)))
    }

    /// Copies the database as it lies.
    ///
    /// SQLite opens files by name only, and learns their size then. So it opens this one when it has its size and
    /// nothing else; then the name goes, and only then does the content come.
    fn fill(self, database: &File) -> Result<Pinned, SourceError> {
        let fail = |e| io_failure("cannot make a copy of", &self.shown, e);
        let (header, size_bytes) = measure_file(database, &self.shown)?;
        self.named.as_file().set_len(size_bytes).map_err(fail)?;
        let client = Client::open_before_content(self.named.path(), &self.shown)?;
        let (file, name) = self.named.into_parts();
        name.close().map_err(fail)?;
        if rustix::fs::ioctl_ficlone(&file, database).is_ok() {
            file.set_len(size_bytes).map_err(fail)?;
        } else {
            copy_bytes(database, &file, size_bytes).map_err(fail)?;
        }
        client.read_content()?;
        client.begin_read()?;
        Ok(Pinned {
            image: Image {
                header,
                size_bytes,
                base: file,
                log: None,
                shown: self.shown,
            },
            client,
            warnings: Vec::new(),
            locks: None,
        })
    }
}

fn check_room(
    spool: &tempfile::NamedTempFile,
    size_bytes: u64,
    shown: &Path,
) -> Result<(), SourceError> {
    let room = rustix::fs::fstatvfs(spool.as_file())
        .map_err(|e| io_failure("cannot look at the folder of", spool.path(), e.into()))?;
    if room.f_bavail.saturating_mul(room.f_frsize) >= size_bytes {
        return Ok(());
    }
    Err(SourceError::new(
        SourceErrorKind::NoSpace,
        format!(
            "cannot copy {}: {size_bytes} bytes are needed for the time of the backup; name another folder as spool_dir, or give the database a write-ahead log",
            shown.display()
        ),
    ))
}

/// Header and size of a database whose file holds everything.
fn measure_file(database: &File, shown: &Path) -> Result<(Option<Header>, u64), SourceError> {
    let file_bytes = database
        .metadata()
        .map_err(|e| cannot_read(shown, e))?
        .len();
    let header = header_of(database, shown)?;
    let size_bytes = header.as_ref().map_or(0, |header| {
        header.pages_in(file_bytes) * u64::from(header.page_size)
    });
    if file_bytes < size_bytes {
        return Err(SourceError::new(
            SourceErrorKind::Corrupt,
            format!("{} is shorter than its header says", shown.display()),
        ));
    }
    Ok((header, size_bytes))
}

fn copy_bytes(mut from: &File, mut to: &File, size_bytes: u64) -> io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    if io::copy(&mut from.take(size_bytes), &mut to)? != size_bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// The header of a database as its file has it; none if the file is empty.
pub(super) fn read_header(path: &Path) -> Result<Option<Header>, SourceError> {
    let file = File::open(path).map_err(|e| cannot_read(path, e))?;
    header_of(&file, path)
}

/// The header as it lies in the file; none if the file is empty.
fn header_of(file: &File, shown: &Path) -> Result<Option<Header>, SourceError> {
    let mut bytes = [0; HEADER_BYTES];
    let count = read_up_to(file, 0, &mut bytes).map_err(|e| cannot_read(shown, e))?;
    if count == 0 {
        return Ok(None);
    }
    let header = bytes.get(..count).and_then(Header::parse);
    header.map(Some).ok_or_else(|| not_a_database(shown))
}

fn not_a_database(path: &Path) -> SourceError {
    SourceError::new(
        SourceErrorKind::Corrupt,
        format!(
            "{} is not a SQLite database, or it is encrypted",
            path.display()
        ),
    )
}

fn stayed_locked(path: &Path, busy: Duration) -> SourceError {
    SourceError::new(
        SourceErrorKind::Unreachable,
        format!("{} stayed locked for {busy:?}", path.display()),
    )
}

fn cannot_read(path: &Path, error: io::Error) -> SourceError {
    io_failure("cannot read", path, error)
}
