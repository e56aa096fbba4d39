//! A repository in a remote store, through opendal: the only place that names it.
//!
//! Reads, lists and deletes are tried again when they fail. A write is sent once: only one that the store refused for
//! the moment, or that was never sent, is tried again, because a pack whose write was not answered may appear later and
//! must get a new name instead.

mod answer;
mod connect;
mod requests;

use std::future::Future;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use opendal::{Buffer, Error, Operator};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use self::answer::{failed, may_pass, was_not_done};
use self::requests::Requests;
use super::address::RemoteAddress;
use super::credentials::{Credentials, RemoteLimits};
use super::foreign::Look;
use super::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A repository in a remote store.
pub struct OpendalBackend {
    address: String,
    requests: Requests,
    turns: Arc<Semaphore>,
    retry_count_max: usize,
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
            requests: Requests::new(operator, limits),
            turns: Arc::new(Semaphore::new(limits.connection_count_max.max(1))),
            retry_count_max: limits.retry_count_max,
            is_ours_alone: false,
        })
    }

    /// What lies at the top, for recognising other tools' repositories.
    pub(super) fn look(&self) -> Result<Look, BackendError> {
        let looked = self.ask(may_pass, |requests| async move { requests.look().await })?;
        looked.map_err(|error| failed("list", &error).at(&self.address))
    }

    /// Sends a request until it is answered well, or until trying again would not help, or do harm. Any thread may call
    /// and wait, one of another runtime too.
    fn ask<T, A>(
        &self,
        again: fn(&Error) -> bool,
        request: impl Fn(Requests) -> A + Send + 'static,
    ) -> Result<opendal::Result<T>, BackendError>
    where
        T: Send + 'static,
        A: Future<Output = opendal::Result<T>> + Send,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (turns, requests) = (Arc::clone(&self.turns), self.requests.clone());
        let mut pauses = pauses(self.retry_count_max);
        runtime()?.spawn(async move {
            let turn = turns.acquire().await;
            let answer = loop {
                let answer = request(requests.clone()).await;
                let failure = answer.as_ref().err().filter(|error| again(error));
                let Some((error, pause)) = failure.zip(pauses.next()) else {
                    break answer;
                };
                // The error itself holds the request: only its kind is told.
                tracing::debug!(kind = %error.kind(), ?pause, "trying again");
                tokio::time::sleep(pause).await;
            };
            drop(turn);
            // Nobody waits any more only if the caller's thread is gone.
            let _: Result<(), _> = sender.send(answer);
        });
        receiver.recv().map_err(|_| {
            BackendError::new(BackendErrorKind::Other, "finish a request to").at(&self.address)
        })
    }
}

impl Backend for OpendalBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        let (key, body) = (*key, Buffer::from(body.concat()));
        let answer = self.ask(was_not_done, move |requests| {
            let body = body.clone(); // Shares the bytes.
            async move { requests.put_new(key, body).await }
        })?;
        answer.map_err(|error| failed("write", &error).on(&key))
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        let key = *key;
        let request = move |requests: Requests| async move { requests.get(key, range).await };
        match self.ask(may_pass, request)? {
            Ok(Some(bytes)) => Ok(bytes.to_vec()),
            Ok(None) => Err(BackendError::new(BackendErrorKind::Truncated, "read").on(&key)),
            Err(error) => Err(failed("read", &error).on(&key)),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let Some(folder) = kind.folder() else {
            let both = [false, true].map(|copy| self.stat(&ObjectKey::config(copy)));
            return both.into_iter().filter_map(Result::transpose).collect();
        };
        let request = move |requests: Requests| async move { requests.list(folder).await };
        let answer = self.ask(may_pass, request)?;
        answer.map_err(|error| failed("list", &error).at(kind.to_string()))
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        let key = *key;
        let request = move |requests: Requests| async move { requests.stat(key).await };
        let answer = self.ask(may_pass, request)?;
        answer.map_err(|error| failed("look at", &error).on(&key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        let key = *key; // Never used again, so that a second request does no harm.
        let request = move |requests: Requests| async move { requests.delete(key).await };
        let answer = self.ask(may_pass, request)?;
        answer.map_err(|error| failed("delete", &error).on(&key))
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
