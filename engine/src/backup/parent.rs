//! The earlier capture of a stream: its chunks by place, and a window of its plaintext for the aligner.

use std::collections::HashMap;

use crate::error::Result;
use crate::id::ChunkId;
use crate::limits::PARENT_WINDOW_BYTES;
use crate::repo::Store;

/// Bytes before the walk that the window keeps.
const BEHIND: u64 = PARENT_WINDOW_BYTES as u64 / 4;

/// Bytes that are read ahead at most.
const READ_AHEAD_MAX: u64 = PARENT_WINDOW_BYTES as u64 / 2;

/// A stream as it was before.
#[derive(Debug)]
pub(super) struct ParentStream {
    chunks: Vec<(ChunkId, u32)>,
    starts: Vec<u64>,
    places: HashMap<ChunkId, usize>,
    window: Vec<u8>,
    loaded: std::ops::Range<usize>,
    /// Bytes that were read ahead last: twice as many the next time, for a walk that goes on.
    read_ahead: u64,
}

impl ParentStream {
    /// Takes the chunks in order.
    pub(super) fn new(chunks: Vec<(ChunkId, u32)>) -> Self {
        let mut starts = Vec::with_capacity(chunks.len() + 1);
        let mut places = HashMap::with_capacity(chunks.len());
        let mut at = 0;
        for (number, (id, len)) in chunks.iter().enumerate() {
            starts.push(at);
            places.entry(*id).or_insert(number);
            at += u64::from(*len);
        }
        starts.push(at);
        Self {
            chunks,
            starts,
            places,
            window: Vec::new(),
            loaded: 0..0,
            read_ahead: 0,
        }
    }

    /// Takes the room of an earlier window.
    pub(super) fn reuse(&mut self, mut window: Vec<u8>) {
        window.clear();
        self.window = window;
    }

    /// The room of its window.
    pub(super) fn into_window(self) -> Vec<u8> {
        self.window
    }

    /// Where a chunk ends in it.
    pub(super) fn end_of(&self, id: ChunkId) -> Option<u64> {
        let number = *self.places.get(&id)?;
        self.starts.get(number + 1).copied()
    }

    /// The window's bytes and the offset at which it begins.
    pub(super) fn window(&self) -> (&[u8], u64) {
        (&self.window, self.start(self.loaded.start))
    }

    /// Length of the stream in bytes.
    pub(super) fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The chunks that make a range, as (chunk, offset in it, length), in order.
    pub(super) fn split(&self, from: u64, len: u32) -> impl Iterator<Item = (ChunkId, u32, u32)> {
        let mut number = self
            .starts
            .partition_point(|start| *start <= from)
            .saturating_sub(1);
        let (mut at, end) = (from, from + u64::from(len));
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (id, chunk_len) = *self.chunks.get(number)?;
            let offset = at - self.start(number);
            let take = (u64::from(chunk_len) - offset).min(end - at);
            number += 1;
            at += take;
            // Both are below the length of a chunk.
            Some((id, narrow(offset), narrow(take)))
        })
    }

    /// The chunks that begin in a range.
    pub(super) fn chunks_in(&self, range: std::ops::Range<u64>) -> &[(ChunkId, u32)] {
        let at = |place| self.starts.partition_point(|start| *start < place);
        let (from, to) = (at(range.start), at(range.end).min(self.chunks.len()));
        self.chunks.get(from..to).unwrap_or_default()
    }

    /// Moves the window so that it holds about `ahead` bytes behind `from` and some before it. Answers whether it could show more
    /// if it were asked for more.
    pub(super) fn show(&mut self, store: &Store, from: u64, ahead: u64) -> Result<bool> {
        let fits = self.len() <= PARENT_WINDOW_BYTES as u64 && ahead >= PARENT_WINDOW_BYTES as u64;
        let (least, end) = if fits {
            (0, self.chunks.len())
        } else {
            self.around(from, ahead)
        };
        let overlaps = least >= self.loaded.start && least <= self.loaded.end;
        if !overlaps {
            self.window.clear();
            self.loaded = least..least;
            self.read_ahead = 0;
        }
        if end > self.loaded.end {
            let end = self.further(end);
            self.make_room(from, self.start(end) - self.start(self.loaded.end));
            let wanted = self.chunks.get(self.loaded.end..end).unwrap_or_default();
            store.read_chunks(wanted, &mut self.window)?;
            self.loaded.end = end;
        }
        let whole = self.loaded.start == 0 && self.loaded.end == self.chunks.len();
        Ok(!whole && self.window.len() < PARENT_WINDOW_BYTES * 3 / 4)
    }

    /// Where to stop reading, if it has to be at this chunk at least. Neighbours stand on the same segments: reading many of them
    /// together opens each of these less often.
    fn further(&mut self, end: usize) -> usize {
        let from = self.start(self.loaded.end);
        let needed = self.start(end) - from;
        let ahead = needed.max(self.read_ahead * 2).min(READ_AHEAD_MAX);
        self.read_ahead = ahead.max(needed);
        self.chunk_at(from + ahead).max(end)
    }

    /// The chunks from some way before a place to `ahead` bytes behind it.
    fn around(&self, from: u64, ahead: u64) -> (usize, usize) {
        let ahead = ahead.min(PARENT_WINDOW_BYTES as u64 - BEHIND);
        let least = self.chunk_at(from.saturating_sub(ahead.min(BEHIND)));
        let end = self.chunk_at((from + ahead).min(self.len()).saturating_sub(1)) + 1;
        (least, end.min(self.chunks.len()))
    }

    /// Drops what lies far behind, once the window would grow too large.
    fn make_room(&mut self, from: u64, more: u64) {
        if self.window.len() as u64 + more <= PARENT_WINDOW_BYTES as u64 {
            return;
        }
        let keep = self
            .chunk_at(from.saturating_sub(BEHIND))
            .clamp(self.loaded.start, self.loaded.end);
        let dropped = self.start(keep) - self.start(self.loaded.start);
        let dropped = usize::try_from(dropped)
            .unwrap_or(usize::MAX)
            .min(self.window.len());
        self.window.drain(..dropped);
        self.loaded.start = keep;
    }

    fn start(&self, number: usize) -> u64 {
        self.starts
            .get(number)
            .copied()
            .unwrap_or_else(|| self.len())
    }

    fn chunk_at(&self, at: u64) -> usize {
        self.starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
