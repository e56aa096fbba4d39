//! A bounded store of decoded things: what was used longest ago goes first. Two threads that want the same thing load it once.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Things by key, bounded by their summed weight.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    state: Mutex<State<K, V>>,
    weight_max: usize,
}

type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

#[derive(Debug)]
struct State<K, V> {
    slots: HashMap<K, (Slot<V>, u64, usize)>,
    ages: BTreeMap<u64, K>,
    tick: u64,
    weight: usize,
}

impl<K: Hash + Eq + Copy, V> Lru<K, V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        let state = State {
            slots: HashMap::new(),
            ages: BTreeMap::new(),
            tick: 0,
            weight: 0,
        };
        Self {
            state: Mutex::new(state),
            weight_max,
        }
    }

    /// The thing, loaded if it is not at hand. Errors are not kept.
    pub(crate) fn get_or_load<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
        weigh: impl FnOnce(&V) -> usize,
    ) -> Result<Arc<V>, E> {
        let slot = self.slot(key);
        let mut filled = lock(&slot);
        if let Some(value) = filled.as_ref() {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(load()?);
        *filled = Some(Arc::clone(&value));
        drop(filled);
        self.settle(key, weigh(&value));
        Ok(value)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        state.slots.clear();
        state.ages.clear();
        state.weight = 0;
    }

    fn slot(&self, key: K) -> Slot<V> {
        let mut state = lock(&self.state);
        state.tick += 1;
        let tick = state.tick;
        let (slot, age, _) = state
            .slots
            .entry(key)
            .or_insert_with(|| (Slot::default(), 0, 0));
        let slot = Arc::clone(slot);
        let before = std::mem::replace(age, tick);
        state.ages.remove(&before);
        state.ages.insert(tick, key);
        slot
    }

    fn settle(&self, key: K, weight: usize) {
        let mut state = lock(&self.state);
        if let Some((_, _, known)) = state.slots.get_mut(&key) {
            let before = std::mem::replace(known, weight);
            state.weight = state.weight - before + weight;
        }
        while state.weight > self.weight_max && state.slots.len() > 1 {
            let Some((_, oldest)) = state.ages.pop_first() else {
                break;
            };
            if let Some((_, _, weight)) = state.slots.remove(&oldest) {
                state.weight -= weight;
            }
        }
    }
}

/// A thread that panicked while it held the lock left nothing half done: values are put in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_errors_are_not_kept() {
        let lru: Lru<u8, Vec<u8>> = Lru::new(100);
        let load = |key: u8| {
            lru.get_or_load(key, || Ok::<_, ()>(vec![key; 40]), Vec::len)
                .unwrap()
        };
        load(1);
        load(2);
        load(1);
        load(3);
        assert!(lru.get_or_load(2, || Err(()), Vec::len).is_err());
        assert_eq!(
            *lru.get_or_load(1, || Err(()), Vec::len).unwrap(),
            vec![1; 40]
        );
    }
}
