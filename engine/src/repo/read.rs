//! Chunks as bytes: their records are resolved to spans of segments, each segment is opened, what comes out is compared with its
//! name.

use std::sync::Arc;

use super::lru::lock;
use super::packs::read_stored_box;
use super::placing::{Placed, Placing};
use super::resolve::{Part, Resolver};
use super::store::{State, Store};
use crate::backend::ObjectKey;
use crate::codec::FormatError;
use crate::crypto::{BoxHeader, RootKey, SessionKey, open_box};
use crate::error::{Error, Result};
use crate::id::{ChunkId, SessionId};
use crate::index::BoxRef;
use crate::limits;
use crate::segment::SegmentId;
use crate::tree::Node;
use crate::tree::format::decode_node;

/// How often the index is loaded again for one chunk: others may move it as often while it is looked for.
pub(super) const RELOADS_OF_A_READ: u32 = 8;

impl Store {
    /// Appends the plaintext of a chunk, verified against its name.
    pub fn read_chunk(&self, id: ChunkId, len: u32, out: &mut Vec<u8>) -> Result<()> {
        self.read_verified(id, Some(len), out, RootKey::chunk_id)
    }

    /// Appends the plaintext of chunks, each verified against its name. Chunks of later hours stand on the segments of many
    /// hours, neighbours on the same ones: each is opened once for all of them. What this needs beside the bytes grows with
    /// their extents: a few MiB of neighbours at a time are best.
    pub fn read_chunks(&self, wanted: &[(ChunkId, u32)], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.resize(start + bytes_of(wanted), 0);
        let read = self.read_chunks_into(wanted, out.get_mut(start..).unwrap_or_default());
        read.inspect_err(|_| out.truncate(start))
    }

    /// Like `read_chunks`, into a buffer that is as long as all of them. After an error anything may be in it.
    pub fn read_chunks_into(&self, wanted: &[(ChunkId, u32)], to: &mut [u8]) -> Result<()> {
        match self.read_together(wanted, to) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
        // One by one each gets its second chance, and the error names the right one.
        let (mut rest, mut bytes) = (to, Vec::new());
        for (id, len) in wanted {
            bytes.clear();
            self.read_chunk(*id, *len, &mut bytes)?;
            let (chunk, later) = rest.split_at_mut_checked(bytes.len()).unwrap_or_default();
            chunk.copy_from_slice(&bytes);
            rest = later;
        }
        Ok(())
    }

    /// False, and nothing done, if the chunks are of too many extents to be held at once.
    fn read_together(&self, wanted: &[(ChunkId, u32)], to: &mut [u8]) -> Result<bool> {
        let state = self.state();
        let (mut placed, mut end) = (Placing::default(), 0);
        for (id, len) in wanted {
            end = self.place(&state, *id, Some(*len), end, &mut placed)?;
            if placed.parts() > limits::CHUNK_EXTENTS_MAX {
                return Ok(false);
            }
        }
        self.fill(&state, placed, to)?;
        let mut rest = &*to;
        for (id, len) in wanted {
            let (bytes, later) = rest.split_at_checked(*len as usize).unwrap_or_default();
            verify(*id, self.repo.root().chunk_id(bytes))?;
            rest = later;
        }
        Ok(true)
    }

    /// Reads and decodes a node, verified against its name.
    pub fn read_node(&self, id: ChunkId) -> Result<Node> {
        decode_node(&self.read_node_bytes(id)?).map_err(Error::corrupt(format!("node {id}")))
    }

    /// Reads the bytes of a node, verified against its name.
    pub fn read_node_bytes(&self, id: ChunkId) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_verified(id, None, &mut bytes, RootKey::node_id)?;
        Ok(bytes)
    }

    fn read_verified(
        &self,
        id: ChunkId,
        len: Option<u32>,
        out: &mut Vec<u8>,
        name: impl Fn(&RootKey, &[u8]) -> ChunkId,
    ) -> Result<()> {
        let start = out.len();
        let mut reloads = 0;
        let (mut why, mut tried_again) = (None, false);
        loop {
            let state = self.state();
            let lost = lock(&state.lost).len();
            let Err(error) = self.read_once(&state, id, len, out) else {
                break;
            };
            out.truncate(start);
            // What is lost is known now: another record may make the same chunk.
            if lock(&state.lost).len() > lost {
                why = Some(error);
                continue;
            }
            // Or it has moved since the index was loaded.
            let is_missing = matches!(error, Error::MissingChunk { .. });
            let gone = is_missing || matches!(error, Error::Missing { .. });
            reloads += 1;
            if !gone || reloads > RELOADS_OF_A_READ || !self.reload(state.generation)? {
                // Or what could not be read once can be now.
                if is_missing && !tried_again && lost > 0 {
                    tried_again = true;
                    state.forget_losses();
                    continue;
                }
                // That no record is left says less than what was wrong with the last one.
                return Err(why.filter(|_| is_missing).unwrap_or(error));
            }
            why = None;
        }
        let bytes = out.get(start..).unwrap_or_default();
        verify(id, name(self.repo.root(), bytes))
    }

    fn read_once(
        &self,
        state: &State,
        id: ChunkId,
        len: Option<u32>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut placed = Placing::default();
        let end = self.place(state, id, len, out.len(), &mut placed)?;
        out.resize(end, 0);
        self.fill(state, placed, out)
    }

    /// Notes where a whole chunk lies, which is as long as was asked for, and that it goes to `start`; answers where it ends.
    fn place(
        &self,
        state: &State,
        id: ChunkId,
        len: Option<u32>,
        start: usize,
        placed: &mut Placing,
    ) -> Result<usize> {
        let at = self.find(state, id)?;
        let known = self.block(state, at.block)?.block.chunk_len(at.ordinal);
        let known = known.ok_or(Error::MissingChunk { chunk: id })?;
        if len.is_some_and(|len| len != known) {
            let problem = format!("has {known} bytes, its list says another number");
            return Err(Error::corrupt(format!("chunk {id}"))(FormatError::new(
                "chunk", problem,
            )));
        }
        let part = Part {
            id,
            at,
            offset: 0,
            len: known,
        };
        let mut spans = Vec::new();
        Resolver::new(self, state).resolve(part, &mut spans)?;
        let mut at = start;
        for span in spans {
            placed.add(span, at);
            at += span.len as usize;
        }
        Ok(at)
    }

    /// Puts everything into its place; each segment is opened once.
    fn fill(&self, state: &State, placed: Placing, out: &mut [u8]) -> Result<()> {
        for (id, parts) in placed.by_segment() {
            let bytes = self.segment_in(state, id)?;
            for part in parts {
                let to = out.get_mut(part.at..part.at + part.len as usize);
                if let Some(to) = to {
                    to.copy_from_slice(cut_out(&bytes, id, &part)?);
                }
            }
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
                let read = from_any_place(state, id, |place| self.read_box(state, place));
                if read.as_ref().is_err_and(Error::is_damage) {
                    lock(&state.lost).insert(id);
                    state.forget_findings();
                }
                read
            },
            Vec::len,
        )
    }

    /// Reads and opens one box.
    pub fn read_box_at(&self, place: &BoxRef) -> Result<Vec<u8>> {
        self.read_box(&self.state(), place)
    }

    /// A segment as it is stored, from the first place at which it opens, and the wrapped key of its session: what a prune moves
    /// is not read again before its old place is gone.
    pub(crate) fn sealed_segment(&self, id: SegmentId) -> Result<(BoxHeader, Vec<u8>, [u8; 48])> {
        let state = self.state();
        let missing = || Error::Missing {
            object: format!("segment {id}"),
        };
        let wrapped = *state.index.key(id.session).ok_or_else(missing)?;
        from_any_place(&state, id, |place| {
            let stored = self.open_at(&state, place, |session, stored| {
                open_box(session, self.repo.id(), &place.header, stored.clone())?;
                Ok(stored)
            })?;
            Ok((place.header, stored, wrapped))
        })
    }

    pub(super) fn read_box(&self, state: &State, place: &BoxRef) -> Result<Vec<u8>> {
        self.open_at(state, place, |session, stored| {
            open_box(session, self.repo.id(), &place.header, stored)
        })
    }

    /// Reads what is stored at a place and lets it be opened.
    fn open_at(
        &self,
        state: &State,
        place: &BoxRef,
        open: impl Fn(&SessionKey, Vec<u8>) -> Result<Vec<u8>, FormatError>,
    ) -> Result<Vec<u8>> {
        let pack = state.index.pack(place.pack);
        let pack = pack.ok_or_else(|| Error::Missing {
            object: "a pack of the index".into(),
        })?;
        let key = ObjectKey::pack(pack.name);
        let session = self.session_key(state, place.header.session)?;
        let object = || format!("box {} of {key}", place.header.counter);
        self.repo.past_copies(&key, || {
            let stored = read_stored_box(&self.repo, pack.name, place)?;
            open(&session, stored).map_err(|error| Error::corrupt(object())(error))
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
}

/// The first answer of the places at which a segment lies, usable ones first.
fn from_any_place<T>(
    state: &State,
    id: SegmentId,
    read: impl Fn(&BoxRef) -> Result<T>,
) -> Result<T> {
    let mut last = Error::Missing {
        object: format!("segment {id}"),
    };
    let mut places: Vec<_> = state.index.segment(id).collect();
    places.sort_by_key(|place| !state.is_usable(place.pack));
    for place in places {
        match read(place) {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How many bytes chunks make.
pub fn bytes_of(chunks: &[(ChunkId, u32)]) -> usize {
    chunks.iter().map(|(_, len)| *len as usize).sum()
}

/// Neighbouring chunks as parts of about so many bytes, to be read together: equal ones, because a small rest would open as
/// many segments as a large part.
pub fn in_groups(chunks: &[(ChunkId, u32)], about_bytes: usize) -> Vec<&[(ChunkId, u32)]> {
    let total = bytes_of(chunks);
    let count = ((total + about_bytes / 2) / about_bytes.max(1)).max(1);
    let group_bytes = total.div_ceil(count);
    let mut groups = Vec::new();
    let mut rest = chunks;
    while !rest.is_empty() {
        let mut size = 0;
        let count = rest.iter().take_while(|(_, len)| {
            let fits = size < group_bytes;
            size += *len as usize;
            fits
        });
        let (group, tail) = rest.split_at(count.count().max(1));
        groups.push(group);
        rest = tail;
    }
    groups
}

fn cut_out<'a>(bytes: &'a [u8], segment: SegmentId, part: &Placed) -> Result<&'a [u8]> {
    let end = part.offset as usize + part.len as usize;
    bytes.get(part.offset as usize..end).ok_or_else(|| {
        let object = format!("segment {segment}");
        let problem = format!("an extent ends beyond {object}");
        Error::corrupt(object)(FormatError::new("chunk", problem))
    })
}

fn verify(id: ChunkId, name: ChunkId) -> Result<()> {
    if name == id {
        return Ok(());
    }
    let problem = FormatError::new("chunk", "its bytes do not give its name");
    Err(Error::corrupt(format!("chunk {id}"))(problem))
}
