//! Bytes of session, forgotten, tombstone and settled records: JSON inside a small record. `repo-format.md` § Small records.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ForgottenRecord, SessionRecord, SettledRecord, TombstoneRecord};
use crate::codec::FormatError;
use crate::limits;

/// A record kept as JSON.
pub trait SmallRecord: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const NAME: &'static str;
}

impl SmallRecord for SessionRecord {
    const NAME: &'static str = "session record";
}

impl SmallRecord for ForgottenRecord {
    const NAME: &'static str = "forgotten record";
}

impl SmallRecord for TombstoneRecord {
    const NAME: &'static str = "tombstone";
}

impl SmallRecord for SettledRecord {
    const NAME: &'static str = "settled list";
}

/// Encodes a small record.
pub fn encode<T: SmallRecord>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

/// Decodes a small record.
pub fn decode<T: SmallRecord>(json: &[u8]) -> Result<T, FormatError> {
    if json.len() > limits::SMALL_RECORD_BYTES_MAX {
        return Err(FormatError::new(T::NAME, "is too large"));
    }
    serde_json::from_slice(json).map_err(|error| FormatError::new(T::NAME, error.to_string()))
}
