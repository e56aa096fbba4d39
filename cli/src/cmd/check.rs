//! `check`: verifies the repository.

use std::str::FromStr;

use clap::Args;

use crate::size::Size;
use keepstone_engine::check::{CheckReport, Consequence, Level, Subset as EngineSubset, check};
use serde::Serialize;

use crate::cache::CacheUse;
use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::repository::parallel;
use crate::ui::format::{count, printable};

const EXAMPLES: &str = "\
Examples:
  keepstone check
  keepstone check --read-data
  keepstone check --read-data-subset 1/7    the first of seven parts; 2/7 on the next day
  keepstone check --read-data-subset 5%     so much, chosen at random
  keepstone check --read-data-subset 2G

Without --read-data only structure is verified: that everything a snapshot needs is there.";

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Read and verify all content
    #[arg(long, conflicts_with = "read_data_subset")]
    pub(crate) read_data: bool,
    /// Read and verify a part of the content: n/t, a percentage or a size
    #[arg(long, value_name = "SUBSET")]
    pub(crate) read_data_subset: Option<Subset>,
}

/// A part of the content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Subset {
    /// One of so many parts, always the same packs.
    Part {
        /// Which, from 1.
        number: u32,
        /// Of how many.
        of: u32,
    },
    /// So many per cent, at random.
    Percent(f64),
    /// So many bytes, at random.
    Bytes(u64),
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = if let Some((number, of)) = text.split_once('/') {
            number
                .parse()
                .ok()
                .zip(of.parse().ok())
                .filter(|(number, of)| (1..=*of).contains(number))
                .map(|(number, of)| Self::Part { number, of })
        } else if let Some(percent) = text.strip_suffix('%') {
            percent
                .parse()
                .ok()
                .filter(|percent| *percent > 0.0 && *percent <= 100.0)
                .map(Self::Percent)
        } else {
            text.parse()
                .ok()
                .filter(|Size(bytes)| *bytes > 0)
                .map(|Size(bytes)| Self::Bytes(bytes))
        };
        parsed
            .ok_or_else(|| "write n/t with n from 1 to t, a percentage above 0%, or a size".into())
    }
}

#[derive(Serialize)]
struct ProblemObject<'a> {
    object: &'a str,
    what: &'a str,
    /// What a restore would lack: the first path of each snapshot that is hit.
    snapshots: Vec<HitObject<'a>>,
}

#[derive(Serialize)]
struct HitObject<'a> {
    id: &'a str,
    path: &'a str,
}

#[derive(Serialize)]
struct Checked {
    problems: usize,
    snapshots: u64,
    chunks: u64,
    packs: u64,
    packs_read: u64,
    bytes_read: u64,
}

/// Verifies.
pub(crate) fn run(args: &CheckArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo_with(CacheUse::Bypassed)?;
    let seed = context.clock.now_ns().cast_unsigned();
    let level = match args.read_data_subset {
        _ if args.read_data => Level::Data,
        None => Level::Structure,
        Some(Subset::Part { number, of }) => Level::Subset(EngineSubset::Part { number, of }),
        Some(Subset::Percent(percent)) => Level::Subset(EngineSubset::Percent { percent, seed }),
        Some(Subset::Bytes(bytes)) => Level::Subset(EngineSubset::Bytes { bytes, seed }),
    };
    let progress = context.ui.progress();
    let done = check(&repo, level, parallel(), &progress, &cancel());
    drop(progress);
    let report = done?;
    if report.is_clean() {
        // What is whole may still lack the snapshots that this machine has seen.
        context.snapshots(&repo)?;
    }
    tell(&report, context)
}

fn tell(report: &CheckReport, context: &Context) -> Result<ExitCode, CliError> {
    let ui = &context.ui;
    for problem in &report.problems {
        ui.line(&printable(&problem.to_string()))?;
        let snapshots = match &problem.consequence {
            Consequence::Snapshots(hit) => hit
                .iter()
                .map(|(id, path)| HitObject { id, path })
                .collect(),
            _ => vec![],
        };
        let (object, what) = (problem.object.as_str(), problem.what.as_str());
        ui.object(
            "problem",
            &ProblemObject {
                object,
                what,
                snapshots,
            },
        )?;
    }
    let object = Checked {
        problems: report.problems.len(),
        snapshots: report.snapshots,
        chunks: report.chunks,
        packs: report.packs,
        packs_read: report.packs_read,
        bytes_read: report.bytes_read,
    };
    ui.object("checked", &object)?;
    let looked = format!(
        "{} in {}",
        count(report.snapshots, "snapshot"),
        count(report.packs, "pack")
    );
    if report.is_clean() {
        ui.line(&format!("{looked}: no problems"))?;
        return Ok(ExitCode::Done);
    }
    ui.line(&format!(
        "{looked}: {}",
        count(report.problems.len() as u64, "problem")
    ))?;
    Ok(ExitCode::Damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_has_three_forms() {
        assert_eq!("2/7".parse(), Ok(Subset::Part { number: 2, of: 7 }));
        assert_eq!("2.5%".parse(), Ok(Subset::Percent(2.5)));
        assert_eq!("1G".parse(), Ok(Subset::Bytes(1 << 30)));
        for text in ["0/7", "8/7", "0%", "101%", "nan%", "0", "", "x"] {
            assert!(text.parse::<Subset>().is_err(), "{text}");
        }
    }
}
