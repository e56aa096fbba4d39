//! Whole databases: brought to rest, and written one over another.

use std::path::Path;
use std::time::{Duration, Instant};

use keepstone_engine::source::{SourceError, SourceErrorKind};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use super::super::hindrance::Hindrance;
use super::super::lock;
use super::{Client, failure, is_busy_error, is_damage, uri_of};

/// How long a lock is left alone before it is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Whether a database could be brought to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Rest {
    /// Everything is in the one file: transactions of the dead are rolled back, the log is empty.
    Complete,
    /// SQLite cannot make sense of the file.
    Damaged,
}

/// Brings a database to rest, as its only user. It fails while anybody else has it open with a log, or writes.
pub(in super::super) fn bring_to_rest(path: &Path, busy: Duration) -> Result<Rest, SourceError> {
    let act = format!("cannot get {} for itself", path.display());
    let run = || {
        let connection = open_writing(path, busy)?;
        // What is damaged is not made worse by closing it: only the checkpoint below moves the log.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;")?;
        let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
            row.get::<_, i64>(0)
        })?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(is_busy != 0)
    };
    match run() {
        Ok(false) => Ok(Rest::Complete),
        Ok(true) => Err(SourceError::new(SourceErrorKind::Occupied, act)
            .because("another process reads it; stop what uses the database")),
        Err(error) if is_damage(&error) => Ok(Rest::Damaged),
        Err(error) if is_busy_error(&error) => {
            Err(SourceError::new(SourceErrorKind::Occupied, act)
                .because("another process uses it; stop what uses the database"))
        }
        Err(error) => Err(failure(&act, error)),
    }
}

/// Writes the content of one database over another in one transaction, which readers see whole or not at all.
///
/// `locked` is called when nobody else can write any more and before anything is written; if it fails or says no, nothing
/// is. Answers what it said. After an error nothing is written either. While it runs nobody in this process may close
/// a file of the database that is written: the locks would fall.
pub(in super::super) fn overwrite(
    from: &Path,
    to: &Path,
    busy: Duration,
    locked: &mut dyn FnMut() -> Result<bool, SourceError>,
) -> Result<bool, SourceError> {
    let fail = |error| cannot_overwrite(to, error);
    let mut target = open_writing(to, busy).map_err(fail)?;
    target
        .execute_batch("PRAGMA synchronous = FULL")
        .map_err(fail)?;
    let source = open_source(from, &target)?;
    let backup = Backup::new(&source.connection, &mut target).map_err(fail)?;
    // Without pages to copy this takes the lock of a writer and nothing else.
    step(&backup, 0, busy).map_err(fail)?;
    let is_wanted = locked()?;
    if is_wanted {
        step(&backup, -1, busy).map_err(fail)?;
    }
    drop(backup);
    // What is committed stays so, however the connection ends.
    let _closed = target.close();
    Ok(is_wanted)
}

/// The database that is copied. One that is empty has no page whose copying could wait for its turn: SQLite would write with
/// the lock. It is told as one page that holds nothing, of the size that the other's pages have.
fn open_source(from: &Path, target: &Connection) -> Result<Client, SourceError> {
    let source = Client::open_immutable(from)?;
    let number = |connection: &Connection, pragma| {
        connection
            .query_row(pragma, [], |row| row.get::<_, i64>(0))
            .map_err(|e| source.cannot("copy", e))
    };
    if number(&source.connection, "PRAGMA page_count")? > 0 {
        return Ok(source);
    }
    let page_size = number(target, "PRAGMA page_size")?;
    let connection = Connection::open_in_memory()
        .and_then(|connection| {
            connection.pragma_update(None, "page_size", page_size)?;
            connection.pragma_update(None, "user_version", 0)?;
            Ok(connection)
        })
        .map_err(|e| source.cannot("copy", e))?;
    Ok(Client {
        connection,
        name: source.name,
    })
}

fn step(backup: &Backup<'_, '_>, pages: i32, busy: Duration) -> rusqlite::Result<()> {
    let deadline = Instant::now() + busy;
    loop {
        match backup.step(pages)? {
            StepResult::Done => return Ok(()),
            StepResult::More if pages == 0 => return Ok(()),
            _ if Instant::now() < deadline => lock::pause(RETRY),
            _ => {
                let busy = ffi::Error::new(ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
        }
    }
}

fn cannot_overwrite(to: &Path, error: rusqlite::Error) -> SourceError {
    if is_busy_error(&error) {
        return Hindrance::in_use(to, &[]);
    }
    failure(&format!("cannot overwrite {}", to.display()), error)
}

pub(super) fn open_writing(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    // By address, since other databases are attached so: a path that looks like one must not be taken for one.
    let connection = Connection::open_with_flags(uri_of(path, "mode=rw"), flags)?;
    connection.busy_timeout(busy)?;
    Ok(connection)
}
