//! Shows whether a store really refuses to overwrite: everything that the protocol promises stands on it, and some
//! stores say so and do not.

use std::thread;

use super::{Backend, BackendError, BackendErrorKind, ByteRange, ObjectKey};
use crate::id::SessionId;

/// How many threads write the same name at once.
const RACERS: u8 = 8;

/// What a store does when a name is written twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutIfAbsent {
    /// It refuses the second: as it should be.
    Refused,
    /// It overwrites, or says so.
    Overwritten,
    /// It refuses a late second, but of several writers at once more than one, or none, was told that it won.
    Racy,
}

/// Writes a name twice, and another by several threads at once. The marks are named for sessions that never were, so
/// that one that is left behind by a crash means nothing; `name` gives fresh random ids.
pub fn put_if_absent(
    backend: &dyn Backend,
    name: &mut dyn FnMut() -> SessionId,
) -> Result<PutIfAbsent, BackendError> {
    let twice = ObjectKey::forgotten(name());
    let raced = ObjectKey::forgotten(name());
    let found = write_twice(backend, &twice).and_then(|found| match found {
        PutIfAbsent::Refused => race(backend, &raced),
        found => Ok(found),
    });
    let cleaned = backend.delete(&twice).and_then(|()| backend.delete(&raced));
    let found = found?;
    cleaned?;
    Ok(found)
}

fn write_twice(backend: &dyn Backend, key: &ObjectKey) -> Result<PutIfAbsent, BackendError> {
    backend.put_new(key, &[b"first"])?;
    match backend.put_new(key, &[b"second"]) {
        Ok(()) => return Ok(PutIfAbsent::Overwritten),
        Err(error) if error.kind() == BackendErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if backend.get(key, ByteRange::All)? == b"first" {
        Ok(PutIfAbsent::Refused)
    } else {
        Ok(PutIfAbsent::Overwritten)
    }
}

fn race(backend: &dyn Backend, key: &ObjectKey) -> Result<PutIfAbsent, BackendError> {
    let answers: Vec<_> = thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| scope.spawn(move || (racer, backend.put_new(key, &[&[racer]]))))
            .collect();
        racers
            .into_iter()
            .filter_map(|racer| racer.join().ok())
            .collect()
    });
    let mut winners = Vec::new();
    for (racer, answer) in answers {
        match answer {
            Ok(()) => winners.push(racer),
            // A loser may also be told to come back later: it has not written.
            Err(error)
                if matches!(
                    error.kind(),
                    BackendErrorKind::AlreadyExists | BackendErrorKind::Throttled
                ) => {}
            Err(error) => return Err(error),
        }
    }
    if winners.len() == 1 && backend.get(key, ByteRange::All)? == winners {
        Ok(PutIfAbsent::Refused)
    } else {
        Ok(PutIfAbsent::Racy)
    }
}
