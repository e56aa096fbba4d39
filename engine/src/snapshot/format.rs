//! Bytes of end records: a snapshot, or aborted. `repo-format.md` § End record.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Snapshot, SnapshotSource};
use crate::codec::FormatError;
use crate::limits;
use crate::path::check_component;

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
    let end = serde_json::from_slice(json)
        .map_err(|error| FormatError::new("end record", error.to_string()))?;
    if let End::Committed(snapshot) = &end {
        check_names(&snapshot.sources)?;
    }
    Ok(end)
}

/// A restore makes folders of these names.
fn check_names(sources: &[SnapshotSource]) -> Result<(), FormatError> {
    let mut known = BTreeSet::new();
    for source in sources {
        let problem = match check_component(source.name.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(()) if !known.insert(&source.name) => "two have one name".into(),
            Ok(()) => continue,
        };
        let what = format!("name of source {:?}: {problem}", source.name);
        return Err(FormatError::new("end record", what));
    }
    Ok(())
}
