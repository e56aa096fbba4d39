//! Which of its records a chunk is made by: the one with the shortest chain of bases that leads to usable segments.
//!
//! A chunk may have several records, and not all of them can be followed: after a prune and a change that was taken back, one
//! record may tell A by B and another B by A, and only a third leads out. Whoever follows the shortest chain comes nearer to
//! its end with each step, so that no choice of one chunk ever meets that of another again. (Knuth, "A generalization of
//! Dijkstra's algorithm", 1977, with depth as the cost.)

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::lru::lock;
use super::store::{LoadedBlock, State, Store};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::index::{ChunkRef, Row};
use crate::limits;
use crate::record::From;

/// The record by which a chunk is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chosen {
    pub at: ChunkRef,
    /// Longest chain of bases below it.
    pub depth: u8,
}

/// What was found out of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is made by this record.
    Made(Chosen),
    /// No record of it leads to usable segments.
    Lost,
}

impl Finding {
    fn chosen(self) -> Option<Chosen> {
        match self {
            Self::Made(chosen) => Some(chosen),
            Self::Lost => None,
        }
    }
}

/// What was found out under one loaded index, by the first row of each chunk.
pub(super) type Findings = HashMap<Row, Finding>;

/// A record whose segments are usable, and the bases that are still in question.
#[derive(Debug)]
struct Candidate {
    chunk: Row,
    at: ChunkRef,
    open: usize,
    depth: u8,
}

/// What a chunk rests on, directly and through all that its records name.
#[derive(Debug, Default)]
struct Search {
    candidates: Vec<Candidate>,
    /// Candidates that wait for a chunk.
    waiting: HashMap<Row, Vec<usize>>,
    /// Candidates of which all bases were found, the least deep first, of equals the one with the highest row.
    ready: BinaryHeap<Reverse<(u8, Reverse<ChunkRef>, usize)>>,
    found: Findings,
}

impl Store {
    /// The record by which a chunk is made from usable packs; none if there is none.
    pub(super) fn choose(&self, state: &State, id: ChunkId) -> Result<Option<Chosen>> {
        let Some(row) = state.index.row(id) else {
            return Ok(None);
        };
        if let Some(known) = state.known(row) {
            return Ok(known.chosen());
        }
        let mut search = Search::default();
        search.gather(self, state, row, id)?;
        search.spread();
        let found = search.found.get(&row).and_then(|found| found.chosen());
        lock(&state.findings).extend(search.found);
        Ok(found)
    }
}

impl Search {
    /// Looks at every record on which the chunk may rest, and at what is known of their bases.
    fn gather(&mut self, store: &Store, state: &State, row: Row, id: ChunkId) -> Result<()> {
        let mut left = vec![(row, id)];
        self.found.insert(row, Finding::Lost);
        while let Some((chunk, id)) = left.pop() {
            for (_, at) in state.index.chunk(id) {
                let Some(bases) = bases_of(store, state, *at)? else {
                    continue;
                };
                self.candidate(state, chunk, *at, &bases, &mut left);
            }
        }
        Ok(())
    }

    fn candidate(
        &mut self,
        state: &State,
        chunk: Row,
        at: ChunkRef,
        bases: &[ChunkId],
        left: &mut Vec<(Row, ChunkId)>,
    ) {
        let (mut depth, mut open) = (0_u8, Vec::new());
        for base in bases {
            let Some(row) = state.index.row(*base) else {
                return;
            };
            match state.known(row) {
                Some(Finding::Made(known)) => depth = depth.max(known.depth.saturating_add(1)),
                Some(Finding::Lost) => return,
                None => open.push((row, *base)),
            }
        }
        let number = self.candidates.len();
        self.candidates.push(Candidate {
            chunk,
            at,
            open: open.len(),
            depth,
        });
        for (row, base) in open {
            self.waiting.entry(row).or_default().push(number);
            if self.found.insert(row, Finding::Lost).is_none() {
                left.push((row, base));
            }
        }
        self.is_ready(number);
    }

    /// From the records without open bases up to all that stand on them, the least deep first.
    fn spread(&mut self) {
        while let Some(Reverse((depth, Reverse(at), number))) = self.ready.pop() {
            let Some(chunk) = self.candidates.get(number).map(|one| one.chunk) else {
                continue;
            };
            let found = self.found.entry(chunk).or_insert(Finding::Lost);
            if *found != Finding::Lost {
                continue;
            }
            *found = Finding::Made(Chosen { at, depth });
            for number in self.waiting.remove(&chunk).unwrap_or_default() {
                if let Some(candidate) = self.candidates.get_mut(number) {
                    candidate.open -= 1;
                    candidate.depth = candidate.depth.max(depth.saturating_add(1));
                }
                self.is_ready(number);
            }
        }
    }

    fn is_ready(&mut self, number: usize) {
        let candidate = self.candidates.get(number);
        if let Some(&Candidate { at, depth, .. }) = candidate.filter(|one| one.open == 0)
            && depth <= limits::DELTA_DEPTH_MAX
        {
            self.ready.push(Reverse((depth, Reverse(at), number)));
        }
    }
}

/// What a record copies out of; none if it cannot be read, or a segment of it is nowhere.
fn bases_of(store: &Store, state: &State, at: ChunkRef) -> Result<Option<Vec<ChunkId>>> {
    let place = state.index.block(at.block);
    if !place.is_some_and(|place| state.is_usable(place.pack)) {
        return Ok(None);
    }
    let loaded = match store.block(state, at.block) {
        Ok(loaded) => loaded,
        Err(Error::Missing { .. } | Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(bases_if_stored(store, state, &loaded, at))
}

fn bases_if_stored(
    store: &Store,
    state: &State,
    loaded: &LoadedBlock,
    at: ChunkRef,
) -> Option<Vec<ChunkId>> {
    let (mut segments, mut bases) = (Vec::new(), Vec::new());
    for piece in loaded.block.pieces(at.ordinal)? {
        match piece.from {
            From::Segment(number) => segments.push(number),
            From::Base(number) => bases.push(number),
        }
    }
    for numbers in [&mut segments, &mut bases] {
        numbers.sort_unstable();
        numbers.dedup();
    }
    let is_stored = |number: u32| {
        let segment = loaded.block.segments.get(number as usize)?;
        let mut places = state.index.segment(*segment);
        let is_lost = lock(&store.lost).contains(segment);
        (!is_lost && places.any(|place| state.is_usable(place.pack))).then_some(())
    };
    segments.into_iter().try_for_each(is_stored)?;
    let base = |number: u32| loaded.block.bases.get(number as usize).copied();
    bases.into_iter().map(base).collect()
}
