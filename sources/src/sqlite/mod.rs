//! SQLite: one database file, while writers run.
//!
//! # What is captured
//!
//! `sqlite:/var/lib/app.db` keeps the pages of the database at one instant as one stream named like the file: a file that
//! SQLite opens as it is. What lies in the write-ahead log is part of it; pages keep their places, so that an hour's
//! change is stored for about its size; equal content gives equal bytes. In the same instant the schema is digested, and
//! every table is counted and digested (`digest_rows`, on by default: it reads every row once and needs the memory of the
//! largest single value), virtual tables by the tables that they store. The canonical form of a row is told in
//! `rows.rs`. A table that needs a function or collation of the application is kept, but not counted, with a
//! warning. A damaged database fails the capture. Attached databases are sources of their own.
//!
//! # Consistency
//!
//! One instant, between two commits: never a torn page, never half a transaction.
//!
//! - With a write-ahead log nobody is blocked and nothing is copied. The log cannot shrink while the capture lasts.
//! - Without one, SQLite lets nobody write while somebody reads. The file is therefore copied first (cloned, on btrfs
//!   and XFS) into an unnamed file in its own folder, or in `spool_dir`, or in `/var/tmp` if the folder is read-only;
//!   writers wait only that long. It needs the room of the database for as long as the backup lasts. The copy is not
//!   encrypted, as the database beside it is not.
//!
//! A lock is waited for as long as `busy_timeout` says (30 seconds by default), then the capture fails. Keepstone's own
//! locks do not fall when something else in its process reads the same files, so a folder and a database in it may
//! be backed up in one run. (A program that embeds these sources must not have the database open in the same process.)
//!
//! The database is left as it was: no checkpoint, no new `-wal` or `-shm`, the same times. Two exceptions: what a killed
//! writer left is rolled back, as by any program that opens the file, with a warning; and a log that lies there without
//! its `-shm` gets one.
//!
//! # Privileges
//!
//! Reading needs the right to read the file. A database in use with a write-ahead log needs more, by SQLite's design: the
//! right to write the database, its `-wal` and `-shm`, and their folder; run as the owner of the file. A file that is
//! not a database, or is encrypted (SQLCipher, SEE), is refused; save an encrypted one as a plain file while it rests.
//!
//! # Restore
//!
//! The capture is written beside the target as `<file>.keepstone-<id>.new` (0600, then owner and mode of the file it
//! replaces, or the recorded mode), synced, and validated: `integrity_check`, schema, rows and digests of every
//! table; broken foreign keys are told. Access lists and extended attributes are not copied.
//!
//! The switch needs the database at rest. While another process has the file open it waits, as long as `busy_timeout`
//! says, and is then refused with the name of the process. SQLite then rolls back or checkpoints what is pending, so
//! that everything is in the one file; under an exclusive lock the file gets its second name `<file>.keepstone-<id>.old`, empty `-wal`, `-shm` and `-journal` files go, and one rename puts the
//! new file in place. The name never vanishes, and whoever opens it sees all of the old or all of the new database,
//! also after a power cut at any moment; a later run finishes or undoes what a killed one began.
//!
//! Stop what uses the database, all the same: programs of other users can be seen by root only, those in other containers
//! not at all. One that opens the file in the very moment of the switch, and goes on waiting for it longer than the
//! five seconds that it is given, ends up with the old file in its hand, and may mix its log with the new one's.
//!
//! With `force` a database that others have open is not renamed but overwritten in place by SQLite itself, in one
//! transaction, after a copy has been made as `….old`: programs go on, and see the new content with their next
//! transaction. They cannot write meanwhile, and without a log not read either: all that they had committed is in the copy. If the
//! lock of a writer is not free within `busy_timeout`, nothing is changed. It also replaces a file that is no database.
//! What a killed run began to overwrite is finished or undone as long as nobody has committed since; else it is refused.
//!
//! With `tables` only these are restored, with their rows, indexes and triggers: into the live database, which other
//! programs may go on using, in one transaction of SQLite, after what they replace was copied into `….old`; or, where there is
//! no database, into a new one that holds nothing else. Foreign keys of other tables are not looked at. A rollback
//! brings back these tables only.
//!
//! Where there was no database, the new file keeps `….new` as its second name until a discard, so that a rollback removes
//! what was restored and no file that somebody else has put there since.
//!
//! `rollback` brings the old file back by the same way, and takes what was written since the switch with it;
//! `discard` removes it. `restore --target` writes the database file.

mod capture;
mod client;
mod compare;
mod files;
mod freeze;
mod header;
mod hindrance;
mod image;
mod in_place;
mod lock;
mod preflight;
mod rebuild;
mod rows;
mod spool;
mod switch;
mod tables;
mod wal;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepstone_engine::source::{SourceError, SourceErrorKind};

pub use capture::SqliteSource;
pub use header::Header;
pub use hindrance::Hindrance;
pub use rebuild::{SqliteExport, SqliteTarget, SqliteTargetOptions};
pub use wal::IndexHeader;

/// Kind of the source and scheme of its URLs.
const KIND: &str = "sqlite";
/// How long a lock is waited for, if nothing else is said.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Names of recorded facts that a rebuild reads.
mod facts {
    pub(super) const SCHEMA_DIGEST: &str = "schema_digest";
    pub(super) const FILE_MODE: &str = "file_mode";
}

/// Which database, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteSettings {
    /// The database file.
    pub path: PathBuf,
    /// How long a lock is waited for.
    pub busy_timeout: Duration,
    /// Whether rows are digested, or only counted.
    pub digest_rows: bool,
    /// Where a database without a write-ahead log is copied to; its own folder by default.
    pub spool_dir: Option<PathBuf>,
}

impl SqliteSettings {
    /// Settings for a file, everything else at its default.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let path = path.into();
        if path.to_str().is_none() {
            return Err(unusable("its path is not UTF-8"));
        }
        if path.file_name().is_none() {
            return Err(unusable("it names no file"));
        }
        Ok(Self {
            path,
            busy_timeout: BUSY_TIMEOUT,
            digest_rows: true,
            spool_dir: None,
        })
    }

    /// Takes `sqlite:PATH` or `sqlite:///PATH` apart.
    pub fn parse_url(url: &str) -> Result<Self, SourceError> {
        let rest = url
            .strip_prefix("sqlite:")
            .ok_or_else(|| unusable("the address does not begin with `sqlite:`"))?;
        let path = match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err(unusable("a SQLite database is a file and has no host")),
            None => rest,
        };
        if path == ":memory:" {
            return Err(unusable("a database in memory cannot be reached"));
        }
        Self::new(path)
    }

    fn address(&self) -> String {
        format!("{KIND}:{}", self.path.display())
    }
}

/// The file that SQLite keeps beside a database under a suffix such as `-wal`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn unusable(problem: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Settings,
        format!("cannot use the SQLite database: {problem}"),
    )
}

fn io_failure(act: &str, path: &Path, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => SourceErrorKind::Missing,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            SourceErrorKind::Denied
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SourceErrorKind::NoSpace,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => SourceErrorKind::Corrupt,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, format!("{act} {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_file() {
        for (url, path) in [
            ("sqlite:/var/lib/app.db", "/var/lib/app.db"),
            ("sqlite:///var/lib/app.db", "/var/lib/app.db"),
            ("sqlite:app.db", "app.db"),
            ("sqlite:/odd ?#%41 name", "/odd ?#%41 name"),
        ] {
            let settings = SqliteSettings::parse_url(url).unwrap();
            assert_eq!(settings.path, Path::new(path));
            assert_eq!(settings.address(), format!("sqlite:{path}"));
        }
        for url in [
            "sqlite:",
            "sqlite:/",
            "sqlite://host/a",
            "sqlite::memory:",
            "/a.db",
        ] {
            let error = SqliteSettings::parse_url(url).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Settings, "{url}");
        }
    }
}
