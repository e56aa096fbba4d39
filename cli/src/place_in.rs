//! Which source of a snapshot an address means, and which path in it.

use keepstone_engine::path::RepoPath;
use keepstone_engine::repo::Store;
use keepstone_engine::snapshot::{Snapshot, SnapshotSource};

use crate::args::FilterArgs;
use crate::error::CliError;
use crate::reference::Address;
use crate::ui::format::printable;

/// A place in a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct InSnapshot<'a> {
    /// The source.
    pub(crate) source: &'a SnapshotSource,
    /// The path in it; the root for all of it.
    pub(crate) path: RepoPath,
}

/// The sources of a snapshot that were captured and that the filter names.
pub(crate) fn sources<'a>(snapshot: &'a Snapshot, filter: &FilterArgs) -> Vec<&'a SnapshotSource> {
    let named = |name: &str| {
        filter.source.is_empty()
            || filter
                .source
                .iter()
                .any(|wanted| wanted.to_string() == name)
    };
    let captured = snapshot
        .sources
        .iter()
        .filter(|source| source.root.is_some());
    captured.filter(|source| named(&source.name)).collect()
}

/// Resolves addresses; without any, every source as a whole.
pub(crate) fn places<'a, 'b>(
    snapshot: &'a Snapshot,
    addresses: impl Iterator<Item = &'b Address>,
    filter: &FilterArgs,
) -> Result<Vec<InSnapshot<'a>>, CliError> {
    let sources = sources(snapshot, filter);
    let mut places = Vec::new();
    let mut none = true;
    for address in addresses {
        none = false;
        let (wanted, path) = match address {
            Address::File(path) => (None, path.clone()),
            Address::InSource { source, path } => (Some(source.to_string()), path.clone()),
        };
        let fits = |source: &&&SnapshotSource| match &wanted {
            None => source.kind == "files",
            Some(name) => source.name == *name,
        };
        let before = places.len();
        let fitting = sources.iter().filter(fits);
        places.extend(fitting.map(|source| InSnapshot {
            source,
            path: path.clone(),
        }));
        if places.len() == before {
            let what = match wanted {
                Some(name) => format!("the snapshot holds no source {name}"),
                None => "the snapshot holds no files".into(),
            };
            return Err(not_held(what, snapshot));
        }
    }
    if none {
        let whole = |source: &&'a SnapshotSource| InSnapshot {
            source,
            path: RepoPath::root(),
        };
        places = sources.iter().map(whole).collect();
    }
    Ok(places)
}

/// The same, of sources that hold what is meant: a path may be of any of several sources of files.
pub(crate) fn places_that_exist<'a, 'b>(
    snapshot: &'a Snapshot,
    addresses: impl Iterator<Item = &'b Address>,
    filter: &FilterArgs,
    store: &Store,
) -> Result<Vec<InSnapshot<'a>>, CliError> {
    let mut found = Vec::new();
    let mut addresses = addresses.peekable();
    if addresses.peek().is_none() {
        return places(snapshot, addresses, filter);
    }
    for address in addresses {
        let before = found.len();
        for place in places(snapshot, std::iter::once(address), filter)? {
            let Some(root) = place.source.root else {
                continue;
            };
            if place.path.is_root() || store.lookup(root, &place.path)?.is_some() {
                found.push(place);
            }
        }
        if found.len() == before {
            let what = format!("the snapshot holds no {address}");
            return Err(keepstone_engine::Error::NotFound { what }.into());
        }
    }
    Ok(found)
}

/// Something that a snapshot does not hold; the advice is what it does.
pub(crate) fn not_held(what: String, snapshot: &Snapshot) -> CliError {
    let names = snapshot.sources.iter().map(|source| match source.failure {
        None => source.name.clone(),
        Some(_) => format!("{} (failed)", source.name),
    });
    let names: Vec<_> = names.collect();
    let hint = format!("It holds {}.", names.join(", "));
    CliError::from(keepstone_engine::Error::NotFound { what }).hint(printable(&hint))
}

/// The address of something in a snapshot, as a user would type it behind the colon.
pub(crate) fn show(source: &str, path: &RepoPath) -> String {
    if source == "files" {
        format!("/{path}")
    } else {
        format!("{source}/{path}")
    }
}
