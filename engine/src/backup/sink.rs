//! Where a source's items arrive: streams are encoded, entries gathered, unchanged files taken over.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::builders::{Builders, Ground};
use super::parent::ParentStream;
use super::stream::{Buffers, StreamEncoder};
use super::tree_builder::TreeBuilder;
use super::{Bases, Cancel, SourceParent};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits;
use crate::path::RepoPath;
use crate::progress::{Event, Observer};
use crate::repo::{FolderWalk, find};
use crate::snapshot::SourceCounts;
use crate::source::{
    Attributes, Meta, NodeKind, Sink, SourceError, SourceErrorKind, StreamFacts, StreamSpec,
};
use crate::tree::{Body, Content, Entry};

/// Takes the items of one source.
pub(super) struct SourceSink<'a> {
    name: &'a str,
    builders: Builders,
    tree: TreeBuilder,
    parent: Option<FolderWalk>,
    bases: Bases,
    current: Option<(StreamSpec, StreamEncoder)>,
    /// Records that the open stream had.
    records: u64,
    buffers: Buffers,
    counts: SourceCounts,
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
}

impl<'a> SourceSink<'a> {
    pub(super) fn new(
        name: &'a str,
        ground: Arc<Ground>,
        parent: Option<&SourceParent>,
        bases: Bases,
        observer: &'a dyn Observer,
        cancel: &'a Cancel,
    ) -> Self {
        let walk = parent.map(|parent| FolderWalk::new(Arc::clone(&ground.store), parent.root));
        Self {
            name,
            builders: Builders::new(ground),
            tree: TreeBuilder::default(),
            parent: walk,
            bases,
            current: None,
            records: 0,
            buffers: Buffers::default(),
            counts: SourceCounts::default(),
            observer,
            cancel,
        }
    }

    /// Keeps what is open; answers the root of the tree, the node of `details`, and the counts.
    pub(super) fn finish(
        mut self,
        details: &[u8],
    ) -> Result<(ChunkId, ChunkId, SourceCounts, Stored)> {
        use crate::tree::NodeSink as _;
        if let Some((spec, _)) = &self.current {
            return Err(Error::Refused {
                what: format!("stream {} was left open", spec.path),
            });
        }
        if details.len() > limits::NODE_BYTES_MAX {
            return Err(Error::Refused {
                what: format!(
                    "source {} cannot be kept: what is to be said of its collections has {} bytes, {} are the most",
                    self.name,
                    details.len(),
                    limits::NODE_BYTES_MAX
                ),
            });
        }
        let root = std::mem::take(&mut self.tree).finish(&mut self.builders)?;
        let details = self.builders.put_node(details)?;
        self.builders.flush()?;
        Ok((
            root,
            details,
            self.counts,
            Stored(Arc::clone(self.builders.stored())),
        ))
    }

    /// Keeps the chunks of a failed source, without its tree: other sources of the run may rely on them.
    pub(super) fn give_up(mut self) -> Result<()> {
        self.builders.flush()
    }

    fn check(&self) -> Result<()> {
        if self.cancel.is_set() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    fn entry_of(&mut self, path: &RepoPath) -> Result<Option<Entry>> {
        let (Some(walk), Some(name)) = (&mut self.parent, path.name()) else {
            return Ok(None);
        };
        let folder = Error::unless_damaged(walk.folder(&path.parent().unwrap_or_default()))?;
        let Some(folder) = folder else {
            // What cannot be read is no parent; what is saved now does not stand on it.
            self.parent = None;
            return Ok(None);
        };
        Ok(folder.and_then(|entries| find(&entries, name).cloned()))
    }

    /// The earlier form of a stream: at the same path, or, for a new file, the newest sibling whose name differs in numbers only
    /// (`dump-2026-11-20.sql`).
    fn parent_stream(&mut self, path: &RepoPath) -> Result<Option<ParentStream>> {
        if self.bases == Bases::None {
            return Ok(None);
        }
        let mut entry = self.entry_of(path)?;
        if entry.as_ref().is_none_or(|entry| entry.content().is_none()) {
            entry = self.sibling_of(path)?;
        }
        let Some(content) = entry.as_ref().and_then(Entry::content) else {
            return Ok(None);
        };
        let store = &self.builders.ground().store;
        let Some(all) = Error::unless_damaged(store.chunks(content))? else {
            return Ok(None);
        };
        let mut chunks = Vec::with_capacity(all.len());
        for (id, len) in all {
            if !store.is_present(id)? {
                return Ok(None);
            }
            // What the cache lacks is as if it had not been there: it is not worth fetching.
            let at_hand = self.bases != Bases::AtHand
                || Error::unless_damaged(store.is_at_hand(id, len))?.unwrap_or(false);
            if at_hand {
                chunks.push((id, len));
            } else {
                self.counts.cold_cache = true;
            }
        }
        Ok((!chunks.is_empty()).then(|| ParentStream::new(chunks)))
    }

    fn sibling_of(&mut self, path: &RepoPath) -> Result<Option<Entry>> {
        let (Some(walk), Some(name)) = (&mut self.parent, path.name()) else {
            return Ok(None);
        };
        let folder = Error::unless_damaged(walk.folder(&path.parent().unwrap_or_default()))?;
        let Some(entries) = folder.flatten() else {
            return Ok(None);
        };
        let pattern = without_numbers(name);
        if pattern.len() == name.len() && !name.iter().any(u8::is_ascii_digit) {
            return Ok(None);
        }
        let alike = entries
            .iter()
            .filter(|entry| entry.content().is_some() && without_numbers(&entry.name) == pattern);
        // The nearest name before it; for a name before all of them, the first.
        let before = alike.clone().rfind(|entry| entry.name.as_slice() < name);
        Ok(before.or_else(|| alike.clone().next()).cloned())
    }

    fn take_entry(
        &mut self,
        path: &RepoPath,
        kind: NodeKind,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<()> {
        self.check()?;
        if kind == NodeKind::Dir {
            self.counts.folders += 1;
            return self
                .tree
                .add_folder(path, meta, attributes, &mut self.builders);
        }
        self.counts.others += 1;
        let facts = StreamFacts {
            attributes,
            ..StreamFacts::default()
        };
        let name = path.name().unwrap_or_default().to_vec();
        self.tree.add(
            path,
            Entry {
                name,
                body: Body::Other(kind),
                meta,
                facts,
            },
            &mut self.builders,
        )
    }

    fn take_unread(&mut self, path: &RepoPath, meta: &Meta) -> Result<bool> {
        self.check()?;
        let Some(entry) = self.entry_of(path)? else {
            return Ok(false);
        };
        let Some(content) = entry.content() else {
            return Ok(false);
        };
        let same = meta.identity.is_some()
            && entry.meta.identity == meta.identity
            && entry.meta.mtime_ns == meta.mtime_ns
            && meta
                .identity
                .is_some_and(|identity| identity.size_bytes == content.size_bytes);
        if !same || self.bases == Bases::None || self.builders.ground().rebase || self.bases_full()
        {
            return Ok(false);
        }
        let store = Arc::clone(&self.builders.ground().store);
        let Some(chunks) = Error::unless_damaged(store.chunks(content))? else {
            return Ok(false);
        };
        for (id, _) in &chunks {
            if !store.is_present(*id)? {
                return Ok(false);
            }
        }
        if let crate::tree::ChunkList::Node(root) = &content.chunks {
            let mut nodes = vec![];
            store.visit_list(*root, &mut |_, _| {}, &mut |node| nodes.push(node))?;
            for node in nodes {
                if !store.is_present(node)? {
                    return Ok(false);
                }
            }
        }
        self.counts.files += 1;
        self.counts.files_unmodified += 1;
        self.counts.bytes += content.size_bytes;
        self.observer.event(Event::BytesRead {
            source: Some(self.name),
            bytes: content.size_bytes,
        });
        let entry = Entry {
            meta: meta.clone(),
            ..entry
        };
        self.tree.add(path, entry, &mut self.builders)?;
        Ok(true)
    }

    fn bases_full(&self) -> bool {
        self.bases == Bases::ReadAll
    }

    fn start(&mut self, spec: StreamSpec) -> Result<()> {
        self.check()?;
        if self.current.is_some() {
            return Err(Error::Refused {
                what: format!("stream {} began inside another", spec.path),
            });
        }
        self.observer.event(Event::ItemStarted {
            source: self.name,
            path: &spec.path,
        });
        let parent = self.parent_stream(&spec.path)?;
        let seed = self.builders.ground().store.repo().root().chunker_seed();
        let buffers = std::mem::take(&mut self.buffers);
        let encoder = StreamEncoder::new(seed, spec.profile, parent).with_buffers(buffers);
        self.current = Some((spec, encoder));
        self.records = 0;
        Ok(())
    }

    fn take(&mut self, key: Option<&[u8]>, bytes: &[u8]) -> Result<()> {
        self.check()?;
        let Some((_, encoder)) = &mut self.current else {
            return Err(Error::Refused {
                what: "bytes came outside a stream".into(),
            });
        };
        match key {
            None => encoder.write(bytes, &mut self.builders)?,
            Some(key) => {
                encoder.record(key, bytes, &mut self.builders)?;
                self.records += 1;
            }
        }
        self.observer.event(Event::BytesRead {
            source: Some(self.name),
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    fn end(&mut self, facts: StreamFacts) -> Result<()> {
        let Some((spec, encoder)) = self.current.take() else {
            return Err(Error::Refused {
                what: "a stream ended that never began".into(),
            });
        };
        // A source that counts what it read must have handed over just that: neither less nor anything twice.
        if let Some(told) = facts.records.filter(|told| *told != self.records)
            && self.records > 0
        {
            return Err(Error::Refused {
                what: format!(
                    "stream {} has {} records, its source says {told}",
                    spec.path, self.records
                ),
            });
        }
        let (chunks, stream, buffers) = encoder.finish(&mut self.builders)?;
        self.buffers = buffers;
        let before = self.entry_of(&spec.path)?;
        let content = Content {
            profile: spec.profile,
            size_bytes: stream.bytes,
            chunks,
        };
        self.counts.files += 1;
        match before.as_ref().and_then(Entry::content) {
            None => self.counts.files_new += 1,
            Some(old) if *old == content => self.counts.files_unmodified += 1,
            Some(_) => self.counts.files_changed += 1,
        }
        self.counts.bytes += stream.bytes;
        self.counts.read_bytes += stream.bytes;
        self.counts.changed_bytes += stream.changed_bytes;
        self.counts.literal_bytes += stream.literal_bytes;
        self.observer.event(Event::ItemFinished);
        let name = spec.path.name().unwrap_or_default().to_vec();
        let entry = Entry {
            name,
            body: Body::File(content),
            meta: spec.meta,
            facts,
        };
        self.tree.add(&spec.path, entry, &mut self.builders)
    }
}

/// Bytes that a source's boxes took: final once the writer has finished.
pub(super) struct Stored(Arc<std::sync::atomic::AtomicU64>);

impl Stored {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Sink for SourceSink<'_> {
    fn entry(
        &mut self,
        path: &RepoPath,
        kind: NodeKind,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<(), SourceError> {
        self.take_entry(path, kind, meta, attributes).map_err(pass)
    }

    fn reuse(&mut self, path: &RepoPath, meta: &Meta) -> Result<bool, SourceError> {
        self.take_unread(path, meta).map_err(pass)
    }

    fn begin(&mut self, spec: StreamSpec) -> Result<(), SourceError> {
        self.start(spec).map_err(pass)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.take(None, bytes).map_err(pass)
    }

    fn record(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), SourceError> {
        self.take(Some(key), bytes).map_err(pass)
    }

    fn finish(&mut self, facts: StreamFacts) -> Result<(), SourceError> {
        self.end(facts).map_err(pass)
    }

    fn abandon(&mut self) -> Result<(), SourceError> {
        self.current = None;
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_set()
    }
}

/// Wraps an error of the engine for its way through a source; `unwrap_engine` takes it out again.
pub(crate) fn pass(error: Error) -> SourceError {
    let kind = match &error {
        Error::Cancelled => SourceErrorKind::Cancelled,
        error if error.is_damage() => SourceErrorKind::Damage,
        _ => SourceErrorKind::Engine,
    };
    SourceError::new(kind, "the engine stopped the stream").because(error)
}

/// The engine's own error if a source has only passed it on; the source's error otherwise.
pub(crate) fn unwrap_engine(name: &str, error: SourceError) -> Error {
    if !matches!(
        error.kind(),
        SourceErrorKind::Engine | SourceErrorKind::Damage | SourceErrorKind::Cancelled
    ) {
        return Error::Source {
            name: name.into(),
            source: error,
        };
    }
    if error.kind() == SourceErrorKind::Cancelled {
        return Error::Cancelled;
    }
    let act = error.to_string();
    match error
        .into_cause()
        .map(<dyn std::error::Error + Send + Sync>::downcast::<Error>)
    {
        Some(Ok(own)) => *own,
        Some(Err(other)) => Error::Source {
            name: name.into(),
            source: SourceError::new(SourceErrorKind::Other, act).because(other),
        },
        None => Error::Source {
            name: name.into(),
            source: SourceError::new(SourceErrorKind::Other, act),
        },
    }
}

/// A name with every run of digits replaced by one zero.
fn without_numbers(name: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(name.len());
    let mut in_number = false;
    for byte in name {
        let digit = byte.is_ascii_digit();
        if !digit {
            out.push(*byte);
        } else if !in_number {
            out.push(b'0');
        }
        in_number = digit;
    }
    out
}
