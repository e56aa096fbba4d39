//! A repository in a remote store, through opendal: the only place that names it.
//!
//! Reads, lists and deletes are tried again when they fail. A write is sent once: only one that the store refused for
//! the moment, or that was never sent, is tried again, because a pack whose write was not answered may appear later and
//! must get a new name instead.

mod answer;
mod connect;

use std::future::Future;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{Buffer, BytesRange, Entry, ErrorKind, Metadata, Operator};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use self::answer::{failed, was_not_done};
use super::address::RemoteAddress;
use super::credentials::{Credentials, RemoteLimits};
use super::foreign::Look;
use super::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

/// The slowest write that is waited for, beside the usual time: four packs at once over a line of 1 Mbit/s.
const SLOWEST_BYTES_PER_S: u64 = 32 << 10;
/// Names looked at to tell whose a place is.
const LOOK_NAMES_MAX: usize = 1000;
/// Bytes read of a file that tells whose a place is.
const HEAD_BYTES: u64 = 4096;
/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A repository in a remote store.
pub struct OpendalBackend {
    address: String,
    /// Tries again by itself.
    reading: Operator,
    /// Sends each request once.
    once: Operator,
    turns: Arc<Semaphore>,
    limits: RemoteLimits,
    is_ours_alone: bool,
}

impl std::fmt::Debug for OpendalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpendalBackend({})", self.address)
    }
}

impl OpendalBackend {
    /// Opens a place in a store. Sends nothing yet.
    pub fn open(address: &RemoteAddress, credentials: &Credentials) -> Result<Self, BackendError> {
        let operator = connect::operator(address, credentials)?;
        Self::over(operator, address.to_string(), credentials.limits())
    }

    /// An empty store in memory, which behaves as a remote one; for tests.
    pub fn memory() -> Result<Self, BackendError> {
        let address = "memory:".to_owned();
        let mut backend = Self::over(connect::memory()?, address, RemoteLimits::default())?;
        backend.is_ours_alone = true;
        Ok(backend)
    }

    fn over(
        operator: Operator,
        address: String,
        limits: RemoteLimits,
    ) -> Result<Self, BackendError> {
        if !operator.info().capability().write_with_if_not_exists {
            let error = BackendError::new(BackendErrorKind::Unsupported, "keep a repository in");
            return Err(error
                .at(address)
                .because("the store cannot refuse to overwrite"));
        }
        Ok(Self {
            address,
            reading: connect::with_retries(operator.clone(), limits),
            once: operator,
            turns: Arc::new(Semaphore::new(limits.connection_count_max.max(1))),
            limits,
            is_ours_alone: false,
        })
    }

    /// What lies at the top, for recognising other tools' repositories.
    pub(super) fn look(&self) -> Result<Look, BackendError> {
        let reading = self.reading.clone();
        let looked = self.run(async move {
            let mut look = Look::default();
            for entry in some_names(&reading, "").await? {
                let path = entry.path();
                match path.strip_suffix('/') {
                    Some("") => false,
                    Some(folder) => look.folders.insert(folder.to_owned()),
                    None => look.files.insert(path.to_owned()),
                };
            }
            if look.folders.contains("keys") {
                for entry in some_names(&reading, "keys/").await? {
                    let name = entry.path().strip_prefix("keys/").unwrap_or_default();
                    if !name.is_empty() {
                        look.keys.insert(name.to_owned());
                    }
                }
            }
            for name in ["config", "README"] {
                if look.files.contains(name) {
                    let length = reading.stat(name).await?.content_length().min(HEAD_BYTES);
                    let head = read(&reading, name, 0, length).await?;
                    look.heads.insert(name.to_owned(), head.to_vec());
                }
            }
            Ok(look)
        })?;
        looked.map_err(|error| failed("list", &error).at(&self.address))
    }

    /// Runs a task on the threads of the runtime and waits for it. Any thread may call, one of another runtime too.
    fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BackendError> {
        let lost = || BackendError::new(BackendErrorKind::Other, "finish a request to");
        let (sender, receiver) = mpsc::sync_channel(1);
        let turns = Arc::clone(&self.turns);
        runtime()?.spawn(async move {
            let turn = turns.acquire().await;
            let answer = task.await;
            drop(turn);
            // Nobody waits any more only if the caller's thread is gone.
            let _: Result<(), _> = sender.send(answer);
        });
        receiver.recv().map_err(|_| lost().at(&self.address))
    }
}

impl Backend for OpendalBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        let body = Buffer::from(body.concat());
        let wait = Duration::from_secs(body.len() as u64 / SLOWEST_BYTES_PER_S);
        let wait = self.limits.answer_time_max.saturating_add(wait);
        let retries = self.limits.retry_count_max;
        let (once, path, key) = (self.once.clone(), key.path(), *key);
        self.run(async move {
            let mut pauses = pauses(retries);
            loop {
                let options = WriteOptions {
                    if_not_exists: true,
                    ..WriteOptions::default()
                };
                let sent = once.write_options(&path, body.clone(), options);
                let error = match tokio::time::timeout(wait, sent).await {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => error,
                    Err(_) => {
                        let error = BackendError::new(BackendErrorKind::Unreachable, "write");
                        return Err(error.on(&key).because("no answer came in time"));
                    }
                };
                let pause = if was_not_done(&error) {
                    pauses.next()
                } else {
                    None
                };
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(failed("write", &error).on(&key)),
                }
            }
        })?
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        let (reading, once, path) = (self.reading.clone(), self.once.clone(), key.path());
        let truncated = || BackendError::new(BackendErrorKind::Truncated, "read").on(key);
        let answer = self.run(async move { read_range(&reading, &once, &path, range).await })?;
        let bytes = answer.map_err(|error| failed("read", &error).on(key))?;
        bytes.map(|bytes| bytes.to_vec()).ok_or_else(truncated)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let Some(folder) = kind.folder() else {
            let both = [false, true].map(|copy| self.stat(&ObjectKey::config(copy)));
            return both.into_iter().filter_map(Result::transpose).collect();
        };
        let reading = self.reading.clone();
        let answer = self.run(async move {
            let options = ListOptions {
                recursive: true,
                ..ListOptions::default()
            };
            let mut lister = reading
                .lister_options(&format!("{folder}/"), options)
                .await?;
            let mut found = Vec::new();
            while let Some(entry) = lister.try_next().await? {
                let Some(key) = ObjectKey::parse(entry.path()) else {
                    continue;
                };
                if entry.metadata().is_file() {
                    found.push(object_stat(key, entry.metadata()));
                } else if let Some(stat) = stat(&reading, key).await? {
                    found.push(stat); // The store lists names only.
                }
            }
            found.sort_unstable_by_key(|stat| stat.key);
            Ok(found)
        })?;
        answer.map_err(|error| failed("list", &error).at(kind.to_string()))
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        let (reading, key) = (self.reading.clone(), *key);
        let answer = self.run(async move { stat(&reading, key).await })?;
        answer.map_err(|error| failed("look at", &error).on(&key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        let (reading, path) = (self.reading.clone(), key.path());
        let answer = self.run(async move { reading.delete(&path).await })?;
        match answer {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("delete", &error).on(key))
            }
            _ => Ok(()),
        }
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn must_be_probed(&self) -> bool {
        !self.is_ours_alone
    }
}

/// Threads that talk to stores, for the whole process and as long as it lives.
fn runtime() -> Result<&'static Runtime, BackendError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("store")
        .enable_all()
        .build()
        .map_err(|error| {
            BackendError::new(BackendErrorKind::Other, "start the threads for a store")
                .because(error)
        })?;
    // Of two threads that come here at once, one wins and the other's runtime is dropped unused.
    Ok(RUNTIME.get_or_init(|| runtime))
}

fn pauses(count: usize) -> impl Iterator<Item = Duration> {
    let doubled = |pause: &Duration| Some((*pause * 2).min(LONGEST_PAUSE));
    std::iter::successors(Some(FIRST_PAUSE), doubled).take(count)
}

fn has_suffixes(operator: &Operator) -> bool {
    operator.info().capability().read_with_suffix
}

/// `None` if the range reaches past the end.
async fn read_range(
    operator: &Operator,
    once: &Operator,
    path: &str,
    range: ByteRange,
) -> opendal::Result<Option<Buffer>> {
    let (offset, length) = match range {
        ByteRange::All => return operator.read(path).await.map(Some),
        ByteRange::FromTo { offset, length } if length > 0 => (offset, length),
        ByteRange::Last(length) if length > 0 && has_suffixes(operator) => {
            return read_end(operator, path, length).await.map(Some);
        }
        // No request can ask for nothing, and not every store for the end: the length decides.
        _ => match range.within(operator.stat(path).await?.content_length()) {
            Some(range) if range.is_empty() => return Ok(Some(Buffer::new())),
            Some(range) => (range.start, range.end - range.start),
            None => return Ok(None),
        },
    };
    match read(operator, path, offset, length).await {
        Ok(bytes) if bytes.len() as u64 == length => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        // Stores tell of a range past the end in several ways, so the length is asked for.
        Err(error) if error.kind() != ErrorKind::NotFound => match once.stat(path).await {
            Ok(stat) if range.within(stat.content_length()).is_none() => Ok(None),
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

async fn read(
    operator: &Operator,
    path: &str,
    offset: u64,
    length: u64,
) -> opendal::Result<Buffer> {
    let options = ReadOptions {
        range: BytesRange::new(offset, Some(length)),
        ..ReadOptions::default()
    };
    operator.read_options(path, options).await
}

async fn read_end(operator: &Operator, path: &str, length: u64) -> opendal::Result<Buffer> {
    let options = ReadOptions {
        range: BytesRange::suffix(length),
        ..ReadOptions::default()
    };
    match operator.read_options(path, options).await {
        Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => {
            // An empty object has no last bytes.
            let size_bytes = operator.stat(path).await?.content_length();
            if size_bytes == 0 {
                Ok(Buffer::new())
            } else {
                Err(error)
            }
        }
        answer => answer,
    }
}

async fn stat(operator: &Operator, key: ObjectKey) -> opendal::Result<Option<ObjectStat>> {
    match operator.stat(&key.path()).await {
        Ok(metadata) => Ok(Some(object_stat(key, &metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn some_names(operator: &Operator, folder: &str) -> opendal::Result<Vec<Entry>> {
    let mut lister = operator.lister(folder).await?;
    let mut found = Vec::new();
    while found.len() < LOOK_NAMES_MAX
        && let Some(entry) = lister.try_next().await?
    {
        found.push(entry);
    }
    Ok(found)
}

fn object_stat(key: ObjectKey, metadata: &Metadata) -> ObjectStat {
    let stored_at = metadata.last_modified();
    ObjectStat {
        key,
        size_bytes: metadata.content_length(),
        stored_at_ns: stored_at.and_then(|at| i64::try_from(at.into_inner().as_nanosecond()).ok()),
    }
}
