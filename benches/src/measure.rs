//! One process measured: wall time, CPU time and peak memory, its own and its children's.
//!
//! The command runs below a small copy of this program: Linux counts what the caller of `exec` had in memory to the
//! peak of the new process, and the bench itself may hold much.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use wait4::Wait4 as _;

use crate::error::{Act as _, BenchError, Result};

const CHILD_WORD: &str = "measure-child";

/// What a run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Seconds of processor time, user and system.
    pub cpu_s: f64,
    /// Most memory resident at once, of the largest process.
    pub peak_bytes: u64,
}

impl Cost {
    /// Of two runs one after the other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        Self {
            wall_s: self.wall_s + next.wall_s,
            cpu_s: self.cpu_s + next.cpu_s,
            peak_bytes: self.peak_bytes.max(next.peak_bytes),
        }
    }

    /// The median of each figure.
    pub fn median(costs: &[Self]) -> Self {
        let wall_s = median(costs.iter().map(|cost| cost.wall_s));
        let cpu_s = median(costs.iter().map(|cost| cost.cpu_s));
        let peak_bytes = median(costs.iter().map(|cost| cost.peak_bytes as f64)) as u64;
        Self {
            wall_s,
            cpu_s,
            peak_bytes,
        }
    }
}

/// The middle of some numbers, 0 of none.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// A command to measure.
#[derive(Debug, Clone)]
pub struct Task {
    words: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: PathBuf,
}

impl Task {
    /// A program in a folder.
    pub fn new(program: impl AsRef<OsStr>, folder: &Path) -> Self {
        Self {
            words: vec![program.as_ref().to_owned()],
            variables: Vec::new(),
            folder: folder.to_path_buf(),
        }
    }

    /// More words.
    #[must_use]
    pub fn args<W: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words
            .extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// One more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it; answers its cost and its standard output. A failure is an error with what it said.
    pub fn run(&self) -> Result<(Cost, String)> {
        let name = self.words.iter().map(|word| word.to_string_lossy());
        let name = name.collect::<Vec<_>>().join(" ");
        let outputs = tempfile::tempdir().act("make a folder for outputs")?;
        let at = |name: &str| outputs.path().join(name);
        let status = Command::new(env::current_exe().act("find this program")?)
            .arg(CHILD_WORD)
            .arg(at("cost"))
            .args(&self.words)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(File::create(at("stdout"))?)
            .stderr(File::create(at("stderr"))?)
            .status()
            .act(format!("run {name}"))?;
        let text = |name: &str| {
            let bytes = std::fs::read(at(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if !status.success() {
            return Err(BenchError::new(format!(
                "{name} ended with {status}: {}",
                text("stderr").trim()
            )));
        }
        let cost = serde_json::from_str(&text("cost")).act(format!("read the cost of {name}"))?;
        Ok((cost, text("stdout")))
    }
}

/// Must be called first in `main`: true if this process was the small copy, which then is done.
pub fn was_child() -> Result<bool> {
    let mut words = env::args_os().skip(1);
    if words.next().as_deref() != Some(OsStr::new(CHILD_WORD)) {
        return Ok(false);
    }
    let (Some(report), Some(program)) = (words.next(), words.next()) else {
        return Err(BenchError::new("nothing to measure"));
    };
    let started = Instant::now();
    let child = Command::new(&program)
        .args(words)
        .spawn()
        .act(format!("start {}", program.to_string_lossy()))?;
    let used = child.wait4()?;
    let cost = Cost {
        wall_s: started.elapsed().as_secs_f64(),
        cpu_s: (used.rusage.utime + used.rusage.stime).as_secs_f64(),
        peak_bytes: used.rusage.maxrss,
    };
    std::fs::write(report, serde_json::to_vec(&cost)?)?;
    if used.status.success() {
        return Ok(true);
    }
    Err(BenchError::new(format!("it ended with {}", used.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_each_figure() {
        let cost = |wall_s, cpu_s, peak_bytes| Cost {
            wall_s,
            cpu_s,
            peak_bytes,
        };
        let costs = [cost(3.0, 1.0, 5), cost(1.0, 2.0, 9), cost(2.0, 3.0, 7)];
        assert_eq!(Cost::median(&costs), cost(2.0, 2.0, 7));
        assert_eq!(Cost::median(&[]), Cost::default());
    }
}
