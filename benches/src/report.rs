//! Results: one JSON object a line while a bench runs, tables for people when it is done.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::{Act as _, Result};
use crate::measure::Cost;

/// Writes results as they come.
#[derive(Debug)]
pub struct Lines {
    file: File,
}

impl Lines {
    /// A new file.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::create(path).act(format!("write {}", path.display()))?;
        Ok(Self { file })
    }

    /// One more line, here and on the terminal.
    pub fn put(&mut self, row: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(row)?;
        println!("{line}");
        writeln!(self.file, "{line}")?;
        Ok(())
    }
}

/// A table in Markdown: numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!("| {} |\n|---|", head.join(" | "));
    out.push_str(&"--:|".repeat(head.len().saturating_sub(1)));
    out.push('\n');
    for row in rows {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    out
}

/// Bytes as `12.3 MB`, or `45 KB` below a megabyte.
pub fn megabytes(bytes: u64) -> String {
    if bytes < 1_000_000 {
        return format!("{} KB", bytes.div_ceil(1000));
    }
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Seconds with as many digits as mean something.
pub fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

/// What the figures were measured on.
pub fn machine() -> String {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let cpu = cpu.map_or("unknown CPU", |text| {
        text.trim_start_matches([' ', '\t', ':'])
    });
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{cores} cores of {cpu}, {} GiB, Linux {}, {}",
        memory.unwrap_or_default() / (1 << 20),
        said("uname", &["-r"]).unwrap_or_default(),
        said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
    )
}

/// One measured step of one tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub tool: String,
    /// What it did.
    pub step: String,
    /// In which hour, if in one.
    pub hour: Option<u32>,
    /// What it cost.
    #[serde(flatten)]
    pub cost: Cost,
    /// Bytes: that the step added, or that the repository holds after it.
    pub bytes: u64,
}
