//! Where a repository lies: a place that keeps whole objects under names that are used once.
//!
//! A backend writes what does not exist yet, reads, lists and deletes; it never overwrites. It sees sealed bytes only
//! and knows nothing of what they mean. Which names there are is decided in `key`, and nowhere else.

pub mod address;
pub mod credentials;
pub mod error;
pub mod foreign;
pub mod key;
pub mod local;
pub mod memory;
pub mod opendal;
pub mod probe;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use address::{AddressError, RepositoryAddress};
pub use credentials::Credentials;
pub use error::{BackendError, BackendErrorKind};
pub use key::{ObjectKey, ObjectKind, PackClass, PackName};

/// A place that holds one repository. Shared between threads; every call is blocking.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Writes an object that does not exist yet; `AlreadyExists` if it does. The pieces of the body lie one after
    /// another in the object. Durable when it returns, and never visible half written.
    ///
    /// After any other error the object may or may not appear, now or later: the answer was lost.
    fn put_new(&self, key: &ObjectKey, body: &[&[u8]]) -> Result<(), BackendError>;

    /// Reads an object or a range of it. A range past the end is an error of the kind `Truncated`.
    fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Vec<u8>, BackendError>;

    /// Lists all objects of a kind, sorted by key. Foreign names are left out. No such folder counts as empty.
    fn list(&self, kind: ObjectKind) -> Result<Vec<ObjectStat>, BackendError>;

    /// Looks at one object; `None` if it is absent.
    fn stat(&self, key: &ObjectKey) -> Result<Option<ObjectStat>, BackendError>;

    /// Deletes an object. Absent already counts as deleted. Done when it returns.
    fn delete(&self, key: &ObjectKey) -> Result<(), BackendError>;

    /// Where it lies, for people; no secrets.
    fn address(&self) -> String;

    /// True for a folder of this machine: reads are cheap and no cache is wanted.
    fn is_local(&self) -> bool;

    /// Whether an object can be read without going far.
    fn is_at_hand(&self, _key: &ObjectKey) -> bool {
        self.is_local()
    }

    /// Drops a copy of an object that turned out to be damaged; true if there was one, so that reading again may help.
    fn drop_copy(&self, _key: &ObjectKey) -> bool {
        false
    }

    /// True if the refusal of an existing name is a promise of somebody else's, to be shown by a probe at `init`.
    fn must_be_probed(&self) -> bool;
}

/// What to read of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// All of it.
    All,
    /// Exactly `length` bytes from `offset` on.
    FromTo {
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The last so many bytes, or all if there are fewer.
    Last(u64),
}

impl ByteRange {
    /// The place of the range in an object of this size; `None` if it reaches past the end.
    pub fn within(self, size_bytes: u64) -> Option<Range<u64>> {
        match self {
            Self::All => Some(0..size_bytes),
            Self::FromTo { offset, length } => {
                let end = offset.checked_add(length)?;
                (end <= size_bytes).then_some(offset..end)
            }
            Self::Last(length) => Some(size_bytes.saturating_sub(length)..size_bytes),
        }
    }
}

/// What a store says of one object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStat {
    /// Its name.
    pub key: ObjectKey,
    /// Its length.
    pub size_bytes: u64,
    /// When it was stored, by the store's own clock, in nanoseconds since 1970 UTC.
    pub stored_at_ns: Option<i64>,
}

/// Opens the place that an address names. Says nothing of whether a repository lies there, and writes nothing.
pub fn open_backend(
    address: &RepositoryAddress,
    credentials: &Credentials,
) -> Result<Arc<dyn Backend>, BackendError> {
    Ok(match address {
        RepositoryAddress::Folder(path) => Arc::new(local::LocalBackend::open(path)?),
        RepositoryAddress::Memory => Arc::new(opendal::OpendalBackend::memory()?),
        RepositoryAddress::Remote(remote) => {
            Arc::new(opendal::OpendalBackend::open(remote, credentials)?)
        }
    })
}

/// Makes ready the place that an address names, for a new repository. A folder is made, and must be empty; whether a
/// remote place is free, `foreign::survey` says.
pub fn create_backend(
    address: &RepositoryAddress,
    credentials: &Credentials,
) -> Result<Arc<dyn Backend>, BackendError> {
    match address {
        RepositoryAddress::Folder(path) => Ok(Arc::new(local::LocalBackend::create(path)?)),
        RepositoryAddress::Memory | RepositoryAddress::Remote(_) => {
            open_backend(address, credentials)
        }
    }
}

/// Length of a body given in pieces.
pub fn body_size_bytes(body: &[&[u8]]) -> u64 {
    body.iter().map(|piece| piece.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_within_an_object_or_is_refused() {
        let check =
            |range: ByteRange, expected| assert_eq!(range.within(10), expected, "{range:?}");
        let from_to = |offset, length| ByteRange::FromTo { offset, length };
        check(ByteRange::All, Some(0..10));
        check(from_to(0, 10), Some(0..10));
        check(from_to(10, 0), Some(10..10));
        check(from_to(4, 3), Some(4..7));
        check(from_to(4, 7), None);
        check(from_to(11, 0), None);
        check(from_to(u64::MAX, 2), None);
        check(ByteRange::Last(3), Some(7..10));
        check(ByteRange::Last(0), Some(10..10));
        check(ByteRange::Last(11), Some(0..10));
    }
}
