//! Shapes that are hard for an aligner.

use super::pages::{Database, PAGE};
use super::records::{Order, Records, record, row};
use super::{Pair, noise, shuffle};
use crate::rng::Rng;

/// Shapes that are hard for an aligner, about `megabytes` each.
pub fn hard(megabytes: usize) -> Vec<Pair> {
    let len = megabytes * 1_000_000;
    let mut pairs = of_text(len);
    pairs.extend(of_wrong_neighbours(len));
    pairs.extend(of_little_in_common(len));
    pairs.extend(of_busy_hours(len));
    pairs
}

fn pair(name: &'static str, old: &[u8], new: impl Into<Vec<u8>>) -> Pair {
    Pair {
        name,
        old: old.to_vec(),
        new: new.into(),
    }
}

/// All there, but not where it was, or with holes.
fn of_text(len: usize) -> Vec<Pair> {
    let mut rng = Rng::new(1, "text");
    let rows: Vec<_> = (0..len / 370).map(|id| row(&mut rng, id)).collect();
    let text = rows.concat();
    let mut every_100 = text.clone();
    every_100
        .iter_mut()
        .step_by(100)
        .for_each(|byte| *byte ^= 1);
    let numbered: Vec<_> = rows
        .iter()
        .enumerate()
        .map(|(n, row)| with_number(row, n))
        .collect();
    let mut shuffled = rows.clone();
    shuffle(&mut rng, &mut shuffled);
    let mut blocks: Vec<_> = text.chunks(1 << 14).collect();
    shuffle(&mut rng, &mut blocks);
    vec![
        pair("byte changed every 100", &text, every_100),
        pair("number in every row", &text, numbered.concat()),
        pair("rows shuffled", &text, shuffled.concat()),
        pair("16K blocks shuffled", &text, blocks.concat()),
        pair("half of the parent gone", &text[len / 2..], text.clone()),
    ]
}

/// Records that agree with the wrong neighbour too.
fn of_wrong_neighbours(len: usize) -> Vec<Pair> {
    let mut rng = Rng::new(1, "neighbours");
    let wide: Vec<_> = (0..len / 400).map(|_| wide_row(&mut rng)).collect();
    let pages: Vec<_> = (0..len / PAGE).map(|_| sparse_page(&mut rng)).collect();
    let more_wide = with_inserted(&mut rng, &wide, wide_row);
    let more_pages = with_inserted(&mut rng, &pages, sparse_page);
    vec![
        pair("wide rows, 1 % inserted", &wide.concat(), more_wide),
        pair("sparse pages, 1 % inserted", &pages.concat(), more_pages),
    ]
}

/// Nothing to find, or next to nothing, or everything everywhere.
fn of_little_in_common(len: usize) -> Vec<Pair> {
    let mut rng = Rng::new(1, "little");
    let mut text = || {
        (0..len / 370)
            .flat_map(|id| row(&mut rng, id))
            .collect::<Vec<u8>>()
    };
    let (text, other) = (text(), text());
    let (random, unrelated) = (noise(&mut rng, len), noise(&mut rng, len));
    let bursts: Vec<_> = random
        .chunks(8192)
        .flat_map(|block| [block, &text[..512]])
        .collect();
    vec![
        pair("random, unrelated", &unrelated, random.clone()),
        pair("text, unrelated", &text, other),
        pair("common row in noise", &text, bursts.concat()),
        pair("zeros, parent short", &vec![0; len / 8], vec![0; len]),
        pair(
            "period 7, parent short",
            &b"seventh".repeat(len / 56),
            b"seventh".repeat(len / 7),
        ),
    ]
}

/// More than an hour's changes, and what servers do now and then.
fn of_busy_hours(len: usize) -> Vec<Pair> {
    let rows = |name, order| {
        Records {
            name,
            count: len / 370,
            make: row,
            order,
            busy: 10,
        }
        .hour()
    };
    vec![
        rows("ten hours in one, by key", Order::Key),
        rows("ten hours in one, heap", Order::Heap),
        restarted("redis, restarted", len),
        Database::vacuum("sqlite, vacuumed", len / 370),
    ]
}

/// A hash whose order has changed with its seed.
fn restarted(name: &'static str, len: usize) -> Pair {
    let records = Records {
        name,
        count: len / 250,
        make: record,
        order: Order::Sorted,
        busy: 1,
    };
    let (old, mut new) = records.records();
    shuffle(&mut Rng::new(2, name), &mut new);
    Pair {
        name,
        old: old.concat(),
        new: new.concat(),
    }
}

/// A row of fixed width, half of it the same in every row.
fn wide_row(rng: &mut Rng) -> Vec<u8> {
    let defaults = "\"enabled\": true, \"limits\": {\"rate\": 100, \"burst\": 20, \"days\": 30}, \
        \"labels\": [], \"owner\": null, \"notes\": \"\", \"flags\": {\"beta\": false, \
        \"audit\": true, \"trace\": false, \"share\": \"team\"}";
    let (a, b, c) = (rng.next_u64(), rng.next_u64(), rng.next_u64());
    format!("{a:032x}\t{{{defaults}}}\t{b:064x}\t{c:016x}\n").into_bytes()
}

/// A page that is mostly zeros.
fn sparse_page(rng: &mut Rng) -> Vec<u8> {
    [noise(rng, 64), vec![0; PAGE - 864], noise(rng, 800)].concat()
}

fn with_number(row: &[u8], number: usize) -> Vec<u8> {
    let (front, back) = row.split_at(row.len() / 2);
    [front, format!("<{number}>").as_bytes(), back].concat()
}

fn with_inserted(rng: &mut Rng, records: &[Vec<u8>], make: fn(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let mut new = Vec::new();
    for record in records {
        if rng.place(100) == 0 {
            new.extend(make(rng));
        }
        new.extend_from_slice(record);
    }
    new
}
