//! Chunks by name: through the index to records, and which of them may be relied on. How they become bytes: `read.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::Repo;
use super::choose::Findings;
use super::lru::{Lru, lock};
use super::packs::{packs_that_exist, read_footer};
use super::read::RELOADS_OF_A_READ;
use super::resolve::{Part, Resolver, Span};
use crate::backend::{ObjectKey, ObjectKind, ObjectStat, PackName};
use crate::codec::FormatError;
use crate::crypto::SessionKey;
use crate::error::{Error, Result};
use crate::id::{ChunkId, SessionId};
use crate::index::{self, BlockRef, BoxRef, ChunkRef, Index, IndexBuilder};
use crate::limits;
use crate::record::{Block, ChunkRecord, format as record_format};
use crate::segment::SegmentId;
use crate::tree::Entry;

/// How often in a row a miss asks whether anything has changed: what is lost is lost, and every chunk of a lost pack would ask.
const FRUITLESS_RELOADS_MAX: u32 = 64;

/// Which packs may be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usable {
    /// All that the index names: for reading, where a miss is noticed.
    Indexed,
    /// What exists once the index is loaded, but none of these: the condemned ones, read before.
    Except(BTreeSet<String>),
}

/// Looks up and reads chunks of one repository.
#[derive(Debug)]
pub struct Store {
    pub(super) repo: Repo,
    /// Packs that are not relied on whenever the index is loaded.
    condemned: BTreeSet<String>,
    state: RwLock<Arc<State>>,
    /// How often in a row the index was to be loaded again and nothing had changed.
    fruitless: Mutex<u32>,
    pub(super) segments: Lru<SegmentId, Vec<u8>>,
    pub(super) folders: Lru<ChunkId, Vec<Entry>>,
    pub(super) keys: Mutex<HashMap<SessionId, Arc<SessionKey>>>,
}

/// One loaded index, and what was found out under it. Blocks are numbered by it: those of another are none of its own.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    /// Which load this is.
    pub(super) generation: u64,
    /// What was listed; none if packs were not.
    listed: Option<u64>,
    packs: Vec<Standing>,
    pub(super) findings: Mutex<Findings>,
    /// Segments of which no copy could be read: another record may make their chunks of something else.
    pub(super) lost: Mutex<HashSet<SegmentId>>,
    blocks: Lru<BlockRef, LoadedBlock>,
}

/// What is known of a pack that the index names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is not there, or not whole.
    Gone,
    /// It is there, and condemned.
    Condemned,
    /// It may be relied on, as far as that is known.
    Usable,
}

/// Index segments and packs at one moment, asked for in this order: what a new index segment names exists by then.
struct Listing {
    indexes: Vec<ObjectStat>,
    packs: Option<BTreeMap<PackName, u64>>,
}

impl Listing {
    fn of(repo: &Repo, with_packs: bool) -> Result<Self> {
        let mut indexes = repo.list(ObjectKind::Index)?;
        indexes.sort_by_key(|stat| stat.key);
        let packs = with_packs.then(|| packs_that_exist(repo)).transpose()?;
        Ok(Self { indexes, packs })
    }

    /// Two listings with one of these are the same.
    fn fingerprint(&self) -> Option<u64> {
        let packs = self.packs.as_ref()?;
        let mut hasher = DefaultHasher::new();
        for stat in &self.indexes {
            stat.key.path().hash(&mut hasher);
        }
        packs.hash(&mut hasher);
        Some(hasher.finish())
    }
}

/// A decoded block, and where its bases were found.
#[derive(Debug)]
pub struct LoadedBlock {
    /// The records.
    pub block: Block,
    bases: Vec<OnceLock<ChunkRef>>,
}

impl LoadedBlock {
    /// What it takes in memory, about.
    fn size_bytes(&self) -> usize {
        self.block.size_bytes() + size_of_val(self.bases.as_slice())
    }
}

impl Store {
    /// Loads the index. With `footers`, packs that no index segment names are read by their footers.
    pub fn load(repo: &Repo, usable: &Usable, footers: bool) -> Result<Self> {
        let listing = Listing::of(repo, footers || *usable != Usable::Indexed)?;
        let state = load_state(repo, &listing, usable, footers, 0)?;
        let condemned = match usable {
            Usable::Indexed => BTreeSet::new(),
            Usable::Except(condemned) => condemned.clone(),
        };
        Ok(Self {
            repo: repo.clone(),
            condemned,
            state: RwLock::new(Arc::new(state)),
            fruitless: Mutex::default(),
            segments: Lru::new(limits::SEGMENT_CACHE_BYTES),
            folders: Lru::new(limits::FOLDER_CACHE_ENTRIES),
            keys: Mutex::default(),
        })
    }

    /// The repository.
    pub fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Runs with the loaded index.
    pub fn with_index<T>(&self, run: impl FnOnce(&Index) -> T) -> T {
        run(&self.state().index)
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(
            &self
                .state
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Counts the loads of the index: what is numbered by one means nothing under another.
    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// After a miss: chunks may have moved to other packs since this load of the index. Answers whether there is a newer one
    /// to look in. What was condemned when the store was made stays so: a writer must not rely on it.
    pub(super) fn reload(&self, since: u64) -> Result<bool> {
        let mut fruitless = lock(&self.fruitless);
        let state = self.state();
        if state.generation != since {
            return Ok(true);
        }
        if *fruitless >= FRUITLESS_RELOADS_MAX {
            return Ok(false);
        }
        let listing = Listing::of(&self.repo, true)?;
        if state.listed == listing.fingerprint() {
            *fruitless += 1;
            return Ok(false);
        }
        let usable = Usable::Except(self.condemned.clone());
        let next = load_state(&self.repo, &listing, &usable, true, since + 1)?;
        *self
            .state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(next);
        *fruitless = 0;
        Ok(true)
    }

    /// Whether a chunk can be made from usable packs: its record, its segments, and so on for its bases.
    pub fn is_present(&self, id: ChunkId) -> Result<bool> {
        Ok(self.choose(&self.state(), id)?.is_some())
    }

    /// Whether a chunk can be read without going far: from a folder of this machine, or wholly from the cache.
    pub fn is_at_hand(&self, id: ChunkId, len: u32) -> Result<bool> {
        let backend = self.repo.backend();
        if backend.is_local() {
            return Ok(true);
        }
        let mut spans = Vec::new();
        self.resolve(id, 0, len, &mut spans)?;
        let state = self.state();
        Ok(spans.iter().all(|span| {
            let mut places = state.index.segment(span.segment);
            places.any(|place| {
                let pack = state.index.pack(place.pack);
                pack.is_some_and(|pack| backend.is_at_hand(&ObjectKey::pack(pack.name)))
            })
        }))
    }

    /// The longest chain of bases below a chunk that is present.
    pub fn depth(&self, id: ChunkId) -> Result<u8> {
        let chosen = self.choose(&self.state(), id)?;
        let chosen = chosen.ok_or(Error::MissingChunk { chunk: id })?;
        Ok(chosen.depth)
    }

    /// The record by which a chunk is read, and where it stands.
    pub fn record(&self, id: ChunkId) -> Result<(ChunkRef, ChunkRecord)> {
        let state = self.state();
        let at = self.find(&state, id)?;
        Ok((at, self.record_at(&state, id, at)?))
    }

    /// The record of a chunk, and of one that cannot be made any of its records: to name what is wrong with it.
    pub fn record_to_blame(&self, id: ChunkId) -> Result<ChunkRecord> {
        let state = self.state();
        let at = self.find(&state, id).or_else(|error| {
            let records = state.index.chunk(id);
            let last = records.last().filter(|_| error.is_damage());
            last.map(|(_, at)| *at).ok_or(error)
        })?;
        self.record_at(&state, id, at)
    }

    /// Every record of a chunk that can be read.
    pub fn all_records(&self, id: ChunkId) -> Vec<ChunkRecord> {
        let state = self.state();
        let records = state.index.chunk(id).iter();
        let read = records.map(|(_, at)| self.record_at(&state, id, *at));
        read.filter_map(Result::ok).collect()
    }

    fn record_at(&self, state: &State, id: ChunkId, at: ChunkRef) -> Result<ChunkRecord> {
        let record = self.block(state, at.block)?.block.record(at.ordinal);
        record.ok_or(Error::MissingChunk { chunk: id })
    }

    /// Where a range of a chunk lies: plain bytes of segments, in order, neighbours joined.
    pub fn resolve(&self, id: ChunkId, offset: u32, len: u32, out: &mut Vec<Span>) -> Result<()> {
        let state = self.state();
        let at = self.find(&state, id)?;
        let part = Part {
            id,
            at,
            offset,
            len,
        };
        Resolver::new(self, &state).resolve(part, out)
    }

    /// Bytes of a segment's plaintext, if there is such a segment.
    pub fn segment_len(&self, id: SegmentId) -> Option<u32> {
        self.with_index(|index| index.segment(id).next().map(|place| place.header.raw_len))
    }

    /// Checks without reading content that a chunk can be made: its record, its length, and a place for every segment.
    pub fn check_chunk(&self, id: ChunkId, len: u32) -> Result<()> {
        let mut reloads = 0;
        loop {
            let state = self.state();
            let checked = self.check_chunk_in(&state, id, len);
            let gone = matches!(
                checked,
                Err(Error::Missing { .. } | Error::MissingChunk { .. })
            );
            reloads += 1;
            // It may have moved since the index was loaded.
            if !gone || reloads > RELOADS_OF_A_READ || !self.reload(state.generation)? {
                return checked;
            }
        }
    }

    fn check_chunk_in(&self, state: &State, id: ChunkId, len: u32) -> Result<()> {
        let at = self.find(state, id)?;
        let known = self.block(state, at.block)?.block.chunk_len(at.ordinal);
        if known != Some(len) {
            let problem = format!("has {} bytes, its list says {len}", known.unwrap_or(0));
            return Err(Error::corrupt(format!("chunk {id}"))(FormatError::new(
                "chunk", problem,
            )));
        }
        let mut spans = Vec::new();
        let part = Part {
            id,
            at,
            offset: 0,
            len,
        };
        Resolver::new(self, state).resolve(part, &mut spans)?;
        for span in spans {
            let mut places = state.index.segment(span.segment);
            let fits = |place: &BoxRef| span.offset + span.len <= place.header.raw_len;
            if !places.any(|place| state.is_usable(place.pack) && fits(place)) {
                return Err(Error::Missing {
                    object: format!("segment {}", span.segment),
                });
            }
        }
        Ok(())
    }

    /// A decoded block of records.
    pub fn block_at(&self, block: BlockRef) -> Result<Arc<LoadedBlock>> {
        self.block(&self.state(), block)
    }

    pub(super) fn block(&self, state: &State, number: BlockRef) -> Result<Arc<LoadedBlock>> {
        state.blocks.get_or_load(
            number,
            || {
                let missing = || Error::Missing {
                    object: format!("record block {number}"),
                };
                let place = state.index.block(number).ok_or_else(missing)?;
                let raw = self.read_box(state, place)?;
                let pack = state
                    .index
                    .pack(place.pack)
                    .map(|pack| pack.name.to_string());
                let block = record_format::decode(&raw).map_err(Error::corrupt(format!(
                    "record block of {}",
                    pack.unwrap_or_default()
                )))?;
                let bases = block.bases.iter().map(|_| OnceLock::new()).collect();
                Ok(LoadedBlock { block, bases })
            },
            LoadedBlock::size_bytes,
        )
    }

    /// The record to use for a chunk: the only one, or the one that is chosen among those that can be made.
    pub(super) fn find(&self, state: &State, id: ChunkId) -> Result<ChunkRef> {
        match state.index.chunk(id) {
            [] => Err(Error::MissingChunk { chunk: id }),
            [(_, only)] => Ok(*only),
            _ => {
                let chosen = self.choose_to_read(state, id)?;
                let chosen = chosen.ok_or(Error::MissingChunk { chunk: id })?;
                Ok(chosen.at)
            }
        }
    }

    /// A base that a block names, and the record by which it is read.
    pub(super) fn base(
        &self,
        state: &State,
        loaded: &LoadedBlock,
        number: u32,
    ) -> Result<(ChunkId, ChunkRef)> {
        let missing = || Error::Missing {
            object: "a base in its record block".into(),
        };
        let id = *loaded
            .block
            .bases
            .get(number as usize)
            .ok_or_else(missing)?;
        let slot = loaded.bases.get(number as usize).ok_or_else(missing)?;
        if let Some(at) = slot.get() {
            return Ok((id, *at));
        }
        let at = self.find(state, id)?;
        Ok((id, *slot.get_or_init(|| at)))
    }
}

impl State {
    pub(super) fn is_usable(&self, pack: u32) -> bool {
        matches!(self.packs.get(pack as usize), Some(Standing::Usable))
    }

    pub(super) fn is_stored(&self, pack: u32) -> bool {
        !matches!(self.packs.get(pack as usize), None | Some(Standing::Gone))
    }

    /// Looks for everything anew.
    pub(super) fn forget_losses(&self) {
        lock(&self.lost).clear();
        self.forget_findings();
    }

    /// Forgets what was found out: something was lost since.
    pub(super) fn forget_findings(&self) {
        lock(&self.findings).forget();
        self.blocks.clear();
    }
}

fn load_state(
    repo: &Repo,
    listing: &Listing,
    usable: &Usable,
    footers: bool,
    generation: u64,
) -> Result<State> {
    let mut builder = IndexBuilder::default();
    for stat in &listing.indexes {
        let opened = repo.past_copies(&stat.key, || {
            let bytes = repo.get_listed(stat)?;
            index::format::open(repo.root(), repo.id(), &bytes).map_err(Error::corrupt(stat.key))
        });
        match opened {
            Ok(packs) => packs.iter().for_each(|pack| builder.add(pack)),
            // Merged away between the list and the read: what it said stands elsewhere or is asked for by a reload.
            Err(Error::Missing { .. }) => {}
            // A damaged hint is no hint: the packs say the same of themselves, now or after a miss.
            Err(Error::Corrupt { source, .. }) => tracing::warn!("{}: {source}", stat.key),
            Err(error) => return Err(error),
        }
    }
    let exists = listing.packs.as_ref();
    if let (true, Some(exists)) = (footers, exists) {
        for (name, size_bytes) in exists {
            if builder.knows(name) {
                continue;
            }
            match read_footer(repo, *name, *size_bytes) {
                Ok(pack) => builder.add(&pack),
                Err(Error::Missing { .. } | Error::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    let index = builder.finish();
    let packs = index.packs().iter().map(|pack| match usable {
        Usable::Indexed => Standing::Usable,
        Usable::Except(condemned) => {
            // One of another length is cut short: what is behind the cut is not there.
            let whole =
                |exists: &BTreeMap<PackName, u64>| exists.get(&pack.name) == Some(&pack.size_bytes);
            if !exists.is_some_and(whole) {
                Standing::Gone
            } else if condemned.contains(&pack.name.to_string()) {
                Standing::Condemned
            } else {
                Standing::Usable
            }
        }
    });
    Ok(State {
        packs: packs.collect(),
        index,
        generation,
        listed: listing.fingerprint(),
        findings: Mutex::default(),
        lost: Mutex::default(),
        blocks: Lru::new(limits::BLOCK_CACHE_BYTES),
    })
}
