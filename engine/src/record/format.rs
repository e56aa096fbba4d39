//! Bytes of record blocks. `repo-format.md` § Record block.
//!
//! Columns, so that like numbers lie together for the compressor; a copy that goes on in the same base, and a literal
//! that goes on in the same segment, cost two bytes.

use std::collections::HashMap;

use super::{Block, ChunkRecord, Extent, From, Piece, Rec};
use crate::codec::{Cursor, FormatError, len_u32, put_bytes, put_signed, put_varint};
use crate::id::{ChunkId, SessionId};
use crate::limits;
use crate::segment::SegmentId;

/// Goes on where the last extent of a segment ended, in the same segment.
const NEXT: u64 = 0;
/// Goes on in the same base, at a distance from where the last copy of it ended.
const SAME_BASE: u64 = 1;
/// Copies from a base named by number and offset.
const BASE: u64 = 2;
/// Takes from a segment named by number and offset.
const SEGMENT: u64 = 3;

/// Where the walk over extents stands; encoder and decoder move it alike.
#[derive(Debug, Default)]
struct Walk {
    segment: Option<(u32, u32)>,
    base: Option<(u32, u32)>,
    last_base: i64,
    last_segment: i64,
}

/// Encodes a block of records, in order.
pub fn encode(records: &[ChunkRecord]) -> Vec<u8> {
    let mut tables = Tables::default();
    let (mut lens, mut depths, mut counts) = (vec![], vec![], vec![]);
    let (mut ops, mut places) = (vec![], vec![]);
    let mut walk = Walk::default();
    for record in records {
        put_varint(&mut lens, record.len.into());
        depths.push(record.depth);
        put_varint(&mut counts, record.extents.len() as u64);
        for extent in &record.extents {
            encode_extent(*extent, &mut tables, &mut walk, &mut ops, &mut places);
        }
    }
    let mut out = Vec::with_capacity(lens.len() + ops.len() + places.len() + 64);
    tables.encode(&mut out);
    put_varint(&mut out, records.len() as u64);
    for column in [lens, depths, counts, ops, places] {
        put_bytes(&mut out, &column);
    }
    out
}

fn encode_extent(
    extent: Extent,
    tables: &mut Tables,
    walk: &mut Walk,
    ops: &mut Vec<u8>,
    places: &mut Vec<u8>,
) {
    match extent {
        Extent::Stored {
            segment,
            offset,
            len,
        } => {
            let number = tables.segment(segment);
            if walk.segment == Some((number, offset)) {
                put_varint(ops, u64::from(len) << 2 | NEXT);
            } else {
                put_varint(ops, u64::from(len) << 2 | SEGMENT);
                put_signed(places, i64::from(number) - walk.last_segment);
                put_varint(places, offset.into());
            }
            walk.last_segment = number.into();
            walk.segment = Some((number, offset.saturating_add(len)));
        }
        Extent::Copy { base, offset, len } => {
            let number = tables.base(base);
            match walk.base {
                Some((same, end)) if same == number => {
                    put_varint(ops, u64::from(len) << 2 | SAME_BASE);
                    put_signed(places, i64::from(offset) - i64::from(end));
                }
                _ => {
                    put_varint(ops, u64::from(len) << 2 | BASE);
                    put_signed(places, i64::from(number) - walk.last_base - 1);
                    put_varint(places, offset.into());
                }
            }
            walk.last_base = number.into();
            walk.base = Some((number, offset.saturating_add(len)));
        }
    }
}

#[derive(Debug, Default)]
struct Tables {
    sessions: Vec<SessionId>,
    segments: Vec<SegmentId>,
    segment_numbers: HashMap<SegmentId, u32>,
    bases: Vec<ChunkId>,
    base_numbers: HashMap<ChunkId, u32>,
}

impl Tables {
    fn segment(&mut self, segment: SegmentId) -> u32 {
        *self.segment_numbers.entry(segment).or_insert_with(|| {
            self.segments.push(segment);
            if !self.sessions.contains(&segment.session) {
                self.sessions.push(segment.session);
            }
            len_u32(self.segments.len() - 1)
        })
    }

    fn base(&mut self, base: ChunkId) -> u32 {
        *self.base_numbers.entry(base).or_insert_with(|| {
            self.bases.push(base);
            len_u32(self.bases.len() - 1)
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.sessions.len() as u64);
        self.sessions
            .iter()
            .for_each(|session| out.extend_from_slice(session.as_bytes()));
        put_varint(out, self.segments.len() as u64);
        for segment in &self.segments {
            let number = self
                .sessions
                .iter()
                .position(|session| *session == segment.session);
            put_varint(out, number.unwrap_or(0) as u64);
            put_varint(out, segment.counter);
        }
        put_varint(out, self.bases.len() as u64);
        self.bases
            .iter()
            .for_each(|base| out.extend_from_slice(base.as_bytes()));
    }
}

/// Decodes a block. Every record's extents sum up to its length; every number leads into its table.
pub fn decode(bytes: &[u8]) -> Result<Block, FormatError> {
    let mut input = Cursor::new("record block", bytes);
    let (segments, bases) = decode_tables(&mut input)?;
    let count = input.at_most(limits::BLOCK_RECORDS_MAX)?;
    let max = limits::SEGMENT_RAW_BYTES_MAX;
    let mut lens = Cursor::new("record block lengths", input.bytes(max)?);
    let mut depths = Cursor::new("record block depths", input.bytes(max)?);
    let mut counts = Cursor::new("record block counts", input.bytes(max)?);
    let mut ops = Cursor::new("record block extents", input.bytes(max)?);
    let mut places = Cursor::new("record block places", input.bytes(max)?);
    input.finish()?;
    let mut block = Block {
        bases,
        segments,
        records: Vec::with_capacity(count),
        // Most are told in two bytes.
        extents: Vec::with_capacity((ops.remaining() / 2).min(limits::BLOCK_EXTENTS)),
    };
    let mut walk = Walk::default();
    for _ in 0..count {
        let len = lens.at_most(limits::CHUNK_BYTES_MAX)?;
        let depth = depths.byte()?;
        if depth > limits::DELTA_DEPTH_MAX {
            return Err(depths.problem(format!("depth {depth} is too deep")));
        }
        let pieces = counts.count(limits::CHUNK_EXTENTS_MAX, 0)?;
        if pieces > ops.remaining() || block.extents.len() + pieces > limits::BLOCK_EXTENTS_MAX {
            return Err(counts.problem(format!("{pieces} extents do not fit")));
        }
        let first = block.extents.len();
        let len = len_u32(len);
        let mut sum = 0;
        for _ in 0..pieces {
            let piece = decode_piece(sum, &block, &mut walk, &mut ops, &mut places)?;
            sum = sum.saturating_add(piece.len);
            block.extents.push(piece);
        }
        if sum != len {
            return Err(ops.problem(format!("extents sum up to {sum} instead of {len} bytes")));
        }
        let rec = Rec {
            len,
            depth,
            first: len_u32(first),
            count: len_u32(pieces),
        };
        block.records.push(rec);
    }
    [lens, depths, counts, ops, places]
        .into_iter()
        .try_for_each(Cursor::finish)?;
    Ok(block)
}

fn decode_tables(input: &mut Cursor<'_>) -> Result<(Vec<SegmentId>, Vec<ChunkId>), FormatError> {
    let count = input.count(limits::BLOCK_EXTENTS_MAX, 16)?;
    let sessions = (0..count)
        .map(|_| input.array().map(SessionId))
        .collect::<Result<Vec<_>, _>>()?;
    let count = input.count(limits::BLOCK_EXTENTS_MAX, 2)?;
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        let number = input.at_most(limits::BLOCK_EXTENTS_MAX)?;
        let session = *sessions
            .get(number)
            .ok_or_else(|| input.problem("no such session"))?;
        segments.push(SegmentId {
            session,
            counter: input.varint()?,
        });
    }
    let count = input.count(limits::BLOCK_EXTENTS_MAX, 32)?;
    let bases = (0..count)
        .map(|_| input.array().map(ChunkId))
        .collect::<Result<_, _>>()?;
    Ok((segments, bases))
}

fn decode_piece(
    at: u32,
    block: &Block,
    walk: &mut Walk,
    ops: &mut Cursor<'_>,
    places: &mut Cursor<'_>,
) -> Result<Piece, FormatError> {
    let op = ops.varint()?;
    let len = u32::try_from(op >> 2)
        .ok()
        .filter(|len| *len as usize <= limits::CHUNK_BYTES_MAX);
    let len = len
        .filter(|len| *len > 0)
        .ok_or_else(|| ops.problem("extent is empty or too long"))?;
    let stray = |places: &Cursor<'_>| places.problem("leads nowhere");
    let (from, offset) = match op & 3 {
        NEXT => {
            let (number, end) = walk.segment.ok_or_else(|| stray(places))?;
            (From::Segment(number), end)
        }
        SEGMENT => {
            let number = walk.last_segment.checked_add(places.signed()?);
            let number = in_table(number, block.segments.len()).ok_or_else(|| stray(places))?;
            (From::Segment(number), places.varint_u32()?)
        }
        SAME_BASE => {
            let (number, end) = walk.base.ok_or_else(|| stray(places))?;
            let offset = places.signed()?.checked_add(end.into());
            let offset = offset.and_then(|offset| u32::try_from(offset).ok());
            (From::Base(number), offset.ok_or_else(|| stray(places))?)
        }
        _ => {
            let number = walk.last_base.checked_add(1).zip(Some(places.signed()?));
            let number = number.and_then(|(next, step)| next.checked_add(step));
            let number = in_table(number, block.bases.len()).ok_or_else(|| stray(places))?;
            (From::Base(number), places.varint_u32()?)
        }
    };
    let max = match from {
        From::Segment(_) => limits::SEGMENT_RAW_BYTES_MAX,
        From::Base(_) => limits::CHUNK_BYTES_MAX,
    };
    let end = offset.checked_add(len).filter(|end| *end as usize <= max);
    let end = end.ok_or_else(|| places.problem("extent ends beyond what can be"))?;
    match from {
        From::Segment(number) => {
            walk.last_segment = number.into();
            walk.segment = Some((number, end));
        }
        From::Base(number) => {
            walk.last_base = number.into();
            walk.base = Some((number, end));
        }
    }
    Ok(Piece {
        at,
        from,
        offset,
        len,
    })
}

fn in_table(number: Option<i64>, len: usize) -> Option<u32> {
    let number = u32::try_from(number?).ok()?;
    ((number as usize) < len).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent() -> impl Strategy<Value = Extent> {
        let segment = (0_u8..3, 0_u64..5).prop_map(|(session, counter)| SegmentId {
            session: SessionId([session; 16]),
            counter,
        });
        prop_oneof![
            (segment, 0_u32..100_000, 1_u32..5000).prop_map(|(segment, offset, len)| {
                Extent::Stored {
                    segment,
                    offset,
                    len,
                }
            }),
            (0_u8..4, 0_u32..100_000, 1_u32..5000).prop_map(|(base, offset, len)| Extent::Copy {
                base: ChunkId([base; 32]),
                offset,
                len
            }),
        ]
    }

    fn record() -> impl Strategy<Value = ChunkRecord> {
        (prop::collection::vec(extent(), 1..20), 0_u8..10).prop_map(|(extents, depth)| {
            ChunkRecord {
                len: extents.iter().map(Extent::len).sum(),
                depth,
                extents,
            }
        })
    }

    proptest! {
        #[test]
        fn blocks_round_trip(records in prop::collection::vec(record(), 0..30)) {
            let block = decode(&encode(&records)).unwrap();
            prop_assert_eq!(block.len(), records.len());
            for (ordinal, record) in records.iter().enumerate() {
                let ordinal = u16::try_from(ordinal).unwrap();
                prop_assert_eq!(&block.record(ordinal).unwrap(), record);
            }
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
