//! Chunks by name: through index, record blocks and segments to bytes, each step bounded and verified.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::Repo;
use super::lru::{Lru, lock};
use super::packs::{packs_that_exist, read_footer, read_stored_box};
use super::resolve::{Part, Resolver, Span};
use crate::backend::{ObjectKey, ObjectKind, PackName};
use crate::codec::FormatError;
use crate::crypto::{SessionKey, open_box};
use crate::error::{Error, Result};
use crate::id::{ChunkId, SessionId};
use crate::index::{self, BlockRef, BoxRef, ChunkRef, Index, IndexBuilder};
use crate::limits;
use crate::record::{Block, ChunkRecord, From, format as record_format};
use crate::segment::SegmentId;
use crate::tree::format::decode_node;
use crate::tree::{Entry, Node};

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
    repo: Repo,
    state: RwLock<Arc<State>>,
    segments: Lru<SegmentId, Vec<u8>>,
    blocks: Lru<BlockRef, LoadedBlock>,
    pub(super) folders: Lru<ChunkId, Vec<Entry>>,
    keys: Mutex<HashMap<SessionId, Arc<SessionKey>>>,
    /// Segments of which no copy could be read: another record may make their chunks of something else.
    lost: Mutex<HashSet<SegmentId>>,
}

#[derive(Debug)]
pub(super) struct State {
    index: Index,
    usable: Vec<bool>,
    resolvable: Mutex<HashMap<ChunkRef, bool>>,
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
        let state = load_state(repo, usable, footers)?;
        Ok(Self {
            repo: repo.clone(),
            state: RwLock::new(Arc::new(state)),
            segments: Lru::new(limits::SEGMENT_CACHE_BYTES),
            blocks: Lru::new(limits::BLOCK_CACHE_BYTES),
            folders: Lru::new(limits::FOLDER_CACHE_ENTRIES),
            keys: Mutex::default(),
            lost: Mutex::default(),
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

    fn state(&self) -> Arc<State> {
        Arc::clone(
            &self
                .state
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Loads the index again, after a miss: chunks may have moved to other packs.
    pub fn reload(&self) -> Result<()> {
        let state = load_state(&self.repo, &Usable::Except(BTreeSet::new()), true)?;
        *self
            .state
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(state);
        lock(&self.lost).clear();
        // Blocks are numbered by the loaded index.
        self.blocks.clear();
        Ok(())
    }

    /// Whether a chunk can be made from usable packs: its record, its segments, and so on for its bases.
    pub fn is_present(&self, id: ChunkId) -> Result<bool> {
        Ok(self.usable_record(&self.state(), id, 0)?.is_some())
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

    /// Depth of a chunk's record.
    pub fn depth(&self, id: ChunkId) -> Result<u8> {
        let state = self.state();
        let at = self.find(&state, id)?;
        Ok(self
            .block(&state, at.block)?
            .block
            .depth(at.ordinal)
            .unwrap_or(0))
    }

    /// The record by which a chunk is read, and where it stands.
    pub fn record(&self, id: ChunkId) -> Result<(ChunkRef, ChunkRecord)> {
        let state = self.state();
        let at = self.find(&state, id)?;
        let record = self.block(&state, at.block)?.block.record(at.ordinal);
        record
            .map(|record| (at, record))
            .ok_or(Error::MissingChunk { chunk: id })
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

    /// Checks without reading content that a chunk can be made: its record, its length, and a place for every segment.
    pub fn check_chunk(&self, id: ChunkId, len: u32) -> Result<()> {
        let state = self.state();
        let at = self.find(&state, id)?;
        let known = self.block(&state, at.block)?.block.chunk_len(at.ordinal);
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
        Resolver::new(self, &state).resolve(part, &mut spans)?;
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

    /// Appends the plaintext of a chunk, verified against its name.
    pub fn read_chunk(&self, id: ChunkId, len: u32, out: &mut Vec<u8>) -> Result<()> {
        self.read_verified(id, Some(len), out, crate::crypto::RootKey::chunk_id)
    }

    /// Reads and decodes a node, verified against its name.
    pub fn read_node(&self, id: ChunkId) -> Result<Node> {
        decode_node(&self.read_node_bytes(id)?).map_err(Error::corrupt(format!("node {id}")))
    }

    /// Reads the bytes of a node, verified against its name.
    pub fn read_node_bytes(&self, id: ChunkId) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_verified(id, None, &mut bytes, crate::crypto::RootKey::node_id)?;
        Ok(bytes)
    }

    fn read_verified(
        &self,
        id: ChunkId,
        len: Option<u32>,
        out: &mut Vec<u8>,
        name: impl Fn(&crate::crypto::RootKey, &[u8]) -> ChunkId,
    ) -> Result<()> {
        let start = out.len();
        let mut may_have_moved = true;
        let mut lost = lock(&self.lost).len();
        while let Err(error) = self.read_once(id, len, out) {
            out.truncate(start);
            let gone = matches!(error, Error::Missing { .. } | Error::MissingChunk { .. });
            if gone && may_have_moved {
                // The object may have moved since the index was loaded: look again in what the index says now.
                may_have_moved = false;
                self.reload()?;
                lost = 0;
                continue;
            }
            // What is lost is known now: another record may make the same chunk.
            let before = std::mem::replace(&mut lost, lock(&self.lost).len());
            if lost == before {
                return Err(error);
            }
        }
        let bytes = out.get(start..).unwrap_or_default();
        if name(self.repo.root(), bytes) != id {
            let problem = FormatError::new("chunk", "its bytes do not give its name");
            return Err(Error::corrupt(format!("chunk {id}"))(problem));
        }
        Ok(())
    }

    fn read_once(&self, id: ChunkId, len: Option<u32>, out: &mut Vec<u8>) -> Result<()> {
        let state = self.state();
        let at = self.find(&state, id)?;
        let known = self.block(&state, at.block)?.block.chunk_len(at.ordinal);
        let known = known.ok_or(Error::MissingChunk { chunk: id })?;
        if len.is_some_and(|len| len != known) {
            let problem = format!("has {known} bytes, its list says another number");
            return Err(Error::corrupt(format!("chunk {id}"))(FormatError::new(
                "chunk", problem,
            )));
        }
        let mut spans = Vec::new();
        let part = Part {
            id,
            at,
            offset: 0,
            len: known,
        };
        Resolver::new(self, &state).resolve(part, &mut spans)?;
        out.reserve(known as usize);
        // Extents alternate between the few segments of a few hours.
        let mut opened: Vec<(SegmentId, Arc<Vec<u8>>)> = Vec::new();
        for span in spans {
            let known = opened.iter().find(|(id, _)| *id == span.segment);
            let bytes = if let Some((_, bytes)) = known {
                Arc::clone(bytes)
            } else {
                let bytes = self.segment_in(&state, span.segment)?;
                opened.truncate(limits::OPENED_SEGMENTS - 1);
                opened.insert(0, (span.segment, Arc::clone(&bytes)));
                bytes
            };
            let end = span.offset as usize + span.len as usize;
            let part = bytes.get(span.offset as usize..end).ok_or_else(|| {
                Error::corrupt(format!("chunk {id}"))(FormatError::new(
                    "chunk",
                    format!("an extent ends beyond segment {}", span.segment),
                ))
            })?;
            out.extend_from_slice(part);
        }
        Ok(())
    }

    /// The plaintext of a segment.
    pub fn segment(&self, id: SegmentId) -> Result<Arc<Vec<u8>>> {
        self.segment_in(&self.state(), id)
    }

    fn segment_in(&self, state: &State, id: SegmentId) -> Result<Arc<Vec<u8>>> {
        self.segments.get_or_load(
            id,
            || {
                let mut last = Error::Missing {
                    object: format!("segment {id}"),
                };
                let mut places: Vec<_> = state.index.segment(id).collect();
                places.sort_by_key(|place| !state.is_usable(place.pack));
                for place in places {
                    match self.read_box(state, place) {
                        Ok(bytes) => return Ok(bytes),
                        Err(error) => last = error,
                    }
                }
                if last.is_damage() {
                    lock(&self.lost).insert(id);
                    lock(&state.resolvable).clear();
                    self.blocks.clear();
                }
                Err(last)
            },
            Vec::len,
        )
    }

    /// Reads and opens one box.
    pub fn read_box_at(&self, place: &BoxRef) -> Result<Vec<u8>> {
        self.read_box(&self.state(), place)
    }

    fn read_box(&self, state: &State, place: &BoxRef) -> Result<Vec<u8>> {
        let pack = state.index.pack(place.pack);
        let pack = pack.ok_or_else(|| Error::Missing {
            object: "a pack of the index".into(),
        })?;
        let key = ObjectKey::pack(pack.name);
        let session = self.session_key(state, place.header.session)?;
        let object = || format!("box {} of {key}", place.header.counter);
        self.repo.past_copies(&key, || {
            let stored = read_stored_box(&self.repo, pack.name, place)?;
            open_box(&session, self.repo.id(), &place.header, stored)
                .map_err(|error| Error::corrupt(object())(error))
        })
    }

    fn session_key(&self, state: &State, session: SessionId) -> Result<Arc<SessionKey>> {
        if let Some(key) = lock(&self.keys).get(&session) {
            return Ok(Arc::clone(key));
        }
        let object = || format!("key of session {session}");
        let wrapped = state
            .index
            .key(session)
            .ok_or_else(|| Error::Missing { object: object() })?;
        let key = SessionKey::unwrap(self.repo.root(), self.repo.id(), session, wrapped)
            .map_err(|error| Error::corrupt(object())(error))?;
        let key = Arc::new(key);
        lock(&self.keys).insert(session, Arc::clone(&key));
        Ok(key)
    }

    /// A decoded block of records.
    pub fn block_at(&self, block: BlockRef) -> Result<Arc<LoadedBlock>> {
        self.block(&self.state(), block)
    }

    pub(super) fn block(&self, state: &State, number: BlockRef) -> Result<Arc<LoadedBlock>> {
        self.blocks.get_or_load(
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

    /// The record to use for a chunk: the only one, or the first that can be resolved from usable packs.
    fn find(&self, state: &State, id: ChunkId) -> Result<ChunkRef> {
        match state.index.chunk(id) {
            [] => Err(Error::MissingChunk { chunk: id }),
            [(_, only)] => Ok(*only),
            many => {
                let found = self.usable_record(state, id, 0)?;
                found
                    .or_else(|| many.last().map(|(_, at)| *at))
                    .ok_or(Error::MissingChunk { chunk: id })
            }
        }
    }

    fn usable_record(&self, state: &State, id: ChunkId, depth: u8) -> Result<Option<ChunkRef>> {
        // The newest record first: prune writes it resolved.
        for (_, at) in state.index.chunk(id).iter().rev() {
            if self.is_resolvable(state, *at, depth)? {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    fn is_resolvable(&self, state: &State, at: ChunkRef, depth: u8) -> Result<bool> {
        if let Some(known) = lock(&state.resolvable).get(&at) {
            return Ok(*known);
        }
        let usable = self.find_out_resolvable(state, at, depth)?;
        lock(&state.resolvable).insert(at, usable);
        Ok(usable)
    }

    fn find_out_resolvable(&self, state: &State, at: ChunkRef, depth: u8) -> Result<bool> {
        if depth > limits::DELTA_DEPTH_MAX {
            return Ok(false);
        }
        let in_usable = state
            .index
            .block(at.block)
            .is_some_and(|place| state.is_usable(place.pack));
        if !in_usable {
            return Ok(false);
        }
        let loaded = match self.block(state, at.block) {
            Ok(loaded) => loaded,
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(pieces) = loaded.block.pieces(at.ordinal) else {
            return Ok(false);
        };
        let sources: BTreeSet<(bool, u32)> = pieces
            .iter()
            .map(|piece| match piece.from {
                From::Segment(number) => (false, number),
                From::Base(number) => (true, number),
            })
            .collect();
        for (is_base, number) in sources {
            let usable = if is_base {
                let base = loaded.block.bases.get(number as usize);
                match base {
                    Some(base) => self.usable_record(state, *base, depth + 1)?.is_some(),
                    None => false,
                }
            } else {
                loaded
                    .block
                    .segments
                    .get(number as usize)
                    .is_some_and(|segment| {
                        let mut places = state.index.segment(*segment);
                        !lock(&self.lost).contains(segment)
                            && places.any(|place| state.is_usable(place.pack))
                    })
            };
            if !usable {
                return Ok(false);
            }
        }
        Ok(true)
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
    fn is_usable(&self, pack: u32) -> bool {
        self.usable.get(pack as usize).copied().unwrap_or(false)
    }
}

fn load_state(repo: &Repo, usable: &Usable, footers: bool) -> Result<State> {
    let mut builder = IndexBuilder::default();
    for stat in repo.list(ObjectKind::Index)? {
        let opened = repo.past_copies(&stat.key, || {
            let bytes = repo.get_listed(&stat)?;
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
    let exists = match usable {
        Usable::Indexed if !footers => None,
        _ => Some(packs_that_exist(repo)?),
    };
    if let (true, Some(exists)) = (footers, &exists) {
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
    let usable = index.packs().iter().map(|pack| match usable {
        Usable::Indexed => true,
        Usable::Except(condemned) => {
            // One of another length is cut short: what is behind the cut is not there.
            let whole =
                |exists: &BTreeMap<PackName, u64>| exists.get(&pack.name) == Some(&pack.size_bytes);
            exists.as_ref().is_some_and(whole) && !condemned.contains(&pack.name.to_string())
        }
    });
    Ok(State {
        usable: usable.collect(),
        index,
        resolvable: Mutex::default(),
    })
}
