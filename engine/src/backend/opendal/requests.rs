//! The requests to a store, each sent once.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{Buffer, BytesRange, Entry, Error, ErrorKind, Metadata, Operator, Result};

use super::connect;
use crate::backend::credentials::RemoteLimits;
use crate::backend::foreign::Look;
use crate::backend::{ByteRange, ObjectKey, ObjectStat};

/// Names looked at to tell whose a place is.
const LOOK_NAMES_MAX: usize = 1000;
/// Bytes read of a file that tells whose a place is.
const HEAD_BYTES: u64 = 4096;
/// The slowest write that is waited for, beside the usual time: four packs at once over a line of 1 Mbit/s.
const SLOWEST_BYTES_PER_S: u64 = 32 << 10;

/// A store, asked once for each thing.
#[derive(Clone)]
pub(super) struct Requests {
    /// For what is small, or comes in pieces that are waited for one by one.
    operator: Operator,
    /// For writes, which are waited for by their length.
    writing: Operator,
    answer_time_max: Duration,
}

impl Requests {
    /// To a store that does not bound its time.
    pub(super) fn new(operator: Operator, limits: RemoteLimits) -> Self {
        Self {
            operator: connect::with_timeouts(operator.clone(), limits),
            writing: operator,
            answer_time_max: limits.answer_time_max,
        }
    }

    /// Writes an object that is not there yet.
    pub(super) async fn put_new(&self, key: ObjectKey, body: Buffer) -> Result<()> {
        let wait = Duration::from_secs(body.len() as u64 / SLOWEST_BYTES_PER_S);
        let wait = self.answer_time_max.saturating_add(wait);
        let options = WriteOptions {
            if_not_exists: true,
            ..WriteOptions::default()
        };
        let path = key.path();
        let sent = self.writing.write_options(&path, body, options);
        let answer = tokio::time::timeout(wait, sent).await;
        let answer = answer.unwrap_or_else(|_| {
            let words = "no answer came in time";
            Err(Error::new(ErrorKind::Unexpected, words).set_temporary())
        });
        answer.map(|_| ())
    }

    /// Reads a range; `None` if it reaches past the end.
    pub(super) async fn get(&self, key: ObjectKey, range: ByteRange) -> Result<Option<Buffer>> {
        let path = &key.path();
        let has_suffixes = self.operator.info().capability().read_with_suffix;
        let (offset, length) = match range {
            ByteRange::All => return self.operator.read(path).await.map(Some),
            ByteRange::FromTo { offset, length }
                if length > 0 && offset.checked_add(length).is_some() =>
            {
                (offset, length)
            }
            ByteRange::Last(length) if length > 0 && has_suffixes => {
                return self.last(path, length).await.map(Some);
            }
            // No request can ask for nothing or for what is absurd: the length decides.
            _ => match range.within(self.operator.stat(path).await?.content_length()) {
                Some(range) if range.is_empty() => return Ok(Some(Buffer::new())),
                Some(range) => (range.start, range.end - range.start),
                None => return Ok(None),
            },
        };
        match self.exactly(path, offset, length).await {
            Ok(bytes) if bytes.len() as u64 == length => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            // Stores tell of a range past the end in several ways, so the length is asked for.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                match self.operator.stat(path).await {
                    Ok(stat) if range.within(stat.content_length()).is_none() => Ok(None),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The last bytes, in one request if all goes well. An empty object has none, which stores tell in several ways: so
    /// whatever fails is settled by the length.
    async fn last(&self, path: &str, length: u64) -> Result<Buffer> {
        let options = ReadOptions {
            range: BytesRange::suffix(length),
            ..ReadOptions::default()
        };
        match self.operator.read_options(path, options).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let size_bytes = self.operator.stat(path).await?.content_length();
                let length = length.min(size_bytes);
                if length == 0 {
                    return Ok(Buffer::new());
                }
                self.exactly(path, size_bytes - length, length).await
            }
            answer => answer,
        }
    }

    async fn exactly(&self, path: &str, offset: u64, length: u64) -> Result<Buffer> {
        let options = ReadOptions {
            range: BytesRange::new(offset, Some(length)),
            ..ReadOptions::default()
        };
        self.operator.read_options(path, options).await
    }

    /// All objects in a folder and below, sorted.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<ObjectStat>> {
        let options = ListOptions {
            recursive: true,
            ..ListOptions::default()
        };
        let folder = format!("{folder}/");
        let mut lister = self.operator.lister_options(&folder, options).await?;
        let mut found = Vec::new();
        while let Some(entry) = lister.try_next().await? {
            let Some(key) = ObjectKey::parse(entry.path()) else {
                continue;
            };
            if entry.metadata().is_file() {
                found.push(object_stat(key, entry.metadata()));
            } else {
                found.extend(self.stat(key).await?); // The store lists names only.
            }
        }
        found.sort_unstable_by_key(|stat| stat.key);
        Ok(found)
    }

    /// One object, if it is there.
    pub(super) async fn stat(&self, key: ObjectKey) -> Result<Option<ObjectStat>> {
        match self.operator.stat(&key.path()).await {
            Ok(metadata) => Ok(Some(object_stat(key, &metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object.
    pub(super) async fn delete(&self, key: ObjectKey) -> Result<()> {
        match self.operator.delete(&key.path()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            answer => answer,
        }
    }

    /// What lies at the top.
    pub(super) async fn look(&self) -> Result<Look> {
        let mut look = Look::default();
        for entry in self.some_names("").await? {
            let path = entry.path();
            match path.strip_suffix('/') {
                Some("") => false,
                Some(folder) => look.folders.insert(folder.to_owned()),
                None => look.files.insert(path.to_owned()),
            };
        }
        if look.folders.contains("keys") {
            for entry in self.some_names("keys/").await? {
                let name = entry.path().strip_prefix("keys/").unwrap_or_default();
                if !name.is_empty() {
                    look.keys.insert(name.to_owned());
                }
            }
        }
        for name in ["config", "README"] {
            if look.files.contains(name) {
                let length = self.operator.stat(name).await?.content_length();
                let head = match length.min(HEAD_BYTES) {
                    0 => Buffer::new(),
                    length => self.exactly(name, 0, length).await?,
                };
                look.heads.insert(name.to_owned(), head.to_vec());
            }
        }
        Ok(look)
    }

    async fn some_names(&self, folder: &str) -> Result<Vec<Entry>> {
        let mut lister = self.operator.lister(folder).await?;
        let mut found = Vec::new();
        while found.len() < LOOK_NAMES_MAX
            && let Some(entry) = lister.try_next().await?
        {
            found.push(entry);
        }
        Ok(found)
    }
}

fn object_stat(key: ObjectKey, metadata: &Metadata) -> ObjectStat {
    let stored_at = metadata.last_modified();
    ObjectStat {
        key,
        size_bytes: metadata.content_length(),
        stored_at_ns: stored_at.and_then(|at| i64::try_from(at.into_inner().as_nanosecond()).ok()),
    }
}
