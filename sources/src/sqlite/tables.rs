//! Restoring single tables: into a database that lives on, or into a file of their own.
//!
//! The captured image is the staged file N. What is replaced goes into a small database P; then one transaction of
//! SQLite on the live file L replaces the tables and sets a mark, and P gets its lasting name O. What lies there says how
//! far it came:
//!
//! | mark in L | N | P | O | meaning |
//! |---|---|---|---|---|
//! | none | there | any | any | staged; L is as it was, P and O are stale |
//! | there | any | one of | the two | committed, not yet tidied; or being brought back |
//! | none | gone | any | there | switched |
//! | none | gone | any | none | never staged, or lost, or discarded, or rolled back |
//!
//! So only O tells, once the mark is gone, that the tables were replaced: that N is gone may have other reasons.
//!
//! Other programs may go on using L: they see the tables change between two of their transactions.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use keepstone_engine::source::{Items, Phase, SourceError, SourceErrorKind, Validation};

use super::client::{Client, TableWriter};
use super::compare::compare_tables;
use super::files::{create_private, id, remove, rename, take_owner_and_mode};
use super::io_failure;
use super::switch::Switch;

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
    let image = switch.files.image();
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
    let mut differences = checked.problems;
    differences.extend(checked.oddities);
    let mut validation = Validation {
        differences,
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
            match (id(&files.new)?, id(&files.old)?) {
                (Some(_), _) => self.replace(writer)?,
                (None, Some(_)) => return files.sync_folder(),
                (None, None) => return Err(files.lost()),
            }
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
        self.keep(&writer)?;
        for table in self.tables {
            writer.take_table(table)?;
            writer.check_table(new, table)?;
        }
        writer.mark(&self.mark)?;
        writer.commit()
    }

    /// Copies what will be replaced aside. Nobody can write meanwhile; what an earlier try kept is stale.
    fn keep(&self, writer: &TableWriter) -> Result<(), SourceError> {
        let files = &self.switch.files;
        let copy = files.copy();
        remove(&files.old)?;
        files.remove_copy()?;
        copy_tables(&files.live, false, &copy, self.switch, self.tables)?;
        for table in self.tables {
            writer.check_kept(&copy, table)?;
        }
        let fail = |e| io_failure("cannot keep", &files.live, e);
        let mode = fs::metadata(&files.live).map_err(fail)?.mode();
        let file = File::open(&copy).map_err(fail)?;
        take_owner_and_mode(&file, &files.live, mode & 0o777)
            .and_then(|()| file.sync_all())
            .map_err(fail)?;
        files.sync_folder()?;
        self.switch.steps.done("kept");
        Ok(())
    }

    /// After the commit: what was kept gets its name, so that it tells of the switch when the mark is gone.
    fn tidy(&self) -> Result<(), SourceError> {
        let files = &self.switch.files;
        if id(&files.copy())?.is_some() {
            rename(&files.copy(), &files.old)?;
            files.sync_folder()?;
            self.switch.steps.done("kept by its name");
        }
        files.remove_new()?;
        files.sync_folder()?;
        self.switch.steps.done("staged file removed");
        self.open()?.unmark(&self.mark)?;
        self.switch.steps.done("mark removed");
        Ok(())
    }

    /// Brings the tables back that were replaced, if they were.
    pub(super) fn rollback(&self, phase: Phase) -> Result<(), SourceError> {
        let files = &self.switch.files;
        if phase >= Phase::Switching {
            self.bring_back()?;
        }
        files.remove_new()?;
        files.remove_copy()?;
        remove(&files.old)?;
        files.sync_folder()
    }

    fn bring_back(&self) -> Result<(), SourceError> {
        let files = &self.switch.files;
        let is_named = id(&files.old)?.is_some();
        if !is_named && id(&files.copy())?.is_none() {
            return Ok(());
        }
        let writer = self.open()?;
        let is_marked = writer.is_marked(&self.mark)?;
        if !is_marked && (!is_named || id(&files.new)?.is_some()) {
            return Ok(());
        }
        if !is_marked {
            // From here on the mark tells, since what was kept loses its name.
            writer.begin()?;
            writer.mark(&self.mark)?;
            writer.commit()?;
            self.switch.steps.done("marked");
        }
        if is_named {
            rename(&files.old, &files.copy())?;
            self.switch.steps.done("name of the kept taken");
        }
        files.remove_new()?;
        files.sync_folder()?;
        let writer = self.open()?;
        writer.attach(&files.copy(), true)?;
        writer.begin()?;
        for table in self.tables {
            writer.take_table(table)?;
        }
        writer.unmark(&self.mark)?;
        writer.commit()?;
        self.switch.steps.done("brought back");
        Ok(())
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
    writer.encode_like(from, is_immutable)?;
    writer.attach(from, is_immutable)?;
    writer.begin()?;
    for table in tables {
        writer.take_table(table)?;
    }
    writer.commit()
}
