//! `diff`: what differs between two snapshots.

use clap::Args;

use crate::reference::Reference;
use crate::source_name::SourceName;
use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::path::RepoPath;
use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::snapshot::SnapshotSource;
use keepstone_engine::snapshot::select::Listed;
use keepstone_engine::tree::diff::{Change, diff};
use keepstone_engine::tree::{Body, Entry};
use serde::Serialize;

use crate::args::FilterArgs;
use crate::choose::{sources_named, wanted};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::{InSnapshot, places, show};
use crate::ui::format::{printable, size};

const EXAMPLES: &str = "\
Examples:
  keepstone diff latest~1 latest
  keepstone diff --metadata 3fc2a9:/etc 77aa01:/etc
  keepstone diff --source postgres-app latest~24 latest

Each line begins with + (added), - (removed), M (content), U (metadata) or T (kind).";

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DiffArgs {
    /// The earlier snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) from: Reference,
    /// The later snapshot
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) to: Reference,
    /// Show entries of which only owner, mode or times differ
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Only this source; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<SourceName>,
}

#[derive(Serialize)]
struct ChangeObject {
    change: char,
    path: String,
}

/// Totals of a comparison.
#[derive(Debug, Default, Serialize)]
struct Totals {
    added: u64,
    removed: u64,
    modified: u64,
    metadata: u64,
    added_bytes: u64,
    removed_bytes: u64,
}

struct Comparing<'a> {
    store: Arc<Store>,
    args: &'a DiffArgs,
    context: &'a Context,
    totals: Totals,
}

/// Compares two snapshots.
pub(crate) fn run(args: &DiffArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let all = context.snapshots(&repo)?;
    let filter = FilterArgs {
        source: args.source.clone(),
        ..FilterArgs::default()
    };
    let find = |reference: &Reference| {
        let named = sources_named(reference.address.iter());
        context.find_snapshot_with(&all, &wanted(&reference.snapshot), &named, &filter)
    };
    let (before, after) = (find(&args.from)?, find(&args.to)?);
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    let mut comparing = Comparing {
        store,
        args,
        context,
        totals: Totals::default(),
    };
    let lefts = at(before, &args.from, &filter)?;
    let rights = at(after, &args.to, &filter)?;
    for left in &lefts {
        let right = rights
            .iter()
            .find(|right| right.source.name == left.source.name);
        let before = comparing.folder(left)?;
        let after = right.map_or(Ok(vec![]), |right| comparing.folder(right))?;
        comparing.compare(left.source, &left.path, &before, &after)?;
    }
    for right in &rights {
        if !lefts
            .iter()
            .any(|left| left.source.name == right.source.name)
        {
            let after = comparing.folder(right)?;
            comparing.compare(right.source, &right.path, &[], &after)?;
        }
    }
    let totals = &comparing.totals;
    context.ui.object("totals", totals)?;
    context.ui.line(&format!(
        "{} added ({}), {} removed ({}), {} modified",
        totals.added,
        size(totals.added_bytes),
        totals.removed,
        size(totals.removed_bytes),
        totals.modified
    ))?;
    Ok(ExitCode::Done)
}

fn at<'a>(
    listed: &'a Listed,
    reference: &Reference,
    filter: &FilterArgs,
) -> Result<Vec<InSnapshot<'a>>, CliError> {
    places(&listed.snapshot, reference.address.iter(), filter)
}

impl Comparing<'_> {
    fn folder(&self, place: &InSnapshot<'_>) -> Result<Vec<Entry>, CliError> {
        let Some(root) = place.source.root else {
            return Ok(vec![]);
        };
        if place.path.is_root() {
            return Ok(self.store.folder(root)?);
        }
        match self.store.lookup(root, &place.path)? {
            Some(Entry {
                body: Body::Dir(below),
                ..
            }) => Ok(self.store.folder(below)?),
            Some(entry) => Ok(vec![entry]),
            None => Err(Error::NotFound {
                what: format!("there is no {}", place.path),
            }
            .into()),
        }
    }

    fn compare(
        &mut self,
        source: &SnapshotSource,
        path: &RepoPath,
        before: &[Entry],
        after: &[Entry],
    ) -> Result<(), CliError> {
        for change in diff(before, after) {
            let (mark, entry, below) = match change {
                Change::Added(entry) => ('+', entry, None),
                Change::Removed(entry) => ('-', entry, None),
                Change::Modified(old, new) => {
                    let same_kind =
                        std::mem::discriminant(&old.body) == std::mem::discriminant(&new.body);
                    (if same_kind { 'M' } else { 'T' }, new, None)
                }
                Change::MetadataOnly(_, new) => ('U', new, None),
                Change::Folder(old, new) => (' ', new, Some((old, new))),
            };
            let at = path
                .join(&entry.name)
                .map_err(|error| CliError::usage(error.to_string()))?;
            self.say(source, mark, &at, entry)?;
            if let Some((old, new)) = below {
                let (before, after) = (self.below(old)?, self.below(new)?);
                self.compare(source, &at, &before, &after)?;
            } else if let (Body::Dir(_), '+' | '-') = (&entry.body, mark) {
                let below = self.below(entry)?;
                let (before, after): (&[Entry], &[Entry]) = if mark == '+' {
                    (&[], &below)
                } else {
                    (&below, &[])
                };
                self.compare(source, &at, before, after)?;
            }
        }
        Ok(())
    }

    fn below(&self, entry: &Entry) -> Result<Vec<Entry>, CliError> {
        match entry.body {
            Body::Dir(root) => Ok(self.store.folder(root)?),
            _ => Ok(vec![]),
        }
    }

    fn say(
        &mut self,
        source: &SnapshotSource,
        mark: char,
        path: &RepoPath,
        entry: &Entry,
    ) -> Result<(), CliError> {
        let bytes = entry.content().map_or(0, |content| content.size_bytes);
        let totals = &mut self.totals;
        match mark {
            '+' => {
                totals.added += 1;
                totals.added_bytes += bytes;
            }
            '-' => {
                totals.removed += 1;
                totals.removed_bytes += bytes;
            }
            'M' | 'T' => totals.modified += 1,
            'U' => totals.metadata += 1,
            _ => return Ok(()),
        }
        if mark == 'U' && !self.args.metadata {
            return Ok(());
        }
        let shown = show(&source.name, path);
        self.context
            .ui
            .line(&printable(&format!("{mark} {shown}")))?;
        self.context.ui.object(
            "change",
            &ChangeObject {
                change: mark,
                path: shown,
            },
        )
    }
}
