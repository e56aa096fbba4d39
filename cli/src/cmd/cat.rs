//! `cat`: shows an object of the repository as it is, opened and verified.

mod shape;

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use keepstone_engine::Error;
use keepstone_engine::backend::{ObjectKey, ObjectKind as BackendKind, ObjectStat};
use keepstone_engine::id::ChunkId;
use keepstone_engine::index::IndexedPack;
use keepstone_engine::repo::{Repo, Store, Usable, keys, read_footer};
use keepstone_engine::snapshot::select::Wanted;
use serde_json::{Value, json};

use crate::args::FilterArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::reference::HexPrefix;
use crate::report::SnapshotObject;
use crate::ui::format::printable;

const EXAMPLES: &str = "\
Examples:
  keepstone cat config
  keepstone cat snapshot 3fc2a9
  keepstone cat pack 77aa01";

/// Arguments of `cat`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CatArgs {
    /// What kind of object
    #[arg(value_name = "KIND")]
    pub(crate) kind: ObjectKind,
    /// Its id, or the first digits of it; all but config need one
    #[arg(value_name = "ID", required_if_eq_any = [
        ("kind", "snapshot"), ("kind", "session"), ("kind", "index"), ("kind", "pack"), ("kind", "key"),
        ("kind", "node"), ("kind", "chunk"),
    ])]
    pub(crate) id: Option<HexPrefix>,
}

/// Kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectKind {
    /// The configuration of the repository
    Config,
    /// A key slot, without what it wraps
    Key,
    /// A snapshot
    Snapshot,
    /// A session
    Session,
    /// An index
    Index,
    /// What a pack holds
    Pack,
    /// A node of a tree, or the details of a source
    Node,
    /// The content of a chunk, as bytes
    Chunk,
}

/// Shows one object.
pub(crate) fn run(args: &CatArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let prefix = args.id.as_ref().map_or("", |id| id.as_str());
    let (word, object) = match args.kind {
        ObjectKind::Config => ("config", value(repo.config())),
        ObjectKind::Snapshot => {
            let all = context.snapshots(&repo)?;
            let wanted = Wanted::Prefix(prefix.into());
            let found = context.find_snapshot_with(&all, &wanted, &[], &FilterArgs::default())?;
            let object = SnapshotObject::of(found.id, &found.snapshot);
            ("snapshot", value(&object))
        }
        ObjectKind::Session => {
            let stat = find(&repo, BackendKind::Session, prefix)?;
            let ObjectKey::Session(id) = stat.key else {
                return Err(absent(prefix));
            };
            ("session", value(&repo.session(id)?))
        }
        ObjectKind::Index => ("index", index(&repo, prefix)?),
        ObjectKind::Pack => {
            let stat = find(&repo, BackendKind::Pack, prefix)?;
            let ObjectKey::Pack(name) = stat.key else {
                return Err(absent(prefix));
            };
            let pack = read_footer(&repo, name, stat.size_bytes)?;
            ("pack", shape::footer(&pack.footer))
        }
        ObjectKind::Key => {
            let slots = keys::slots(repo.backend().as_ref())?;
            let mut found = slots
                .iter()
                .filter(|(id, _)| id.to_string().starts_with(prefix));
            let (id, slot) = found.next().ok_or_else(|| absent(prefix))?;
            ("key_slot", shape::slot(&id.to_string(), slot))
        }
        ObjectKind::Node => {
            let (store, id) = find_chunk(&repo, prefix)?;
            let bytes = store.read_node_bytes(id)?;
            ("tree_node", shape::node_or_details(id, &bytes)?)
        }
        ObjectKind::Chunk => {
            let (store, id) = find_chunk(&repo, prefix)?;
            let (_, record) = store.record(id)?;
            let mut bytes = Vec::new();
            store.read_chunk(id, record.len, &mut bytes)?;
            if !context.ui.is_json() {
                context.ui.bytes(&bytes)?;
                return Ok(ExitCode::Done);
            }
            ("chunk", shape::chunk(id, &bytes))
        }
    };
    context.ui.object(word, &object)?;
    let text = serde_json::to_string_pretty(&object).unwrap_or_default();
    context.ui.line(&printable_lines(&text))?;
    Ok(ExitCode::Done)
}

fn index(repo: &Repo, prefix: &str) -> Result<Value, CliError> {
    let stat = find(repo, BackendKind::Index, prefix)?;
    let opened =
        keepstone_engine::index::format::open(repo.root(), repo.id(), &repo.get(&stat.key)?);
    let packs = opened.map_err(|source| Error::Corrupt {
        object: stat.key.to_string(),
        source,
    })?;
    let pack = |pack: &IndexedPack| json!({"name": pack.name.to_string(), "size": pack.size_bytes});
    let packs: Vec<_> = packs.iter().map(pack).collect();
    Ok(json!({"name": stat.key.to_string(), "packs": packs}))
}

/// The one chunk or node whose name begins with these digits.
fn find_chunk(repo: &Repo, prefix: &str) -> Result<(Arc<Store>, ChunkId), CliError> {
    let store = Arc::new(Store::load(repo, &Usable::Indexed, false)?);
    let found: BTreeSet<ChunkId> = store.with_index(|index| {
        let ids = index.chunks().iter().map(|(id, _)| *id);
        ids.filter(|id| id.to_string().starts_with(prefix))
            .take(2)
            .collect()
    });
    match (found.first(), found.len()) {
        (Some(id), 1) => Ok((store, *id)),
        (None, _) => Err(absent(prefix)),
        _ => Err(several(prefix)),
    }
}

/// The one object of a kind whose name, or whose random part, begins with these digits.
fn find(repo: &Repo, kind: BackendKind, prefix: &str) -> Result<ObjectStat, CliError> {
    let listed = repo.list(kind)?;
    let mut found = listed.into_iter().filter(|stat| {
        let path = stat.key.path();
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with(prefix)
            || name
                .split('.')
                .nth(1)
                .is_some_and(|part| part.starts_with(prefix))
    });
    let first = found.next().ok_or_else(|| absent(prefix))?;
    if found.next().is_some() {
        return Err(several(prefix));
    }
    Ok(first)
}

fn absent(prefix: &str) -> CliError {
    Error::NotFound {
        what: format!("no such object begins with {prefix}"),
    }
    .into()
}

fn several(prefix: &str) -> CliError {
    Error::NotFound {
        what: format!("several objects begin with {prefix}"),
    }
    .into()
}

fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Names in an object may have been chosen by an enemy; its lines are ours.
fn printable_lines(text: &str) -> String {
    let lines = text.lines().map(printable);
    lines.collect::<Vec<_>>().join("\n")
}
