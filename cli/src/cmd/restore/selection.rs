//! Which flags choose a part of a source, and of which kinds: a flag that a source does not know is refused, before it
//! is restored as a whole by mistake.

use keepstone_engine::snapshot::Snapshot;

use super::{DatabaseArgs, Place, RestoreArgs, TtlChoice};
use crate::error::CliError;
use crate::place_in;

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

fn given<const N: usize>(flags: [(bool, &'static str, &'static [&'static str]); N]) -> Vec<Flag> {
    let flags = flags.into_iter().filter(|(is_given, ..)| *is_given);
    flags.map(|(_, name, kinds)| Flag { name, kinds }).collect()
}

/// Refuses flags that a source which is restored live, or in place, does not know.
pub(super) fn check(
    args: &RestoreArgs,
    place: &Place,
    snapshot: &Snapshot,
) -> Result<(), CliError> {
    let mut flags = args.databases.given();
    let sources: Vec<_> = match place {
        Place::InPlace => {
            flags.extend(given([
                (!args.files.include.is_empty(), "--include", &["files"]),
                (!args.files.exclude.is_empty(), "--exclude", &["files"]),
            ]));
            place_in::sources(snapshot, &args.filter)
                .into_iter()
                .collect()
        }
        Place::Elsewhere { to, .. } => {
            let names = to.iter().map(|spec| spec.name.to_string());
            names.filter_map(|name| snapshot.source(&name)).collect()
        }
    };
    for source in sources {
        let unknown = |flag: &&Flag| !flag.kinds.contains(&source.kind.as_str());
        if let Some(flag) = flags.iter().find(unknown) {
            return Err(CliError::usage(format!(
                "source {} is of kind {}, which {} is not for",
                source.name, source.kind, flag.name
            ))
            .hint("Name the sources that are meant with --source, or by --to."));
        }
    }
    Ok(())
}
