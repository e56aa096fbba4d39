//! What a backup did, in words and as an object.

use keepstone_engine::backup::BackupReport;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::snapshot::select::Listed;
use keepstone_engine::snapshot::{Snapshot, SnapshotSource, SourceDetails};
use serde::Serialize;

use crate::context::Context;
use crate::time::rfc3339;
use crate::ui::format::{count, printable, size};

/// A snapshot as `--json` gives it.
#[derive(Serialize)]
pub(crate) struct SnapshotObject<'a> {
    pub(crate) id: String,
    pub(crate) short_id: String,
    pub(crate) time: String,
    pub(crate) end_time: String,
    pub(crate) bytes: u64,
    #[serde(flatten)]
    pub(crate) snapshot: &'a Snapshot,
}

impl<'a> SnapshotObject<'a> {
    /// The object of a listed snapshot.
    pub(crate) fn of(id: SnapshotId, snapshot: &'a Snapshot) -> Self {
        Self {
            id: id.to_string(),
            short_id: id.short(),
            time: rfc3339(snapshot.time_ns),
            end_time: rfc3339(snapshot.end_ns),
            bytes: snapshot.bytes(),
            snapshot,
        }
    }
}

/// The end of a backup as `--json` gives it.
#[derive(Serialize)]
struct Summary<'a> {
    dry_run: bool,
    snapshot_id: Option<String>,
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    details: Vec<Details<'a>>,
}

#[derive(Serialize)]
struct Details<'a> {
    source: &'a str,
    #[serde(flatten)]
    details: &'a SourceDetails,
}

/// Tells what a backup did.
pub(crate) fn tell_backup(
    report: &BackupReport,
    parents: &[Listed],
    dry_run: bool,
    context: &Context,
) -> Result<(), crate::error::CliError> {
    let ui = &context.ui;
    for (name, details) in &report.details {
        for warning in &details.report.warnings {
            ui.warning(&printable(&format!("{name}: {warning}")));
        }
        for skipped in &details.report.skipped {
            ui.warning(&printable(&format!(
                "{name}: {}: {}",
                skipped.path, skipped.reason
            )));
        }
        let unnamed = details.report.unnamed;
        if unnamed > 0 {
            ui.warning(&printable(&format!(
                "{name}: {unnamed} more entries were not saved as they should have been"
            )));
        }
    }
    let details = report
        .details
        .iter()
        .map(|(source, details)| Details { source, details });
    let summary = Summary {
        dry_run,
        snapshot_id: report.id.map(|id| id.to_string()),
        snapshot: &report.snapshot,
        details: details.collect(),
    };
    ui.object("summary", &summary)?;
    for source in &report.snapshot.sources {
        ui.line(&printable(&source_line(source, parents, context)))?;
    }
    let stored = size(report.snapshot.stored_bytes);
    ui.line(&match report.id {
        Some(id) => format!("snapshot {} saved, {stored} stored", id.short()),
        None if dry_run => format!("dry run: {stored} would be stored"),
        None => "nothing changed, no snapshot made".into(),
    })
}

/// "postgres: 1.2 GB in 14 streams, 14 MB changed, 1.1 MB new, 600 kB stored, delta against 13:00".
fn source_line(source: &SnapshotSource, parents: &[Listed], context: &Context) -> String {
    if let Some(failure) = &source.failure {
        return format!("{}: FAILED: {failure}", source.name);
    }
    let counts = &source.counts;
    let (is_files, was_there) = (source.kind == "files", source.parent.is_some());
    let noun = if is_files { "file" } else { "stream" };
    let changes = if is_files && was_there {
        format!(
            " ({} new, {} changed)",
            counts.files_new, counts.files_changed
        )
    } else {
        String::new()
    };
    let parent = source
        .parent
        .and_then(|id| parents.iter().find(|listed| listed.id == id));
    let against = match parent {
        _ if counts.cold_cache => "delta: cold cache".into(),
        Some(parent) => format!(
            "delta against {}",
            context.clock.show(parent.snapshot.time_ns)
        ),
        None => "first capture".into(),
    };
    format!(
        "{}: {} in {}{changes}, {} new, {} stored, {against}",
        source.name,
        size(counts.bytes),
        count(counts.files, noun),
        size(counts.literal_bytes),
        size(counts.stored_bytes),
    )
}
