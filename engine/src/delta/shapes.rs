//! Hard shapes, each with what its steps may leave as literals, how many they may be, and what the search may cost.

use super::tests::rebuild;
use super::*;

const RUN: usize = 64 * 1024;
const WINDOW: usize = 2 * 1024 * 1024;

/// A small seeded generator.
struct Rng(u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 29)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.bits() % bound as u64).unwrap()
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.bits().to_le_bytes()[4]).collect()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A row of 200 to 500 bytes.
    fn row(&mut self) -> Vec<u8> {
        let mut row = format!("{}\tuser\t", self.bits()).into_bytes();
        for _ in 0..30 + self.below(40) {
            row.extend_from_slice(format!("w{} ", self.below(5000)).as_bytes());
        }
        row.push(b'\n');
        row
    }

    /// A row of 400 bytes, half of them the same in every row.
    fn wide_row(&mut self) -> Vec<u8> {
        let row = format!(
            "{:020}\t{:_>200}\t{:020}\t{:x>156}\n",
            self.bits(),
            "",
            self.bits(),
            ""
        );
        row.into_bytes()
    }

    /// A page with noise at both ends and zeros between.
    fn page(&mut self) -> Vec<u8> {
        [self.noise(64), vec![0; 3232], self.noise(800)].concat()
    }
}

/// What aligning a pair came to.
struct Outcome {
    literal_bytes: usize,
    step_count: usize,
    work_per_kib: usize,
}

/// Aligns as the pipeline does: run by run, in a window that slides.
fn align(old: &[u8], new: &[u8]) -> Outcome {
    let mut aligner = Aligner::new(AlignOptions::default());
    let (mut from, mut literal_bytes, mut step_count) = (0, 0, 0);
    for (number, run) in new.chunks(RUN).enumerate() {
        let start = usize::try_from(from)
            .unwrap()
            .saturating_sub(WINDOW / 4)
            .min(old.len());
        let window = &old[start..old.len().min(start + WINDOW)];
        let (new_at, parent_at) = ((number * RUN) as u64, start as u64);
        let mut steps = Vec::new();
        from = aligner.align(run, new_at, window, parent_at, from, &mut steps);
        assert!(rebuild(&steps, run, new_at, window, parent_at) == run);
        step_count += steps.len();
        let literals = steps
            .iter()
            .filter(|step| matches!(step, Step::Literal { .. }));
        literal_bytes += literals
            .map(|step| step.len_bytes() as usize)
            .sum::<usize>();
    }
    let work_per_kib = usize::try_from(aligner.work_units()).unwrap() * 1024 / new.len();
    Outcome {
        literal_bytes,
        step_count,
        work_per_kib,
    }
}

#[track_caller]
fn check(old: &[u8], new: &[u8], literal_max: usize, steps_max: usize, work_max: usize) {
    let Outcome {
        literal_bytes,
        step_count,
        work_per_kib,
    } = align(old, new);
    let is_kept =
        literal_bytes <= literal_max && step_count <= steps_max && work_per_kib <= work_max;
    assert!(
        is_kept,
        "literals {literal_bytes} of {literal_max}, steps {step_count} of {steps_max}, \
         work {work_per_kib} of {work_max} per KiB"
    );
}

fn rows(rng: &mut Rng, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|_| rng.row()).collect()
}

fn with_inserted(rng: &mut Rng, items: &[Vec<u8>], make: fn(&mut Rng) -> Vec<u8>) -> Vec<u8> {
    let mut new = Vec::new();
    for (number, item) in items.iter().enumerate() {
        if number % 100 == 50 {
            new.extend(make(rng));
        }
        new.extend_from_slice(item);
    }
    new
}

#[test]
fn a_stream_that_did_not_change_is_copied_whole() {
    let old = Rng(1).noise(300_000);
    check(&old, &old, 0, 5, 0);
}

#[test]
fn a_row_changed_inserted_or_removed_costs_that_row() {
    let mut rng = Rng(2);
    let old = rows(&mut rng, 1000);
    let mut new = old.clone();
    new[100] = rng.row();
    new.insert(400, rng.row());
    new.remove(700);
    check(&old.concat(), &new.concat(), 1000, 12, 60);
}

#[test]
fn a_byte_changed_every_hundred_costs_that_byte() {
    let old = rows(&mut Rng(3), 1000).concat();
    let mut new = old.clone();
    new.iter_mut().step_by(100).for_each(|byte| *byte ^= 1);
    check(&old, &new, old.len() / 99, old.len() / 49, 900);
}

#[test]
fn a_number_in_every_row_costs_that_number() {
    let old = rows(&mut Rng(4), 1000);
    let numbered = old.iter().enumerate().map(|(number, row)| {
        let (front, back) = row.split_at(row.len() / 2);
        [front, format!("<{number}>").as_bytes(), back].concat()
    });
    let new: Vec<u8> = numbered.flatten().collect();
    check(&old.concat(), &new, 5000, 2100, 700);
}

#[test]
fn shuffled_rows_are_found_wherever_they_went() {
    let mut rng = Rng(5);
    let old = rows(&mut rng, 1000);
    let mut new = old.clone();
    rng.shuffle(&mut new);
    check(&old.concat(), &new.concat(), 20_000, 1500, 2500);
}

#[test]
fn shuffled_blocks_are_found_wherever_they_went() {
    let mut rng = Rng(6);
    let old = rng.noise(400_000);
    let mut blocks: Vec<_> = old.chunks(10_000).collect();
    rng.shuffle(&mut blocks);
    check(&old, &blocks.concat(), 0, 60, 200);
}

#[test]
fn a_row_that_moved_into_a_changed_place_is_found() {
    let mut rng = Rng(7);
    let old = rows(&mut rng, 1000);
    let mut new = old.clone();
    for place in (50..1000).step_by(100) {
        new[place] = old[999 - place].clone();
    }
    check(&old.concat(), &new.concat(), 400, 60, 200);
}

#[test]
fn rows_of_one_width_do_not_lead_to_the_wrong_neighbour() {
    let mut rng = Rng(8);
    let old: Vec<_> = (0..1000).map(|_| rng.wide_row()).collect();
    let new = with_inserted(&mut rng, &old, Rng::wide_row);
    check(&old.concat(), &new, 2000, 100, 700);
}

#[test]
fn pages_of_zeros_do_not_lead_to_the_wrong_neighbour() {
    let mut rng = Rng(9);
    let old: Vec<_> = (0..200).map(|_| rng.page()).collect();
    let new = with_inserted(&mut rng, &old, Rng::page);
    check(&old.concat(), &new, 2 * 4096, 20, 200);
}

#[test]
fn unrelated_noise_costs_little_more_than_storing_it() {
    let mut rng = Rng(10);
    let (old, new) = (rng.noise(1 << 20), rng.noise(1 << 20));
    check(&old, &new, 1 << 20, 16, 600);
}

#[test]
fn unrelated_text_costs_little_more_than_storing_it() {
    let mut rng = Rng(11);
    let (old, new) = (rows(&mut rng, 3000).concat(), rows(&mut rng, 3000).concat());
    check(&old, &new, new.len(), 20, 650);
}

#[test]
fn one_byte_over_and_over_is_left_to_the_compressor() {
    check(&vec![0; 50_000], &vec![0; 800_000], 800_000, 30, 500);
    check(
        &b"seventh".repeat(7000),
        &b"seventh".repeat(100_000),
        1000,
        1500,
        1000,
    );
}

#[test]
fn a_stream_without_a_parent_is_one_literal_a_run() {
    let new = Rng(12).noise(RUN);
    check(&[], &new, RUN, 1, 0);
    check(&new[..10], &new[100..120], 20, 1, 0);
}
