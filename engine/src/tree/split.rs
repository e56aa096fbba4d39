//! Where nodes end: lists and folders are split by the content of their children, so that one change touches one node a level.

use super::format::{check_entry, encode_entry, encode_folder, encode_folder_index, encode_list};
use super::{ChunkList, Entry, ListEntry};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::limits::{CONTENT_CHUNKS_MAX, INLINE_CHUNKS_MAX};

/// Least children of a node that is not the last.
const CHILDREN_MIN: usize = 16;
/// Most children of a node.
const CHILDREN_MAX: usize = 1024;
/// Most bytes of entries in one folder node.
const FOLDER_BYTES: usize = 256 * 1024;

/// Keeps nodes.
pub trait NodeSink {
    /// Keeps one node and answers its name.
    fn put_node(&mut self, bytes: &[u8]) -> Result<ChunkId>;
}

/// Keeps a list of chunks: in the entry itself if it is short and has no keys.
pub fn write_list(entries: Vec<ListEntry>, nodes: &mut dyn NodeSink) -> Result<ChunkList> {
    if entries.len() <= INLINE_CHUNKS_MAX {
        let len = |entry: &ListEntry| u32::try_from(entry.len).unwrap_or(u32::MAX);
        return Ok(ChunkList::Inline(
            entries.iter().map(|entry| (entry.id, len(entry))).collect(),
        ));
    }
    if entries.len() > CONTENT_CHUNKS_MAX {
        let what = format!("a content has more than {CONTENT_CHUNKS_MAX} chunks");
        return Err(Error::Refused { what });
    }
    let mut level = 0;
    let mut entries = entries;
    loop {
        let mut above = Vec::new();
        for group in entries.chunk_by_content() {
            let id = nodes.put_node(&encode_list(level, group))?;
            above.push(summary(id, group));
        }
        if let [only] = above.as_slice() {
            return Ok(ChunkList::Node(only.id));
        }
        entries = above;
        level += 1;
    }
}

fn summary(id: ChunkId, group: &[ListEntry]) -> ListEntry {
    let first = group.first().and_then(|entry| entry.keys.as_ref());
    let last = group.last().and_then(|entry| entry.keys.as_ref());
    let keys = first
        .zip(last)
        .map(|((first, _), (_, last))| (first.clone(), last.clone()));
    ListEntry {
        id,
        len: group.iter().map(|entry| entry.len).sum(),
        keys,
    }
}

trait ChunkByContent {
    fn chunk_by_content(&self) -> impl Iterator<Item = &[ListEntry]>;
}

impl ChunkByContent for Vec<ListEntry> {
    fn chunk_by_content(&self) -> impl Iterator<Item = &[ListEntry]> {
        groups(
            self,
            |entry| ends_node(entry.id.as_bytes()),
            |_| 1,
            CHILDREN_MAX,
        )
    }
}

/// A child ends its node with probability 1/128: ids are hashes already.
fn ends_node(hash: &[u8; 32]) -> bool {
    hash.first().is_some_and(|byte| byte.trailing_zeros() >= 7)
}

/// Runs of items: each ends behind an item that says so, once it has enough children, or where it is full.
fn groups<'a, T>(
    items: &'a [T],
    ends: impl Fn(&T) -> bool + 'a,
    size: impl Fn(&T) -> usize + 'a,
    size_max: usize,
) -> impl Iterator<Item = &'a [T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut total = 0;
        let mut count = 0;
        for item in rest {
            count += 1;
            total += size(item);
            let full = count >= CHILDREN_MAX || total >= size_max;
            if full || (count >= CHILDREN_MIN && ends(item)) {
                break;
            }
        }
        let (group, tail) = rest.split_at(count);
        rest = tail;
        Some(group)
    })
}

/// Keeps a folder; entries are sorted by name. Answers its root node.
pub fn write_folder(entries: &[Entry], nodes: &mut dyn NodeSink) -> Result<ChunkId> {
    let encode = |entry: &Entry| {
        let encoded = encode_entry(entry);
        check_entry(&encoded).map_err(|error| Error::Refused {
            what: format!("{} cannot be kept: {error}", entry.name.escape_ascii()),
        })?;
        Ok((ends_node(blake3::hash(&entry.name).as_bytes()), encoded))
    };
    let encoded: Vec<(bool, Vec<u8>)> = entries.iter().map(encode).collect::<Result<_>>()?;
    let mut children = Vec::new();
    for group in groups(
        &encoded,
        |(ends, _)| *ends,
        |(_, bytes)| bytes.len(),
        FOLDER_BYTES,
    ) {
        let bytes: Vec<Vec<u8>> = group.iter().map(|(_, bytes)| bytes.clone()).collect();
        children.push(nodes.put_node(&encode_folder(&bytes))?);
    }
    if children.is_empty() {
        return nodes.put_node(&encode_folder(&[]));
    }
    let mut level = 1;
    while children.len() > 1 {
        let mut above = Vec::new();
        for group in groups(
            &children,
            |id| ends_node(id.as_bytes()),
            |_| 1,
            CHILDREN_MAX,
        ) {
            above.push(nodes.put_node(&encode_folder_index(level, group))?);
        }
        children = above;
        level += 1;
    }
    children
        .first()
        .copied()
        .map_or_else(|| nodes.put_node(&encode_folder(&[])), Ok)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[derive(Default)]
    struct Names(BTreeSet<ChunkId>);

    impl NodeSink for Names {
        fn put_node(&mut self, bytes: &[u8]) -> Result<ChunkId> {
            let id = ChunkId(*blake3::hash(bytes).as_bytes());
            self.0.insert(id);
            Ok(id)
        }
    }

    fn list(count: u32) -> Vec<ListEntry> {
        (0..count)
            .map(|n| ListEntry {
                id: ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes()),
                len: 1000,
                keys: None,
            })
            .collect()
    }

    #[test]
    fn a_changed_chunk_touches_one_node_a_level() {
        let mut before = Names::default();
        write_list(list(50_000), &mut before).unwrap();
        let mut changed = list(50_000);
        changed.insert(
            25_000,
            ListEntry {
                id: ChunkId([1; 32]),
                len: 7,
                keys: None,
            },
        );
        let mut after = Names::default();
        write_list(changed, &mut after).unwrap();
        assert!(before.0.len() > 300, "{}", before.0.len());
        assert!(after.0.difference(&before.0).count() <= 4);
    }
}
