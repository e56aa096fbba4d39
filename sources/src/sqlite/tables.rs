//! Restoring single tables: into a database that lives on, or into a file of their own.
//!
//! The captured image is the staged file N. What is replaced goes into a small database O; then one transaction of
//! SQLite on the live file L replaces the tables and sets a mark. What lies there says how far it came:
//!
//! | mark in L | N | O | meaning |
//! |---|---|---|---|
//! | none | there | any | staged; L is as it was, O may be stale |
//! | there | any | there | committed, not yet tidied |
//! | none | gone | there | switched |
//! | none | gone | none | never staged, or discarded, or rolled back |
//!
//! Other programs may go on using L: they see the tables change between two of their transactions.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use keepstone_engine::source::{Items, SourceError, SourceErrorKind, Validation};

use super::client::{Client, TableWriter};
use super::compare::compare_tables;
use super::files::{create_private, id, remove, rename, take_owner_and_mode};
use super::switch::Switch;
use super::{beside, io_failure};

/// Checks that a capture holds these tables, counted.
pub(super) fn check_selection(tables: &[String], items: &dyn Items) -> Result<(), SourceError> {
    let known: BTreeSet<_> = items
        .report()
        .collections
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    let is_unknown =
        |table: &&String| !known.contains(table.as_str()) || table.starts_with("sqlite_");
    match tables.iter().find(is_unknown) {
        None => Ok(()),
        Some(table) => Err(SourceError::new(
            SourceErrorKind::Missing,
            format!("the capture holds no table {table} that can be restored by itself"),
        )),
    }
}

/// Makes the staged file, so far a whole image, one of these tables only.
pub(super) fn keep_only(switch: &Switch, tables: &[String], mode: u32) -> Result<(), SourceError> {
    let new = &switch.files.new;
    let image = beside(new, ".image");
    rename(new, &image)?;
    copy_tables(&image, true, new, switch, tables)?;
    remove(&image)?;
    let file = File::open(new).map_err(|e| io_failure("cannot read", new, e))?;
    take_owner_and_mode(&file, &switch.files.live, mode)
        .and_then(|()| file.sync_all())
        .map_err(|e| io_failure("cannot write", new, e))
}

/// Compares the staged tables with what was recorded.
pub(super) fn compare(
    client: &Client,
    tables: &[String],
    items: &dyn Items,
) -> Result<Validation, SourceError> {
    let checked = client.check()?;
    let mut validation = Validation {
        differences: checked.problems,
        notes: checked.notes,
        ..Validation::default()
    };
    if !validation.differences.is_empty() {
        return Ok(validation);
    }
    let found = super::capture::read_tables(client, true)?.collections;
    let chosen = |mut all: Vec<_>| {
        all.retain(|table: &keepstone_engine::source::CollectionFacts| {
            tables.contains(&table.name)
        });
        all
    };
    let recorded = chosen(items.report().collections.clone());
    compare_tables(&recorded, &chosen(found), &mut validation);
    Ok(validation)
}

/// A restore of single tables into a live database.
#[derive(Debug)]
pub(super) struct TableSwitch<'a> {
    /// The names, and how long to wait.
    pub(super) switch: &'a Switch,
    /// The tables.
    pub(super) tables: &'a [String],
    /// Name of the marking table.
    pub(super) mark: String,
}

impl TableSwitch<'_> {
    /// Replaces the tables, or finishes doing so.
    pub(super) fn switch(&self) -> Result<(), SourceError> {
        let files = &self.switch.files;
        let writer = self.open()?;
        if !writer.is_marked(&self.mark)? {
            if id(&files.new)?.is_none() {
                return files.sync_folder();
            }
            self.replace(writer)?;
            self.switch.steps.done("committed");
        }
        self.tidy()
    }

    fn open(&self) -> Result<TableWriter, SourceError> {
        let live = &self.switch.files.live;
        if id(live)?.is_none() {
            let act = format!("{} vanished while it was restored", live.display());
            return Err(SourceError::new(SourceErrorKind::Occupied, act));
        }
        TableWriter::open(live, self.switch.busy)
    }

    fn replace(&self, writer: TableWriter) -> Result<(), SourceError> {
        let new = &self.switch.files.new;
        writer.attach(new, true)?;
        writer.begin()?;
        self.keep()?;
        for table in self.tables {
            writer.take_table(table)?;
            writer.check_table(new, table)?;
        }
        writer.mark(&self.mark)?;
        writer.commit()
    }

    /// Copies what will be replaced aside. Nobody can write meanwhile; what an earlier try kept is stale.
    fn keep(&self) -> Result<(), SourceError> {
        let files = &self.switch.files;
        let copy = files.copy();
        remove(&copy)?;
        copy_tables(&files.live, false, &copy, self.switch, self.tables)?;
        let fail = |e| io_failure("cannot keep", &files.live, e);
        let mode = fs::metadata(&files.live).map_err(fail)?.mode();
        let file = File::open(&copy).map_err(fail)?;
        take_owner_and_mode(&file, &files.live, mode & 0o777)
            .and_then(|()| file.sync_all())
            .map_err(fail)?;
        rename(&copy, &files.old)?;
        files.sync_folder()?;
        self.switch.steps.done("kept");
        Ok(())
    }

    /// After the commit: the staged file goes first, so that without a mark its absence tells the same.
    fn tidy(&self) -> Result<(), SourceError> {
        let files = &self.switch.files;
        files.remove_new()?;
        files.sync_folder()?;
        self.switch.steps.done("staged file removed");
        self.open()?.unmark(&self.mark)?;
        self.switch.steps.done("mark removed");
        Ok(())
    }

    /// Brings the tables back that were replaced, if they were.
    pub(super) fn rollback(&self) -> Result<(), SourceError> {
        let files = &self.switch.files;
        remove(&files.copy())?;
        let is_kept = id(&files.old)?.is_some();
        if is_kept {
            let writer = self.open()?;
            let is_switched = writer.is_marked(&self.mark)? || id(&files.new)?.is_none();
            if is_switched {
                files.remove_new()?;
                files.sync_folder()?;
                writer.attach(&files.old, true)?;
                writer.begin()?;
                for table in self.tables {
                    writer.take_table(table)?;
                }
                writer.unmark(&self.mark)?;
                writer.commit()?;
                self.switch.steps.done("brought back");
            }
        }
        files.remove_new()?;
        remove(&files.old)?;
        files.sync_folder()
    }
}

/// Makes a database that holds these tables of another.
fn copy_tables(
    from: &Path,
    is_immutable: bool,
    to: &Path,
    switch: &Switch,
    tables: &[String],
) -> Result<(), SourceError> {
    drop(create_private(to)?);
    let writer = TableWriter::open(to, switch.busy)?;
    writer.encode_like(from)?;
    writer.attach(from, is_immutable)?;
    writer.begin()?;
    for table in tables {
        writer.take_table(table)?;
    }
    writer.commit()
}
