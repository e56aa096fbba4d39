//! A database file of pages, as SQLite keeps a table.

use super::Pair;
use super::records::{row, touched};
use crate::rng::Rng;

pub(super) const PAGE: usize = 4096;

/// The leaves of a table in the order of the file.
pub(super) struct Database {
    leaves: Vec<Leaf>,
}

impl Database {
    /// Changed cells are written anew inside their page, new ones fill pages at the end.
    pub(super) fn hour(name: &'static str, count: usize) -> Pair {
        let mut rng = Rng::new(1, name);
        let mut database = Self::of_rows(&mut rng, count);
        let old = database.file(1);
        database.change(&mut rng, count);
        Pair {
            name,
            old,
            new: database.file(2),
        }
    }

    /// All cells are written anew, in the order of their keys, into full pages.
    pub(super) fn vacuum(name: &'static str, count: usize) -> Pair {
        let mut rng = Rng::new(1, name);
        let mut database = Self::of_rows(&mut rng, count);
        database.change(&mut rng, count);
        let old = database.file(2);
        let mut cells: Vec<_> = database
            .leaves
            .into_iter()
            .flat_map(|leaf| leaf.cells)
            .collect();
        cells.sort();
        let mut vacuumed = Self { leaves: vec![] };
        cells
            .into_iter()
            .for_each(|(id, cell)| vacuumed.append(id, cell));
        Pair {
            name,
            old,
            new: vacuumed.file(3),
        }
    }

    fn of_rows(rng: &mut Rng, count: usize) -> Self {
        let mut database = Self { leaves: vec![] };
        (0..count).for_each(|id| database.append(id, row(rng, id)));
        database
    }

    fn append(&mut self, id: usize, cell: Vec<u8>) {
        if !self.leaves.last().is_some_and(|leaf| leaf.has_room(&cell)) {
            self.leaves.push(Leaf::new());
        }
        let leaf = self.leaves.last_mut().expect("one was pushed");
        leaf.insert(leaf.cells.len(), id, cell);
    }

    fn change(&mut self, rng: &mut Rng, count: usize) {
        for n in 0..count / 40 {
            let page = rng.place(self.leaves.len());
            let leaf = &mut self.leaves[page];
            if leaf.cells.is_empty() {
                continue;
            }
            let index = rng.place(leaf.cells.len());
            let (id, cell) = leaf.remove(index);
            let changed = match n % 5 {
                0 => continue,
                1 | 2 => row(rng, id),
                _ => touched(rng, &cell),
            };
            if !leaf.has_room(&changed) {
                leaf.defragment();
            }
            if leaf.has_room(&changed) {
                leaf.insert(index, id, changed);
            } else {
                self.append(id, changed);
            }
        }
        for id in count..count + count / 100 {
            self.append(id, row(rng, id));
        }
    }

    fn file(&self, change: u32) -> Vec<u8> {
        let mut file = vec![0; PAGE];
        file[..16].copy_from_slice(b"SQLite format 3\0");
        file[24..28].copy_from_slice(&change.to_be_bytes());
        file.extend(self.leaves.iter().flat_map(|leaf| &leaf.bytes));
        file
    }
}

/// Cell pointers at the front, cells from the end, free space between.
struct Leaf {
    cells: Vec<(usize, Vec<u8>)>,
    /// Where each cell lies.
    offsets: Vec<usize>,
    /// Where the free space ends.
    top: usize,
    bytes: Vec<u8>,
}

impl Leaf {
    fn new() -> Self {
        Self {
            cells: vec![],
            offsets: vec![],
            top: PAGE,
            bytes: vec![0; PAGE],
        }
    }

    fn has_room(&self, cell: &[u8]) -> bool {
        self.top >= 8 + 2 * (self.cells.len() + 1) + cell.len()
    }

    fn insert(&mut self, index: usize, id: usize, cell: Vec<u8>) {
        self.top -= cell.len();
        self.bytes[self.top..self.top + cell.len()].copy_from_slice(&cell);
        self.offsets.insert(index, self.top);
        self.cells.insert(index, (id, cell));
        self.write_header();
    }

    fn remove(&mut self, index: usize) -> (usize, Vec<u8>) {
        self.offsets.remove(index);
        let removed = self.cells.remove(index);
        self.write_header();
        removed
    }

    fn defragment(&mut self) {
        let cells = std::mem::take(&mut self.cells);
        (self.offsets, self.top) = (vec![], PAGE);
        for (index, (id, cell)) in cells.into_iter().enumerate() {
            self.insert(index, id, cell);
        }
    }

    fn write_header(&mut self) {
        self.bytes[0] = 13;
        self.bytes[3..5].copy_from_slice(&(self.offsets.len() as u16).to_be_bytes());
        self.bytes[5..7].copy_from_slice(&(self.top as u16).to_be_bytes());
        for (slot, offset) in self.bytes[8..].chunks_exact_mut(2).zip(&self.offsets) {
            slot.copy_from_slice(&(*offset as u16).to_be_bytes());
        }
    }
}
