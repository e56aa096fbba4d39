//! Measures the aligner alone: how few bytes it leaves, beside `xdelta3 -9` of the same pair, and how fast.
//!
//! `align shapes [--megabytes 20] [--only WORD]` takes the seeded pairs; `align files --old A --new B` two files.
//! Literals are counted as zstd 9 keeps them in segments of 1 MiB, a step as 2.25 bytes (measured: `delta` in
//! ARCHITECTURE.md). Speed is the best of five runs on one thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keepstone_benches::args::Args;
use keepstone_benches::error::{Act as _, BenchError, Result};
use keepstone_benches::pairs::{self, Pair};
use keepstone_benches::report::table;
use keepstone_engine::delta::{AlignOptions, Aligner, Step};
use keepstone_engine::limits::{BATCH_BYTES, PARENT_WINDOW_BYTES};

const USAGE: &str =
    "usage: align shapes [--megabytes N] [--only WORD] | align files --old A --new B";
const SEGMENT_BYTES: usize = 1 << 20;
const STEP_BYTES: f64 = 2.25;
const RUNS: usize = 5;

fn main() -> Result<()> {
    let mut args = Args::from_process()?;
    match args.command.as_str() {
        "shapes" => {
            let megabytes = args.get("megabytes", 20)?;
            let only = args.get("only", String::new())?;
            args.finish()?;
            for make in [pairs::hour as fn(usize) -> Vec<Pair>, pairs::hard] {
                let pairs = make(megabytes)
                    .into_iter()
                    .filter(|pair| pair.name.contains(&only));
                println!("{}", measure(pairs.collect())?);
            }
            Ok(())
        }
        "files" => {
            let (old, new) = (args.path("old", ""), args.path("new", ""));
            args.finish()?;
            let read = |path: &Path| fs::read(path).act(format!("read {}", path.display()));
            let pair = Pair {
                name: "files",
                old: read(&old)?,
                new: read(&new)?,
            };
            println!("{}", measure(vec![pair])?);
            Ok(())
        }
        _ => Err(BenchError::new(USAGE)),
    }
}

/// One row for each pair, and their sum.
fn measure(pairs: Vec<Pair>) -> Result<String> {
    let folder = tempfile::tempdir().act("make a folder")?;
    let (mut rows, mut total_sum, mut diff_sum) = (Vec::new(), 0.0, 0.0);
    for pair in pairs {
        let (steps, took) = align(&pair);
        let literals = literals(&steps, &pair)?;
        let mut kept = 0;
        for segment in literals.chunks(SEGMENT_BYTES) {
            kept += zstd::bulk::compress(segment, 9).act("compress")?.len();
        }
        let total = kept as f64 + STEP_BYTES * steps.len() as f64;
        let diff = xdelta3(&pair, folder.path())? as f64;
        total_sum += total;
        diff_sum += diff;
        rows.push(vec![
            pair.name.to_owned(),
            format!("{:.1}", pair.new.len() as f64 / 1e6),
            format!("{:.1}", literals.len() as f64 / 1e3),
            format!("{:.1}", kept as f64 / 1e3),
            steps.len().to_string(),
            format!("{:.1}", total / 1e3),
            format!("{:.1}", diff / 1e3),
            format!("{:.3}", total / diff),
            format!("{:.0}", pair.new.len() as f64 / 1e6 / took.as_secs_f64()),
        ]);
    }
    let mut sum = vec![String::new(); 9];
    sum[0] = "sum".to_owned();
    sum[5] = format!("{:.1}", total_sum / 1e3);
    sum[6] = format!("{:.1}", diff_sum / 1e3);
    sum[7] = format!("{:.3}", total_sum / diff_sum);
    rows.push(sum);
    let head = [
        "shape",
        "MB",
        "literal KB",
        "zstd 9",
        "steps",
        "total KB",
        "xdelta3",
        "ratio",
        "MB/s",
    ];
    Ok(table(&head, &rows))
}

/// Aligns as the pipeline does where everything is new: batch by batch, in a window that slides.
fn align(pair: &Pair) -> (Vec<Step>, Duration) {
    let mut best = (Vec::new(), Duration::MAX);
    for _ in 0..RUNS {
        let begin = Instant::now();
        let mut aligner = Aligner::new(AlignOptions::default());
        let (mut steps, mut from) = (Vec::new(), 0);
        for (number, run) in pair.new.chunks(BATCH_BYTES).enumerate() {
            let last = pair.old.len().saturating_sub(PARENT_WINDOW_BYTES);
            let start = (from as usize)
                .saturating_sub(PARENT_WINDOW_BYTES / 4)
                .min(last);
            let end = pair.old.len().min(start + PARENT_WINDOW_BYTES);
            let (at, window) = ((number * BATCH_BYTES) as u64, &pair.old[start..end]);
            from = aligner.align(run, at, window, start as u64, from, &mut steps);
        }
        let took = begin.elapsed();
        if took < best.1 {
            best = (steps, took);
        }
    }
    best
}

/// Carries the steps out, and answers the literals.
fn literals(steps: &[Step], pair: &Pair) -> Result<Vec<u8>> {
    let (mut made, mut literals) = (Vec::with_capacity(pair.new.len()), Vec::new());
    for step in steps {
        match *step {
            Step::Literal { at, len } => {
                let bytes = &pair.new[at as usize..at as usize + len as usize];
                literals.extend_from_slice(bytes);
                made.extend_from_slice(bytes);
            }
            Step::Copy { from, len } => {
                made.extend_from_slice(&pair.old[from as usize..from as usize + len as usize]);
            }
        }
    }
    if made == pair.new {
        Ok(literals)
    } else {
        Err(BenchError::new(format!(
            "the steps do not make {}",
            pair.name
        )))
    }
}

/// Size of the difference that `xdelta3 -9` makes.
fn xdelta3(pair: &Pair, folder: &Path) -> Result<u64> {
    let [old, new, out] = ["old", "new", "out"].map(|name| folder.join(name));
    let write = |path: &PathBuf, bytes: &[u8]| {
        fs::write(path, bytes).act(format!("write {}", path.display()))
    };
    write(&old, &pair.old)?;
    write(&new, &pair.new)?;
    let mut command = Command::new("xdelta3");
    command
        .args(["-9", "-e", "-f", "-B", "67108864", "-s"])
        .args([&old, &new, &out]);
    if !command
        .status()
        .act("run xdelta3 (apt install xdelta3)")?
        .success()
    {
        return Err(BenchError::new("xdelta3 failed"));
    }
    Ok(fs::metadata(&out).act("look at the difference")?.len())
}
