//! What an operation tells while it runs. The engine never prints: a caller observes.
//!
//! Events are small and frequent; an observer must be quick and must not fail. They are for people: nothing that
//! matters to correctness is told only here.

use crate::path::RepoPath;

/// One thing that happened, told when it happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A new part of the operation began; counts of the part before end here. In lower case, for example `prune`.
    Phase {
        /// What is being done, for people.
        name: &'a str,
    },
    /// How much the current part has to do, as far as known. May be told again when more is known.
    Total {
        /// Bytes to be read or written.
        bytes: u64,
        /// Items, packs or snapshots.
        items: u64,
    },
    /// The instant of a source is pinned.
    SourceOpened {
        /// Name of the source.
        source: &'a str,
    },
    /// Every item of a source was taken or rebuilt.
    SourceFinished {
        /// Name of the source.
        source: &'a str,
    },
    /// An item is being worked on.
    ItemStarted {
        /// Name of the source.
        source: &'a str,
        /// The item within it.
        path: &'a RepoPath,
    },
    /// An item, pack or snapshot is done.
    ItemFinished,
    /// Bytes of the current part were read from a source, or from the repository.
    BytesRead {
        /// Name of the source; none for the repository.
        source: Option<&'a str>,
        /// How many since the last event.
        bytes: u64,
    },
    /// Bytes were written to the repository.
    BytesAdded {
        /// How many since the last event.
        bytes: u64,
    },
    /// Something the user should know at once; it is in the report as well.
    Warning {
        /// Name of the source it comes from.
        source: Option<&'a str>,
        /// Lower case, no full stop, no secret.
        text: &'a str,
    },
}

/// Takes events from any thread.
pub trait Observer: Send + Sync {
    /// Takes one event. Called often: must not block for long.
    fn event(&self, event: Event<'_>);
}

/// Looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn event(&self, _event: Event<'_>) {}
}
