//! Staging: each database is rebuilt under a name of its own, which nobody else uses.
//!
//! Order: database, schema that rows need, rows over several connections, large objects, sequences, the rest of the
//! schema, then its event triggers, which nothing that we do may fire, then owner, grants and settings. Everything starts
//! over if an earlier try left something.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use keepstone_engine::source::{Items, SourceError, SourceErrorKind};

use super::catalog::{Sequence, Table};
use super::client::Session;
use super::error::PgError;
use super::large_objects::{self, ObjectOwner};
use super::layout::{self, Lines, Part};
use super::make::{create_database, create_roles};
use super::plan::{facts_of, tables_of};
use super::rebuild::{DatabasePlan, PlanState, take_turn};
use super::settings::PostgresSettings;
use super::sql::{self, headline, ident};
use super::wire::Stop;

/// How often we look whether the user asked to stop.
const TICK: Duration = Duration::from_millis(200);

/// Rebuilds every database of the plan.
pub(crate) fn stage(
    settings: &PostgresSettings,
    state: &PlanState,
    items: &dyn Items,
) -> Result<(), SourceError> {
    watched(items, |stop| {
        let mut server = take_turn(settings, state, stop)?;
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

pub(super) struct Stager<'a> {
    pub(super) settings: &'a PostgresSettings,
    pub(super) state: &'a PlanState,
    pub(super) database: &'a DatabasePlan,
    pub(super) items: &'a dyn Items,
    pub(super) stop: &'a Stop,
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
        self.schema(&mut session, Part::SchemaPre, |_| true)?;
        self.rows(&tables)?;
        if whole {
            self.large_objects(&mut session)?;
        }
        self.sequences(&mut session)?;
        let post = Part::SchemaPost;
        self.schema(&mut session, post, |it| !is_of_event_trigger(it))?;
        self.drop_unwanted(&mut session, &tables, &unwanted)?;
        if self.state.analyze {
            self.run_statement(&mut session, b"ANALYZE")?;
        }
        self.schema(&mut session, post, is_of_event_trigger)?;
        for statement in
            facts_of(self.items, captured)?.dress(&self.database.staged, self.state.owners)
        {
            self.run_statement(server, statement.as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn connect(&self) -> Result<Session, SourceError> {
        let mut session =
            Session::connect(self.settings, &self.database.staged, self.stop.clone())?;
        // Nothing here is worth waiting for a disk: a crash means starting over. And an index may take hours.
        session
            .execute("SET synchronous_commit = off")
            .map_err(|error| error.during(self.act("prepare")))?;
        session.set_answer_timeout(None);
        Ok(session)
    }

    pub(super) fn act(&self, what: &str) -> String {
        format!("cannot {what} in database {}", self.database.staged)
    }

    fn run_statement(&self, session: &mut Session, statement: &[u8]) -> Result<(), SourceError> {
        session
            .execute_bytes(statement)
            .map_err(|error| error.during(self.act(&format!("run `{}`", headline(statement)))))
    }

    /// Runs the statements of a part of the schema that are wanted now.
    fn schema(
        &self,
        session: &mut Session,
        part: Part,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), SourceError> {
        let path = part.path(&self.database.captured)?;
        let script = layout::get_bytes(self.items, &path)?.ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::Corrupt,
                format!("the capture lacks stream {path}"),
            )
        })?;
        for statement in sql::statements(&script)? {
            if !wanted(statement) || self.leaves_out(statement) {
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

/// What makes, changes or describes an event trigger. None of these statements fires one.
fn is_of_event_trigger(statement: &[u8]) -> bool {
    ["CREATE", "ALTER", "COMMENT ON"].iter().any(|act| {
        let rest = statement.strip_prefix(act.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b" EVENT TRIGGER "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_triggers_are_recognised() {
        assert!(is_of_event_trigger(b"CREATE EVENT TRIGGER e ON sql_drop;"));
        assert!(is_of_event_trigger(b"ALTER EVENT TRIGGER e ENABLE ALWAYS;"));
        assert!(is_of_event_trigger(b"COMMENT ON EVENT TRIGGER e IS 'x';"));
        assert!(!is_of_event_trigger(b"CREATE TRIGGER e ON t;"));
    }

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
}
