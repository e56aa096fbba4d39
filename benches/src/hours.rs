//! Seeded pairs of dumps, an hour apart: what the aligner is measured on. The same on every machine.
//!
//! In each record stream 2 % of the records change, 1 % are new and 0.5 % are gone, scattered.

/// A stream and the same stream an hour later.
pub struct Pair {
    /// What it looks like.
    pub name: &'static str,
    /// The parent.
    pub old: Vec<u8>,
    /// The new stream.
    pub new: Vec<u8>,
}

/// SplitMix64: good enough for data, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits() as u8).collect()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Words with the skew of a language: rank falls off as one over its number.
fn words(rng: &mut Rng, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        if n > 0 {
            text.push(' ');
        }
        let rank = 5000f64.powf(rng.unit()) as u64;
        let mut letters = rank.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..2 + rank.ilog2() / 2 {
            text.push(char::from(b'a' + (letters % 26) as u8));
            letters = (letters / 26) ^ (letters >> 7);
        }
    }
    text
}

fn timestamp(rng: &mut Rng) -> String {
    let (day, second) = (1 + rng.below(28), rng.below(86_400));
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "2026-{:02}-{day:02} {hour:02}:{minute:02}:{:02}.{:06}+00",
        1 + rng.below(12),
        second % 60,
        rng.below(1_000_000)
    )
}

/// A row of `COPY … TO STDOUT`.
fn row(rng: &mut Rng, id: usize) -> Vec<u8> {
    let text_len = 20 + rng.below(40);
    let mut row = format!("{id}\tuser-{}\t", rng.below(997));
    row += &words(rng, text_len);
    row += &format!(
        "\t{{\"source\": \"{}\", \"tags\": [\"{}\", \"{}\"], ",
        words(rng, 2),
        words(rng, 1),
        words(rng, 1)
    );
    row += &format!(
        "\"version\": {}}}\t{}\t{}\n",
        rng.below(9),
        rng.unit(),
        timestamp(rng)
    );
    row.into_bytes()
}

/// A key with its hash, as lengths and values.
fn record(rng: &mut Rng, id: usize) -> Vec<u8> {
    let mut record = b"\x04\x10session:".to_vec();
    record.extend_from_slice(
        format!(
            "{:010x}",
            (id as u64).wrapping_mul(0x9e37_79b9) & 0xff_ffff_ffff
        )
        .as_bytes(),
    );
    let mut field = |name: &str, value: &[u8]| {
        record.push(name.len() as u8);
        record.extend_from_slice(name.as_bytes());
        record.extend_from_slice(&(value.len() as u32).to_le_bytes());
        record.extend_from_slice(value);
    };
    field("user_id", format!("user-{}", rng.below(997)).as_bytes());
    field("seen", &rng.bits().to_le_bytes());
    let text_len = 5 + rng.below(40);
    field("messages", words(rng, text_len).as_bytes());
    field("state", &rng.bytes(24));
    field("count", rng.below(10_000).to_string().as_bytes());
    record
}

/// A point: payload and 768 components of a random normal vector.
fn point(rng: &mut Rng, id: usize) -> Vec<u8> {
    let text_len = 15 + rng.below(30);
    let mut point = format!("{{\"id\": {id}, \"payload\": {{\"importance\": {}, \"text\": \"{}\", \"user_id\": \"user-{}\"}}}}\n", rng.unit(), words(rng, text_len), rng.below(97)).into_bytes();
    for _ in 0..384 {
        let radius = (-2.0 * rng.unit().max(1e-12).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.unit();
        for component in [radius * angle.cos(), radius * angle.sin()] {
            point.extend_from_slice(&(component as f32).to_le_bytes());
        }
    }
    point
}

/// Where new and changed records go.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Changed in place, new ones at the end: a growing key.
    Key,
    /// Changed in place, new ones anywhere: a sorted hash.
    Sorted,
    /// Changed ones leave a hole and move to the end or into a hole, as new ones do: a heap.
    Heap,
}

type Make = fn(&mut Rng, usize) -> Vec<u8>;

/// A stream of records and what happens to it.
struct Records {
    name: &'static str,
    seed: u64,
    count: usize,
    make: Make,
    order: Order,
    /// How many times as much changes as in an ordinary hour.
    busy: usize,
}

impl Records {
    fn hour(self) -> Pair {
        let Self {
            name,
            seed,
            count,
            make,
            order,
            busy,
        } = self;
        let mut rng = Rng::new(seed);
        let old: Vec<_> = (0..count).map(|id| make(&mut rng, id)).collect();
        let mut new: Vec<_> = old.iter().cloned().map(Some).collect();
        let (mut holes, mut moved) = (Vec::new(), Vec::new());
        for _ in 0..count * busy / 200 {
            let id = rng.below(count);
            new[id] = None;
            holes.push(id);
        }
        for _ in 0..count * busy / 50 {
            let id = rng.below(count);
            let is_new = rng.below(2) == 0;
            let changed = if is_new {
                make(&mut rng, id)
            } else {
                touched(&mut rng, &old[id])
            };
            if order == Order::Heap {
                new[id] = None;
                moved.push(changed);
            } else {
                new[id] = Some(changed);
            }
        }
        moved.extend((0..count * busy / 100).map(|n| make(&mut rng, count + n)));
        for record in moved {
            let hole = if order == Order::Heap {
                holes.pop()
            } else {
                None
            };
            match (order, hole) {
                (_, Some(hole)) => new[hole] = Some(record),
                (Order::Sorted, _) => new.insert(rng.below(count), Some(record)),
                _ => new.push(Some(record)),
            }
        }
        Pair {
            name,
            old: old.concat(),
            new: new.into_iter().flatten().flatten().collect(),
        }
    }
}

/// The record with a few bytes changed in place, as a counter or a time.
fn touched(rng: &mut Rng, record: &[u8]) -> Vec<u8> {
    let mut touched = record.to_vec();
    let at = rng.below(record.len() - 8);
    for byte in &mut touched[at..at + 8] {
        *byte = if byte.is_ascii_digit() {
            b'0' + rng.below(10) as u8
        } else {
            rng.bits() as u8
        };
    }
    touched
}

const PAGE: usize = 4096;

/// A leaf of a table's tree: cell pointers at the front, cells from the end, free space between.
#[derive(Clone)]
struct Leaf {
    cells: Vec<(usize, Vec<u8>)>,
    /// Offsets of the cells, and where the free space ends.
    offsets: Vec<usize>,
    top: usize,
    bytes: Vec<u8>,
}

impl Leaf {
    fn new() -> Self {
        Self {
            cells: Vec::new(),
            offsets: Vec::new(),
            top: PAGE,
            bytes: vec![0; PAGE],
        }
    }

    fn has_room(&self, len: usize) -> bool {
        self.top >= 8 + 2 * (self.cells.len() + 1) + len
    }

    fn insert(&mut self, index: usize, id: usize, cell: Vec<u8>) {
        self.top -= cell.len();
        self.bytes[self.top..self.top + cell.len()].copy_from_slice(&cell);
        self.offsets.insert(index, self.top);
        self.cells.insert(index, (id, cell));
        self.write_header();
    }

    fn remove(&mut self, index: usize) {
        self.offsets.remove(index);
        self.cells.remove(index);
        self.write_header();
    }

    fn defragment(&mut self) {
        let cells = std::mem::take(&mut self.cells);
        (self.offsets, self.top) = (Vec::new(), PAGE);
        for (index, (id, cell)) in cells.into_iter().enumerate() {
            self.insert(index, id, cell);
        }
    }

    fn write_header(&mut self) {
        self.bytes[0] = 13;
        self.bytes[3..5].copy_from_slice(&(self.offsets.len() as u16).to_be_bytes());
        self.bytes[5..7].copy_from_slice(&(self.top as u16).to_be_bytes());
        for (index, offset) in self.offsets.iter().enumerate() {
            self.bytes[8 + 2 * index..10 + 2 * index]
                .copy_from_slice(&(*offset as u16).to_be_bytes());
        }
    }
}

/// A database file: changed cells are written anew inside their page, new ones fill pages at the end.
fn pages(name: &'static str, seed: u64, count: usize) -> Pair {
    let mut rng = Rng::new(seed);
    let mut leaves = vec![Leaf::new()];
    let append = |leaves: &mut Vec<Leaf>, id: usize, cell: Vec<u8>| {
        if !leaves.last().unwrap().has_room(cell.len()) {
            leaves.push(Leaf::new());
        }
        let leaf = leaves.last_mut().unwrap();
        leaf.insert(leaf.cells.len(), id, cell);
    };
    for id in 0..count {
        let cell = row(&mut rng, id);
        append(&mut leaves, id, cell);
    }
    let file = |leaves: &[Leaf], change: u32| {
        let mut file = vec![0; PAGE];
        file[..16].copy_from_slice(b"SQLite format 3\0");
        file[24..28].copy_from_slice(&change.to_be_bytes());
        file.extend(leaves.iter().flat_map(|leaf| &leaf.bytes));
        file
    };
    let old = file(&leaves, 1);
    for n in 0..count / 50 + count / 200 {
        let page = rng.below(leaves.len());
        let leaf = &mut leaves[page];
        if leaf.cells.is_empty() {
            continue;
        }
        let index = rng.below(leaf.cells.len());
        let (id, cell) = leaf.cells[index].clone();
        leaf.remove(index);
        if n % 5 == 0 {
            continue;
        }
        let changed = if n % 2 == 0 {
            row(&mut rng, id)
        } else {
            touched(&mut rng, &cell)
        };
        if !leaf.has_room(changed.len()) {
            leaf.defragment();
        }
        if leaf.has_room(changed.len()) {
            leaf.insert(index, id, changed);
        } else {
            append(&mut leaves, id, changed);
        }
    }
    for n in 0..count / 100 {
        let cell = row(&mut rng, count + n);
        append(&mut leaves, count + n, cell);
    }
    Pair {
        name,
        old,
        new: file(&leaves, 2),
    }
}

fn log(name: &'static str, seed: u64, count: usize) -> Pair {
    let mut rng = Rng::new(seed);
    let mut line = |_| {
        let level = ["INFO", "INFO", "INFO", "DEBUG", "WARN"][rng.below(5)];
        let text_len = 4 + rng.below(10);
        format!(
            "{} {level} app.memory[{}]: request {:016x} {} took {} ms\n",
            timestamp(&mut rng),
            rng.below(64),
            rng.bits(),
            words(&mut rng, text_len),
            rng.below(900)
        )
    };
    let old: String = (0..count).map(&mut line).collect();
    let added: String = (0..count / 60).map(&mut line).collect();
    Pair {
        name,
        new: (old.clone() + &added).into_bytes(),
        old: old.into_bytes(),
    }
}

/// The shapes of an hour, about `megabytes` each.
pub fn hour(megabytes: usize) -> Vec<Pair> {
    let count = |bytes: usize| megabytes * 1_000_000 / bytes;
    let records = |name, seed, bytes, make, order| {
        Records {
            name,
            seed,
            count: count(bytes),
            make,
            order,
            busy: 1,
        }
        .hour()
    };
    vec![
        records("postgres, by key", 1, 370, row, Order::Key),
        records("postgres, heap", 2, 370, row, Order::Heap),
        records("redis", 3, 250, record, Order::Sorted),
        records("vectors", 4, 3300, point, Order::Key),
        pages("sqlite", 5, count(370)),
        log("log", 6, count(150)),
    ]
}

/// Shapes that are hard for an aligner, about `megabytes` each.
pub fn hard(megabytes: usize) -> Vec<Pair> {
    let len = megabytes * 1_000_000;
    let mut rng = Rng::new(77);
    let rows: Vec<_> = (0..len / 370).map(|id| row(&mut rng, id)).collect();
    let text = rows.concat();
    let other = (0..len / 370)
        .flat_map(|id| row(&mut rng, id + 1_000_000))
        .collect();
    let noise = rng.bytes(len);
    let wide: Vec<_> = (0..len / 400).map(|_| fixed_row(&mut rng)).collect();
    let pages: Vec<_> = (0..len / PAGE).map(|_| sparse_page(&mut rng)).collect();
    let busy = |name, seed, order| {
        Records {
            name,
            seed,
            count: len / 370,
            make: row,
            order,
            busy: 10,
        }
        .hour()
    };
    let pair = |name, old: &[u8], new: Vec<u8>| Pair {
        name,
        old: old.to_vec(),
        new,
    };
    let mut every_100 = text.clone();
    every_100
        .iter_mut()
        .step_by(100)
        .for_each(|byte| *byte ^= 1);
    let numbered = rows
        .iter()
        .enumerate()
        .flat_map(|(n, row)| with_number(row, n))
        .collect();
    let mut shuffled = rows.clone();
    rng.shuffle(&mut shuffled);
    let mut blocks: Vec<_> = text.chunks(1 << 14).collect();
    rng.shuffle(&mut blocks);
    let bursts = noise
        .chunks(8192)
        .flat_map(|block| [block, &text[..512]].concat())
        .collect();
    vec![
        pair("random, unrelated", &rng.bytes(len), noise.clone()),
        pair("text, unrelated", &text, other),
        pair("zeros, parent short", &vec![0; len / 8], vec![0; len]),
        pair(
            "period 7, parent short",
            &b"seventh"[..].repeat(len / 56),
            b"seventh".repeat(len / 7),
        ),
        pair("byte changed every 100", &text, every_100),
        pair("number in every row", &text, numbered),
        pair("rows shuffled", &text, shuffled.concat()),
        pair("16K blocks shuffled", &text, blocks.concat()),
        pair("common row in noise", &text, bursts),
        pair(
            "fixed rows, 1 % inserted",
            &wide.concat(),
            with_inserted(&mut rng, &wide, fixed_row),
        ),
        pair(
            "sparse pages, 1 % inserted",
            &pages.concat(),
            with_inserted(&mut rng, &pages, sparse_page),
        ),
        busy("ten hours in one, by key", 8, Order::Key),
        busy("ten hours in one, heap", 9, Order::Heap),
        pair("parent cut to its end", &text[len / 2..], text.clone()),
    ]
}

/// A row of fixed width, half of it the same in every row.
fn fixed_row(rng: &mut Rng) -> Vec<u8> {
    let defaults = "\"enabled\": true, \"limits\": {\"rate\": 100, \"burst\": 20, \"days\": 30}, \"labels\": [], \"owner\": null, \"notes\": \"\", \"flags\": {\"beta\": false, \"audit\": true, \"trace\": false, \"share\": \"team\"}";
    format!(
        "{:032x}\t{{{defaults}}}\t{:064x}\t{:016x}\n",
        rng.bits(),
        rng.bits(),
        rng.bits()
    )
    .into_bytes()
}

/// A page that is mostly zeros.
fn sparse_page(rng: &mut Rng) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page[..64].copy_from_slice(&rng.bytes(64));
    page[PAGE - 800..].copy_from_slice(&rng.bytes(800));
    page
}

fn with_number(row: &[u8], n: usize) -> Vec<u8> {
    let (front, back) = row.split_at(row.len() / 2);
    [front, format!("<{n}>").as_bytes(), back].concat()
}

fn with_inserted(rng: &mut Rng, records: &[Vec<u8>], make: fn(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let mut new = Vec::new();
    for record in records {
        if rng.below(100) == 0 {
            new.extend(make(rng));
        }
        new.extend_from_slice(record);
    }
    new
}
