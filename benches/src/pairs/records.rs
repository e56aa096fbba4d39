//! Streams of records. In an hour 2 % of them change, 1 % are new and 0.5 % are gone, scattered.

use super::{Pair, noise};
use crate::rng::Rng;

/// Where new and changed records go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// Changed in place, new ones at the end: a growing key.
    Key,
    /// Changed in place, new ones anywhere: a sorted hash.
    Sorted,
    /// Changed ones leave a hole and move into another or to the end, as new ones do: a heap.
    Heap,
}

/// A stream of records and what happens to it.
pub(super) struct Records {
    pub(super) name: &'static str,
    pub(super) count: usize,
    pub(super) make: fn(&mut Rng, usize) -> Vec<u8>,
    pub(super) order: Order,
    /// How many times as much changes as in an ordinary hour.
    pub(super) busy: usize,
}

impl Records {
    /// The stream before and after.
    pub(super) fn hour(&self) -> Pair {
        let (old, new) = self.records();
        Pair {
            name: self.name,
            old: old.concat(),
            new: new.concat(),
        }
    }

    /// The records before and after.
    pub(super) fn records(&self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let Self {
            name,
            count,
            make,
            order,
            busy,
        } = *self;
        let mut rng = Rng::new(1, name);
        let old: Vec<_> = (0..count).map(|id| make(&mut rng, id)).collect();
        let mut new: Vec<_> = old.iter().cloned().map(Some).collect();
        let (mut holes, mut moved) = (Vec::new(), Vec::new());
        for _ in 0..count * busy / 200 {
            let id = rng.place(count);
            new[id] = None;
            holes.push(id);
        }
        for n in 0..count * busy / 50 {
            let id = rng.place(count);
            let changed = if n % 2 == 0 {
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
            match order {
                Order::Sorted => new.insert(rng.place(count), Some(record)),
                Order::Heap if !holes.is_empty() => {
                    let hole = holes.swap_remove(0);
                    new[hole] = Some(record);
                }
                Order::Key | Order::Heap => new.push(Some(record)),
            }
        }
        (old, new.into_iter().flatten().collect())
    }
}

/// The record with a few bytes changed in place, as a counter or a time.
pub(super) fn touched(rng: &mut Rng, record: &[u8]) -> Vec<u8> {
    let mut touched = record.to_vec();
    let at = rng.place(record.len() - 8);
    for byte in &mut touched[at..at + 8] {
        let random = rng.next_u64() as u8;
        *byte = if byte.is_ascii_digit() {
            b'0' + random % 10
        } else {
            random
        };
    }
    touched
}

/// Words with the skew of a language: frequency falls off as one over the rank.
pub(super) fn prose(rng: &mut Rng, word_count: usize) -> String {
    let mut text = String::new();
    for n in 0..word_count {
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

/// A time in the form of PostgreSQL.
pub(super) fn timestamp(rng: &mut Rng) -> String {
    let (month, day, second) = (1 + rng.place(12), 1 + rng.place(28), rng.place(86_400));
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = rng.place(1_000_000);
    format!("2026-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}+00")
}

/// A row of `COPY … TO STDOUT`.
pub(super) fn row(rng: &mut Rng, id: usize) -> Vec<u8> {
    let word_count = 20 + rng.place(40);
    let (user, text) = (rng.place(997), prose(rng, word_count));
    let (source, tag, other) = (prose(rng, 2), prose(rng, 1), prose(rng, 1));
    let (version, score, time) = (rng.place(9), rng.unit(), timestamp(rng));
    let json = format!(
        "{{\"source\": \"{source}\", \"tags\": [\"{tag}\", \"{other}\"], \"version\": {version}}}"
    );
    format!("{id}\tuser-{user}\t{text}\t{json}\t{score}\t{time}\n").into_bytes()
}

/// A key with its hash, as lengths and values.
pub(super) fn record(rng: &mut Rng, id: usize) -> Vec<u8> {
    let key = (id as u64).wrapping_mul(0x9e37_79b9) & 0xff_ffff_ffff;
    let mut record = b"\x04\x12session:".to_vec();
    record.extend_from_slice(format!("{key:010x}").as_bytes());
    let word_count = 5 + rng.place(40);
    let fields = [
        ("user_id", format!("user-{}", rng.place(997)).into_bytes()),
        ("seen", noise(rng, 8)),
        ("messages", prose(rng, word_count).into_bytes()),
        ("state", noise(rng, 24)),
        ("count", rng.place(10_000).to_string().into_bytes()),
    ];
    for (name, value) in fields {
        record.push(name.len() as u8);
        record.extend_from_slice(name.as_bytes());
        record.extend_from_slice(&(value.len() as u32).to_le_bytes());
        record.extend_from_slice(&value);
    }
    record
}

/// A point: payload and 768 components of a random normal vector.
pub(super) fn point(rng: &mut Rng, id: usize) -> Vec<u8> {
    let word_count = 15 + rng.place(30);
    let (importance, text, user) = (rng.unit(), prose(rng, word_count), rng.place(97));
    let payload = format!(
        "{{\"importance\": {importance}, \"text\": \"{text}\", \"user_id\": \"user-{user}\"}}"
    );
    let mut point = format!("{{\"id\": {id}, \"payload\": {payload}}}\n").into_bytes();
    rng.vector(768, &mut point);
    point
}
