//! `cat`: shows an object of the repository as it is, opened and verified.

use clap::{Args, ValueEnum};

use crate::reference::HexPrefix;
use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::{ObjectKey, ObjectKind as BackendKind, ObjectStat};
use keepstone_engine::id::ChunkId;
use keepstone_engine::repo::{Repo, Store, Usable, read_footer};
use keepstone_engine::snapshot::select::Filter;

use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::report::SnapshotObject;

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
    /// A node of a tree
    Node,
    /// The content of a chunk, as bytes
    Chunk,
}

/// Shows one object.
pub(crate) fn run(args: &CatArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let prefix = args.id.as_ref().map_or("", |id| id.as_str());
    let json = match args.kind {
        ObjectKind::Config => pretty(repo.config()),
        ObjectKind::Snapshot => {
            let all = context.snapshots(&repo)?;
            let wanted = keepstone_engine::snapshot::select::Wanted::Prefix(prefix.into());
            let found =
                keepstone_engine::snapshot::select::select(&all, &wanted, &Filter::default())?;
            pretty(&SnapshotObject::of(found.id, &found.snapshot))
        }
        ObjectKind::Session => {
            let stat = find(&repo, BackendKind::Session, prefix)?;
            let ObjectKey::Session(id) = stat.key else {
                return Err(absent(prefix));
            };
            pretty(&repo.session(id)?)
        }
        ObjectKind::Index => {
            let stat = find(&repo, BackendKind::Index, prefix)?;
            let packs = keepstone_engine::index::format::open(
                repo.root(),
                repo.id(),
                &repo.get(&stat.key)?,
            )
            .map_err(|source| Error::Corrupt {
                object: stat.key.to_string(),
                source,
            })?;
            let names = packs
                .iter()
                .map(|pack| (pack.name.to_string(), pack.size_bytes));
            pretty(&names.collect::<std::collections::BTreeMap<_, _>>())
        }
        ObjectKind::Pack => {
            let stat = find(&repo, BackendKind::Pack, prefix)?;
            let ObjectKey::Pack(name) = stat.key else {
                return Err(absent(prefix));
            };
            let pack = read_footer(&repo, name, stat.size_bytes)?;
            format!("{:#?}\n", pack.footer)
        }
        ObjectKind::Key => {
            let slots = keepstone_engine::repo::keys::slots(repo.backend().as_ref())?;
            let mut found = slots
                .iter()
                .filter(|(id, _)| id.to_string().starts_with(prefix));
            let (_, slot) = found.next().ok_or_else(|| absent(prefix))?;
            format!("{:#?}\n", slot.info())
        }
        ObjectKind::Node | ObjectKind::Chunk => return cat_chunk(args, prefix, &repo, context),
    };
    context.ui.bytes(json.as_bytes())?;
    Ok(ExitCode::Done)
}

fn cat_chunk(
    args: &CatArgs,
    prefix: &str,
    repo: &Repo,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let store = Arc::new(Store::load(repo, &Usable::Indexed, false)?);
    let found = store.with_index(|index| {
        let mut ids = index.chunks().iter().map(|(id, _)| *id);
        ids.find(|id| id.to_string().starts_with(prefix))
    });
    let id: ChunkId = found.ok_or_else(|| absent(prefix))?;
    if args.kind == ObjectKind::Node {
        context
            .ui
            .bytes(format!("{:#?}\n", store.read_node(id)?).as_bytes())?;
    } else {
        let (_, record) = store.record(id)?;
        let mut bytes = Vec::new();
        store.read_chunk(id, record.len, &mut bytes)?;
        context.ui.bytes(&bytes)?;
    }
    Ok(ExitCode::Done)
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
        let what = format!("several objects begin with {prefix}");
        return Err(Error::NotFound { what }.into());
    }
    Ok(first)
}

fn absent(prefix: &str) -> CliError {
    Error::NotFound {
        what: format!("no such object begins with {prefix}"),
    }
    .into()
}

fn pretty<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
