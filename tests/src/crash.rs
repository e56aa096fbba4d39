//! A backend that dies: only so many writes and deletes survive, then nothing is answered any more.

use std::sync::Mutex;

use keepstone_engine::backend::memory::{Contents, MemoryBackend};
use keepstone_engine::backend::{
    Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, ObjectStat,
};

/// A store in memory in which only the first so many changes take effect. The change after them fails, and with it
/// the process that asked: every later call fails too, reads included.
#[derive(Debug)]
pub struct CrashBackend {
    memory: MemoryBackend,
    state: Mutex<State>,
    last_applied: bool,
}

#[derive(Debug, Clone, Copy)]
struct State {
    left: usize,
    change_count: usize,
    dead: bool,
}

impl CrashBackend {
    /// Starts empty; the first `survived` changes take effect.
    pub fn keeping_first(survived: usize) -> Self {
        Self::over(Contents::new(), survived)
    }

    /// Starts from these contents.
    pub fn over(contents: Contents, survived: usize) -> Self {
        Self {
            memory: MemoryBackend::from_contents(contents),
            state: Mutex::new(State {
                left: survived,
                change_count: 0,
                dead: false,
            }),
            last_applied: false,
        }
    }

    /// Lets the change that fails take effect all the same: its answer was lost.
    #[must_use]
    pub fn losing_the_last_answer(mut self) -> Self {
        self.last_applied = true;
        self
    }

    /// How many changes took effect with an answer: run once without a crash to know how often to crash.
    pub fn change_count(&self) -> usize {
        self.state.lock().unwrap().change_count
    }

    /// Whether the crash has come.
    pub fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    /// What the store holds when everything has been started again.
    pub fn after_reboot(&self) -> MemoryBackend {
        MemoryBackend::from_contents(self.memory.contents())
    }

    /// `act` belongs to one change: taken under the lock, so that exactly the first ones count.
    fn change(&self, act: &dyn Fn() -> Result<(), BackendError>) -> Result<(), BackendError> {
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return Err(crashed());
        }
        if state.left == 0 {
            state.dead = true;
            if self.last_applied {
                let _answer_that_nobody_gets = act();
            }
            return Err(crashed());
        }
        let answer = act();
        if answer.is_ok() {
            state.left -= 1;
            state.change_count += 1;
        }
        answer
    }

    fn alive(&self) -> Result<&MemoryBackend, BackendError> {
        if self.is_dead() {
            Err(crashed())
        } else {
            Ok(&self.memory)
        }
    }
}

fn crashed() -> BackendError {
    // Not one that is worth another try: who asked is dead.
    BackendError::new(BackendErrorKind::Other, "go on").because("the crash has come")
}

#[deny(clippy::missing_trait_methods)]
impl Backend for CrashBackend {
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError> {
        self.change(&|| self.memory.put_new(key, body))
    }

    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError> {
        self.alive()?.get(key, range)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError> {
        self.alive()?.list(kind)
    }

    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError> {
        self.alive()?.stat(key)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError> {
        self.change(&|| self.memory.delete(key))
    }

    fn address(&self) -> String {
        self.memory.address()
    }

    fn is_local(&self) -> bool {
        self.memory.is_local()
    }

    fn must_be_probed(&self) -> bool {
        self.memory.must_be_probed()
    }

    fn is_at_hand(&self, key: &ObjectKey) -> bool {
        self.memory.is_at_hand(key)
    }

    fn drop_copy(&self, key: &ObjectKey) -> bool {
        self.memory.drop_copy(key)
    }
}

#[cfg(test)]
mod tests {
    use keepstone_engine::id::ObjectId;

    use super::*;

    fn key(number: u8) -> ObjectKey {
        ObjectKey::index(ObjectId::from_bytes([number; 16]))
    }

    #[test]
    fn only_the_first_changes_survive() {
        let crash = CrashBackend::keeping_first(2);
        crash.put_new(&key(1), &[b"one"]).unwrap();
        assert!(crash.put_new(&key(1), &[b"again"]).is_err());
        crash.delete(&key(1)).unwrap();
        assert_eq!(crash.change_count(), 2);
        assert!(crash.put_new(&key(2), &[b"two"]).is_err());
        assert!(crash.is_dead());
        assert!(crash.list(ObjectKind::Index).is_err());
        assert!(crash.after_reboot().contents().is_empty());
    }

    #[test]
    fn a_lost_answer_is_of_a_change_that_took_effect() {
        let crash = CrashBackend::keeping_first(0).losing_the_last_answer();
        assert!(crash.put_new(&key(1), &[b"one"]).is_err());
        assert!(crash.put_new(&key(2), &[b"two"]).is_err());
        let contents = crash.after_reboot().contents();
        assert_eq!(contents.keys().collect::<Vec<_>>(), [&key(1)]);
    }
}
