//! What chunks are made of, by segment, so that each segment is opened once.

use std::collections::HashMap;

use super::resolve::Span;
use crate::segment::SegmentId;

/// Parts of segments, and where in the bytes of some chunks they go.
#[derive(Default)]
pub(super) struct Placing {
    segments: Vec<(SegmentId, Vec<Placed>)>,
    numbers: HashMap<SegmentId, usize>,
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
        let segments = &mut self.segments;
        let number = *self.numbers.entry(span.segment).or_insert_with(|| {
            segments.push((span.segment, Vec::new()));
            segments.len() - 1
        });
        if let Some((_, parts)) = segments.get_mut(number) {
            let (offset, len) = (span.offset, span.len);
            parts.push(Placed { offset, len, at });
            self.parts += 1;
        }
    }

    /// How many there are.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// The segments with their parts, in the order in which they were written.
    pub(super) fn by_segment(self) -> Vec<(SegmentId, Vec<Placed>)> {
        let mut segments = self.segments;
        segments.sort_unstable_by_key(|(id, _)| *id);
        segments
    }
}
