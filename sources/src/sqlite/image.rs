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

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Access, Client};
use super::freeze::{self, LogLocks};
use super::header::{HEADER_BYTES, Header};
use super::spool;
use super::wal::{Frames, IndexHeader};
use super::{SqliteSettings, beside, io_failure};

/// Bytes read at once; a multiple of every page size.
const BLOCK_BYTES: u32 = 1 << 20;
/// Where the page lies that stands for locks: SQLite never writes it. Also where a block begins.
const LOCK_PAGE_AT: u64 = 0x4000_0000;

/// A pinned image with a connection that sees the same instant.
#[derive(Debug)]
pub(super) struct Pinned {
    /// What is streamed.
    pub(super) image: Image,
    /// What digests the rows.
    pub(super) client: Client,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
    /// What keeps a log as it is.
    pub(super) locks: Option<LogLocks>,
}

/// The bytes of a database at one instant.
#[derive(Debug)]
pub(super) struct Image {
    /// The header as of that instant; none for an empty database.
    pub(super) header: Option<Header>,
    /// Its size.
    pub(super) size_bytes: u64,
    /// The database file, or its copy.
    pub(super) base: File,
    /// What lies over it.
    pub(super) log: Option<(File, Frames)>,
    /// The database's own name, for errors.
    pub(super) shown: PathBuf,
}

impl Pinned {
    /// Pins the database as it is now. The path is absolute and free of links.
    pub(super) fn new(path: &Path, settings: &SqliteSettings) -> Result<Self, SourceError> {
        let database = File::open(path).map_err(|e| cannot_read(path, e))?;
        let head = header_of(&database, path)?;
        let log_exists = beside(path, "-wal").exists();
        match head {
            None => spool::pin_copy(path, &database, settings),
            Some(header) if header.wal && !log_exists => {
                match spool::pin_idle(path, &database, settings)? {
                    Some(pinned) => Ok(pinned),
                    None => freeze::pin_live(
                        path,
                        database,
                        settings,
                        Access::WithLog { keeps_log: false },
                    ),
                }
            }
            Some(_) if log_exists => freeze::pin_live(
                path,
                database,
                settings,
                Access::WithLog { keeps_log: true },
            ),
            Some(_) => freeze::pin_live(path, database, settings, Access::ReadOnly),
        }
    }

    /// Lets go, in the order that leaves nothing behind: SQLite's own closing needs the locks to be free, and our
    /// descriptors must outlive its locks.
    pub(super) fn release(self) -> Result<(), SourceError> {
        if let Some(locks) = &self.locks {
            locks
                .thaw()
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
            if offset == LOCK_PAGE_AT && missing_from < page_bytes {
                // A file that ends before it gets this page as a hole, when the log is moved into it.
                if let Some(hole) = block.get_mut(missing_from..page_bytes) {
                    hole.fill(0);
                    missing_from = page_bytes;
                }
            }
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
pub(super) fn read_up_to(file: &File, offset: u64, block: &mut [u8]) -> io::Result<usize> {
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

impl Image {
    /// Learns size and header as of the pinned commit.
    pub(super) fn measure(&mut self, index: &IndexHeader) -> Result<(), SourceError> {
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

/// The header of a database as its file has it; none if the file is empty.
pub(super) fn read_header(path: &Path) -> Result<Option<Header>, SourceError> {
    let file = File::open(path).map_err(|e| cannot_read(path, e))?;
    header_of(&file, path)
}

/// The header as it lies in the file; none if the file is empty.
pub(super) fn header_of(file: &File, shown: &Path) -> Result<Option<Header>, SourceError> {
    let mut bytes = [0; HEADER_BYTES];
    let count = read_up_to(file, 0, &mut bytes).map_err(|e| cannot_read(shown, e))?;
    if count == 0 {
        return Ok(None);
    }
    let header = bytes.get(..count).and_then(Header::parse);
    header.map(Some).ok_or_else(|| not_a_database(shown))
}

pub(super) fn not_a_database(path: &Path) -> SourceError {
    SourceError::new(
        SourceErrorKind::Corrupt,
        format!(
            "{} is not a SQLite database, or it is encrypted",
            path.display()
        ),
    )
}

pub(super) fn cannot_read(path: &Path, error: io::Error) -> SourceError {
    io_failure("cannot read", path, error)
}
