//! A backend that fails by a script: the nth call of a kind fails, lies, or loses its answer.

use std::sync::{Arc, Mutex};

use keepstone_engine::backend::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

use crate::recording::Operation;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is done, and an error of this kind is answered.
    Fail(BackendErrorKind),
    /// It is done, but no answer comes.
    LoseAnswer,
    /// A get answers with only so many of its bytes.
    Truncate(usize),
    /// A get answers with one bit flipped, in the byte at this place, counted round.
    FlipBit(usize),
    /// A list answers as it would have when the script was written.
    Stale,
    /// A list leaves this object out.
    Hide(ObjectKey),
}

/// One line of the script.
#[derive(Debug, Clone)]
pub struct Fault {
    operation: Operation,
    kind: Option<ObjectKind>,
    key: Option<ObjectKey>,
    skip: usize,
    count: usize,
    effect: Effect,
}

impl Fault {
    /// The first call of this operation has this effect.
    pub fn on(operation: Operation, effect: Effect) -> Self {
        Self {
            operation,
            kind: None,
            key: None,
            skip: 0,
            count: 1,
            effect,
        }
    }

    /// Only calls on this kind of object count.
    #[must_use]
    pub fn of(mut self, kind: ObjectKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only calls on this object count, and no list.
    #[must_use]
    pub fn at(mut self, key: ObjectKey) -> Self {
        self.key = Some(key);
        self
    }

    /// The nth call, counted from one, not the first.
    #[must_use]
    pub fn nth(mut self, nth: usize) -> Self {
        self.skip = nth.checked_sub(1).expect("counted from one");
        self
    }

    /// So many calls in a row.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// And every call after it.
    #[must_use]
    pub fn for_ever(self) -> Self {
        self.times(usize::MAX)
    }
}

/// Passes on what no line of the script is about.
#[derive(Debug)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    script: Mutex<Vec<Line>>,
    fired: Mutex<Vec<(Operation, ObjectKind)>>,
}

#[derive(Debug)]
struct Line {
    fault: Fault,
    before: Vec<ObjectStat>,
}

impl FaultyBackend {
    /// Around another backend, with an empty script.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            script: Mutex::default(),
            fired: Mutex::default(),
        }
    }

    /// Adds a line. Calls are counted from now on; of two lines about one call the earlier one holds.
    pub fn script(&self, fault: Fault) {
        let before = match (&fault.effect, fault.kind) {
            (Effect::Stale, kind) => {
                let kind = kind.expect("a stale list is of one kind");
                self.inner.list(kind).expect("a list to remember")
            }
            _ => Vec::new(),
        };
        self.script.lock().unwrap().push(Line { fault, before });
    }

    /// Which calls went wrong so far.
    pub fn fired(&self) -> Vec<(Operation, ObjectKind)> {
        self.fired.lock().unwrap().clone()
    }

    fn next(
        &self,
        operation: Operation,
        kind: ObjectKind,
        key: Option<&ObjectKey>,
    ) -> Option<(Effect, Vec<ObjectStat>)> {
        let mut found = None;
        for line in self.script.lock().unwrap().iter_mut() {
            let fault = &mut line.fault;
            let is_another = fault.kind.is_some_and(|only| only != kind)
                || fault.key.is_some_and(|only| Some(&only) != key);
            if fault.operation != operation || is_another {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.count > 0 && found.is_none() {
                fault.count -= 1;
                found = Some((fault.effect.clone(), line.before.clone()));
            }
        }
        if found.is_some() {
            self.fired.lock().unwrap().push((operation, kind));
        }
        found
    }

    /// Carries out a call that gives no bytes and no list.
    fn plain<T>(
        &self,
        operation: Operation,
        key: &ObjectKey,
        act: &dyn Fn() -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        match self.next(operation, key.kind(), Some(key)) {
            None => act(),
            Some((Effect::Fail(kind), _)) => Err(scripted(kind).on(key)),
            Some((Effect::LoseAnswer, _)) => {
                act()?;
                Err(scripted(BackendErrorKind::Unreachable).on(key))
            }
            Some((effect, _)) => panic!("{effect:?} is nothing that a {operation:?} can do"),
        }
    }
}

fn scripted(kind: BackendErrorKind) -> BackendError {
    BackendError::new(kind, "reach").because("the script says so")
}

#[deny(clippy::missing_trait_methods)]
impl Backend for FaultyBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        self.plain(Operation::Put, key, &|| self.inner.put_new(key, body))
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        let act = || self.inner.get(key, range);
        match self.next(Operation::Get, key.kind(), Some(key)) {
            None => act(),
            Some((Effect::Fail(kind), _)) => Err(scripted(kind).on(key)),
            Some((Effect::LoseAnswer, _)) => Err(scripted(BackendErrorKind::Unreachable).on(key)),
            Some((Effect::Truncate(length), _)) => {
                let mut bytes = act()?;
                bytes.truncate(length);
                Ok(bytes)
            }
            Some((Effect::FlipBit(place), _)) => {
                let mut bytes = act()?;
                if !bytes.is_empty() {
                    let place = place % bytes.len();
                    bytes[place] ^= 1 << (place % 8);
                }
                Ok(bytes)
            }
            Some((effect, _)) => panic!("{effect:?} is nothing that a get can do"),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        match self.next(Operation::List, kind, None) {
            None => self.inner.list(kind),
            Some((Effect::Fail(error), _)) => Err(scripted(error).at(kind.to_string())),
            Some((Effect::LoseAnswer, _)) => Err(scripted(BackendErrorKind::Unreachable)),
            Some((Effect::Stale, before)) => Ok(before),
            Some((Effect::Hide(key), _)) => {
                let mut stats = self.inner.list(kind)?;
                stats.retain(|stat| stat.key != key);
                Ok(stats)
            }
            Some((effect, _)) => panic!("{effect:?} is nothing that a list can do"),
        }
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        self.plain(Operation::Stat, key, &|| self.inner.stat(key))
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.plain(Operation::Delete, key, &|| self.inner.delete(key))
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

#[cfg(test)]
mod tests {
    use keepstone_engine::backend::memory::MemoryBackend;
    use keepstone_engine::id::ObjectId;

    use super::*;

    fn key(number: u8) -> ObjectKey {
        ObjectKey::index(ObjectId::from_bytes([number; 16]))
    }

    fn faulty() -> FaultyBackend {
        FaultyBackend::new(Arc::new(MemoryBackend::new()))
    }

    #[test]
    fn the_nth_call_fails_and_no_other() {
        let backend = faulty();
        let full = Effect::Fail(BackendErrorKind::NoSpace);
        backend.script(Fault::on(Operation::Put, full).of(ObjectKind::Index).nth(2));
        backend.put_new(&ObjectKey::config(false), &[b"x"]).unwrap();
        backend.put_new(&key(1), &[b"x"]).unwrap();
        let error = backend.put_new(&key(2), &[b"x"]).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::NoSpace);
        backend.put_new(&key(2), &[b"x"]).unwrap();
        assert_eq!(backend.fired(), [(Operation::Put, ObjectKind::Index)]);
    }

    #[test]
    fn an_answer_is_lost_after_the_act() {
        let backend = faulty();
        backend.script(Fault::on(Operation::Put, Effect::LoseAnswer));
        let error = backend.put_new(&key(1), &[b"x"]).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Unreachable);
        assert_eq!(backend.get(&key(1), ByteRange::All).unwrap(), b"x");
    }

    #[test]
    fn bytes_and_lists_can_lie() {
        let backend = faulty();
        backend.put_new(&key(1), &[b"abc"]).unwrap();
        backend.script(Fault::on(Operation::Get, Effect::Truncate(2)));
        backend.script(Fault::on(Operation::Get, Effect::FlipBit(3)).nth(2));
        assert_eq!(backend.get(&key(1), ByteRange::All).unwrap(), b"ab");
        assert_eq!(backend.get(&key(1), ByteRange::All).unwrap(), b"`bc");
        backend.script(Fault::on(Operation::List, Effect::Stale).of(ObjectKind::Index));
        backend.script(
            Fault::on(Operation::List, Effect::Hide(key(1)))
                .nth(2)
                .for_ever(),
        );
        backend.put_new(&key(2), &[b"x"]).unwrap();
        let keys = || -> Vec<_> {
            let list = backend.list(ObjectKind::Index).unwrap();
            list.into_iter().map(|stat| stat.key).collect()
        };
        assert_eq!(keys(), [key(1)]);
        assert_eq!(keys(), [key(2)]);
        assert_eq!(keys(), [key(2)]);
    }
}
