//! Which segments had better not be stood on any longer. After many hours little is left of an old segment, and whoever reads the
//! newest hour opens all of it for that little: what is left is written anew beside the hour's new bytes, once and cheaply, so
//! that the newest hour never stands on more than some dozens of hours.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::repo::{Span, Store};
use crate::segment::SegmentId;

/// A segment is left when less than one byte in so many of it is still used. What is written anew adds then at most a half to
/// what the hours write by themselves, and a quarter as measured.
const SPARSE_SHARE: u64 = 3;

/// Bytes of a parent that are judged together. Far more than a segment's bytes are spread over.
pub(super) const STRETCH_BYTES: u64 = 64 * 1024 * 1024;

/// A stretch is judged by one run in four (two bits): looking at all that a parent stands on costs a twentieth of an hour.
const TURN_BITS: u32 = 2;

/// Whether a stretch is judged by the run that began then.
pub(super) fn is_turn(start_s: i64, stretch: u64) -> bool {
    // Fibonacci hashing (Knuth, TAOCP 6.4): runs that begin at the full hour all have their turns.
    let mixed = start_s
        .cast_unsigned()
        .wrapping_add(stretch)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed >> (u64::BITS - TURN_BITS) == 0
}

/// The segments that what makes these chunks had better not stand on. Chunks that cannot be resolved do not count.
pub(super) fn sparse(store: &Store, chunks: &[(ChunkId, u32)]) -> Result<HashSet<SegmentId>> {
    let mut shares = Shares::default();
    let mut spans = Vec::new();
    for (id, len) in chunks {
        spans.clear();
        if Error::unless_damaged(store.resolve(*id, 0, *len, &mut spans))?.is_some() {
            shares.add(&spans);
        }
    }
    Ok(shares.sparse(|id| store.segment_len(id)))
}

/// How much of each segment a stretch of a stream uses.
#[derive(Debug, Default)]
struct Shares {
    used: BTreeMap<SegmentId, Used>,
}

#[derive(Debug)]
struct Used {
    bytes: u64,
    range: Range<u32>,
}

impl Shares {
    /// Counts bytes that are used.
    fn add(&mut self, spans: &[Span]) {
        for span in spans {
            let end = span.offset.saturating_add(span.len);
            let used = self.used.entry(span.segment).or_insert(Used {
                bytes: 0,
                range: span.offset..end,
            });
            used.bytes += u64::from(span.len);
            used.range.start = used.range.start.min(span.offset);
            used.range.end = used.range.end.max(end);
        }
    }

    /// The segments to leave; `raw_len`: bytes of a segment's plaintext.
    ///
    /// A session's segments are in the order of its streams. What lies between two used bytes and is not used is dead, but before
    /// the first and behind the last of them there may be what other streams use: there only what lies between is judged, and by
    /// the session as a whole, of which little may be left in these two.
    fn sparse(self, raw_len: impl Fn(SegmentId) -> Option<u32>) -> HashSet<SegmentId> {
        let used: Vec<_> = self.used.into_iter().collect();
        let mut sparse = HashSet::new();
        for session in used.chunk_by(|a, b| a.0.session == b.0.session) {
            let last = session.len() - 1;
            let judged: Vec<_> = session
                .iter()
                .enumerate()
                .map(|(number, (id, used))| {
                    let start = if number == 0 { used.range.start } else { 0 };
                    let whole = raw_len(*id).filter(|_| number < last);
                    let end = whole.unwrap_or(used.range.end);
                    (*id, used.bytes, u64::from(end.saturating_sub(start)))
                })
                .collect();
            let bytes = judged.iter().map(|(_, bytes, _)| bytes).sum();
            let reach = judged.iter().map(|(_, _, reach)| reach).sum();
            let few = is_few(bytes, reach);
            let left = judged.iter().enumerate().filter(|(number, judged)| {
                let is_edge = *number == 0 || *number == last;
                if is_edge {
                    few
                } else {
                    is_few(judged.1, judged.2)
                }
            });
            sparse.extend(left.map(|(_, (id, ..))| *id));
        }
        sparse
    }
}

fn is_few(used: u64, of: u64) -> bool {
    used * SPARSE_SHARE < of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;

    const LEN: u32 = 1200;

    fn id(session: u8, counter: u64) -> SegmentId {
        SegmentId {
            session: SessionId::from_bytes([session; 16]),
            counter,
        }
    }

    fn sparse(spans: &[(SegmentId, u32, u32)]) -> Vec<SegmentId> {
        let mut shares = Shares::default();
        for (segment, offset, len) in spans {
            shares.add(&[Span {
                segment: *segment,
                offset: *offset,
                len: *len,
            }]);
        }
        let mut found = Vec::from_iter(shares.sparse(|_| Some(LEN)));
        found.sort();
        found
    }

    #[test]
    fn every_stretch_has_its_turns() {
        for step_s in [60, 3_600, 86_400] {
            for stretch in [0, 1, 77] {
                let turns = (0..400).filter(|run| is_turn(1_800_000_000 + run * step_s, stretch));
                assert!(
                    (60..=140).contains(&turns.count()),
                    "{step_s} s, stretch {stretch}"
                );
            }
        }
    }

    #[test]
    fn a_segment_of_which_little_is_left_is_left() {
        // 390 of 1200 and 410 of 1200, between two of which all is used.
        let spans = [
            (id(1, 0), 0, LEN),
            (id(1, 1), 500, 390),
            (id(1, 2), 500, 410),
            (id(1, 3), 0, LEN),
        ];
        assert_eq!(sparse(&spans), [id(1, 1)]);
    }

    #[test]
    fn what_others_may_use_is_not_judged() {
        // A corner of a segment, all of it used: what lies around may be another stream's.
        assert_eq!(sparse(&[(id(1, 0), 700, 3)]), []);
        // The ends of two segments that touch.
        let spans = [(id(1, 0), 900, 300), (id(1, 1), 0, 300)];
        assert_eq!(sparse(&spans), []);
    }

    #[test]
    fn the_last_crumbs_of_a_session_go_with_it() {
        let spans = [
            (id(1, 0), 700, 3),
            (id(1, 1), 3, 3),
            (id(1, 2), 9, 3),
            (id(2, 0), 0, 9),
        ];
        assert_eq!(sparse(&spans), [id(1, 0), id(1, 1), id(1, 2)]);
    }
}
