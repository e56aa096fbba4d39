//! What chunks are made of, by segment, so that each segment is opened once.

use rustc_hash::FxHashMap;

use super::resolve::Span;
use crate::segment::SegmentId;

/// Parts of segments, and where in the bytes of some chunks they go.
#[derive(Default)]
pub(super) struct Placing {
    segments: FxHashMap<SegmentId, Vec<Placed>>,
    parts: usize,
}

/// A part of a segment.
pub(super) struct Placed {
    pub offset: u32,
    pub len: u32,
    /// Where it goes.
    pub at: usize,
}

impl Placing {
    /// Notes that a span goes to this place.
    pub(super) fn add(&mut self, span: Span, at: usize) {
        let (offset, len) = (span.offset, span.len);
        let parts = self.segments.entry(span.segment).or_default();
        parts.push(Placed { offset, len, at });
        self.parts += 1;
    }

    /// How many there are.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// The segments with their parts, in the order in which they were written.
    pub(super) fn by_segment(self) -> Vec<(SegmentId, Vec<Placed>)> {
        let mut segments = Vec::from_iter(self.segments);
        segments.sort_unstable_by_key(|(id, _)| *id);
        segments
    }
}
