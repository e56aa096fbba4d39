//! Which snapshot is meant by what a user typed, and what has to be said of the choice: an older one is never taken in
//! silence because something failed in a newer one.

use keepstone_engine::Error;
use keepstone_engine::repo::{Readable, Unreadable};
use keepstone_engine::snapshot::Snapshot;
use keepstone_engine::snapshot::select::{
    Filter, Listed, Wanted, only_with_prefix, passed_over, select,
};

use crate::args::FilterArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::reference::{Address, SnapshotRef};
use crate::repository::filter_of;
use crate::source_name::SourceName;
use crate::ui::format::printable;

impl Context {
    /// Finds one snapshot as a user names it.
    pub(crate) fn find_snapshot<'a>(
        &self,
        found: &'a Readable,
        reference: &SnapshotRef,
        filter: &FilterArgs,
    ) -> Result<&'a Listed, CliError> {
        self.find_snapshot_with(found, &wanted(reference), &[], filter)
    }

    /// Finds one snapshot of which these sources are meant: the newest that holds them, as with --source.
    pub(crate) fn find_snapshot_with<'a>(
        &self,
        found: &'a Readable,
        wanted: &Wanted,
        sources: &[&SourceName],
        filter: &FilterArgs,
    ) -> Result<&'a Listed, CliError> {
        if let Wanted::Prefix(prefix) = wanted {
            refuse_unreadable(found, prefix)?;
        }
        let all = &found.snapshots;
        let mut engine_filter = filter_of(filter);
        if engine_filter.sources.is_empty() {
            engine_filter.sources = sources.iter().map(ToString::to_string).collect();
            // Where none holds them, a snapshot is found all the same, for an error that says what there is.
            let accepts = |listed: &Listed| engine_filter.accepts(&listed.snapshot);
            let is_hopeless = match wanted {
                Wanted::Latest(_) => !all.iter().any(accepts),
                Wanted::At(_) => select(all, wanted, &engine_filter).is_err(),
                Wanted::Prefix(_) => true,
            };
            if is_hopeless {
                engine_filter.sources.clear();
            }
        }
        let selected = select(all, wanted, &engine_filter);
        let partial = passed_over(all, wanted, &engine_filter, selected.as_ref().ok().copied());
        match (selected, partial) {
            (Ok(listed), None) => Ok(listed),
            (Ok(listed), Some(partial)) => {
                self.name_passed_over(partial, &engine_filter);
                Ok(listed)
            }
            (Err(error), None) => Err(error.into()),
            (Err(error), Some(partial)) => Err(self.only_partial(error, partial, &engine_filter)),
        }
    }

    /// Finds snapshots as a user names them, each once: one may be named in several ways.
    pub(crate) fn find_snapshots<'a>(
        &self,
        all: &'a Readable,
        references: &[SnapshotRef],
        filter: &FilterArgs,
    ) -> Result<Vec<&'a Listed>, CliError> {
        let mut found: Vec<&Listed> = Vec::new();
        for reference in references {
            let listed = self.find_snapshot(all, reference, filter)?;
            if found.iter().all(|other| other.id != listed.id) {
                found.push(listed);
            }
        }
        Ok(found)
    }

    /// Finds snapshots that are to be changed or removed: `latest` never means another than the newest, as it does where
    /// something is only read.
    pub(crate) fn find_snapshots_to_change<'a>(
        &self,
        all: &'a Readable,
        references: &[SnapshotRef],
        filter: &FilterArgs,
    ) -> Result<Vec<&'a Listed>, CliError> {
        refuse_unsure(all, references)?;
        let engine_filter = filter_of(filter);
        for reference in references {
            let wanted = wanted(reference);
            let Ok(listed) = select(&all.snapshots, &wanted, &engine_filter) else {
                continue;
            };
            if let Some(partial) =
                passed_over(&all.snapshots, &wanted, &engine_filter, Some(listed))
            {
                let (newer, whole) = (self.shown(partial), self.shown(listed));
                let failed = failed_in(&partial.snapshot);
                let problem = format!(
                    "{reference} could be {whole}, or {newer}, which is newer, but partial: {failed} failed"
                );
                return Err(CliError::usage(printable(&problem))
                    .hint("Name the snapshot that is meant by its id."));
            }
        }
        self.find_snapshots(all, references, filter)
    }

    /// Warns that something failed in a newer snapshot, which is why it was not taken.
    fn name_passed_over(&self, partial: &Listed, filter: &Filter) {
        let remedy = if filter.sources.is_empty() {
            "; --source NAME takes the newest of each source"
        } else {
            ""
        };
        let shown = self.shown(partial);
        let failed = failed_in(&partial.snapshot);
        let text = format!("snapshot {shown} is newer, but partial: {failed} failed{remedy}");
        self.ui.warning_once(&printable(&text));
    }

    fn only_partial(&self, error: Error, partial: &Listed, filter: &Filter) -> CliError {
        let remedy = if filter.sources.is_empty() {
            ". Name it by its id, or say with --source NAME which source is meant, and the newest snapshot that holds it is taken"
        } else {
            ""
        };
        let shown = self.shown(partial);
        let failed = failed_in(&partial.snapshot);
        let hint = format!("Snapshot {shown} is partial: {failed} failed{remedy}.");
        CliError::from(error).hint(printable(&hint))
    }

    fn shown(&self, listed: &Listed) -> String {
        let time = self.clock.show(listed.snapshot.time_ns);
        format!("{} of {time}", listed.id.short())
    }
}

/// What the engine looks for.
pub(crate) fn wanted(reference: &SnapshotRef) -> Wanted {
    match reference {
        SnapshotRef::Latest { back } => Wanted::Latest(*back as usize),
        SnapshotRef::Id(prefix) => Wanted::Prefix(prefix.clone()),
    }
}

/// The sources that addresses name; none if one of them names a path, which may lie in any source.
pub(crate) fn sources_named<'a>(
    addresses: impl Iterator<Item = &'a Address>,
) -> Vec<&'a SourceName> {
    let source = |address: &'a Address| match address {
        Address::File(_) => None,
        Address::InSource { source, .. } => Some(source),
    };
    let names: Option<Vec<_>> = addresses.map(source).collect();
    names.unwrap_or_default()
}

/// Refuses to change `latest` where a record does not open: that may be the newest.
pub(crate) fn refuse_unsure(all: &Readable, references: &[SnapshotRef]) -> Result<(), CliError> {
    let mut unreadable = all.damaged.iter().filter_map(|record| record.snapshot);
    let is_counted = |one: &&SnapshotRef| matches!(one, SnapshotRef::Latest { .. });
    let (Some(id), Some(reference)) = (unreadable.next(), references.iter().find(is_counted))
    else {
        return Ok(());
    };
    let problem = format!(
        "{reference} could be snapshot {}, whose record does not open",
        id.short()
    );
    Err(CliError::usage(problem).hint("Name the snapshot that is meant by its id."))
}

/// A snapshot whose record does not open is there: whoever names it is told what is wrong with it.
fn refuse_unreadable(found: &Readable, prefix: &str) -> Result<(), CliError> {
    let damaged = |record: &&Unreadable| {
        let id = record.snapshot;
        id.is_some_and(|id| id.matches_prefix(prefix))
    };
    let Some(record) = found.damaged.iter().find(damaged) else {
        return Ok(());
    };
    let unreadable = found.damaged.iter().filter_map(|record| record.snapshot);
    let listed = found.snapshots.iter().map(|listed| listed.id);
    only_with_prefix(unreadable.chain(listed), |id| *id, prefix, "snapshot")?;
    match &record.why {
        Error::Corrupt { object, source } => {
            let (object, source) = (object.clone(), source.clone());
            Err(Error::Corrupt { object, source }.into())
        }
        // Listed and gone: no prune says that it took it.
        Error::Missing { object } => {
            let object = object.clone();
            Err(Error::Missing { object }.into())
        }
        _ => Ok(()),
    }
}

fn failed_in(snapshot: &Snapshot) -> String {
    let failed = snapshot.sources.iter().filter(|s| s.failure.is_some());
    let names: Vec<_> = failed.map(|source| source.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use keepstone_engine::id::SnapshotId;

    use super::*;
    use crate::exit::ExitCode;

    #[test]
    fn a_record_that_is_listed_and_gone_is_damage_and_no_unknown_snapshot() {
        let id = SnapshotId::from_bytes([0xab; 16]);
        let object = format!("end/{id}");
        let found = Readable {
            snapshots: Vec::new(),
            damaged: vec![Unreadable {
                snapshot: Some(id),
                why: Error::Missing {
                    object: object.clone(),
                },
            }],
        };
        let error = refuse_unreadable(&found, "abab").unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Damage);
        assert_eq!(error.message(), format!("{object} is missing"));
        assert!(refuse_unreadable(&found, "cdcd").is_ok());
    }
}
