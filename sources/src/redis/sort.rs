//! Sorts entries by key in bounded memory: runs go to a sealed spool when memory is full, and are merged at the end.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;
use std::path::PathBuf;

use super::spool::{Run, Spool};

const BLOCK_BYTES: usize = 1 << 20;
/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 32;

/// Takes entries in any order.
pub(super) struct Sorter {
    memory_bytes_max: usize,
    spool_bytes_max: u64,
    folder: PathBuf,
    blocks: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    held_bytes: usize,
    spool: Option<Spool>,
    runs: Vec<Run>,
}

/// Where an entry lies in memory.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    block: usize,
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
}

impl Sorter {
    /// Holds so much in memory and spools so much into a folder, at most.
    pub(super) fn new(memory_bytes_max: usize, spool_bytes_max: u64, folder: PathBuf) -> Self {
        Self {
            memory_bytes_max,
            spool_bytes_max,
            folder,
            blocks: Vec::new(),
            entries: Vec::new(),
            held_bytes: 0,
            spool: None,
            runs: Vec::new(),
        }
    }

    /// Takes one entry.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let size = key.len() + value.len();
        if self.held_bytes > 0 && self.held_bytes + size + ENTRY_BYTES > self.memory_bytes_max {
            self.spill()?;
        }
        let fits = |block: &Vec<u8>| block.capacity() - block.len() >= size;
        if !self.blocks.last().is_some_and(fits) {
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES.max(size)));
        }
        let block_index = self.blocks.len() - 1;
        if let Some(block) = self.blocks.last_mut() {
            self.entries.push(Entry {
                block: block_index,
                start: block.len(),
                key_bytes: key.len(),
                value_bytes: value.len(),
            });
            block.extend_from_slice(key);
            block.extend_from_slice(value);
        }
        self.held_bytes += size + ENTRY_BYTES;
        Ok(())
    }

    /// Everything in the order of the keys; of equal keys only one.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Sorted::Memory {
                blocks: self.blocks,
                entries: self.entries.into_iter(),
            });
        }
        if !self.entries.is_empty() {
            self.spill()?;
        }
        let mut heads = BinaryHeap::new();
        for (number, mut run) in self.runs.into_iter().enumerate() {
            if let Some((key, value)) = read_entry(&mut run)? {
                heads.push(Reverse(Head {
                    key,
                    number,
                    value,
                    run,
                }));
            }
        }
        Ok(Sorted::Runs {
            heads,
            current: None,
        })
    }

    fn sort(&mut self) {
        let blocks = &self.blocks;
        self.entries
            .sort_unstable_by(|a, b| key_of(blocks, *a).cmp(key_of(blocks, *b)));
        self.entries
            .dedup_by(|a, b| key_of(blocks, *a) == key_of(blocks, *b));
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::create(&self.folder, self.spool_bytes_max)?),
        };
        let heads: Vec<[u8; 16]> = self.entries.iter().map(head_of).collect();
        let blocks = &self.blocks;
        let pieces = self.entries.iter().zip(&heads).flat_map(|(entry, head)| {
            let bytes = bytes_of(
                blocks,
                *entry,
                entry.start,
                entry.key_bytes + entry.value_bytes,
            );
            [head.as_slice(), bytes]
        });
        let run = spool.write_run(pieces)?;
        self.runs.push(run);
        self.blocks.clear();
        self.entries.clear();
        self.held_bytes = 0;
        Ok(())
    }
}

fn head_of(entry: &Entry) -> [u8; 16] {
    let mut head = [0; 16];
    let lengths = [entry.key_bytes, entry.value_bytes];
    for (out, length) in head.chunks_exact_mut(8).zip(lengths) {
        out.copy_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes());
    }
    head
}

fn bytes_of(blocks: &[Vec<u8>], entry: Entry, start: usize, length: usize) -> &[u8] {
    blocks
        .get(entry.block)
        .and_then(|block| block.get(start..start + length))
        .unwrap_or_default()
}

fn key_of(blocks: &[Vec<u8>], entry: Entry) -> &[u8] {
    bytes_of(blocks, entry, entry.start, entry.key_bytes)
}

fn read_entry(run: &mut Run) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    if run.rest_bytes() == 0 {
        return Ok(None);
    }
    let mut head = Vec::with_capacity(16);
    run.read(16, &mut head)?;
    let mut lengths = head.chunks_exact(8).map(|bytes| {
        let number = bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        usize::try_from(number).unwrap_or(usize::MAX)
    });
    let (key_bytes, value_bytes) = (lengths.next().unwrap_or(0), lengths.next().unwrap_or(0));
    let mut key = Vec::with_capacity(key_bytes);
    run.read(key_bytes, &mut key)?;
    let mut value = Vec::with_capacity(value_bytes);
    run.read(value_bytes, &mut value)?;
    Ok(Some((key, value)))
}

/// Entries in order.
pub(super) enum Sorted {
    /// All of them fitted into memory.
    Memory {
        blocks: Vec<Vec<u8>>,
        entries: std::vec::IntoIter<Entry>,
    },
    /// They lie in runs; the heap holds the next of each.
    Runs {
        heads: BinaryHeap<Reverse<Head>>,
        current: Option<(Vec<u8>, Vec<u8>)>,
    },
}

/// The next entry of a run.
pub(super) struct Head {
    key: Vec<u8>,
    number: usize,
    value: Vec<u8>,
    run: Run,
}

impl Sorted {
    /// The next entry: its key and its value.
    pub(super) fn next_entry(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Memory { blocks, entries } => Ok(entries.next().map(|entry| {
                let value_start = entry.start + entry.key_bytes;
                let value = bytes_of(blocks, entry, value_start, entry.value_bytes);
                (key_of(blocks, entry), value)
            })),
            Self::Runs { heads, current } => {
                let mut last_key = current.take().map(|(key, _)| key);
                while let Some(Reverse(mut head)) = heads.pop() {
                    let repeated = last_key.as_ref() == Some(&head.key);
                    let next = read_entry(&mut head.run)?;
                    let entry = (head.key, head.value);
                    if let Some((key, value)) = next {
                        heads.push(Reverse(Head { key, value, ..head }));
                    }
                    if !repeated {
                        let (key, value) = current.insert(entry);
                        return Ok(Some((key, value)));
                    }
                    last_key = Some(entry.0);
                }
                Ok(None)
            }
        }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = self.key.cmp(&other.key);
        by_key.then_with(|| self.number.cmp(&other.number))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(memory_bytes_max: usize, entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(memory_bytes_max, u64::MAX, folder.path().to_path_buf());
        for (key, value) in entries {
            sorter.push(key, value).unwrap();
        }
        let mut sorted = sorter.finish().unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "a file has a name"
        );
        let mut out = Vec::new();
        while let Some((key, value)) = sorted.next_entry().unwrap() {
            out.push((key.to_vec(), value.to_vec()));
        }
        out
    }

    #[test]
    fn spilled_or_not_the_order_is_the_same() {
        let mut entries: Vec<_> = (0..2_000_u32)
            .map(|n| {
                let key = blake3::hash(&n.to_le_bytes())
                    .to_hex()
                    .to_string()
                    .into_bytes();
                let size = usize::try_from(n % 300).unwrap();
                (key, vec![u8::try_from(n % 251).unwrap(); size])
            })
            .collect();
        // One entry alone is larger than all the memory, and some come twice.
        entries.push((b"big".to_vec(), vec![7; 300_000]));
        entries.extend_from_within(0..50);
        let mut expected = entries.clone();
        expected.sort();
        expected.dedup();
        assert_eq!(sorted(usize::MAX, &entries), expected);
        assert_eq!(sorted(20_000, &entries), expected);
        assert_eq!(sorted(1, &entries[..40]), {
            let mut few = entries[..40].to_vec();
            few.sort();
            few
        });
        assert_eq!(sorted(1, &[]), []);
    }

    #[test]
    fn the_bound_of_the_spool_is_kept() {
        let mut sorter = Sorter::new(1_000, 200_000, tempfile::env::temp_dir());
        let failed = (0..1_000_u32)
            .find_map(|n| sorter.push(&n.to_le_bytes(), &[0; 900]).err())
            .unwrap();
        assert_eq!(failed.kind(), io::ErrorKind::QuotaExceeded);
    }
}
