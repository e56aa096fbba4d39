//! An hour of a seeded stack: made, dumped, and kept by Keepstone and its peers.

mod contest;
mod files;
mod generate;
mod live;
mod servers;
mod sim;
mod workload;

use keepstone_benches::args::Args;
use keepstone_benches::error::{BenchError, Result};
use keepstone_benches::measure;

const USAGE: &str = "usage: hourly COMMAND [--option value]…
  generate  makes hours of five dump files on real servers
            --out DIR --hours 12 --seed 1 --scale 1.0
  files     the same files to every tool, hour by hour
            --keepstone PROGRAM --hours-dir DIR --hours 12 --tools xdelta3,keepstone,restic,borg --cold --minio
  live      Keepstone's own sources beside restic and pipes
            --keepstone PROGRAM --hours 12 --tools keepstone,restic --seed 1 --scale 1.0
  week      168 hours of a smaller set, all kept
            --keepstone PROGRAM --hours 168 --records 20000 --tools keepstone
  thin      35 days of a small set, thinned every day
            --keepstone PROGRAM --hours 840 --records 6000 --tools keepstone,restic
all but generate: --out DIR for results, --scratch DIR for repositories; RESTIC_BIN names another restic";

fn main() -> Result<()> {
    if measure::was_child()? {
        return Ok(());
    }
    let args = Args::from_process()?;
    match args.command.as_str() {
        "generate" => generate::run(args),
        "files" => files::run(args),
        "live" => live::run(args),
        "week" => sim::week(args),
        "thin" => sim::thin(args),
        _ => Err(BenchError::new(USAGE)),
    }
}
