//! Bytes of end records: a snapshot, or aborted. `repo-format.md` § End record.

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::codec::FormatError;
use crate::limits;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly every end is a snapshot")]
pub enum End {
    /// It committed this snapshot.
    Committed(Snapshot),
    /// It was fenced, or gave up.
    Aborted {
        /// When.
        time_ns: i64,
        /// On which host.
        host: String,
        /// Why, for people.
        reason: String,
    },
}

/// Encodes an end record.
pub fn encode(end: &End) -> Vec<u8> {
    serde_json::to_vec(end).unwrap_or_default()
}

/// Decodes an end record.
pub fn decode(json: &[u8]) -> Result<End, FormatError> {
    if json.len() > limits::SMALL_RECORD_BYTES_MAX {
        return Err(FormatError::new("end record", "is too large"));
    }
    serde_json::from_slice(json).map_err(|error| FormatError::new("end record", error.to_string()))
}
