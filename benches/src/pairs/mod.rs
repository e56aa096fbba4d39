//! Seeded pairs of streams, an hour apart: what the aligner is measured on. The same on every machine.

mod hard;
mod pages;
mod records;

use crate::rng::Rng;

use self::pages::Database;
use self::records::{Order, Records, point, prose, record, row, timestamp};

pub use self::hard::hard;

/// A stream and the same stream an hour later.
#[derive(Debug)]
pub struct Pair {
    /// What it looks like.
    pub name: &'static str,
    /// The parent.
    pub old: Vec<u8>,
    /// The new stream.
    pub new: Vec<u8>,
}

/// The shapes of an hour, about `megabytes` each.
pub fn hour(megabytes: usize) -> Vec<Pair> {
    let count = |record_bytes: usize| megabytes * 1_000_000 / record_bytes;
    let records = |name, record_bytes, make, order| {
        Records {
            name,
            count: count(record_bytes),
            make,
            order,
            busy: 1,
        }
        .hour()
    };
    vec![
        records("postgres, by key", 370, row, Order::Key),
        records("postgres, heap", 370, row, Order::Heap),
        records("redis", 250, record, Order::Sorted),
        records("vectors", 3300, point, Order::Key),
        Database::hour("sqlite", count(370)),
        log("log", count(150)),
    ]
}

/// A log that has grown.
fn log(name: &'static str, count: usize) -> Pair {
    let mut rng = Rng::new(1, name);
    let mut line = |_| {
        let level = ["INFO", "INFO", "INFO", "DEBUG", "WARN"][rng.place(5)];
        let (time, worker, request) = (timestamp(&mut rng), rng.place(64), rng.next_u64());
        let word_count = 4 + rng.place(10);
        let (text, took) = (prose(&mut rng, word_count), rng.place(900));
        format!(
            "{time} {level} app.memory[{worker}]: request {request:016x} {text} took {took} ms\n"
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

fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.place(last + 1));
    }
}
