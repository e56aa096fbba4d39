//! Content: every chunk is made and compared with its name, by several threads, in the order in which chunks lie, so that each
//! segment is opened about once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::damage;
use crate::backup::Cancel;
use crate::error::Result;
use crate::id::ChunkId;
use crate::limits::READ_TOGETHER_BYTES;
use crate::progress::{Event, Observer};
use crate::repo::{Span, Store, bytes_of, in_groups};
use crate::segment::SegmentId;
use crate::snapshot::select::Listed;
use crate::tree::{Body, ChunkList, Node};

/// Bytes of chunks that a thread takes at a time.
const TAKE_BYTES: usize = READ_TOGETHER_BYTES / 2;

/// Makes every chunk of these snapshots; answers those that are as they should be, with their lengths. What is wrong with
/// the others, the walk over the snapshots tells.
pub(super) fn verify(
    store: &Store,
    snapshots: &[Listed],
    parallel: usize,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<HashMap<ChunkId, u32>> {
    let chunks = in_order(store, leaves(store, snapshots, cancel)?)?;
    observer.event(Event::Total {
        bytes: bytes_of(&chunks) as u64,
        items: 0,
    });
    let shares = in_groups(&chunks, TAKE_BYTES);
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let done = make(store, &shares, &next, &stopped, observer, cancel);
        stopped.fetch_or(done.is_err(), Ordering::Relaxed);
        done
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..parallel.max(1)).map(|_| scope.spawn(work)).collect();
        let mut good = HashMap::with_capacity(chunks.len());
        for thread in threads {
            match thread.join() {
                Ok(made) => good.extend(made?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(good)
    })
}

/// One thread's shares, taken one by one.
fn make(
    store: &Store,
    shares: &[&[(ChunkId, u32)]],
    next: &AtomicUsize,
    stopped: &AtomicBool,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<Vec<(ChunkId, u32)>> {
    let (mut good, mut bytes) = (Vec::new(), Vec::new());
    while !stopped.load(Ordering::Relaxed) {
        let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) else {
            break;
        };
        cancel.check()?;
        bytes.resize(bytes_of(share), 0);
        match store.read_chunks_into(share, &mut bytes) {
            Ok(()) => good.extend_from_slice(share),
            Err(error) => {
                damage(error)?;
                one_by_one(store, share, &mut good, cancel)?;
            }
        }
        observer.event(Event::BytesRead {
            source: None,
            bytes: bytes_of(share) as u64,
        });
    }
    Ok(good)
}

/// Where one of a share is not as it should be, the others may be.
fn one_by_one(
    store: &Store,
    wanted: &[(ChunkId, u32)],
    good: &mut Vec<(ChunkId, u32)>,
    cancel: &Cancel,
) -> Result<()> {
    let mut bytes = Vec::new();
    for (id, len) in wanted {
        cancel.check()?;
        bytes.clear();
        match store.read_chunk(*id, *len, &mut bytes) {
            Ok(()) => good.push((*id, *len)),
            Err(error) => drop(damage(error)?),
        }
    }
    Ok(())
}

/// All chunks below snapshots, each once. What cannot be read is left out.
fn leaves(store: &Store, snapshots: &[Listed], cancel: &Cancel) -> Result<HashMap<ChunkId, u32>> {
    let sources = snapshots.iter().flat_map(|listed| &listed.snapshot.sources);
    let mut nodes: Vec<ChunkId> = sources.filter_map(|source| source.root).collect();
    let mut seen: HashSet<ChunkId> = HashSet::new();
    let mut leaves = HashMap::new();
    while let Some(id) = nodes.pop() {
        if !seen.insert(id) {
            continue;
        }
        cancel.check()?;
        match store.read_node(id) {
            Ok(Node::FolderIndex { children, .. }) => nodes.extend(children),
            Ok(Node::List { level, entries }) => {
                for entry in entries {
                    if level > 0 {
                        nodes.push(entry.id);
                    } else if let Ok(len) = u32::try_from(entry.len) {
                        leaves.insert(entry.id, len);
                    }
                }
            }
            Ok(Node::Folder(entries)) => {
                for entry in entries {
                    match entry.body {
                        Body::Dir(root) => nodes.push(root),
                        Body::Other(_) => {}
                        Body::File(content) => match content.chunks {
                            ChunkList::Inline(chunks) => leaves.extend(chunks),
                            ChunkList::Node(root) => nodes.push(root),
                        },
                    }
                }
            }
            Err(error) => drop(damage(error)?),
        }
    }
    Ok(leaves)
}

/// Sorted by where most of each chunk lies. What lies nowhere comes first, and is soon found to be missing.
fn in_order(store: &Store, leaves: HashMap<ChunkId, u32>) -> Result<Vec<(ChunkId, u32)>> {
    let mut placed = Vec::with_capacity(leaves.len());
    let mut spans = Vec::new();
    for (id, len) in leaves {
        spans.clear();
        if let Err(error) = store.resolve(id, 0, len, &mut spans) {
            damage(error)?;
        }
        let place = mostly_in(&spans).and_then(|segment| {
            store.with_index(|index| {
                let place = index.segment(segment).next()?;
                Some((place.pack, place.offset))
            })
        });
        placed.push((place.unwrap_or_default(), id, len));
    }
    placed.sort_unstable();
    Ok(placed.into_iter().map(|(_, id, len)| (id, len)).collect())
}

fn mostly_in(spans: &[Span]) -> Option<SegmentId> {
    let mut bytes: HashMap<SegmentId, u64> = HashMap::new();
    for span in spans {
        *bytes.entry(span.segment).or_default() += u64::from(span.len);
    }
    let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.map(|(segment, _)| segment)
}
