//! Copies of databases that nobody needs to wait for: made in a moment, without a name, streamed at leisure.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::Client;
use super::header::Header;
use super::image::{Image, Pinned, cannot_read, header_of, not_a_database};
use super::{SqliteSettings, beside, io_failure};

/// How long a file must have rested for its times to show any change.
const REST: Duration = Duration::from_secs(1);
/// Where a copy goes if the database's own folder cannot be written to.
const OTHER_SPOOL_DIR: &str = "/var/tmp";

/// Copies a database as it lies. (Of an empty one SQLite would only remove a left-over log.)
pub(super) fn pin_copy(
    path: &Path,
    database: &File,
    settings: &SqliteSettings,
) -> Result<Pinned, SourceError> {
    Spool::new(path, database, settings)?.fill(database)
}

/// Copies a database whose log does not exist, which means that nobody has it open; none if somebody came.
pub(super) fn pin_idle(
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
