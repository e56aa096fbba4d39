//! Loading rows: several connections, each with one table at a time.

use std::thread;

use crossbeam_channel::{Receiver, unbounded};
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::catalog::Table;
use super::client::Session;
use super::error::PgError;
use super::plan::tables_of;
use super::stage::Stager;

impl Stager<'_> {
    pub(super) fn rows(&self, tables: &[Table]) -> Result<(), SourceError> {
        self.check_families(tables)?;
        let (jobs, taken) = unbounded();
        for table in tables {
            // The channel is unbounded and its other end is here.
            drop(jobs.send((table, table.path(&self.database.captured)?)));
        }
        drop(jobs);
        let workers = self.settings.connections.min(tables.len());
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|_| {
                    let taken = taken.clone();
                    scope.spawn(move || self.load(&taken).inspect_err(|_| self.stop.set()))
                })
                .collect();
            let mut result = Ok(());
            for thread in threads {
                let loaded = thread.join().unwrap_or_else(|_| {
                    Err(SourceError::new(
                        SourceErrorKind::Other,
                        self.act("load rows"),
                    ))
                });
                // The first failure stops the others, whose failures then say only that.
                match (&result, &loaded) {
                    (Ok(()), _) => result = loaded,
                    (Err(first), Err(_)) if first.kind() == SourceErrorKind::Cancelled => {
                        result = loaded;
                    }
                    _ => {}
                }
            }
            result
        })
    }

    /// Refuses some parts of a table whose rows may belong to others of its parts here.
    fn check_families(&self, tables: &[Table]) -> Result<(), SourceError> {
        if self.state.selection.is_whole() {
            return Ok(());
        }
        for other in tables_of(self.items, &self.database.captured)? {
            let mut family = tables
                .iter()
                .filter(|table| table.root.is_some() && table.root == other.root);
            if let Some(table) = family.next().filter(|_| !tables.contains(&other)) {
                return Err(SourceError::new(
                    SourceErrorKind::Preflight,
                    format!(
                        "cannot restore table {} without table {}: which rows lie in which of them differs from \
                         database to database",
                        table.shown(),
                        other.shown()
                    ),
                ));
            }
        }
        Ok(())
    }

    fn load(&self, jobs: &Receiver<(&Table, RepoPath)>) -> Result<(), SourceError> {
        let mut session = self.connect()?;
        session.set_answer_timeout(Some(self.settings.timeouts.answer));
        while let Ok((table, path)) = jobs.recv() {
            if self.stop.is_set() {
                return Err(SourceError::new(
                    SourceErrorKind::Cancelled,
                    self.act("load rows"),
                ));
            }
            let act = self.act(&format!("load table {}", table.shown()));
            let rows = self
                .load_table(&mut session, table, &path)
                .map_err(|error| error.during(act))?;
            let expected = self.items.get(&path)?.and_then(|item| item.facts.records);
            if expected.is_some_and(|expected| expected != rows) {
                let problem = format!(
                    "table {} was captured with {} rows, but its stream holds {rows}",
                    table.shown(),
                    expected.unwrap_or_default()
                );
                return Err(SourceError::new(SourceErrorKind::Corrupt, problem));
            }
        }
        Ok(())
    }

    fn load_table(
        &self,
        session: &mut Session,
        table: &Table,
        path: &RepoPath,
    ) -> Result<u64, PgError> {
        // A table that was emptied in the same transaction takes frozen rows: nothing rewrites them later. Rows of
        // an extension's table lie beside those that the extension made, and others may have put rows into the parts
        // of a table that is loaded as one.
        let own = table.extension_rows.is_none() && table.root.is_none();
        session.execute("BEGIN")?;
        if own {
            session.execute(&format!("TRUNCATE ONLY {}", table.sql()))?;
        }
        let copy = table.copy_in(if own { " WITH (FREEZE)" } else { "" });
        let rows = session.copy_in(&copy, &mut |write| {
            let act = self.act(&format!("load table {}", table.shown()));
            self.items.read(path, &mut |piece| {
                if self.stop.is_set() {
                    return Err(SourceError::new(SourceErrorKind::Cancelled, act.as_str()));
                }
                write(piece).map_err(|error| error.during(act.as_str()))
            })?;
            Ok(())
        })?;
        session.execute("COMMIT")?;
        Ok(rows)
    }
}
