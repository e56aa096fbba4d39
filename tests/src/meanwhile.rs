//! A backend during whose calls something else happens: another host acts between two steps of this one.

use std::fmt;
use std::sync::{Arc, Mutex};

use keepstone_engine::backend::{
    Backend, BackendError, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

use crate::recording::Operation;

/// What happens, once.
type Act = Box<dyn FnOnce() + Send>;

/// Lets something happen before one of its calls, and passes every call on.
pub struct MeanwhileBackend {
    inner: Arc<dyn Backend>,
    state: Mutex<State>,
}

struct State {
    only: Option<(Operation, ObjectKind)>,
    left: usize,
    act: Option<Act>,
}

impl fmt::Debug for MeanwhileBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

impl MeanwhileBackend {
    /// Before the nth call, counted from one.
    pub fn before_call(
        nth: usize,
        inner: Arc<dyn Backend>,
        act: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::new(None, nth, inner, Box::new(act))
    }

    /// Before the first call of a kind.
    pub fn before_first(
        operation: Operation,
        kind: ObjectKind,
        inner: Arc<dyn Backend>,
        act: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::new(Some((operation, kind)), 1, inner, Box::new(act))
    }

    fn new(
        only: Option<(Operation, ObjectKind)>,
        nth: usize,
        inner: Arc<dyn Backend>,
        act: Act,
    ) -> Self {
        let state = State {
            only,
            left: nth.checked_sub(1).expect("counted from one"),
            act: Some(act),
        };
        Self {
            inner,
            state: Mutex::new(state),
        }
    }

    /// Whether it has happened.
    pub fn has_happened(&self) -> bool {
        self.state.lock().unwrap().act.is_none()
    }

    fn meanwhile(&self, operation: Operation, kind: ObjectKind) {
        let act = {
            let mut state = self.state.lock().unwrap();
            if state.only.is_some_and(|only| only != (operation, kind)) {
                return;
            }
            if state.left > 0 {
                state.left -= 1;
                return;
            }
            state.act.take()
        };
        if let Some(act) = act {
            act();
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Backend for MeanwhileBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        self.meanwhile(Operation::Put, key.kind());
        self.inner.put_new(key, body)
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        self.meanwhile(Operation::Get, key.kind());
        self.inner.get(key, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        self.meanwhile(Operation::List, kind);
        self.inner.list(kind)
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        self.meanwhile(Operation::Stat, key.kind());
        self.inner.stat(key)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.meanwhile(Operation::Delete, key.kind());
        self.inner.delete(key)
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
