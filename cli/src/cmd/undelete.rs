//! `undelete`: brings forgotten snapshots back, while their data is there.

use clap::Args;

use crate::reference::HexPrefix;
use keepstone_engine::snapshot::select::{Listed, only_with_prefix};
use keepstone_engine::undelete::recommit;
use serde::Serialize;

use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::repository::WriterState;

const EXAMPLES: &str = "\
Examples:
  keepstone snapshots --forgotten
  keepstone undelete 3fc2a9

The snapshot comes back under a new id. Once prune has removed data that it needs, it cannot.";

/// Arguments of `undelete`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UndeleteArgs {
    /// The forgotten snapshot: its id or the first digits of it
    #[arg(value_name = "ID", required = true)]
    pub(crate) snapshots: Vec<HexPrefix>,
}

#[derive(Serialize)]
struct Undeleted {
    original: String,
    snapshot_id: String,
}

/// Brings snapshots back.
pub(crate) fn run(args: &UndeleteArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let state = WriterState::lock(context.repo_state(&repo)?)?;
    let found = repo.forgotten_snapshots()?;
    context.name_unreadable(&found);
    let forgotten = found.snapshots;
    let readable = repo.readable_snapshots()?.snapshots;
    let listed = readable.iter().chain(&forgotten);
    let mut history = state.history(&repo, context.writer_id()?, listed)?;
    for listed in find_forgotten(&forgotten, &args.snapshots)? {
        let record = context.session_record(&context.host())?;
        let snapshot = listed.snapshot.clone();
        let (id, now) = recommit(&repo, listed.id, snapshot, &record, &history, &cancel())?;
        history = now;
        state.remember_or_warn(&history, &context.ui);
        context.ui.line(&format!(
            "snapshot {} is back as {}",
            listed.id.short(),
            id.short()
        ))?;
        let (original, snapshot_id) = (listed.id.to_string(), id.to_string());
        context.ui.object(
            "undeleted",
            &Undeleted {
                original,
                snapshot_id,
            },
        )?;
    }
    Ok(ExitCode::Done)
}

/// Finds forgotten snapshots, each once.
fn find_forgotten<'a>(
    forgotten: &'a [Listed],
    prefixes: &[HexPrefix],
) -> Result<Vec<&'a Listed>, CliError> {
    let mut chosen: Vec<&Listed> = Vec::new();
    for prefix in prefixes {
        let prefix = prefix.as_str();
        let meant = only_with_prefix(forgotten, |listed| listed.id, prefix, "forgotten snapshot")?;
        if chosen.iter().all(|other| other.id != meant.id) {
            chosen.push(meant);
        }
    }
    Ok(chosen)
}
