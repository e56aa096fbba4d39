//! The short fuzz run: every target of `fuzz/targets/mod.rs`, on stable, with a fixed number of inputs.
//!
//! `KEEPSTONE_FUZZ_SEED` and `KEEPSTONE_FUZZ_INPUTS` run another or a longer one.

use std::collections::BTreeSet;

use keepstone_testkit::fuzz_targets::TARGETS;
use keepstone_testkit::mutate::drive;

const SEED: u64 = 20_261_121;
const INPUTS: u64 = 20_000;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_decoder_panics_on_mutated_bytes() {
    let seed = number("KEEPSTONE_FUZZ_SEED", SEED);
    let inputs = number("KEEPSTONE_FUZZ_INPUTS", INPUTS);
    println!("fuzz seed {seed}, {inputs} inputs a target");
    for target in TARGETS {
        println!("{}", target.name);
        drive(target, seed, inputs);
    }
}

#[test]
fn fuzz_targets_have_names_of_their_own() {
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
}
