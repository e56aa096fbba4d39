//! Drives a fuzz target on stable: a fixed number of inputs, mutated from valid ones by a printed seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::fuzz_targets::Target;

const INPUT_BYTES_MAX: usize = 64 * 1024;
const MUTATIONS_MAX: u64 = 6;

/// Runs the seeds, then so many inputs made of them. A panic is reported with the input as hexadecimal.
pub fn drive(target: &Target, seed: u64, inputs: u64) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seed", target.name);
    let accepted = (0..)
        .zip(&seeds)
        .filter(|(at, input)| run(target, input, || format!("seed {at}")));
    // Otherwise nothing behind the first check of the decoder would ever be reached.
    assert!(
        accepted.count() > 0,
        "{} accepts none of its seeds",
        target.name
    );
    for at in 0..inputs {
        let input = Dice::new(seed, target.name, at).input(&seeds);
        run(target, &input, || format!("input {at} of seed {seed}"));
    }
}

fn run(target: &Target, input: &[u8], what: impl FnOnce() -> String) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|panic| {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("fuzz target {} panicked on {}: {hex}", target.name, what());
        resume_unwind(panic)
    })
}

/// Every input has dice of its own, so that one can be made again without those before it.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, name: &str, at: u64) -> Self {
        let mut dice = Self(seed);
        for byte in name.bytes() {
            dice.0 = dice.next() ^ u64::from(byte);
        }
        dice.0 = dice.next() ^ at;
        dice
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        byte
    }

    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.next() % MUTATIONS_MAX {
            self.mutate(&mut input, seeds);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below((input.len() - at).min(64) + 1);
        match self.below(9) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, self.byte()),
            // A repeated piece: lists with twins, counts that lie.
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            4 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            5 => self.overwrite(input, at),
            6 => input[at..end].reverse(),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.next() % 8);
                }
            }
        }
    }

    /// Writes a number of the kind that breaks length arithmetic.
    fn overwrite(&mut self, input: &mut [u8], at: usize) {
        let len = input.len() as u64;
        let choices = [
            0,
            1,
            0x7f,
            0x80,
            0xff,
            0xffff,
            0x7fff_ffff,
            0xffff_ffff,
            u64::MAX,
            u64::MAX / 2,
            len,
            len + 1,
            len.wrapping_sub(1),
            self.next(),
        ];
        let number = choices[self.below(choices.len())].to_le_bytes();
        let width = [1, 2, 4, 8][self.below(4)];
        for (byte, new) in input[at..].iter_mut().zip(&number[..width]) {
            *byte = *new;
        }
    }
}
