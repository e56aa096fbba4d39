//! Chunks as bytes: their records are resolved to spans of segments, each segment is opened, what comes out is compared with its
//! name.

use std::sync::Arc;

use super::lru::lock;
use super::packs::read_stored_box;
use super::resolve::{Part, Resolver, Span};
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
const RELOADS_OF_A_READ: u32 = 8;

/// A span of a segment, and where in the bytes of several chunks it goes.
struct Placed {
    span: Span,
    at: usize,
}

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
        match self.read_together(wanted, out) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.is_damage() => out.truncate(start),
            Err(error) => return Err(error),
        }
        // One by one each gets its second chance, and the error names the right one.
        for (id, len) in wanted {
            self.read_chunk(*id, *len, out)?;
        }
        Ok(())
    }

    /// False, and nothing done, if the chunks are of too many extents to be held at once.
    fn read_together(&self, wanted: &[(ChunkId, u32)], out: &mut Vec<u8>) -> Result<bool> {
        let state = self.state();
        let start = out.len();
        let mut placed = Vec::new();
        let (mut spans, mut at) = (Vec::new(), start);
        for (id, len) in wanted {
            spans.clear();
            self.spans_of(&state, *id, Some(*len), &mut spans)?;
            if placed.len() + spans.len() > limits::CHUNK_EXTENTS_MAX {
                return Ok(false);
            }
            for span in &spans {
                placed.push(Placed { span: *span, at });
                at += span.len as usize;
            }
        }
        placed.sort_unstable_by_key(|part| (part.span.segment, part.at));
        out.resize(at, 0);
        for parts in placed.chunk_by(|a, b| a.span.segment == b.span.segment) {
            let Some(first) = parts.first() else {
                continue;
            };
            let bytes = self.segment_in(&state, first.span.segment)?;
            for part in parts {
                let to = out.get_mut(part.at..part.at + part.span.len as usize);
                if let Some(to) = to {
                    to.copy_from_slice(cut_out(&bytes, part.span)?);
                }
            }
        }
        let mut rest = out.get(start..).unwrap_or_default();
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
        loop {
            let state = self.state();
            let lost = lock(&self.lost).len();
            let Err(error) = self.read_once(&state, id, len, out) else {
                break;
            };
            out.truncate(start);
            // What is lost is known now: another record may make the same chunk.
            if lock(&self.lost).len() > lost {
                continue;
            }
            // Or it has moved since the index was loaded.
            let gone = matches!(error, Error::Missing { .. } | Error::MissingChunk { .. });
            reloads += 1;
            if !gone || reloads > RELOADS_OF_A_READ || !self.reload(state.generation)? {
                return Err(error);
            }
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
        let mut spans = Vec::new();
        out.reserve(self.spans_of(state, id, len, &mut spans)? as usize);
        // Extents alternate between the few segments of a few hours.
        let mut opened: Vec<(SegmentId, Arc<Vec<u8>>)> = Vec::new();
        for span in spans {
            let known = opened.iter().find(|(id, _)| *id == span.segment);
            let bytes = if let Some((_, bytes)) = known {
                Arc::clone(bytes)
            } else {
                let bytes = self.segment_in(state, span.segment)?;
                opened.truncate(limits::OPENED_SEGMENTS - 1);
                opened.insert(0, (span.segment, Arc::clone(&bytes)));
                bytes
            };
            out.extend_from_slice(cut_out(&bytes, span)?);
        }
        Ok(())
    }

    /// Appends where a whole chunk lies; answers its length, which is the one that was asked for.
    fn spans_of(
        &self,
        state: &State,
        id: ChunkId,
        len: Option<u32>,
        out: &mut Vec<Span>,
    ) -> Result<u32> {
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
        Resolver::new(self, state).resolve(part, out)?;
        Ok(known)
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
                    state.forget_findings();
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

    /// A segment as it is stored, from the first place at which it opens, and the wrapped key of its session: what a prune moves
    /// is not read again before its old place is gone.
    pub(crate) fn sealed_segment(&self, id: SegmentId) -> Result<(BoxHeader, Vec<u8>, [u8; 48])> {
        let state = self.state();
        let missing = || Error::Missing {
            object: format!("segment {id}"),
        };
        let wrapped = *state.index.key(id.session).ok_or_else(missing)?;
        let session = self.session_key(&state, id.session)?;
        let mut places: Vec<_> = state.index.segment(id).collect();
        places.sort_by_key(|place| !state.is_usable(place.pack));
        let mut last = missing();
        for place in places {
            let Some(pack) = state.index.pack(place.pack) else {
                continue;
            };
            let key = ObjectKey::pack(pack.name);
            let read = self.repo.past_copies(&key, || {
                let stored = read_stored_box(&self.repo, pack.name, place)?;
                let object = || format!("box {} of {key}", place.header.counter);
                open_box(&session, self.repo.id(), &place.header, stored.clone())
                    .map_err(|error| Error::corrupt(object())(error))?;
                Ok(stored)
            });
            match read {
                Ok(stored) => return Ok((place.header, stored, wrapped)),
                Err(error) if error.is_damage() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    pub(super) fn read_box(&self, state: &State, place: &BoxRef) -> Result<Vec<u8>> {
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
}

fn cut_out(segment: &[u8], span: Span) -> Result<&[u8]> {
    let end = span.offset as usize + span.len as usize;
    segment.get(span.offset as usize..end).ok_or_else(|| {
        let object = format!("segment {}", span.segment);
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
