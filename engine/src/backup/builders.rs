//! Segments and record blocks in the making, one set for each source.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::writer::Writer;
use crate::compress::{LEVEL_DELTA, LEVEL_META, LEVEL_WHOLE};
use crate::crypto::BoxKind;
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits::{
    self, BLOCK_EXTENTS, BLOCK_RECORDS, SEGMENT_DELTA_BYTES, SEGMENT_NODES_BYTES,
    SEGMENT_WHOLE_BYTES,
};
use crate::record::{ChunkRecord, format as record_format};
use crate::repo::{Store, lock};
use crate::segment::SegmentId;
use crate::tree::NodeSink;

/// What all sources of a session share: the store below, the writer, and what this session has added.
#[derive(Debug)]
pub struct Ground {
    /// What was there before.
    pub store: Arc<Store>,
    /// What is added.
    pub writer: Writer,
    /// Chunks and nodes of this session, with the depth of their records.
    pub added: Mutex<HashMap<ChunkId, u8>>,
    /// Write chunks whole even where an older copy is a delta.
    pub rebase: bool,
    /// When the session began, in seconds since 1970: what is done now and then is done by turns.
    pub start_s: i64,
}

impl Ground {
    /// Whether a chunk need not be written: it is there already, or this session has written it. Otherwise it counts as written by
    /// the caller from now on.
    pub fn claim(&self, id: ChunkId) -> Result<bool> {
        if lock(&self.added).contains_key(&id) {
            return Ok(true);
        }
        if self.store.is_present(id)? && !(self.rebase && self.store.depth(id)? > 0) {
            return Ok(true);
        }
        // Another source of this run may have claimed it since: then both write it, which only costs room.
        Ok(lock(&self.added).insert(id, 0).is_some())
    }
}

/// One segment in the making.
#[derive(Debug)]
struct OpenSegment {
    id: SegmentId,
    raw: Vec<u8>,
    dense_bytes: usize,
}

/// Where one source puts its new bytes, nodes and records.
#[derive(Debug)]
pub struct Builders {
    ground: Arc<Ground>,
    data: Option<OpenSegment>,
    nodes: Option<OpenSegment>,
    records: Vec<ChunkRecord>,
    ids: Vec<ChunkId>,
    extents: usize,
    stored: Arc<AtomicU64>,
}

impl Builders {
    /// Empty builders.
    pub fn new(ground: Arc<Ground>) -> Self {
        Self {
            ground,
            data: None,
            nodes: None,
            records: vec![],
            ids: vec![],
            extents: 0,
            stored: Arc::default(),
        }
    }

    /// What is shared.
    pub fn ground(&self) -> &Arc<Ground> {
        &self.ground
    }

    /// Bytes that this source's boxes take in packs, as far as sealed.
    pub fn stored(&self) -> &Arc<AtomicU64> {
        &self.stored
    }

    /// Makes room for the new bytes of one chunk, so that they lie in one segment.
    pub fn reserve(&mut self, len: usize) -> Result<()> {
        let full = self.data.as_ref().is_some_and(|open| {
            let max = if open.dense_bytes * 2 > open.raw.len() {
                SEGMENT_DELTA_BYTES
            } else {
                SEGMENT_WHOLE_BYTES
            };
            !open.raw.is_empty() && open.raw.len() + len > max
        });
        if full { self.flush_data() } else { Ok(()) }
    }

    /// Appends new bytes; answers where they lie. `dense`: they are among few in a stream of copies.
    pub fn append(&mut self, bytes: &[u8], dense: bool) -> (SegmentId, u32) {
        let writer = &self.ground.writer;
        let open = self.data.get_or_insert_with(|| OpenSegment {
            id: writer.next_segment(),
            raw: Vec::with_capacity(SEGMENT_DELTA_BYTES),
            dense_bytes: 0,
        });
        let offset = crate::codec::len_u32(open.raw.len());
        open.raw.extend_from_slice(bytes);
        if dense {
            open.dense_bytes += bytes.len();
        }
        (open.id, offset)
    }

    /// Keeps the record of a chunk.
    pub fn record(&mut self, id: ChunkId, record: ChunkRecord) -> Result<()> {
        // One record that nobody may read would take its whole block along.
        if record.len as usize > limits::CHUNK_BYTES_MAX
            || record.extents.len() > limits::CHUNK_EXTENTS_MAX
        {
            return Err(Error::Refused {
                what: format!(
                    "chunk {id} of {} bytes in {} extents is too large",
                    record.len,
                    record.extents.len()
                ),
            });
        }
        lock(&self.ground.added).insert(id, record.depth);
        self.extents += record.extents.len();
        self.records.push(record);
        self.ids.push(id);
        if self.records.len() >= BLOCK_RECORDS || self.extents >= BLOCK_EXTENTS {
            self.flush_records()?;
        }
        Ok(())
    }

    /// Hands everything over to be sealed.
    pub fn flush(&mut self) -> Result<()> {
        self.flush_data()?;
        if let Some(open) = self.nodes.take() {
            self.seal(BoxKind::Nodes, LEVEL_META, open)?;
        }
        self.flush_records()
    }

    fn flush_data(&mut self) -> Result<()> {
        let Some(open) = self.data.take() else {
            return Ok(());
        };
        let dense = open.dense_bytes * 2 > open.raw.len();
        self.seal(
            BoxKind::Data,
            if dense { LEVEL_DELTA } else { LEVEL_WHOLE },
            open,
        )
    }

    fn seal(&self, kind: BoxKind, level: i32, open: OpenSegment) -> Result<()> {
        self.ground
            .writer
            .seal_segment(kind, open.id, level, open.raw, &self.stored)
    }

    fn flush_records(&mut self) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        let raw = record_format::encode(&self.records);
        self.records.clear();
        self.extents = 0;
        let ids = std::mem::take(&mut self.ids);
        self.ground.writer.seal_records(raw, ids, &self.stored)
    }
}

impl NodeSink for Builders {
    fn put_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
        let id = self.ground.store.repo().root().node_id(bytes);
        if self.ground.claim(id)? {
            return Ok(id);
        }
        if self
            .nodes
            .as_ref()
            .is_some_and(|open| open.raw.len() + bytes.len() > SEGMENT_NODES_BYTES)
            && let Some(open) = self.nodes.take()
        {
            self.seal(BoxKind::Nodes, LEVEL_META, open)?;
        }
        let writer = &self.ground.writer;
        let open = self.nodes.get_or_insert_with(|| OpenSegment {
            id: writer.next_segment(),
            raw: vec![],
            dense_bytes: 0,
        });
        let offset = crate::codec::len_u32(open.raw.len());
        open.raw.extend_from_slice(bytes);
        let record = ChunkRecord::whole(open.id, offset, crate::codec::len_u32(bytes.len()));
        self.record(id, record)?;
        Ok(id)
    }
}
