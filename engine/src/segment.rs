//! Segments: what is compressed and sealed as one. All new bytes of a run lie side by side in them.
//!
//! A segment is a box of kind data or nodes; its name is its session and counter, never its place.

use crate::id::SessionId;

/// Names a segment: whose session sealed it, and under which counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// The session under whose key it is sealed.
    pub session: SessionId,
    /// The box counter in that session.
    pub counter: u64,
}

impl std::fmt::Display for SegmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.session, self.counter)
    }
}

impl std::fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
