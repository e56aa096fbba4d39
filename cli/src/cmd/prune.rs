//! `prune`: frees the space that no snapshot needs.

use std::time::Duration;

use clap::Args;

use crate::time::parse_exact;
use keepstone_engine::prune::{PruneOptions, PruneReport, prune};
use keepstone_engine::repo::Repo;
use keepstone_engine::session::fence::FenceView;
use serde::Serialize;

use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::repository::{boot_id, pid_namespace, process_alive};
use crate::ui::format::{count, size};

const EXAMPLES: &str = "\
Examples:
  keepstone prune --dry-run
  keepstone prune
  keepstone prune --fence-after 6h

Nobody needs to stop: backups may run on any host meanwhile. What a run that is still going on could need is \
condemned now and removed by a later prune.";

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PruneArgs {
    /// Show what would be removed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) fencing: FenceArgs,
}

/// When a silent run counts as dead.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FenceArgs {
    /// Shut out a run of another host that was silent so long; it then fails instead of committing
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_exact)]
    pub(crate) fence_after: Duration,
}

#[derive(Serialize)]
struct Pruned<'a> {
    dry_run: bool,
    packs: u64,
    bytes: u64,
    condemned: u64,
    condemned_bytes: u64,
    written_bytes: u64,
    swept: u64,
    swept_bytes: u64,
    rescued: u64,
    fenced: Vec<String>,
    waiting: Vec<String>,
    waiting_packs: u64,
    #[serde(skip)]
    _report: &'a PruneReport,
}

/// Frees space.
pub(crate) fn run(args: &PruneArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    // What this machine has seen and is not listed any more would be swept.
    context.snapshots(&repo)?;
    carry_out(&repo, args.dry_run, &args.fencing, context)?;
    Ok(ExitCode::Done)
}

/// Prunes, and tells what became of it.
pub(crate) fn carry_out(
    repo: &Repo,
    dry_run: bool,
    fencing: &FenceArgs,
    context: &Context,
) -> Result<(), CliError> {
    let host = context.host();
    let (boot, namespace) = (boot_id(), pid_namespace());
    let options = PruneOptions {
        dry_run,
        fence: FenceView {
            host: &host,
            writer: context.writer_id()?,
            boot: &boot,
            pid_namespace: &namespace,
            process_alive: &process_alive,
            now_ns: context.clock.now_ns(),
            fence_after_ns: i64::try_from(fencing.fence_after.as_nanos()).unwrap_or(i64::MAX),
        },
    };
    let progress = context.ui.progress();
    let done = prune(repo, &options, &progress, &cancel());
    drop(progress);
    tell(&done?, dry_run, context)
}

fn tell(report: &PruneReport, dry_run: bool, context: &Context) -> Result<(), CliError> {
    let ui = &context.ui;
    let object = Pruned {
        dry_run,
        packs: report.packs,
        bytes: report.bytes,
        condemned: report.condemned,
        condemned_bytes: report.condemned_bytes,
        written_bytes: report.written_bytes,
        swept: report.swept,
        swept_bytes: report.swept_bytes,
        rescued: report.rescued,
        fenced: report.fenced.iter().map(|(id, _)| id.to_string()).collect(),
        waiting: report
            .waiting
            .iter()
            .map(|waiting| waiting.session.to_string())
            .collect(),
        waiting_packs: report.waiting_packs,
        _report: report,
    };
    ui.object("pruned", &object)?;
    let packs = count(report.condemned, "pack");
    let (gone, written) = (size(report.condemned_bytes), size(report.written_bytes));
    if dry_run {
        return ui.line(&format!(
            "dry run: {packs} ({gone}) would go, {written} would be written anew"
        ));
    }
    for (id, reason) in &report.fenced {
        ui.status(&format!("session {} was ended: {reason}", id.short()));
    }
    let swept = count(report.swept, "pack");
    ui.line(&format!(
        "{swept} ({}) removed, {written} written anew",
        size(report.swept_bytes)
    ))?;
    for waiting in &report.waiting {
        let who = waiting.record.as_ref().map_or_else(
            || "an unknown host".into(),
            |record| {
                format!(
                    "{} since {}",
                    record.host,
                    context.clock.show(record.start_ns)
                )
            },
        );
        let until = context.clock.show(waiting.until_ns);
        ui.line(&format!(
            "{} condemned, waiting for a backup of {who} to end (at the latest {until}); a later prune removes them",
            count(report.waiting_packs, "pack")
        ))?;
    }
    Ok(())
}
