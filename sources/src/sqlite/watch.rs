//! What a database holds, and whether anybody has committed since it was looked at.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepstone_engine::source::{CollectionFacts, Digest, SourceError};

use super::beside;
use super::capture::{Tables, read_tables};
use super::client::{Access, Client};
use super::header::HEADER_BYTES;
use super::image::{cannot_read, read_up_to};
use super::lock::FileId;
use super::wal::IndexHeader;

/// Everything that an application can have committed, as far as this build of SQLite can read it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    schema: Digest,
    numbers: [i64; 2],
    tables: Vec<CollectionFacts>,
    unreadable: Vec<String>,
}

impl Content {
    /// The content of a file that nobody writes to.
    pub(super) fn of_file(path: &Path) -> Result<Self, SourceError> {
        let client = Client::open_immutable(path)?;
        client.begin_read()?;
        let content = Self::read(&client)?;
        client.end_read()?;
        client.close()?;
        Ok(content)
    }

    /// What it does not tell, each in a sentence: equality proves nothing of these tables.
    pub(super) fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// Asked within a transaction.
    fn read(client: &Client) -> Result<Self, SourceError> {
        let Tables {
            collections,
            warnings,
        } = read_tables(client, true)?;
        Ok(Self {
            schema: client.schema_digest()?.finish(),
            numbers: client.numbers()?,
            tables: collections,
            unreadable: warnings,
        })
    }
}

/// By what a commit is known: no two have the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Header of the log's index.
    Log(IndexHeader),
    /// Header of the file, with its counter of changes.
    File([u8; HEADER_BYTES]),
}

/// A database that others may write to, held open but not locked.
///
/// The fields are dropped in this order: to close one of our descriptors takes the locks of SQLite's away. As long as the
/// client lives, the index of a log is not made anew.
#[derive(Debug)]
pub(super) struct Watched {
    client: Client,
    shm: Option<File>,
    file: File,
    path: PathBuf,
}

impl Watched {
    pub(super) fn open(path: &Path, busy: Duration) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|e| cannot_read(path, e))?;
        // The last to go removes the log, as any program would.
        let client = Client::open(path, Access::WithLog { keeps_log: false }, busy)?;
        let mut watched = Self {
            client,
            shm: None,
            file,
            path: path.to_owned(),
        };
        // The first reader rolls back what a killed writer left, and builds the index of the log.
        watched.client.begin_read()?;
        if watched.client.uses_log()? {
            let shm_path = beside(path, "-shm");
            let shm = File::open(&shm_path).map_err(|e| cannot_read(&shm_path, e))?;
            watched.shm = Some(shm);
        }
        watched.client.end_read()?;
        Ok(watched)
    }

    /// The file that is watched, whatever has its name by now.
    pub(super) fn id(&self) -> Result<FileId, SourceError> {
        FileId::of_file(&self.file).map_err(|e| cannot_read(&self.path, e))
    }

    /// Reads everything; none if somebody commits at this moment.
    pub(super) fn look(&self) -> Result<Option<(Stamp, Content)>, SourceError> {
        let before = self.stamp()?;
        self.client.begin_read()?;
        // Equal before and after the transaction began: it is that of the commit that the client sees.
        let stamp = self.stamp()?.filter(|after| before.as_ref() == Some(after));
        let content = match stamp {
            Some(stamp) => Some((stamp, Content::read(&self.client)?)),
            None => None,
        };
        self.client.end_read()?;
        Ok(content)
    }

    /// What the last commit is known by; none while it is being made. Opens no file, and closes none.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, SourceError> {
        let fail = |e| cannot_read(&self.path, e);
        if let Some(shm) = &self.shm {
            return Ok(IndexHeader::read(shm).map_err(fail)?.map(Stamp::Log));
        }
        let mut bytes = [0; HEADER_BYTES];
        read_up_to(&self.file, 0, &mut bytes).map_err(fail)?;
        Ok(Some(Stamp::File(bytes)))
    }
}
