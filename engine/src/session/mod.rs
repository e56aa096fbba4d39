//! Sessions: one writer's life, from its record to its commit or its fence.
//!
//! No locks, no heartbeats, no clock in any safety argument: `ARCHITECTURE.md` § Sessions. Who won is decided by one
//! put-if-absent of `end/<session>`.

pub mod fence;
pub mod format;

use serde::{Deserialize, Serialize};

use crate::id::{SessionId, WriterId};

/// Who writes: for people, and for finding sessions whose process is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Label of the host.
    pub host: String,
    /// Name of the machine's present boot, where the system tells it.
    #[serde(default)]
    pub boot: String,
    /// Process number.
    pub pid: u32,
    /// Start time of the process in clock ticks since boot: a pid is used again, this pair is not.
    #[serde(default)]
    pub process_start: u64,
    /// Namespace of the process number, where the system has such: a number means nothing in another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pid_namespace: String,
    /// The writer.
    pub writer: WriterId,
    /// When it began: nanoseconds since 1970, UTC.
    pub start_ns: i64,
    /// Program and version.
    pub program: String,
}

/// A forget marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenRecord {
    /// When.
    pub time_ns: i64,
    /// On which host.
    pub host: String,
    /// Why, for people.
    pub reason: String,
}

/// A tombstone: packs that are condemned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneRecord {
    /// When.
    pub time_ns: i64,
    /// On which host.
    pub host: String,
    /// Names of the packs.
    pub packs: Vec<String>,
}

/// Sessions that are settled for ever, so that their small objects can go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SettledRecord {
    /// Sessions that can never commit.
    pub aborted: Vec<SessionId>,
    /// Snapshots that were forgotten.
    pub forgotten: Vec<SessionId>,
}
