//! `hourly generate`: one folder an hour, five dump files in each.

use std::fs;
use std::path::Path;
use std::time::Instant;

use keepstone_benches::args::Args;
use keepstone_benches::error::{Act as _, Result};

use crate::workload::{Stack, StackOptions};

/// Names of the five files of an hour.
pub const FILES: [&str; 5] = ["pg.sql", "redis.rdb", "points.bin", "app.db", "app.log"];

/// Runs the command.
pub fn run(mut args: Args) -> Result<()> {
    let out = args.path("out", "target/hours");
    let hours = args.get("hours", 12_u32)?;
    let options = StackOptions::from_args(&mut args)?;
    args.finish()?;
    let mut stack = Stack::start(&options)?;
    for hour in 0..hours {
        let started = Instant::now();
        let event = stack.advance(hour)?;
        // Beside first: a folder of this name is a whole hour.
        let staged = out.join(format!("h{hour:02}.part"));
        let done = out.join(format!("h{hour:02}"));
        let _absent = fs::remove_dir_all(&staged);
        let _absent = fs::remove_dir_all(&done);
        fs::create_dir_all(&staged).act(format!("make {}", staged.display()))?;
        stack.dump(&staged)?;
        fs::rename(&staged, &done).act(format!("name {}", done.display()))?;
        println!(
            "hour {hour:02}: {}; {:.1} MB; {event}; {:.1} s",
            sizes(&done)?,
            total_bytes(&done)? as f64 / 1e6,
            started.elapsed().as_secs_f64(),
        );
    }
    stack.stop()
}

fn sizes(folder: &Path) -> Result<String> {
    let mut parts = Vec::new();
    for name in FILES {
        let bytes = fs::metadata(folder.join(name))?.len();
        parts.push(format!("{name} {:.1}", bytes as f64 / 1e6));
    }
    Ok(parts.join(", "))
}

/// Bytes of the five files of an hour.
pub fn total_bytes(folder: &Path) -> Result<u64> {
    FILES
        .iter()
        .map(|name| Ok(fs::metadata(folder.join(name))?.len()))
        .sum()
}
