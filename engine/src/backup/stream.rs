//! One stream on its way in: cut, named, looked up, told as copies out of its parent where it is new, and recorded.

use std::collections::HashSet;
use std::sync::Arc;

use super::builders::Builders;
use super::clean::{STRETCH_BYTES, is_turn, sparse};
use super::parent::ParentStream;
use super::told::Told;
use crate::chunker::{ChunkSizes, Chunker};
use crate::delta::{AlignOptions, Aligner, Step, cut_steps};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits::{BATCH_BYTES, PARENT_WINDOW_BYTES, RECORD_KEY_BYTES};
use crate::record::ChunkRecord;
use crate::segment::SegmentId;
use crate::source::Profile;
use crate::tree::{ChunkList, ListEntry, write_list};

/// Bytes around the walk that are shown to the aligner at first.
const FIRST_LOOK: u64 = 512 * 1024;

/// How many bytes went which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamCounts {
    /// All bytes of the stream.
    pub bytes: u64,
    /// Bytes in chunks that were not there.
    pub changed_bytes: u64,
    /// Bytes of these that are kept as they are.
    pub literal_bytes: u64,
}

/// Buffers that go from one stream to the next: fresh ones would be fresh pages for every file.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    bytes: Vec<u8>,
    window: Vec<u8>,
}

/// A stream in the making.
#[derive(Debug)]
pub(super) struct StreamEncoder {
    chunker: Chunker,
    buffer: Vec<u8>,
    buffer_at: u64,
    boundaries: Vec<usize>,
    keys: Vec<(usize, Vec<u8>)>,
    parent: Option<ParentStream>,
    aligner: Aligner,
    looks_wide: bool,
    walk: u64,
    spare_window: Vec<u8>,
    /// What was found last, and for which stretch of the parent.
    sparse: Option<(u64, Arc<HashSet<SegmentId>>)>,
    entries: Vec<ListEntry>,
    counts: StreamCounts,
}

/// A chunk of the batch at hand.
#[derive(Debug, Clone, Copy)]
struct Cut {
    id: ChunkId,
    start: usize,
    end: usize,
}

impl StreamEncoder {
    /// Starts a stream; `parent` is its earlier capture, if its bytes are at hand.
    pub(super) fn new(seed: u64, profile: Profile, parent: Option<ParentStream>) -> Self {
        Self {
            chunker: Chunker::new(ChunkSizes::STANDARD, seed, profile),
            buffer: Vec::new(),
            buffer_at: 0,
            boundaries: vec![],
            keys: vec![],
            parent,
            aligner: Aligner::new(AlignOptions::default()),
            looks_wide: false,
            walk: 0,
            spare_window: vec![],
            sparse: None,
            entries: vec![],
            counts: StreamCounts::default(),
        }
    }

    /// Starts with what an earlier stream has left.
    #[must_use]
    pub(super) fn with_buffers(mut self, mut buffers: Buffers) -> Self {
        buffers.bytes.clear();
        self.buffer = buffers.bytes;
        match &mut self.parent {
            Some(parent) => parent.reuse(buffers.window),
            None => self.spare_window = buffers.window,
        }
        self
    }

    /// Takes bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8], builders: &mut Builders) -> Result<()> {
        self.counts.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BATCH_BYTES));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= BATCH_BYTES {
                self.process(false, builders)?;
            }
        }
        Ok(())
    }

    /// Takes one record: no cut falls inside it unless it is longer than a chunk can be.
    pub(super) fn record(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        builders: &mut Builders,
    ) -> Result<()> {
        self.counts.bytes += bytes.len() as u64;
        if !key.is_empty() {
            let key = key.get(..RECORD_KEY_BYTES).unwrap_or(key);
            self.keys.push((self.buffer.len(), key.to_vec()));
        }
        self.buffer.extend_from_slice(bytes);
        self.boundaries.push(self.buffer.len());
        if self.buffer.len() >= BATCH_BYTES {
            self.process(false, builders)?;
        }
        Ok(())
    }

    /// Ends the stream; answers its chunks, its counts, and the buffers for the next one.
    pub(super) fn finish(
        mut self,
        builders: &mut Builders,
    ) -> Result<(ChunkList, StreamCounts, Buffers)> {
        self.process(true, builders)?;
        let keyed =
            !self.entries.is_empty() && self.entries.iter().all(|entry| entry.keys.is_some());
        if !keyed {
            self.entries.iter_mut().for_each(|entry| entry.keys = None);
        }
        let list = write_list(self.entries, builders)?;
        let buffers = Buffers {
            bytes: self.buffer,
            window: self
                .parent
                .map_or(self.spare_window, ParentStream::into_window),
        };
        Ok((list, self.counts, buffers))
    }

    /// Takes as many whole chunks off the buffer as there are.
    fn process(&mut self, last: bool, builders: &mut Builders) -> Result<()> {
        let mut ends = Vec::new();
        self.chunker
            .cut(&self.buffer, &self.boundaries, last, &mut ends);
        let buffer = std::mem::take(&mut self.buffer);
        let root = builders.ground().store.repo().root();
        let mut cuts = Vec::with_capacity(ends.len());
        let mut start = 0;
        for end in &ends {
            let id = root.chunk_id(buffer.get(start..*end).unwrap_or_default());
            cuts.push(Cut {
                id,
                start,
                end: *end,
            });
            start = *end;
        }
        let done = self.place(&buffer, &cuts, builders);
        self.buffer = buffer;
        done?;
        self.buffer.drain(..start);
        self.buffer_at += start as u64;
        self.boundaries.retain_mut(|end| shift(end, start));
        self.take_keys_off(start);
        Ok(())
    }

    /// The key of a record that goes on into the rest of the buffer is kept for the chunks that it still fills.
    fn take_keys_off(&mut self, start: usize) {
        let gone = self.keys.partition_point(|(at, _)| *at < start);
        let cut_through = self.boundaries.first().is_none_or(|end| *end > 0) && start > 0;
        let open = self
            .keys
            .get(gone.wrapping_sub(1))
            .filter(|_| cut_through)
            .cloned();
        self.keys.drain(..gone);
        self.keys.iter_mut().for_each(|(at, _)| *at -= start);
        let starts_here = self.keys.first().is_some_and(|(at, _)| *at == 0);
        if let Some((_, key)) = open.filter(|_| !starts_here) {
            self.keys.insert(0, (0, key));
        }
    }

    /// Looks every chunk up; runs of unknown ones are told as deltas together.
    fn place(&mut self, buffer: &[u8], cuts: &[Cut], builders: &mut Builders) -> Result<()> {
        let mut run: Vec<Cut> = Vec::new();
        for cut in cuts {
            let len = cut.end - cut.start;
            let keys = self.keys_of(*cut);
            self.entries.push(ListEntry {
                id: cut.id,
                len: len as u64,
                keys,
            });
            if builders.ground().claim(cut.id)? {
                self.write_run(buffer, &std::mem::take(&mut run), builders)?;
                if let Some(end) = self
                    .parent
                    .as_ref()
                    .and_then(|parent| parent.end_of(cut.id))
                {
                    self.walk = end;
                }
            } else {
                self.counts.changed_bytes += len as u64;
                run.push(*cut);
                // A record may be far longer than what of the parent is at hand at once.
                if run
                    .first()
                    .is_some_and(|first| cut.end - first.start >= BATCH_BYTES)
                {
                    self.write_run(buffer, &std::mem::take(&mut run), builders)?;
                }
            }
        }
        self.write_run(buffer, &run, builders)
    }

    fn keys_of(&self, cut: Cut) -> Option<(Vec<u8>, Vec<u8>)> {
        let from = self.keys.partition_point(|(at, _)| *at < cut.start);
        let to = self.keys.partition_point(|(at, _)| *at < cut.end);
        // A chunk inside one long record has the key of that record.
        let last = self.keys.get(to.checked_sub(1)?)?;
        let first = self.keys.get(from).filter(|_| from < to).unwrap_or(last);
        Some((first.1.clone(), last.1.clone()))
    }

    fn write_run(&mut self, buffer: &[u8], run: &[Cut], builders: &mut Builders) -> Result<()> {
        let Some((first, last)) = run.first().zip(run.last()) else {
            return Ok(());
        };
        let bytes = buffer.get(first.start..last.end).unwrap_or_default();
        let at = self.buffer_at + first.start as u64;
        if self.parent.is_none() {
            for cut in run {
                self.write_whole(buffer, *cut, builders)?;
            }
            return Ok(());
        }
        let stretch = self.walk / STRETCH_BYTES;
        let Some(steps) = Error::unless_damaged(self.align(bytes, at, builders))? else {
            // A parent that cannot be read is none: the stream is told without it from here on.
            self.parent = None;
            return self.write_run(buffer, run, builders);
        };
        let lengths = run
            .iter()
            .map(|cut| crate::codec::len_u32(cut.end - cut.start));
        let pieces: Vec<_> = cut_steps(&steps, lengths).collect();
        let sparse = self.sparse(stretch, builders)?;
        for (cut, steps) in run.iter().zip(pieces) {
            self.write_delta(buffer, *cut, &steps, &sparse, builders)?;
        }
        Ok(())
    }

    /// Segments that copies out of a stretch of the parent had better not stand on.
    fn sparse(&mut self, stretch: u64, builders: &Builders) -> Result<Arc<HashSet<SegmentId>>> {
        if let Some((known, sparse)) = &self.sparse
            && *known == stretch
        {
            return Ok(Arc::clone(sparse));
        }
        let ground = builders.ground();
        let parent = self.parent.as_ref();
        let sparse = match parent.filter(|_| is_turn(ground.start_s, stretch)) {
            Some(parent) => {
                let start = stretch * STRETCH_BYTES;
                sparse(
                    &ground.store,
                    parent.chunks_in(start..start + STRETCH_BYTES),
                )?
            }
            None => HashSet::new(),
        };
        let sparse = Arc::new(sparse);
        self.sparse = Some((stretch, Arc::clone(&sparse)));
        Ok(sparse)
    }

    /// Tells a run by its parent: by what lies near first, by the whole window if that says little.
    fn align(&mut self, bytes: &[u8], at: u64, builders: &Builders) -> Result<Vec<Step>> {
        let store = &builders.ground().store;
        let Some(parent) = &mut self.parent else {
            return Ok(vec![]);
        };
        let near = bytes.len() as u64 + FIRST_LOOK;
        let mut steps = Vec::new();
        loop {
            let look = if self.looks_wide {
                PARENT_WINDOW_BYTES as u64
            } else {
                near
            };
            let more = parent.show(store, self.walk, look)?;
            let (window, window_at) = parent.window();
            let walk = self
                .aligner
                .align(bytes, at, window, window_at, self.walk, &mut steps);
            let says_little = literal_bytes(&steps) * 8 > bytes.len() as u64;
            if self.looks_wide || !more || !says_little {
                self.walk = walk;
                return Ok(steps);
            }
            // Things have moved far. What the aligner has learned from too small a window would mislead it.
            self.looks_wide = true;
            self.aligner = Aligner::new(AlignOptions::default());
            steps.clear();
        }
    }

    fn write_whole(&mut self, buffer: &[u8], cut: Cut, builders: &mut Builders) -> Result<()> {
        let bytes = buffer.get(cut.start..cut.end).unwrap_or_default();
        self.counts.literal_bytes += bytes.len() as u64;
        builders.reserve(bytes.len())?;
        let dense = self.is_dense();
        let (segment, offset) = builders.append(bytes, dense);
        let len = crate::codec::len_u32(bytes.len());
        builders.record(cut.id, ChunkRecord::whole(segment, offset, len))
    }

    fn write_delta(
        &mut self,
        buffer: &[u8],
        cut: Cut,
        steps: &[Step],
        sparse: &HashSet<SegmentId>,
        builders: &mut Builders,
    ) -> Result<()> {
        let literals = literal_bytes(steps);
        let len = cut.end - cut.start;
        if literals * 2 > len as u64 || self.parent.is_none() {
            return self.write_whole(buffer, cut, builders);
        }
        self.counts.literal_bytes += literals;
        builders.reserve(usize::try_from(literals).unwrap_or(usize::MAX))?;
        let mut told = Told::new(self.is_dense());
        let mut rest = buffer.get(cut.start..cut.end).unwrap_or_default();
        for step in steps {
            let (bytes, later) = rest
                .split_at_checked(step.len_bytes() as usize)
                .unwrap_or_default();
            rest = later;
            match (*step, &self.parent) {
                (Step::Copy { from, len }, Some(parent)) => {
                    let mut bytes = bytes;
                    for (base, offset, len) in parent.split(from, len) {
                        let (now, later) = bytes.split_at_checked(len as usize).unwrap_or_default();
                        bytes = later;
                        told.copy(base, offset, now, sparse, builders)?;
                    }
                }
                _ => told.literal(bytes, builders),
            }
        }
        if told.bytes() != len {
            // A hole would be found by nobody before the restore.
            return self.write_whole(buffer, cut, builders);
        }
        let record = told.record(crate::codec::len_u32(len), builders)?;
        builders.record(cut.id, record)
    }

    /// Few new bytes among many old ones: worth a stronger compression, they are kept for long.
    fn is_dense(&self) -> bool {
        self.parent.is_some() && self.counts.literal_bytes * 4 < self.counts.bytes
    }
}

fn literal_bytes(steps: &[Step]) -> u64 {
    let literals = steps
        .iter()
        .filter(|step| matches!(step, Step::Literal { .. }));
    literals.map(|step| u64::from(step.len_bytes())).sum()
}

/// Moves a place in the buffer by what was taken off; answers whether it is still in the buffer.
fn shift(at: &mut usize, by: usize) -> bool {
    let left = at.checked_sub(by);
    *at = left.unwrap_or(0);
    left.is_some_and(|left| left > 0)
}
