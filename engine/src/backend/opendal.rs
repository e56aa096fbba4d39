//! A repository in a remote store, through opendal: the only place that names it.
//!
//! Reads, lists and deletes are tried again when they fail. A write is sent once: only one that the store refused for
//! the moment, or that was never sent, is tried again, because a pack whose write was not answered may appear later and
//! must get a new name instead.

mod answer;
mod connect;
mod reading;

use std::future::Future;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use opendal::options::WriteOptions;
use opendal::{Buffer, Operator};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use self::answer::{failed, was_not_done};
use self::reading::Reading;
use super::address::RemoteAddress;
use super::credentials::{Credentials, RemoteLimits};
use super::foreign::Look;
use super::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

/// The slowest write that is waited for, beside the usual time: four packs at once over a line of 1 Mbit/s.
const SLOWEST_BYTES_PER_S: u64 = 32 << 10;
/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A repository in a remote store.
pub struct OpendalBackend {
    address: String,
    reading: Reading,
    /// Sends each request once, and waits as long as it takes.
    writing: Operator,
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
            reading: Reading::new(operator.clone(), limits),
            writing: operator,
            turns: Arc::new(Semaphore::new(limits.connection_count_max.max(1))),
            limits,
            is_ours_alone: false,
        })
    }

    /// What lies at the top, for recognising other tools' repositories.
    pub(super) fn look(&self) -> Result<Look, BackendError> {
        let reading = self.reading.clone();
        let looked = self.run(async move { reading.look().await })?;
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
        let (writing, path, key) = (self.writing.clone(), key.path(), *key);
        self.run(async move {
            let mut pauses = pauses(retries);
            loop {
                let options = WriteOptions {
                    if_not_exists: true,
                    ..WriteOptions::default()
                };
                let sent = writing.write_options(&path, body.clone(), options);
                let error = match tokio::time::timeout(wait, sent).await {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => error,
                    Err(_) => {
                        let error = BackendError::new(BackendErrorKind::Unreachable, "write");
                        return Err(error.on(&key).because("no answer came in time"));
                    }
                };
                let pause = was_not_done(&error).then(|| pauses.next()).flatten();
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(failed("write", &error).on(&key)),
                }
            }
        })?
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        let (reading, path) = (self.reading.clone(), key.path());
        let truncated = || BackendError::new(BackendErrorKind::Truncated, "read").on(key);
        let answer = self.run(async move { reading.range(&path, range).await })?;
        let bytes = answer.map_err(|error| failed("read", &error).on(key))?;
        bytes.map(|bytes| bytes.to_vec()).ok_or_else(truncated)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let Some(folder) = kind.folder() else {
            let both = [false, true].map(|copy| self.stat(&ObjectKey::config(copy)));
            return both.into_iter().filter_map(Result::transpose).collect();
        };
        let reading = self.reading.clone();
        let answer = self.run(async move { reading.list(folder).await })?;
        answer.map_err(|error| failed("list", &error).at(kind.to_string()))
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        let (reading, key) = (self.reading.clone(), *key);
        let answer = self.run(async move { reading.stat(key).await })?;
        answer.map_err(|error| failed("look at", &error).on(&key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        let (reading, path) = (self.reading.clone(), key.path());
        let answer = self.run(async move { reading.delete(&path).await })?;
        answer.map_err(|error| failed("delete", &error).on(key))
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
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(2).thread_name("store").enable_all();
        builder.build().map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|problem| {
        BackendError::new(BackendErrorKind::Other, "start the threads for a store")
            .because(problem.as_str())
    })
}

fn pauses(count: usize) -> impl Iterator<Item = Duration> {
    let doubled = |pause: &Duration| Some((*pause * 2).min(LONGEST_PAUSE));
    std::iter::successors(Some(FIRST_PAUSE), doubled).take(count)
}
