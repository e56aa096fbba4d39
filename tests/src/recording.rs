//! A backend that counts: which calls reach the store, and how many bytes they move.

use std::sync::{Arc, Mutex};

use keepstone_engine::backend::{
    Backend, BackendError, ByteRange, ObjectKey, ObjectKind, ObjectStat, body_size_bytes,
};

/// What is asked of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `put_new`.
    Put,
    /// `get`.
    Get,
    /// `list`.
    List,
    /// `stat`.
    Stat,
    /// `delete`.
    Delete,
}

impl Operation {
    /// Whether it may change the store.
    pub fn is_mutating(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// One call, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// Of which kind of object.
    pub kind: ObjectKind,
    /// Of which object; a list has none.
    pub key: Option<ObjectKey>,
    /// Bytes written or read; of a list, how many objects it named.
    pub amount: u64,
    /// Whether the store did it.
    pub succeeded: bool,
}

/// Passes everything on and remembers it.
#[derive(Debug)]
pub struct RecordingBackend {
    inner: Arc<dyn Backend>,
    calls: Mutex<Vec<Call>>,
}

impl RecordingBackend {
    /// Around another backend.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            calls: Mutex::default(),
        }
    }

    /// All calls so far, in the order in which they were answered.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// All calls so far, which are forgotten.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// How often something was asked of a kind, or of all kinds.
    pub fn count(&self, operation: Operation, kind: impl Into<Option<ObjectKind>>) -> usize {
        self.of(operation, kind.into()).len()
    }

    /// How many bytes that moved.
    pub fn amount(&self, operation: Operation, kind: impl Into<Option<ObjectKind>>) -> u64 {
        let calls = self.of(operation, kind.into());
        calls.iter().map(|call| call.amount).sum()
    }

    fn of(&self, operation: Operation, kind: Option<ObjectKind>) -> Vec<Call> {
        let is_asked =
            |call: &Call| call.operation == operation && kind.is_none_or(|kind| kind == call.kind);
        self.calls().into_iter().filter(is_asked).collect()
    }

    fn record<T>(
        &self,
        operation: Operation,
        target: Result<&ObjectKey, ObjectKind>,
        answer: Result<T, BackendError>,
        amount: impl FnOnce(&T) -> u64,
    ) -> Result<T, BackendError> {
        let call = Call {
            operation,
            kind: target.map_or_else(|kind| kind, ObjectKey::kind),
            key: target.ok().copied(),
            amount: answer.as_ref().map_or(0, amount),
            succeeded: answer.is_ok(),
        };
        self.calls.lock().unwrap().push(call);
        answer
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for RecordingBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        let answer = self.inner.put_new(key, body);
        self.record(Operation::Put, Ok(key), answer, |()| body_size_bytes(body))
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        let answer = self.inner.get(key, range);
        self.record(Operation::Get, Ok(key), answer, |bytes| bytes.len() as u64)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        let answer = self.inner.list(kind);
        self.record(Operation::List, Err(kind), answer, |stats| {
            stats.len() as u64
        })
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        let answer = self.inner.stat(key);
        self.record(Operation::Stat, Ok(key), answer, |_| 0)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        let answer = self.inner.delete(key);
        self.record(Operation::Delete, Ok(key), answer, |()| 0)
    }

    fn address(&self) -> String {
        self.inner.address()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn must_be_probed(&self) -> bool {
        self.inner.must_be_probed()
    }

    fn is_at_hand(&self, key: &ObjectKey) -> bool {
        self.inner.is_at_hand(key)
    }

    fn drop_copy(&self, key: &ObjectKey) -> bool {
        self.inner.drop_copy(key)
    }
}
