//! A chunk told as copies out of the parent and new bytes: how its record comes about.

use std::collections::HashSet;

use super::builders::Builders;
use crate::error::Result;
use crate::id::ChunkId;
use crate::limits::DELTA_DEPTH;
use crate::record::{ChunkRecord, Extent};
use crate::repo::Span;
use crate::segment::SegmentId;

/// The list of one chunk in the making.
pub(super) struct Told {
    extents: Vec<Extent>,
    depth: u8,
    dense: bool,
    base: Option<(ChunkId, u8)>,
    spans: Vec<Span>,
    bytes: usize,
}

impl Told {
    /// An empty one; `dense`: its new bytes are few among many old ones.
    pub(super) fn new(dense: bool) -> Self {
        Self {
            extents: Vec::new(),
            depth: 0,
            dense,
            base: None,
            spans: Vec::new(),
            bytes: 0,
        }
    }

    /// How many bytes are told.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// New bytes.
    pub(super) fn literal(&mut self, bytes: &[u8], builders: &mut Builders) {
        self.bytes += bytes.len();
        let (segment, offset) = builders.append(bytes, self.dense);
        let len = crate::codec::len_u32(bytes.len());
        push_stored(&mut self.extents, segment, offset, len);
    }

    /// Bytes that are those of a base from this offset on. What of them lies in sparse segments is written anew.
    pub(super) fn copy(
        &mut self,
        base: ChunkId,
        offset: u32,
        bytes: &[u8],
        sparse: &HashSet<SegmentId>,
        builders: &mut Builders,
    ) -> Result<()> {
        if sparse.is_empty() {
            return self.copied(base, offset, crate::codec::len_u32(bytes.len()), builders);
        }
        let len = crate::codec::len_u32(bytes.len());
        let mut spans = std::mem::take(&mut self.spans);
        spans.clear();
        builders
            .ground()
            .store
            .resolve(base, offset, len, &mut spans)?;
        let mut at = 0_u32;
        for spans in
            spans.chunk_by(|a, b| sparse.contains(&a.segment) == sparse.contains(&b.segment))
        {
            let len: u32 = spans.iter().map(|span| span.len).sum();
            if spans.iter().any(|span| sparse.contains(&span.segment)) {
                let part = bytes.get(at as usize..(at + len) as usize);
                self.literal(part.unwrap_or_default(), builders);
            } else {
                self.copied(base, offset + at, len, builders)?;
            }
            at += len;
        }
        self.spans = spans;
        Ok(())
    }

    /// The record of the chunk, of so many bytes.
    pub(super) fn record(self, len: u32, builders: &Builders) -> Result<ChunkRecord> {
        let (mut extents, mut depth) = (self.extents, self.depth);
        if depth > DELTA_DEPTH {
            (extents, depth) = (resolved(&extents, builders)?, 0);
        }
        Ok(ChunkRecord {
            len,
            depth,
            extents,
        })
    }

    fn copied(&mut self, base: ChunkId, offset: u32, len: u32, builders: &Builders) -> Result<()> {
        let known = self.base.filter(|(id, _)| *id == base);
        let below = match known {
            Some((_, depth)) => depth,
            None => builders.ground().store.depth(base)?,
        };
        self.base = Some((base, below));
        self.depth = self.depth.max(below.saturating_add(1));
        self.bytes += len as usize;
        self.extents.push(Extent::Copy { base, offset, len });
        Ok(())
    }
}

/// The same bytes without bases: restore stays flat however long the chain of hours is.
fn resolved(extents: &[Extent], builders: &Builders) -> Result<Vec<Extent>> {
    let store = &builders.ground().store;
    let mut out: Vec<Extent> = Vec::with_capacity(extents.len() * 4);
    let mut spans = Vec::new();
    for extent in extents {
        match *extent {
            Extent::Stored {
                segment,
                offset,
                len,
            } => push_stored(&mut out, segment, offset, len),
            Extent::Copy { base, offset, len } => {
                spans.clear();
                store.resolve(base, offset, len, &mut spans)?;
                for span in &spans {
                    push_stored(&mut out, span.segment, span.offset, span.len);
                }
            }
        }
    }
    Ok(out)
}

fn push_stored(out: &mut Vec<Extent>, segment: SegmentId, offset: u32, len: u32) {
    if let Some(Extent::Stored {
        segment: last,
        offset: start,
        len: have,
    }) = out.last_mut()
        && *last == segment
        && *start + *have == offset
    {
        *have += len;
        return;
    }
    out.push(Extent::Stored {
        segment,
        offset,
        len,
    });
}
