//! Which of its records a chunk is made by: the one with the shortest chain of bases that leads to usable segments.
//!
//! A chunk may have several records, and not all of them can be followed: after a prune and a change that was taken back, one
//! record may tell A by B and another B by A, and only a third leads out. Whoever follows the shortest chain comes nearer to
//! its end with each step, so that no choice of one chunk ever meets that of another again. (Knuth, "A generalization of
//! Dijkstra's algorithm", 1977, with depth as the cost.)
//!
//! A writer relies on packs that are not condemned. What it has to read may be left only in one that is: such a chunk is chosen
//! among the records of all packs, over those that the first choice could not reach and down to those that it could.

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

/// What was found out of chunks, by the first row of each.
type Found = HashMap<Row, Finding>;

/// What was found out under one loaded index.
#[derive(Debug, Default)]
pub(super) struct Findings {
    usable: Found,
    stored: Found,
    /// Counts how often all was forgotten: what was begun before is not remembered after.
    round: u64,
}

impl Findings {
    /// Something was lost.
    pub(super) fn forget(&mut self) {
        *self = Self {
            round: self.round + 1,
            ..Self::default()
        };
    }

    fn of(&mut self, among: Among) -> &mut Found {
        match among {
            Among::Usable => &mut self.usable,
            Among::Stored => &mut self.stored,
        }
    }
}

/// Which packs are looked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    /// Those that may be relied on.
    Usable,
    /// All that are there, for chunks that those do not make.
    Stored,
}

impl Among {
    fn holds(self, state: &State, pack: u32) -> bool {
        match self {
            Self::Usable => state.is_usable(pack),
            Self::Stored => state.is_stored(pack),
        }
    }
}

/// A record whose segments are usable, and the bases that are still in question.
#[derive(Debug)]
struct Candidate {
    chunk: Row,
    at: ChunkRef,
    open: usize,
    depth: u8,
}

/// What a chunk rests on, directly and through all that its records name.
struct Search<'a> {
    store: &'a Store,
    state: &'a State,
    among: Among,
    candidates: Vec<Candidate>,
    /// Candidates that wait for a chunk.
    waiting: HashMap<Row, Vec<usize>>,
    /// Candidates of which all bases were found, the least deep first, of equals the one with the highest row.
    ready: BinaryHeap<Reverse<(u8, Reverse<ChunkRef>, usize)>>,
    found: Found,
}

impl Store {
    /// The record by which a chunk is made from usable packs; none if there is none.
    pub(super) fn choose(&self, state: &State, id: ChunkId) -> Result<Option<Chosen>> {
        self.choose_among(state, id, Among::Usable)
    }

    /// The record by which a chunk is read: from usable packs, or else from any that are there.
    pub(super) fn choose_to_read(&self, state: &State, id: ChunkId) -> Result<Option<Chosen>> {
        match self.choose(state, id)? {
            None => self.choose_among(state, id, Among::Stored),
            chosen => Ok(chosen),
        }
    }

    fn choose_among(&self, state: &State, id: ChunkId, among: Among) -> Result<Option<Chosen>> {
        let Some(row) = state.index.row(id) else {
            return Ok(None);
        };
        let round = {
            let mut findings = lock(&state.findings);
            if let Some(known) = findings.of(among).get(&row) {
                return Ok(known.chosen());
            }
            findings.round
        };
        let mut search = Search {
            store: self,
            state,
            among,
            candidates: Vec::new(),
            waiting: HashMap::new(),
            ready: BinaryHeap::new(),
            found: Found::new(),
        };
        search.gather(row, id)?;
        search.spread();
        let found = search.found.get(&row).and_then(|found| found.chosen());
        let mut findings = lock(&state.findings);
        if findings.round == round {
            findings.of(among).extend(search.found);
        }
        Ok(found)
    }
}

impl Search<'_> {
    /// Looks at every record on which the chunk may rest, and at what is known of their bases.
    fn gather(&mut self, row: Row, id: ChunkId) -> Result<()> {
        let mut left = vec![(row, id)];
        self.found.insert(row, Finding::Lost);
        while let Some((chunk, id)) = left.pop() {
            for (_, at) in self.state.index.chunk(id) {
                let Some(bases) = self.bases_of(*at)? else {
                    continue;
                };
                self.candidate(chunk, *at, &bases, &mut left)?;
            }
        }
        Ok(())
    }

    /// What is known of a base, if anything.
    fn known(&self, row: Row, id: ChunkId) -> Result<Option<Finding>> {
        if self.among == Among::Stored
            && let Some(chosen) = self.store.choose(self.state, id)?
        {
            return Ok(Some(Finding::Made(chosen)));
        }
        Ok(lock(&self.state.findings).of(self.among).get(&row).copied())
    }

    fn candidate(
        &mut self,
        chunk: Row,
        at: ChunkRef,
        bases: &[ChunkId],
        left: &mut Vec<(Row, ChunkId)>,
    ) -> Result<()> {
        let (mut depth, mut open) = (0_u8, Vec::new());
        for base in bases {
            let Some(row) = self.state.index.row(*base) else {
                return Ok(());
            };
            match self.known(row, *base)? {
                Some(Finding::Made(known)) => depth = depth.max(known.depth.saturating_add(1)),
                Some(Finding::Lost) => return Ok(()),
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
        Ok(())
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

    /// What a record copies out of; none if it cannot be read, or a segment of it is nowhere.
    fn bases_of(&self, at: ChunkRef) -> Result<Option<Vec<ChunkId>>> {
        let place = self.state.index.block(at.block);
        if !place.is_some_and(|place| self.among.holds(self.state, place.pack)) {
            return Ok(None);
        }
        let loaded = match self.store.block(self.state, at.block) {
            Ok(loaded) => loaded,
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(self.bases_if_stored(&loaded, at))
    }

    fn bases_if_stored(&self, loaded: &LoadedBlock, at: ChunkRef) -> Option<Vec<ChunkId>> {
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
            let mut places = self.state.index.segment(*segment);
            let is_lost = lock(&self.state.lost).contains(segment);
            (!is_lost && places.any(|place| self.among.holds(self.state, place.pack))).then_some(())
        };
        segments.into_iter().try_for_each(is_stored)?;
        let base = |number: u32| loaded.block.bases.get(number as usize).copied();
        bases.into_iter().map(base).collect()
    }
}
