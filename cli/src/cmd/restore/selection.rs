//! Which flags choose a part of a source, and of which kinds: a flag that a source does not know is refused, before it
//! is restored as a whole by mistake.

use keepstone_engine::snapshot::{Snapshot, SnapshotSource};

use super::{DatabaseArgs, FileArgs, Place, RestoreArgs, TtlChoice};
use crate::choose;
use crate::error::CliError;
use crate::place_in;
use crate::reference::Address;
use crate::source_name::SourceName;

/// A flag that was given.
pub(super) struct Flag {
    /// As typed.
    pub(super) name: &'static str,
    /// The kinds of sources that know it.
    kinds: &'static [&'static str],
}

impl DatabaseArgs {
    /// The flags that were given.
    pub(super) fn given(&self) -> Vec<Flag> {
        let flags: [(bool, &str, &[&str]); 9] = [
            (
                !self.database.is_empty(),
                "--database",
                &["postgres", "redis"],
            ),
            (!self.schema.is_empty(), "--schema", &["postgres"]),
            (!self.table.is_empty(), "--table", &["postgres", "sqlite"]),
            (self.no_owner, "--no-owner", &["postgres"]),
            (!self.key_pattern.is_empty(), "--key-pattern", &["redis"]),
            (self.prefix.is_some(), "--prefix", &["redis"]),
            (self.ttl != TtlChoice::Keep, "--ttl", &["redis"]),
            (self.functions, "--functions", &["redis"]),
            (self.in_use, "--in-use", &["sqlite"]),
        ];
        given(flags)
    }
}

impl FileArgs {
    /// The flags that were given and choose what is restored.
    fn choosing(&self) -> Vec<Flag> {
        given([
            (!self.include.is_empty(), "--include", &["files"]),
            (!self.exclude.is_empty(), "--exclude", &["files"]),
        ])
    }

    /// The flags that were given and say how it is restored.
    fn writing(&self) -> Vec<Flag> {
        given([
            (self.delete, "--delete", &["files"]),
            (self.verify, "--verify", &["files"]),
            (self.privileged, "--privileged", &["files"]),
        ])
    }
}

fn given<const N: usize>(flags: [(bool, &'static str, &'static [&'static str]); N]) -> Vec<Flag> {
    let flags = flags.into_iter().filter(|(is_given, ..)| *is_given);
    flags.map(|(_, name, kinds)| Flag { name, kinds }).collect()
}

/// Where a source goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Folder,
    InPlace,
    Live,
}

/// Refuses what cannot be meant of the sources that are restored: it would be passed over in silence, and more be restored
/// than was asked for.
pub(super) fn check(
    args: &RestoreArgs,
    place: &Place,
    address: Option<&Address>,
    snapshot: &Snapshot,
) -> Result<(), CliError> {
    let sources = sources(args, place, address, snapshot)?;
    let of_databases = args.databases.given();
    let of_files = args.files.choosing();
    for (source, way) in &sources {
        // A folder gets whole exports.
        let mut flags: Vec<&Flag> = match way {
            Way::Folder => vec![],
            Way::InPlace | Way::Live => of_databases.iter().collect(),
        };
        flags.extend(&of_files);
        let mut unknown = flags
            .iter()
            .filter(|flag| !flag.kinds.contains(&source.kind.as_str()));
        if let Some(flag) = unknown.next() {
            return Err(CliError::usage(format!(
                "source {} is of kind {}, which {} is not for",
                source.name, source.kind, flag.name
            ))
            .hint("Name the sources that are meant with --source, or by --to."));
        }
    }
    let has_files = sources.iter().any(|(source, _)| source.kind == "files");
    if let Some(flag) = args.files.writing().first().filter(|_| !has_files) {
        return Err(CliError::usage(format!(
            "no files are restored, which {} is for",
            flag.name
        )));
    }
    Ok(())
}

/// The sources that are meant and no others, if an address or the targets name them: they need not be of a whole snapshot.
pub(super) fn sources_named<'a>(
    place: &'a Place,
    address: Option<&'a Address>,
) -> Vec<&'a SourceName> {
    match (address, place) {
        (Some(_), _) => choose::sources_named(address.into_iter()),
        (None, Place::Elsewhere { target: None, to }) => to.iter().map(|spec| &spec.name).collect(),
        (None, _) => Vec::new(),
    }
}

/// What is restored, and which way it goes.
fn sources<'a>(
    args: &RestoreArgs,
    place: &Place,
    address: Option<&Address>,
    snapshot: &'a Snapshot,
) -> Result<Vec<(&'a SnapshotSource, Way)>, CliError> {
    let is_addressed = |source: &SnapshotSource| match address {
        None => true,
        Some(Address::File(_)) => source.kind == "files",
        Some(Address::InSource { source: name, .. }) => name.to_string() == source.name,
    };
    let chosen = place_in::sources(snapshot, &args.filter).into_iter();
    let chosen = chosen.filter(|source| is_addressed(source));
    let (target, to) = match place {
        Place::InPlace => return Ok(chosen.map(|source| (source, Way::InPlace)).collect()),
        Place::Elsewhere { target, to } => (target, to),
    };
    let mut live = Vec::new();
    for spec in to {
        let name = spec.name.to_string();
        if !args.filter.source.is_empty() && !args.filter.source.contains(&spec.name) {
            return Err(CliError::usage(format!(
                "--source leaves {name} out, and --to names it"
            )));
        }
        let is_part = match address {
            None => false,
            Some(Address::File(_)) => true,
            Some(Address::InSource { source, path }) => *source != spec.name || !path.is_root(),
        };
        if is_part {
            return Err(is_whole(&name));
        }
        live.extend(snapshot.source(&name).map(|source| (source, Way::Live)));
    }
    let is_live = |source: &SnapshotSource| live.iter().any(|(other, _)| other.name == source.name);
    let folder: Vec<_> = match target {
        Some(_) => chosen.filter(|source| !is_live(source)).collect(),
        None => Vec::new(),
    };
    let folder = folder.into_iter().map(|source| (source, Way::Folder));
    Ok(folder.chain(live.iter().copied()).collect())
}

/// A path cannot choose a part of a database.
pub(super) fn is_whole(name: &str) -> CliError {
    CliError::usage(format!("source {name} is restored as a whole"))
        .hint("Leave out the path; --database, --table and their likes choose a part.")
}
