//! SQLite itself: the only file that calls the library.

mod tables;
mod whole;

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keepstone_engine::source::{
    CollectionFacts, Digest, RecordDigest, SourceError, SourceErrorKind,
};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::rows::{self, Value};

pub(super) use tables::TableWriter;
pub(super) use whole::{Rest, bring_to_rest, overwrite};

/// Memory for pages, per connection.
const CACHE_KIB: u32 = 8192;
/// Differences that an integrity check names at most.
const PROBLEMS_MAX: usize = 10_000;
/// How often a long call looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);

/// How a database is opened for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By a descriptor that cannot write: enough without a log.
    ReadOnly,
    /// With a log, whose index a reader must be able to write. `keeps_log`: leave the log as it is on closing; else
    /// the last one to close removes it, as any program would.
    WithLog { keeps_log: bool },
}

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
    name: String,
}

/// The rows of a table, or why this build of SQLite cannot read them.
pub(super) enum TableRead {
    Read(CollectionFacts),
    Unreadable(String),
}

/// What a check said: problems, and what could not be checked.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The pages, or what they are joined to, are damaged.
    pub(super) problems: Vec<String>,
    /// The pages are sound, but rows hold what their table would refuse, or a search index lags behind its content.
    pub(super) oddities: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Client {
    /// Opens a database that others may write to.
    pub(super) fn open(path: &Path, access: Access, busy: Duration) -> Result<Self, SourceError> {
        let flags = match access {
            Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::WithLog { .. } => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let client = Self::connect(path, &path.display().to_string(), flags)?;
        client.set_up(busy).map_err(|e| client.cannot("open", e))?;
        if access == (Access::WithLog { keeps_log: true }) {
            client
                .connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(|e| client.cannot("open", e))?;
        }
        Ok(client)
    }

    /// Opens a file that nobody writes to: no locks, no files beside it.
    pub(super) fn open_immutable(path: &Path) -> Result<Self, SourceError> {
        let client = Self::open_before_content(path, path)?;
        client.read_content()?;
        Ok(client)
    }

    /// The same for a file that has no content yet: nothing is read before `read_content`, and would be remembered.
    /// `shown` names it in errors.
    pub(super) fn open_before_content(path: &Path, shown: &Path) -> Result<Self, SourceError> {
        let uri = uri_of(path, "immutable=1");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Self::connect(Path::new(&uri), &shown.display().to_string(), flags)
    }

    /// Makes a connection of `open_before_content` ready.
    pub(super) fn read_content(&self) -> Result<(), SourceError> {
        self.set_up(Duration::ZERO)
            .map_err(|e| self.cannot("open", e))
    }

    fn connect(path: &Path, name: &str, flags: OpenFlags) -> Result<Self, SourceError> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| failure(&format!("cannot open {name}"), e))?;
        Ok(Self {
            connection,
            name: name.to_owned(),
        })
    }

    /// Nothing in the database may make us write, run code, or use much memory.
    fn set_up(&self, busy: Duration) -> rusqlite::Result<()> {
        self.connection.busy_timeout(busy)?;
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        self.connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        self.connection.execute_batch(&format!(
            "PRAGMA query_only = 1; PRAGMA mmap_size = 0; PRAGMA temp_store = 2;
             PRAGMA cache_size = -{CACHE_KIB}; PRAGMA cell_size_check = 1;"
        ))
    }

    /// Starts a read transaction and takes its locks.
    pub(super) fn begin_read(&self) -> Result<(), SourceError> {
        let started = self
            .connection
            .prepare_cached("BEGIN")
            .and_then(|mut begin| begin.execute([]))
            .and_then(|_| {
                self.connection
                    .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)")
            })
            .and_then(|mut select| select.query_row([], |_| Ok(())));
        started.map_err(|e| {
            let _ended = self.end_read();
            self.cannot("read", e)
        })
    }

    /// Ends the read transaction.
    pub(super) fn end_read(&self) -> Result<(), SourceError> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection
            .prepare_cached("ROLLBACK")
            .and_then(|mut rollback| rollback.execute([]))
            .map(drop)
            .map_err(|e| self.cannot("finish reading", e))
    }

    /// Whether the database is read through a write-ahead log. Asked within a transaction.
    pub(super) fn uses_log(&self) -> Result<bool, SourceError> {
        self.connection
            .query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0))
            .map(|mode| mode == "wal")
            .map_err(|e| self.cannot("read", e))
    }

    /// Digest over the schema; its count is the number of objects.
    pub(super) fn schema_digest(&self) -> Result<RecordDigest, SourceError> {
        let read = || {
            let mut statement = self
                .connection
                .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
            let mut found = statement.query([])?;
            let mut digest = RecordDigest::new();
            let mut record = Vec::new();
            while let Some(row) = found.next()? {
                record.clear();
                for column in 0..4 {
                    rows::push(&mut record, value_of(row.get_ref(column)?));
                }
                digest.add(&record);
            }
            Ok(digest)
        };
        read().map_err(|e| self.cannot("read the schema of", e))
    }

    /// The numbers that an application keeps in the header: `user_version` and `application_id`.
    pub(super) fn numbers(&self) -> Result<[i64; 2], SourceError> {
        let number = |pragma: &str| {
            self.connection
                .query_row(pragma, [], |row| row.get::<_, i64>(0))
                .map_err(|e| self.cannot("read", e))
        };
        Ok([
            number("PRAGMA user_version")?,
            number("PRAGMA application_id")?,
        ])
    }

    /// Names of all tables that have pages of their own, in order: no virtual tables, but what these store.
    pub(super) fn tables(&self) -> Result<Vec<String>, SourceError> {
        let read = || {
            let mut statement = self.connection.prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name",
            )?;
            let names = statement.query_map([], |row| row.get(0))?;
            names.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|e| self.cannot("read the schema of", e))
    }

    /// Counts and digests the rows of one table.
    pub(super) fn read_table(&self, table: &str, digests: bool) -> Result<TableRead, SourceError> {
        let read = if digests {
            self.digest_rows(table)
        } else {
            self.count_rows(table)
        };
        match read {
            Ok(facts) => Ok(TableRead::Read(facts)),
            // The schema needs a function, collation or module that the application brings along.
            Err(error) if is_plain_error(&error) => Ok(TableRead::Unreadable(error.to_string())),
            Err(error) => Err(self.cannot(&format!("read table {table} of"), error)),
        }
    }

    fn digest_rows(&self, table: &str) -> rusqlite::Result<CollectionFacts> {
        let mut columns = self.connection.prepare_cached(
            "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid",
        )?;
        let columns = columns
            .query_map([table], |row| Ok(quoted(&row.get::<_, String>(0)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut statement = self.connection.prepare(&format!(
            "SELECT {} FROM main.{} NOT INDEXED",
            columns.join(", "),
            quoted(table)
        ))?;
        let mut found = statement.query([])?;
        let mut digest = RecordDigest::new();
        let mut record = Vec::new();
        let mut bytes = 0;
        while let Some(row) = found.next()? {
            record.clear();
            for column in 0..columns.len() {
                rows::push(&mut record, value_of(row.get_ref(column)?));
            }
            digest.add(&record);
            bytes += record.len() as u64;
        }
        Ok(facts(table, digest.count(), bytes, Some(digest.finish())))
    }

    fn count_rows(&self, table: &str) -> rusqlite::Result<CollectionFacts> {
        let query = format!("SELECT count(*) FROM main.{}", quoted(table));
        let count: i64 = self.connection.query_row(&query, [], |row| row.get(0))?;
        Ok(facts(table, u64::try_from(count).unwrap_or(0), 0, None))
    }

    /// `PRAGMA integrity_check` and `foreign_key_check`. A broken foreign key is a note: it was captured like that.
    pub(super) fn check(&self) -> Result<Checked, SourceError> {
        let mut checked = Checked::default();
        match self.texts(&format!("PRAGMA integrity_check({PROBLEMS_MAX})")) {
            Ok(lines) if lines == ["ok"] => {}
            // Where the lines end for their number, nobody knows what would have followed.
            Ok(lines) if lines.len() >= PROBLEMS_MAX => checked.problems = lines,
            Ok(lines) => {
                (checked.oddities, checked.problems) =
                    lines.into_iter().partition(|line| is_oddity(line));
            }
            Err(error) if is_plain_error(&error) => checked
                .notes
                .push(format!("integrity_check could not run: {error}")),
            Err(error) if is_damage(&error) => checked.problems.push(error.to_string()),
            Err(error) => return Err(self.cannot("check", error)),
        }
        let broken =
            "SELECT \"table\" || ': ' || count(*) || ' rows refer to rows that are not there'
                      FROM pragma_foreign_key_check GROUP BY \"table\"";
        match self.texts(broken) {
            Ok(lines) => checked.notes.extend(lines),
            Err(error) if is_interrupted(&error) => return Err(self.cannot("check", error)),
            Err(error) => checked
                .notes
                .push(format!("foreign_key_check could not run: {error}")),
        }
        Ok(checked)
    }

    fn texts(&self, query: &str) -> rusqlite::Result<Vec<String>> {
        let mut statement = self.connection.prepare(query)?;
        let lines = statement.query_map([], |row| row.get(0))?;
        lines.collect()
    }

    /// Works on another thread while `meanwhile` runs on this one; stops the work if that fails or on request.
    /// Gives the connection back with both answers.
    pub(super) fn work_beside<T: Send, M>(
        self,
        work: impl FnOnce(&Self) -> Result<T, SourceError> + Send,
        meanwhile: impl FnOnce() -> Result<M, SourceError>,
        cancelled: &dyn Fn() -> bool,
    ) -> (Self, Result<(M, T), SourceError>) {
        let interrupt = self.connection.get_interrupt_handle();
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let result = work(&self);
                drop(done);
                (self, result)
            });
            let first = meanwhile();
            // The channel never carries anything: it closes when the work is over.
            loop {
                if first.is_err() || cancelled() {
                    interrupt.interrupt();
                }
                match is_done.recv_timeout(TICK) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
            }
            match worker.join() {
                Ok((client, second)) => (client, first.and_then(|m| Ok((m, second?)))),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Closes the connection.
    pub(super) fn close(self) -> Result<(), SourceError> {
        self.connection
            .close()
            .map_err(|(_, e)| failure(&format!("cannot close {}", self.name), e))
    }

    fn cannot(&self, act: &str, error: rusqlite::Error) -> SourceError {
        failure(&format!("cannot {act} {}", self.name), error)
    }
}

/// Version of the SQLite library that reads.
pub(super) fn library_version() -> &'static str {
    rusqlite::version()
}

/// Whether a hot journal kept a connection that cannot write from reading.
pub(super) fn needs_recovery(error: &SourceError) -> bool {
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref());
    let code = cause.and_then(rusqlite::Error::sqlite_error);
    code.is_some_and(|code| {
        [ffi::SQLITE_READONLY_ROLLBACK, ffi::SQLITE_READONLY_RECOVERY].contains(&code.extended_code)
    })
}

fn facts(table: &str, records: u64, bytes: u64, digest: Option<Digest>) -> CollectionFacts {
    CollectionFacts {
        name: table.to_owned(),
        records,
        bytes,
        digest,
    }
}

fn value_of(value: ValueRef<'_>) -> Value<'_> {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(text),
        ValueRef::Blob(bytes) => Value::Blob(bytes),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The address of a file for SQLite, which takes settings of it.
fn uri_of(path: &Path, query: &str) -> String {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            _ => uri.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]),
        }
    }
    uri.push('?');
    uri.push_str(query);
    uri
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

/// Whether a line of an integrity check speaks of what is stored in sound pages.
fn is_oddity(line: &str) -> bool {
    let is_other_type = line
        .strip_prefix("non-")
        .and_then(|line| line.split_once(" value in "))
        .is_some_and(|(kind, _)| kind.bytes().all(|byte| byte.is_ascii_uppercase()));
    let starts = [
        "NULL value in ",
        "NUMERIC value in ",
        "TEXT value in ",
        "CHECK constraint failed in ",
        "malformed inverted index for FTS",
    ];
    is_other_type || starts.iter().any(|start| line.starts_with(start))
}

fn is_plain_error(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|e| e.extended_code & 0xff == ffi::SQLITE_ERROR)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn is_busy_error(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn failure(act: &str, error: rusqlite::Error) -> SourceError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => SourceErrorKind::Corrupt,
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed,
        ) => SourceErrorKind::Unreachable,
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::CannotOpen
            | ErrorCode::AuthorizationForStatementDenied,
        ) => SourceErrorKind::Denied,
        Some(ErrorCode::DiskFull) => SourceErrorKind::NoSpace,
        Some(ErrorCode::OperationInterrupted) => SourceErrorKind::Cancelled,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, act).because(error)
}
