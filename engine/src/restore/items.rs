//! One capture read back: what a rebuild and an export see of a repository.

use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;

use crate::backup::{Cancel, pass, unwrap_engine};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits::READ_TOGETHER_BYTES;
use crate::path::RepoPath;
use crate::repo::{Met, Store, bytes_of, in_groups, lock};
use crate::snapshot::{SnapshotSource, SourceDetails};
use crate::source::{
    CaptureReport, ItemInfo, Items, OpenFacts, SourceError, SourceErrorKind, Walked,
};
use crate::tree::{Body, Content};

/// The items of one source of one snapshot.
#[derive(Debug, Clone)]
pub struct CapturedItems {
    store: Arc<Store>,
    root: ChunkId,
    details: Arc<SourceDetails>,
    parallel: usize,
    cancel: Cancel,
    /// Held by the one content that is read ahead: threads that read two at once would take each other's segments away.
    ahead: Arc<Mutex<()>>,
    /// Buffers that were read into before: fresh ones would be fresh pages every time.
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl CapturedItems {
    /// Opens one capture. `parallel`: threads that read one large content.
    pub fn open(
        store: &Arc<Store>,
        source: &SnapshotSource,
        parallel: usize,
        cancel: &Cancel,
    ) -> Result<Self> {
        let root = source.root.ok_or_else(|| Error::NotFound {
            what: format!("source {} was not captured in this snapshot", source.name),
        })?;
        let details = match source.details {
            None => SourceDetails::default(),
            Some(id) => {
                let json = store.read_node_bytes(id)?;
                serde_json::from_slice(&json).map_err(|error| {
                    let error = crate::codec::FormatError::new("source details", error.to_string());
                    Error::corrupt(format!("node {id}"))(error)
                })?
            }
        };
        let details = Arc::new(details);
        Ok(Self {
            store: Arc::clone(store),
            root,
            details,
            parallel,
            cancel: cancel.clone(),
            ahead: Arc::default(),
            spare: Arc::default(),
        })
    }

    /// The root folder's node.
    pub fn root(&self) -> ChunkId {
        self.root
    }

    /// The store it is read from.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    fn content(&self, path: &RepoPath) -> Result<Content> {
        match self.store.lookup(self.root, path)?.map(|entry| entry.body) {
            Some(Body::File(content)) => Ok(content),
            Some(_) => Err(Error::NotFound {
                what: format!("{path} has no content"),
            }),
            None => Err(Error::NotFound {
                what: format!("the capture holds no item {path}"),
            }),
        }
    }

    fn read_content(
        &self,
        content: &Content,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut chunks = self.store.chunks(content).map_err(pass)?;
        let mut skip = offset;
        let whole = chunks.iter().take_while(|(_, len)| {
            let before = skip >= u64::from(*len);
            skip -= if before { u64::from(*len) } else { 0 };
            before
        });
        let whole = whole.count();
        chunks.drain(..whole);
        let mut trimmed = |bytes: &[u8]| {
            let cut = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            skip -= cut as u64;
            take(bytes.get(cut..).unwrap_or_default())
        };
        let size = bytes_of(&chunks);
        let is_large = size > READ_TOGETHER_BYTES && self.parallel > 1;
        let Some(_alone) = is_large.then(|| self.ahead.try_lock().ok()).flatten() else {
            let groups = in_groups(&chunks, READ_TOGETHER_BYTES);
            return self.read_here(&groups, &mut trimmed);
        };
        // As many for each thread, which side by side want the same segments at the same time; and together as many bytes
        // for any number of threads.
        let round_bytes = 2 * READ_TOGETHER_BYTES;
        let rounds = ((size + round_bytes / 2) / round_bytes).max(1);
        let groups = in_groups(&chunks, size.div_ceil(rounds * self.parallel));
        self.read_ahead(&groups, &mut trimmed)
    }

    fn read_here(
        &self,
        groups: &[&[(ChunkId, u32)]],
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        for group in groups {
            let bytes = self.read_group(group).map_err(pass)?;
            take(&bytes)?;
            self.put_back(bytes);
        }
        Ok(())
    }

    /// Threads read groups of chunks ahead; they are handed over in order.
    fn read_ahead(
        &self,
        groups: &[&[(ChunkId, u32)]],
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..self.parallel)
                .map(|lane| {
                    let (sender, receiver) = bounded::<Result<Vec<u8>>>(0);
                    let mine = groups.iter().skip(lane).step_by(self.parallel);
                    scope.spawn(move || {
                        for group in mine {
                            let read = self.read_group(group);
                            let failed = read.is_err();
                            if sender.send(read).is_err() || failed {
                                break;
                            }
                        }
                    });
                    receiver
                })
                .collect();
            for lane in lanes.iter().cycle().take(groups.len()) {
                let group = lane.recv().map_err(|_| pass(Error::Cancelled))?;
                let bytes = group.map_err(pass)?;
                take(&bytes)?;
                self.put_back(bytes);
            }
            Ok(())
        })
    }

    fn read_group(&self, group: &[(ChunkId, u32)]) -> Result<Vec<u8>> {
        self.cancel.check()?;
        let size = bytes_of(group);
        let mut bytes = lock(&self.spare).pop().unwrap_or_default();
        // What another group has left in it is written over.
        bytes.reserve_exact(size.saturating_sub(bytes.len()));
        bytes.resize(size, 0);
        self.store.read_chunks_into(group, &mut bytes)?;
        Ok(bytes)
    }

    fn put_back(&self, buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        if spare.len() < self.parallel {
            spare.push(buffer);
        }
    }
}

impl Items for CapturedItems {
    fn open_facts(&self) -> &OpenFacts {
        &self.details.open
    }

    fn report(&self) -> &CaptureReport {
        &self.details.report
    }

    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.walk_past_damage(&mut |walked| match walked {
            Walked::Item(item) => visit(*item),
            Walked::Lost(_, error) => Err(error),
        })
    }

    fn walk_past_damage(
        &self,
        visit: &mut dyn FnMut(Walked) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut failure = None;
        let walked = self
            .store
            .walk_past_damage(self.root, &RepoPath::root(), &mut |met| {
                self.cancel.check()?;
                let walked = match met {
                    Met::Entry(path, entry) => Walked::Item(Box::new(entry.info(path.clone()))),
                    Met::Lost(path, error) => Walked::Lost(path.clone(), pass(error)),
                };
                visit(walked).map_err(|error| {
                    failure = Some(error);
                    Error::Cancelled
                })
            });
        match failure {
            Some(error) => Err(error),
            None => walked.map_err(pass),
        }
    }

    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError> {
        let entry = self.store.lookup(self.root, path).map_err(pass)?;
        Ok(entry.map(|entry| entry.info(path.clone())))
    }

    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.read_from(path, 0, take)
    }

    fn read_from(
        &self,
        path: &RepoPath,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let content = self.content(path).map_err(|error| match error {
            Error::NotFound { what } => SourceError::new(SourceErrorKind::Missing, what),
            other => pass(other),
        })?;
        self.read_content(&content, offset, take)
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_set()
    }
}

/// Takes the engine's own error out of what a target or export has passed on.
pub fn source_failed(name: &str, error: SourceError) -> Error {
    unwrap_engine(name, error)
}
