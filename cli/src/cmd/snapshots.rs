//! `snapshots`: lists snapshots with what each holds and what it cost.

use std::collections::BTreeSet;

use clap::Args;
use keepstone_engine::repo::Readable;
use keepstone_engine::retention::{self, Group, GroupKey, SetKey};
use keepstone_engine::snapshot::select::Listed;

use super::forget::facts_of;
use crate::args::FilterArgs;
use crate::keep::GroupBy;
use crate::reference::SnapshotRef;

use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::report::SnapshotObject;
use crate::repository::filter_of;
use crate::ui::Table;
use crate::ui::format::{count, printable, size};
use crate::ui::table::Align;

const EXAMPLES: &str = "\
Examples:
  keepstone snapshots
  keepstone snapshots --host web1 --tag nightly --latest 5
  keepstone snapshots latest~2
  keepstone snapshots --json";

/// Arguments of `snapshots`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SnapshotsArgs {
    /// Only these: an id or its first digits, latest, latest~N
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Only the newest N of each group
    #[arg(long, value_name = "N")]
    pub(crate) latest: Option<usize>,
    /// Show groups: host, set, tags, separated by commas
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group_by: Option<GroupBy>,
    /// Show forgotten ones that can still be brought back
    #[arg(long)]
    pub(crate) forgotten: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Lists snapshots, oldest first.
pub(crate) fn run(args: &SnapshotsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let all = if args.forgotten {
        let found = repo.forgotten_snapshots()?;
        context.name_unreadable(&found);
        found
    } else {
        context.snapshots(&repo)?
    };
    let chosen = chosen(args, &all, context)?;
    if chosen.is_empty() {
        context.ui.status("no snapshots");
        return Ok(ExitCode::Done);
    }
    let grouping = args.group_by.map(|by| by.0);
    let facts = chosen.iter().map(|listed| facts_of(listed)).collect();
    let mut groups = retention::group(facts, grouping.unwrap_or_default());
    for group in &mut groups {
        let surplus = args
            .latest
            .map_or(0, |latest| group.snapshots.len().saturating_sub(latest));
        group.snapshots.drain(..surplus);
    }
    let members = |groups: &[Group]| -> Vec<&Listed> {
        let facts = groups.iter().flat_map(|group| &group.snapshots);
        let ids: BTreeSet<_> = facts.map(|facts| facts.id).collect();
        let members = chosen.iter().copied();
        members.filter(|listed| ids.contains(&listed.id)).collect()
    };
    if grouping.is_none() {
        show(&members(&groups), context)?;
        return Ok(ExitCode::Done);
    }
    for (number, group) in groups.iter().enumerate() {
        if number > 0 {
            context.ui.line("")?;
        }
        let title = format!("{}:", name_of(&group.key));
        context.ui.line(&printable(&title))?;
        show(&members(std::slice::from_ref(group)), context)?;
    }
    Ok(ExitCode::Done)
}

/// The snapshots that were named, or all that pass the filters.
fn chosen<'a>(
    args: &SnapshotsArgs,
    all: &'a Readable,
    context: &Context,
) -> Result<Vec<&'a Listed>, CliError> {
    if args.snapshots.is_empty() {
        let filter = filter_of(&args.filter);
        return Ok(all
            .snapshots
            .iter()
            .filter(|listed| filter.accepts(&listed.snapshot))
            .collect());
    }
    let mut found = context.find_snapshots(all, &args.snapshots, &args.filter)?;
    found.sort_by_key(|listed| (listed.snapshot.time_ns, listed.id));
    Ok(found)
}

/// What the members of a group have in common, in words.
fn name_of(key: &GroupKey) -> String {
    let mut parts = Vec::new();
    parts.extend(key.host.as_ref().map(|host| format!("host {host}")));
    parts.extend(key.set.as_ref().map(|set| match set {
        SetKey::Named(name) => format!("set {name}"),
        SetKey::Sources(names) => format!("sources {}", names.join(", ")),
    }));
    parts.extend(key.tags.as_ref().map(|tags| {
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        if tags.is_empty() {
            "no tags".into()
        } else {
            format!("tags {}", tags.join(", "))
        }
    }));
    if parts.is_empty() {
        "all".into()
    } else {
        parts.join(", ")
    }
}

fn show(listed: &[&Listed], context: &Context) -> Result<(), CliError> {
    for listed in listed {
        let object = SnapshotObject::of(listed.id, &listed.snapshot);
        context.ui.object("snapshot", &object)?;
    }
    context.ui.table(table(listed, context))?;
    let stored = listed.iter().map(|listed| listed.snapshot.stored_bytes);
    let count = count(listed.len() as u64, "snapshot");
    let stored = size(stored.sum());
    context
        .ui
        .line(&format!("{count}, {stored} stored by them"))
}

fn table(listed: &[&Listed], context: &Context) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Host", Align::Left),
        ("Sources", Align::Left),
        ("Tags", Align::Left),
        ("Holds", Align::Right),
        ("Cost", Align::Right),
    ]);
    for Listed { id, snapshot, .. } in listed {
        let names = snapshot.sources.iter().map(|source| match source.failure {
            None => source.name.clone(),
            Some(_) => format!("{} (failed)", source.name),
        });
        table.row([
            id.short(),
            context.clock.show(snapshot.time_ns),
            snapshot.host.clone(),
            names.collect::<Vec<_>>().join(", "),
            snapshot.tags.join(", "),
            size(snapshot.bytes()),
            size(snapshot.stored_bytes),
        ]);
    }
    table
}
