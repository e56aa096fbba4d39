//! An hour of a seeded stack: made, dumped, and kept by Keepstone and its peers.
//!
//! `hourly generate --out DIR --hours 12 --seed 1` makes the hours on real PostgreSQL and Redis servers of its own.

mod generate;
mod servers;
mod workload;

use keepstone_benches::args::Args;
use keepstone_benches::error::{BenchError, Result};

const USAGE: &str = "usage: hourly generate [--out DIR] [--hours N] [--seed N] [--scale F]";

fn main() -> Result<()> {
    let args = Args::from_process()?;
    match args.command.as_str() {
        "generate" => generate::run(args),
        _ => Err(BenchError::new(USAGE)),
    }
}
