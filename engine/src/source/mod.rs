//! The seam: what the engine asks of anything it protects, and what it gives back.
//!
//! A source is captured (`Source` → `Opened` → items into a `Sink`) and rebuilt (`Items` → `Target`, in
//! steps that a killed process can take up again). `Export` writes a capture in the form that the
//! source's own tools read. The engine knows no database; a source knows no repository.
//!
//! All of it is synchronous: a capture is a thread, and back-pressure is a call that has not returned.

mod digest;
mod error;
mod stream;
mod target;

pub use digest::{Digest, RecordDigest};
pub use error::{SourceError, SourceErrorKind};
pub use stream::{
    Attributes, CollectionFacts, FileIdentity, ItemInfo, Items, Meta, NodeKind, Profile, Sink,
    StreamFacts, StreamSpec, Walked,
};
pub use target::{Export, ExportPart, ExportSink, Phase, RestorePlan, Target, Validation};

use serde::{Deserialize, Serialize};

/// What a restore of a capture guarantees; shown to users and tested per source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Every stream shows one instant of the whole system.
    PointInTime,
    /// Every stream shows one instant of its own; several streams show several instants.
    PerStream,
    /// Items are read one after another while the system runs.
    Fuzzy,
}

/// What is known of a system at the moment it was opened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenFacts {
    /// Version of the server or library that was read, for example `15.8`.
    pub version: Option<String>,
    /// Anything else worth recording, for people and for a later rebuild. No secrets.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
}

/// What a finished capture says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureReport {
    /// Counts and digests per collection, table or database.
    #[serde(default)]
    pub collections: Vec<CollectionFacts>,
    /// Sentences for the user: what was left out and why, version skew, fallbacks taken.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Entries that could not be read, changed or vanished while being read: exit code 3, not a failure.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
    /// How many more there were than `skipped` names.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unnamed: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl CaptureReport {
    /// Leaves out what is beyond so many bytes of what was skipped, and of warnings, and says how many.
    pub(crate) fn shorten(&mut self, bytes_max: usize) {
        let weigh = |skipped: &Skipped| skipped.path.len() + skipped.reason.len();
        self.unnamed += keep_first(&mut self.skipped, bytes_max, weigh) as u64;
        let unsaid = keep_first(&mut self.warnings, bytes_max, String::len);
        if unsaid > 0 {
            self.warnings
                .push(format!("{unsaid} more warnings were given"));
        }
    }
}

/// Keeps the first that are of so many bytes together; answers how many were dropped.
fn keep_first<T>(all: &mut Vec<T>, bytes_max: usize, weigh: impl Fn(&T) -> usize) -> usize {
    let mut total = 0;
    let kept = all.iter().take_while(|one| {
        total += weigh(one) + JSON_AROUND_BYTES;
        total <= bytes_max
    });
    let kept = kept.count();
    all.drain(kept..).count()
}

/// What names and signs of JSON add to one text, about.
const JSON_AROUND_BYTES: usize = 32;

/// An entry that was not saved as it should have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Path or name of the entry, for people.
    pub path: String,
    /// Why, in lower case and without a full stop.
    pub reason: String,
}

/// A system to protect, with its settings; connects only when it is opened.
pub trait Source: Send + Sync {
    /// Kind of the source: the URL scheme, for example `postgres`. Part of the stream identity.
    fn kind(&self) -> &'static str;

    /// Address as recorded and shown: no user info, no query, no secret.
    fn address(&self) -> String;

    /// What a restore of this capture guarantees.
    fn consistency(&self) -> Consistency;

    /// Pins the instant that the streams will show. All sources of a run are opened before any is
    /// streamed.
    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError>;
}

/// A source whose instant is pinned.
pub trait Opened: Send {
    /// What was learned on opening.
    fn facts(&self) -> OpenFacts;

    /// Emits every item, in a stable order, and proves that the end was reached (terminators, counts).
    /// An error from the sink must be passed on unchanged.
    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError>;

    /// Leaves the system as it was found, after success and after failure.
    fn close(self: Box<Self>) -> Result<(), SourceError>;
}
