//! A log that only grows.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use keepstone_benches::error::Result;
use keepstone_benches::rng::Rng;

use super::StackOptions;

const FIRST_LINES: f64 = 60_000.0;
const HOUR_LINES: f64 = 10_000.0;

/// The log file.
#[derive(Debug)]
pub struct AppLog {
    path: PathBuf,
    rng: Rng,
    scale: f64,
}

impl AppLog {
    /// A log that will be written at this path.
    pub fn new(path: &Path, options: &StackOptions) -> Self {
        Self {
            path: path.to_path_buf(),
            rng: options.rng("log"),
            scale: options.scale,
        }
    }

    /// Appends the lines of an hour.
    pub fn advance(&mut self, hour: u32) -> Result<()> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        let mut out = BufWriter::new(file);
        let lines = if hour == 0 { FIRST_LINES } else { HOUR_LINES };
        let count = (lines * self.scale) as u64;
        for line in 0..count {
            let rng = &mut self.rng;
            let second = line * 3600 / count;
            let (day, hour_of_day) = (hour / 24, hour % 24);
            let level = if rng.below(20) == 0 { "WARN" } else { "INFO" };
            writeln!(
                out,
                "2026-01-{:02}T{hour_of_day:02}:{:02}:{:02}.{:03}Z {level} user=u{} took={}ms {}",
                day + 1,
                second / 60,
                second % 60,
                rng.below(1000),
                rng.below(997),
                rng.below(400),
                rng.text(10),
            )?;
        }
        out.flush()?;
        Ok(())
    }
}
