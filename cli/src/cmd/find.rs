//! `find`: searches snapshots for names.

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::SnapshotRef;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use keepstone_engine::path::RepoPath;
use keepstone_engine::repo::{Store, Usable};
use serde::Serialize;

use super::ls::{long_line, size_of};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::{show, sources};
use crate::repository::filter_of;
use crate::ui::format::printable;

const EXAMPLES: &str = "\
Examples:
  keepstone find nginx.conf
  keepstone find -i '*.ENV' '*.pem'
  keepstone find --snapshot latest --long /etc/passwd";

/// Arguments of `find`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FindArgs {
    /// Name or path with * and ?, matched as in .gitignore
    #[arg(value_name = "PATTERN", required = true)]
    pub(crate) patterns: Vec<String>,
    /// Take capitals and small letters as the same
    #[arg(short, long)]
    pub(crate) ignore_case: bool,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Search only this snapshot; may be given several times
    #[arg(short, long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Vec<SnapshotRef>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Serialize)]
struct Match {
    snapshot_id: String,
    source: String,
    path: String,
    size: u64,
}

/// Searches.
pub(crate) fn run(args: &FindArgs, context: &Context) -> Result<ExitCode, CliError> {
    let patterns = patterns(args)?;
    let repo = context.open_repo()?;
    let all = context.snapshots(&repo)?;
    let chosen: Vec<_> = if args.snapshot.is_empty() {
        let filter = filter_of(&args.filter);
        all.snapshots
            .iter()
            .filter(|listed| filter.accepts(&listed.snapshot))
            .collect()
    } else {
        let found = args.snapshot.iter();
        let found = found.map(|reference| context.find_snapshot(&all, reference, &args.filter));
        found.collect::<Result<_, _>>()?
    };
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    for listed in chosen {
        for source in sources(&listed.snapshot, &args.filter) {
            let Some(root) = source.root else { continue };
            let mut matches = Vec::new();
            store.walk(root, &RepoPath::root(), &mut |path, entry| {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                if patterns.is_match(&name) || patterns.is_match(format!("/{path}")) {
                    let shown = show(&source.name, path);
                    let line = if args.long {
                        long_line(entry, &format!("{}:{shown}", listed.id.short()), context)
                    } else {
                        format!("{}:{shown}", listed.id.short())
                    };
                    matches.push((line, shown, size_of(entry)));
                }
                Ok(())
            })?;
            for (line, path, size) in matches {
                context.ui.line(&printable(&line))?;
                let (snapshot_id, source) = (listed.id.to_string(), source.name.clone());
                context.ui.object(
                    "match",
                    &Match {
                        snapshot_id,
                        source,
                        path,
                        size,
                    },
                )?;
            }
        }
    }
    Ok(ExitCode::Done)
}

fn patterns(args: &FindArgs) -> Result<GlobSet, CliError> {
    let mut set = GlobSetBuilder::new();
    for pattern in &args.patterns {
        let glob = GlobBuilder::new(pattern)
            .case_insensitive(args.ignore_case)
            .build();
        set.add(glob.map_err(|error| CliError::usage(format!("{pattern}: {error}")))?);
    }
    set.build()
        .map_err(|error| CliError::usage(error.to_string()))
}
