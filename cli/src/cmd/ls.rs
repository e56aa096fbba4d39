//! `ls`: lists what a snapshot holds.

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::{Address, Reference};
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::source::NodeKind;
use keepstone_engine::tree::{Body, Entry};
use serde::Serialize;

use crate::choose::{sources_named, wanted};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::{self, InSnapshot, places_that_exist};
use crate::time::rfc3339;
use crate::ui::format::{printable, size};

const EXAMPLES: &str = "\
Examples:
  keepstone ls latest
  keepstone ls latest:/etc
  keepstone ls -l 3fc2a9 /etc/app postgres-app
  keepstone ls --source redis latest~1";

/// Arguments of `ls`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    /// The snapshot: an id or its first digits, latest, latest~N, or with :PATH only that
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub(crate) snapshot: Reference,
    /// Only these: /absolute/path or SOURCE/stream
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<Address>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Show what is in folders of the folders that were named
    #[arg(long)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Serialize)]
struct Node<'a> {
    source: &'a str,
    path: String,
    kind: &'a str,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
}

/// Lists entries.
pub(crate) fn run(args: &LsArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let all = context.snapshots(&repo)?;
    let addresses = args.snapshot.address.iter().chain(&args.paths);
    let named = sources_named(addresses.clone());
    let wanted = wanted(&args.snapshot.snapshot);
    let listed = context.find_snapshot_with(&all, &wanted, &named, &args.filter)?;
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    let places = places_that_exist(&listed.snapshot, addresses, &args.filter, &store)?;
    for InSnapshot { source, path } in &places {
        let Some(root) = source.root else { continue };
        let deep = args.recursive || args.paths.is_empty() && args.snapshot.address.is_none();
        let mut failure = None;
        store.walk(root, &RepoPath::root(), &mut |at, entry| {
            let below = at.starts_with(path);
            let near = deep || at == path || at.parent().as_ref() == Some(path);
            if below && near && failure.is_none() {
                failure = show(&source.name, at, entry, args.long, context).err();
            }
            Ok(())
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(ExitCode::Done)
}

/// The word for what an entry is.
fn kind_of(entry: &Entry) -> &'static str {
    match &entry.body {
        Body::Dir(_) => "dir",
        Body::File(_) => "file",
        Body::Other(NodeKind::Link(_)) => "link",
        Body::Other(NodeKind::HardLink(_)) => "hardlink",
        Body::Other(NodeKind::Fifo) => "fifo",
        Body::Other(NodeKind::Socket) => "socket",
        Body::Other(_) => "device",
    }
}

/// Bytes of its content.
pub(super) fn size_of(entry: &Entry) -> u64 {
    entry.content().map_or(0, |content| content.size_bytes)
}

/// An entry with mode, owner, size and time.
pub(super) fn long_line(entry: &Entry, shown: &str, context: &Context) -> String {
    let meta = &entry.meta;
    format!(
        "{:8} {:04o} {:5} {:5} {:>10} {} {shown}",
        kind_of(entry),
        meta.mode,
        meta.uid,
        meta.gid,
        size(size_of(entry)),
        context.clock.show(meta.mtime_ns),
    )
}

fn show(
    source: &str,
    path: &RepoPath,
    entry: &Entry,
    long: bool,
    context: &Context,
) -> Result<(), CliError> {
    let (kind, bytes) = (kind_of(entry), size_of(entry));
    let meta = &entry.meta;
    let shown = place_in::show(source, path);
    let line = if long {
        long_line(entry, &shown, context)
    } else {
        shown
    };
    context.ui.line(&printable(&line))?;
    let node = Node {
        source,
        path: path.to_string(),
        kind,
        size: bytes,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: rfc3339(meta.mtime_ns),
        records: entry.facts.records,
    };
    context.ui.object("node", &node)
}
