//! Freezing a database that others use, through SQLite and its locks.
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{self, Access, Client};
use super::image::{Image, Pinned, cannot_read, header_of};
use super::lock::{self, DATABASE_READERS, SHM_DATABASE, SHM_IN_USE, SHM_LOG, SHM_WRITER};
use super::wal::{self, Frames, IndexHeader};
use super::{SqliteSettings, beside, io_failure, spool};

/// Attempts to find the log between two commits before the writer is held back for a moment.
const PATIENT_ATTEMPTS: u32 = 50;

/// The files by which a log is kept as it is.
#[derive(Debug)]
pub(super) struct LogLocks {
    database: File,
    shm: File,
}

impl LogLocks {
    /// Lets others change the database and its log again.
    pub(super) fn thaw(&self) -> io::Result<()> {
        lock::unlock(&self.shm, SHM_DATABASE)?;
        lock::unlock(&self.shm, SHM_LOG)?;
        lock::unlock(&self.database, DATABASE_READERS)
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(lock::try_shared(&self.shm, SHM_DATABASE)?
            && lock::try_shared(&self.shm, SHM_LOG)?
            && lock::try_shared(&self.database, DATABASE_READERS)?)
    }
}

/// Pins a database through SQLite, with a log or without.
pub(super) fn pin_live(
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

/// The index of a log that this user may only read, while nobody keeps it. SQLite does not believe it then, and reads the log by
/// an index of its own making, which is the same only if the log ends where this one says.
fn check_index(path: &Path, log: &File, index: &IndexHeader) -> Result<(), SourceError> {
    let log_path = beside(path, "-wal");
    if wal::ends_with(log, index).map_err(|e| cannot_read(&log_path, e))? {
        return Ok(());
    }
    Err(SourceError::new(
        SourceErrorKind::Denied,
        format!(
            "cannot read the write-ahead log of {}: its -shm is stale, and can only be made anew by who may write it; run as the owner of the files, or save a copy of them that may be written",
            path.display()
        ),
    ))
}

/// Finds an instant between two commits and freezes it.
fn pin_log(
    path: &Path,
    database: File,
    client: Client,
    busy: Duration,
) -> Result<Pinned, SourceError> {
    let shm_path = beside(path, "-shm");
    let mut is_believed = true;
    let shm = if let Ok(shm) = File::options().read(true).write(true).open(&shm_path) {
        shm
    } else {
        let shm = File::open(&shm_path).map_err(|e| cannot_read(&shm_path, e))?;
        is_believed = lock::is_held(&shm, SHM_IN_USE).map_err(|e| cannot_read(&shm_path, e))?;
        shm
    };
    let log_path = beside(path, "-wal");
    let log = File::open(&log_path).map_err(|e| cannot_read(&log_path, e))?;
    let base = database.try_clone().map_err(|e| cannot_read(path, e))?;
    let locks = LogLocks { database, shm };
    let index = freeze(path, &locks, &client, busy)?;
    if !is_believed {
        check_index(path, &log, &index)?;
    }
    let frames = Frames::read(&log, &index).map_err(|e| cannot_read(&log_path, e))?;
    let mut image = Image {
        header: header_of(&base, path)?,
        size_bytes: 0,
        base,
        log: Some((log, frames)),
        shown: path.to_owned(),
    };
    image.measure(&index)?;
    Ok(Pinned {
        image,
        client,
        warnings: Vec::new(),
        locks: Some(locks),
    })
}

/// Moves an image on to the last commit, while somebody keeps others from writing; answers whether there had been one.
/// Opens no file, and closes none.
pub(super) fn catch_up(pinned: &mut Pinned) -> Result<bool, SourceError> {
    let Image { log, shown, .. } = &mut pinned.image;
    let (Some(locks), Some((log, frames))) = (&pinned.locks, log) else {
        return Ok(false);
    };
    let fail = |e| cannot_read(&beside(shown, "-wal"), e);
    let index = IndexHeader::read(&locks.shm)
        .map_err(fail)?
        .ok_or_else(|| fail(io::ErrorKind::InvalidData.into()))?;
    let latest = Frames::read(log, &index).map_err(fail)?;
    let has_moved = latest != *frames;
    *frames = latest;
    let size_bytes = pinned.image.size_bytes;
    pinned.image.measure(&index)?;
    Ok(has_moved || pinned.image.size_bytes != size_bytes)
}

/// Begins a read transaction and locks log and database such that both show the commit that is answered.
fn freeze(
    path: &Path,
    locks: &LogLocks,
    client: &Client,
    busy: Duration,
) -> Result<IndexHeader, SourceError> {
    let fail = |e| io_failure("cannot lock", path, e);
    let deadline = Instant::now() + busy;
    for attempt in 0_u32.. {
        // A very busy writer is held back for the moment that it takes; a reader of another user may not.
        let holds_writer = attempt > PATIENT_ATTEMPTS
            && lock::try_exclusive(&locks.shm, SHM_WRITER).unwrap_or_default();
        let frozen = try_freeze(locks, client);
        if holds_writer {
            lock::unlock(&locks.shm, SHM_WRITER).map_err(fail)?;
        }
        match frozen {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {}
            Err(Frozen::Io(error)) => return Err(fail(error)),
            Err(Frozen::Source(error)) => return Err(error),
        }
        locks.thaw().map_err(fail)?;
        client.end_read()?;
        if Instant::now() >= deadline {
            break;
        }
        lock::pause(Duration::from_millis(1));
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

fn try_freeze(locks: &LogLocks, client: &Client) -> Result<Option<IndexHeader>, Frozen> {
    let Some(before) = IndexHeader::read(&locks.shm)? else {
        return Ok(None);
    };
    client.begin_read().map_err(Frozen::Source)?;
    if !locks.try_lock()? {
        return Ok(None);
    }
    // The index did not change while the transaction began: this is the commit that the connection sees.
    Ok(IndexHeader::read(&locks.shm)?.filter(|after| *after == before))
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
        lock::pause(Duration::from_millis(5));
    }
    let filled = spool::pin_copy(path, database, settings);
    lock::unlock(database, DATABASE_READERS).map_err(|e| io_failure("cannot unlock", path, e))?;
    filled
}

fn stayed_locked(path: &Path, busy: Duration) -> SourceError {
    SourceError::new(
        SourceErrorKind::Unreachable,
        format!("{} stayed locked for {busy:?}", path.display()),
    )
}
