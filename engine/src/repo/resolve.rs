//! From a chunk to the plain bytes of segments: its record, the records of its bases, and so on down.

use std::sync::Arc;

use super::store::{LoadedBlock, State, Store};
use crate::codec::FormatError;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::index::{BlockRef, ChunkRef};
use crate::limits;
use crate::record::From;
use crate::segment::SegmentId;

/// Plain bytes of a segment: what every chunk is made of in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which segment.
    pub segment: SegmentId,
    /// Where in its plaintext.
    pub offset: u32,
    /// How many bytes.
    pub len: u32,
}

/// A part of a chunk, by its record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub id: ChunkId,
    pub at: ChunkRef,
    pub offset: u32,
    pub len: u32,
}

/// Resolves parts of chunks under one loaded index; holds the few blocks that one chunk stands on.
pub(super) struct Resolver<'a> {
    store: &'a Store,
    state: &'a State,
    blocks: Vec<(BlockRef, Arc<LoadedBlock>)>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(store: &'a Store, state: &'a State) -> Self {
        Self {
            store,
            state,
            blocks: Vec::new(),
        }
    }

    /// Appends where a part lies: plain bytes of segments, in order, neighbours joined.
    pub(super) fn resolve(&mut self, part: Part, out: &mut Vec<Span>) -> Result<()> {
        self.descend(part, limits::DELTA_DEPTH_MAX, out)
    }

    fn descend(&mut self, part: Part, depth_left: u8, out: &mut Vec<Span>) -> Result<()> {
        let damaged = |problem: &str| {
            let problem = FormatError::new("record", problem);
            Error::corrupt(format!("record of chunk {}", part.id))(problem)
        };
        let loaded = self.block(part.at.block)?;
        let pieces = loaded.block.pieces(part.at.ordinal);
        let pieces = pieces.ok_or_else(|| damaged("it is not in its block"))?;
        let first =
            pieces.partition_point(|piece| piece.at.saturating_add(piece.len) <= part.offset);
        let end = part.offset.saturating_add(part.len);
        let mut from = part.offset;
        for piece in pieces.iter().skip(first) {
            if from >= end {
                return Ok(());
            }
            let skip = from - piece.at;
            let (offset, len) = (piece.offset + skip, (piece.len - skip).min(end - from));
            from += len;
            match piece.from {
                From::Segment(number) => {
                    let segment = loaded.block.segments.get(number as usize);
                    let segment = *segment.ok_or_else(|| damaged("it names no segment"))?;
                    push_span(
                        out,
                        Span {
                            segment,
                            offset,
                            len,
                        },
                    );
                    if out.len() > limits::CHUNK_EXTENTS_MAX {
                        return Err(damaged("it resolves to too many extents"));
                    }
                }
                From::Base(number) => {
                    let depth = depth_left
                        .checked_sub(1)
                        .ok_or_else(|| damaged("its bases are too deep"))?;
                    let (id, at) = self.store.base(self.state, &loaded, number)?;
                    let base = Part {
                        id,
                        at,
                        offset,
                        len,
                    };
                    self.descend(base, depth, out)?;
                }
            }
        }
        if from < end {
            return Err(damaged("it is shorter than what is copied out of it"));
        }
        Ok(())
    }

    fn block(&mut self, number: BlockRef) -> Result<Arc<LoadedBlock>> {
        if let Some((_, block)) = self.blocks.iter().find(|(known, _)| *known == number) {
            return Ok(Arc::clone(block));
        }
        let block = self.store.block(self.state, number)?;
        self.blocks.push((number, Arc::clone(&block)));
        Ok(block)
    }
}

/// Appends a span, joined to the one before where they touch.
fn push_span(out: &mut Vec<Span>, span: Span) {
    match out.last_mut() {
        Some(last) if last.segment == span.segment && last.offset + last.len == span.offset => {
            last.len += span.len;
        }
        _ => out.push(span),
    }
}
