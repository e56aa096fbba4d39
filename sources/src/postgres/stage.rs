//! Staging: each database is rebuilt under a name of its own, which nobody else uses.
//!
//! Order: database, schema that rows need, rows over several connections, large objects, sequences, the rest of the
//! schema, then owner, grants and settings. Everything starts over if an earlier try left something.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, unbounded};
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, SourceError, SourceErrorKind};

use super::catalog::{Sequence, Table};
use super::client::Session;
use super::error::PgError;
use super::facts::MARKER;
use super::large_objects::{self, ObjectOwner};
use super::layout::{self, Part};
use super::plan::{facts_of, tables_of};
use super::rebuild::{DatabasePlan, PlanState, maintenance};
use super::roles::{self, Role};
use super::settings::PostgresSettings;
use super::sql::{self, headline, ident, literal};
use super::switch::marked_roles;
use super::wire::Stop;

/// How often we look whether the user asked to stop.
const TICK: Duration = Duration::from_millis(200);
/// First version with locale providers.
const FIRST_WITH_PROVIDERS: u32 = 15;
/// First version whose memberships have options.
const FIRST_WITH_MEMBER_OPTIONS: u32 = 16;

/// Rebuilds every database of the plan.
pub(crate) fn stage(
    settings: &PostgresSettings,
    state: &PlanState,
    items: &dyn Items,
) -> Result<(), SourceError> {
    watched(items, |stop| {
        let mut server = maintenance(settings, &state.databases, stop)?;
        create_roles(&mut server, state, items)?;
        for database in &state.databases {
            create_database(&mut server, state, database, items)?;
            let stager = Stager {
                settings,
                state,
                database,
                items,
                stop,
            };
            stager.run(&mut server)?;
        }
        Ok(())
    })
}

/// Runs an act while somebody looks whether the user asked to stop.
pub(crate) fn watched<T>(
    items: &dyn Items,
    act: impl FnOnce(&Stop) -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    let stop = Stop::default();
    let (done, ended) = bounded::<()>(0);
    thread::scope(|scope| {
        let watcher = stop.clone();
        scope.spawn(move || {
            while ended
                .recv_timeout(TICK)
                .is_err_and(|error| error.is_timeout())
            {
                if items.cancelled() {
                    watcher.set();
                }
            }
        });
        let result = act(&stop);
        drop(done);
        result
    })
}

fn create_roles(
    server: &mut Session,
    state: &PlanState,
    items: &dyn Items,
) -> Result<(), SourceError> {
    let captured: Vec<Role> = layout::get_lines(items, &layout::roles_path()?)?;
    let failed = |error: PgError, role: &str| error.during(format!("cannot create role {role}"));
    let existing = roles::names(server).map_err(|error| error.during("cannot list the roles"))?;
    let planned = captured
        .iter()
        .filter(|role| state.roles.contains(&role.name));
    for role in planned
        .clone()
        .filter(|role| !existing.contains(&role.name))
    {
        // In one transaction with the mark that it is ours, so that a rollback knows which roles to drop.
        let mut statements = vec!["BEGIN;".to_owned()];
        statements.extend(role.create());
        statements.push(mark("ROLE", &role.name, &state.id));
        statements.push("COMMIT;".to_owned());
        if let Err(error) = server.execute(&statements.join("\n")) {
            drop(server.execute("ROLLBACK"));
            return Err(failed(error, &role.name));
        }
    }
    let made = marked_roles(server, &state.id)?;
    let now = roles::names(server).map_err(|error| error.during("cannot list the roles"))?;
    let options = super::capture::major_of(server.version()) >= FIRST_WITH_MEMBER_OPTIONS;
    for role in planned.filter(|role| made.contains(&role.name)) {
        for statement in role.join(&now, options) {
            server
                .execute(&statement)
                .map_err(|error| failed(error, &role.name))?;
        }
    }
    Ok(())
}

/// The statement that marks a database or role as made by this restore.
fn mark(what: &str, name: &str, id: &str) -> String {
    format!(
        "ALTER {what} {} SET {MARKER} = {};",
        ident(name),
        literal(id)
    )
}

/// The statement that takes the mark off.
pub(crate) fn unmark(what: &str, name: &str) -> String {
    format!("ALTER {what} {} RESET {MARKER}", ident(name))
}

fn create_database(
    server: &mut Session,
    state: &PlanState,
    database: &DatabasePlan,
    items: &dyn Items,
) -> Result<(), SourceError> {
    let act = format!("cannot create database {}", database.staged);
    let facts = facts_of(items, &database.captured)?;
    let providers = super::capture::major_of(server.version()) >= FIRST_WITH_PROVIDERS;
    let tablespace = !database.lost_tablespaces.contains(&facts.tablespace);
    let drop = format!(
        "DROP DATABASE IF EXISTS {} WITH (FORCE)",
        ident(&database.staged)
    );
    let create = facts.create(&database.staged, providers, tablespace);
    server
        .execute(&drop)
        .and_then(|()| server.execute(&create))
        .and_then(|()| server.execute(&mark("DATABASE", &database.staged, &state.id)))
        .map_err(|error| error.during(act))
}

struct Stager<'a> {
    settings: &'a PostgresSettings,
    state: &'a PlanState,
    database: &'a DatabasePlan,
    items: &'a dyn Items,
    stop: &'a Stop,
}

impl Stager<'_> {
    fn run(&self, server: &mut Session) -> Result<(), SourceError> {
        let captured = &self.database.captured;
        let whole = self.state.selection.is_whole();
        let all = tables_of(self.items, captured)?;
        let (tables, unwanted): (Vec<Table>, Vec<Table>) = all
            .into_iter()
            .partition(|table| self.state.selection.holds(table));
        let mut session = self.connect()?;
        self.schema(&mut session, Part::SchemaPre)?;
        self.rows(&tables)?;
        if whole {
            self.large_objects(&mut session)?;
        }
        self.sequences(&mut session)?;
        self.schema(&mut session, Part::SchemaPost)?;
        self.drop_unwanted(&mut session, &tables, &unwanted)?;
        if self.state.analyze {
            self.run_statement(&mut session, b"ANALYZE")?;
        }
        for statement in
            facts_of(self.items, captured)?.dress(&self.database.staged, self.state.owners)
        {
            self.run_statement(server, statement.as_bytes())?;
        }
        Ok(())
    }

    fn connect(&self) -> Result<Session, SourceError> {
        let mut session =
            Session::connect(self.settings, &self.database.staged, self.stop.clone())?;
        // Nothing here is worth waiting for a disk: a crash means starting over. And an index may take hours.
        session
            .execute("SET synchronous_commit = off")
            .map_err(|error| error.during(self.act("prepare")))?;
        session.set_answer_timeout(None);
        Ok(session)
    }

    fn act(&self, what: &str) -> String {
        format!("cannot {what} in database {}", self.database.staged)
    }

    fn run_statement(&self, session: &mut Session, statement: &[u8]) -> Result<(), SourceError> {
        session
            .execute_bytes(statement)
            .map_err(|error| error.during(self.act(&format!("run `{}`", headline(statement)))))
    }

    fn schema(&self, session: &mut Session, part: Part) -> Result<(), SourceError> {
        let path = part.path(&self.database.captured)?;
        let script = layout::get_bytes(self.items, &path)?.ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::Corrupt,
                format!("the capture lacks stream {path}"),
            )
        })?;
        for statement in sql::statements(&script)? {
            if self.leaves_out(statement) {
                continue;
            }
            match session.execute_bytes(statement) {
                Err(error) if !self.forgives(statement, &error) => {
                    let act = self.act(&format!("run `{}`", headline(statement)));
                    return Err(error.during(act));
                }
                _ => {}
            }
        }
        // The script's own settings end with it.
        self.run_statement(session, b"SET default_tablespace = ''")
    }

    /// Statements that do not belong into this restore.
    fn leaves_out(&self, statement: &[u8]) -> bool {
        let starts = |words: &str| statement.starts_with(words.as_bytes());
        let grants = ["GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES "];
        if !self.state.owners && (grants.into_iter().any(starts) || gives_owner(statement)) {
            return true;
        }
        starts("SET default_tablespace = ")
            && self.database.lost_tablespaces.iter().any(|space| {
                statement.ends_with(format!("= {space};").as_bytes())
                    || statement.ends_with(format!("= {};", ident(space)).as_bytes())
            })
    }

    /// Failures that are none: what the server made by itself, and checks against rows that were not asked for.
    fn forgives(&self, statement: &[u8], error: &PgError) -> bool {
        match error.code() {
            "42P06" => statement == b"CREATE SCHEMA public;",
            "42501" => statement.starts_with(b"COMMENT ON EXTENSION "),
            "23503" => !self.state.selection.is_whole(),
            _ => false,
        }
    }

    fn rows(&self, tables: &[Table]) -> Result<(), SourceError> {
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
        // an extension's table lie beside those that the extension made.
        let own = table.extension_rows.is_none();
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

    fn large_objects(&self, session: &mut Session) -> Result<(), SourceError> {
        let captured = &self.database.captured;
        let path = Part::LargeObjects.path(captured)?;
        if self.items.get(&path)?.is_none() {
            return Ok(());
        }
        let mut lines = Lines::default();
        self.items.read(&path, &mut |piece| {
            lines.feed(piece, &mut |line| {
                self.run_statement(session, large_objects::restore_line(line)?.as_bytes())
            })
        })?;
        lines.end(&path)?;
        let path = Part::LargeObjectOwners.path(captured)?;
        for owner in layout::get_lines::<ObjectOwner>(self.items, &path)? {
            for statement in owner.dress(self.state.owners) {
                self.run_statement(session, statement.as_bytes())?;
            }
        }
        Ok(())
    }

    fn sequences(&self, session: &mut Session) -> Result<(), SourceError> {
        let path = Part::Sequences.path(&self.database.captured)?;
        for sequence in layout::get_lines::<Sequence>(self.items, &path)? {
            self.run_statement(session, sequence.setval().as_bytes())?;
        }
        Ok(())
    }

    /// Drops the tables that were not asked for; they served the definitions of those that were.
    fn drop_unwanted(
        &self,
        session: &mut Session,
        tables: &[Table],
        unwanted: &[Table],
    ) -> Result<(), SourceError> {
        let names = |tables: &[Table]| -> BTreeSet<(String, String)> {
            let own = tables
                .iter()
                .map(|table| (table.schema.clone(), table.name.clone()));
            own.chain(tables.iter().flat_map(|table| table.parents.clone()))
                .collect()
        };
        let kept = names(tables);
        for (schema, name) in names(unwanted).difference(&kept) {
            let sql = format!(
                "DROP TABLE IF EXISTS {} CASCADE",
                sql::qualified(schema, name)
            );
            match session.execute(&sql) {
                // A table of an extension goes only with it.
                Err(error) if error.code() == "2BP01" => {}
                Err(error) => {
                    return Err(error.during(self.act(&format!("drop table {schema}.{name}"))));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

/// `ALTER … OWNER TO name;`, and not a statement that only quotes these words.
fn gives_owner(statement: &[u8]) -> bool {
    let text = String::from_utf8_lossy(statement);
    let Some((before, _)) = text.rsplit_once(" OWNER TO ") else {
        return false;
    };
    text.starts_with("ALTER ") && before.matches('\'').count() % 2 == 0
}

/// Cuts a stream into lines.
#[derive(Default)]
pub(crate) struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Hands over every line that a piece ends, with its line feed.
    pub(crate) fn feed(
        &mut self,
        piece: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.open.is_empty() && part.ends_with(b"\n") {
                take(part)?;
                continue;
            }
            self.open.extend_from_slice(part);
            if part.ends_with(b"\n") {
                take(&self.open)?;
                self.open.clear();
            }
        }
        Ok(())
    }

    /// Says whether the stream ended with a line.
    pub(crate) fn end(&self, path: &RepoPath) -> Result<(), SourceError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let problem = format!("the capture's stream {path} ends inside a line");
        Err(SourceError::new(SourceErrorKind::Corrupt, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_recognised() {
        assert!(gives_owner(
            b"ALTER TABLE public.users OWNER TO \"app owner\";"
        ));
        assert!(!gives_owner(
            b"ALTER TABLE t ALTER COLUMN c SET DEFAULT 'a OWNER TO b';"
        ));
        assert!(!gives_owner(b"COMMENT ON TABLE t IS ' OWNER TO ';"));
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let text = b"a\n\nbcd\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines
                    .feed(piece, &mut |line| {
                        found.push(line.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            lines.end(&RepoPath::root()).unwrap();
            assert_eq!(found, [b"a\n".to_vec(), b"\n".to_vec(), b"bcd\n".to_vec()]);
        }
    }
}
