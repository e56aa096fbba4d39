//! The switch: databases change names, all of them in one transaction, so that a kill leaves all old or all new.
//!
//! A rename needs a database without sessions. The transaction first takes the database's lock, which keeps new
//! sessions out, and meanwhile a second connection ends those that are there. Nothing else is closed before.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Row, Session};
use super::error::PgError;
use super::mark::{comment_on, id_of, marked, proper};
use super::names;
use super::rebuild::{DatabasePlan, PlanState, maintenance, take_turn};
use super::settings::PostgresSettings;
use super::sql::{ident, literals};
use super::wire::Stop;

/// How often sessions that are in the way are asked to leave.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// What lies on the server under the names of the plan: name to comment, if any.
type Found = BTreeMap<String, Option<String>>;

/// Puts every staged database in the place of the live one.
pub(crate) fn switch(settings: &PostgresSettings, state: &PlanState) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let mut renames = Vec::new();
    for database in &state.databases {
        let live = found.get(&database.live);
        match (
            &database.before,
            switcher.is_ours(&found, &database.staged),
            live,
        ) {
            (Some(before), true, Some(_)) => {
                renames.push(names::rename(&database.live, before));
                renames.push(format!(
                    "ALTER DATABASE {} ALLOW_CONNECTIONS false",
                    ident(before)
                ));
                renames.push(names::rename(&database.staged, &database.live));
            }
            // The live database went away meanwhile: nothing is overwritten.
            (_, true, None) => renames.push(names::rename(&database.staged, &database.live)),
            (None, true, Some(_)) => {
                return Err(SourceError::new(
                    SourceErrorKind::Occupied,
                    format!(
                        "database {} was created since the restore was planned",
                        database.live
                    ),
                ));
            }
            // Switched before, by a process that did not live to tell.
            (_, false, _) if switcher.is_ours(&found, &database.live) => {}
            (_, false, _) => {
                return Err(SourceError::new(
                    SourceErrorKind::Missing,
                    format!(
                        "cannot switch to database {}: it is not there",
                        database.staged
                    ),
                ));
            }
        }
    }
    switcher.rename_all(&mut session, &renames, "cannot switch the databases")
}

/// Brings back what was there before and drops what was made.
pub(crate) fn rollback(settings: &PostgresSettings, state: &PlanState) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let mut renames = Vec::new();
    for database in &state.databases {
        let kept = database
            .before
            .as_ref()
            .filter(|before| found.contains_key(*before));
        let switched = switcher.is_ours(&found, &database.live);
        if switched {
            renames.push(names::rename(&database.live, &database.staged));
        }
        let Some(before) = kept else { continue };
        if !switched && found.contains_key(&database.live) {
            return Err(switcher.is_another(&database.live, before));
        }
        renames.push(names::rename(before, &database.live));
        renames.push(format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS {}",
            ident(&database.live),
            database.connectable
        ));
    }
    switcher.rename_all(&mut session, &renames, "cannot switch the databases back")?;
    let found = switcher.look(&mut session)?;
    for database in &state.databases {
        // Marked or not: its name holds our random id.
        if found.contains_key(&database.staged) {
            switcher.drop_database(&mut session, &database.staged)?;
        }
    }
    switcher.drop_roles(&mut session)
}

/// Drops what the switch had kept, and the marks. What this restore switched in may be kept by a later one by now; where
/// it is dropped with that, what comes after it inherits its mark, as the proof that what this one kept is not all
/// there is.
pub(crate) fn discard(settings: &PostgresSettings, state: &PlanState) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let mut kept = Vec::new();
    for database in &state.databases {
        let name = database.before.as_ref();
        let Some((before, comment)) = name.and_then(|name| found.get_key_value(name)) else {
            continue;
        };
        let inherited = id_of(comment.as_deref());
        let heirs = switcher.bearers(&mut session, database, &state.id)?;
        // A discard that was cut off may have handed the mark on.
        let has_heir = match &inherited {
            Some(id) => switcher.bearers(&mut session, database, id)?.len() > 1,
            None => false,
        };
        if heirs.is_empty() && !has_heir {
            // Never switched, or replaced by somebody: what is kept may be all there is.
            return Err(switcher.is_another(&database.live, before));
        }
        kept.push((before, inherited, heirs));
    }
    for (before, inherited, heirs) in kept {
        if let Some(id) = inherited {
            for (name, comment) in heirs {
                let comment = marked(comment.as_deref(), &id);
                let sql = comment_on("DATABASE", &name, Some(&comment));
                switcher.run(&mut session, &sql)?;
            }
        }
        switcher.drop_database(&mut session, before)?;
    }
    for (role, comment) in marked_roles(&mut session, &state.id)? {
        switcher.run(&mut session, &comment_on("ROLE", &role, comment.as_deref()))?;
    }
    for database in &state.databases {
        for (name, comment) in switcher.bearers(&mut session, database, &state.id)? {
            let sql = comment_on("DATABASE", &name, comment.as_deref());
            switcher.run(&mut session, &sql)?;
        }
    }
    Ok(())
}

struct Switcher<'a> {
    settings: &'a PostgresSettings,
    state: &'a PlanState,
}

impl Switcher<'_> {
    fn take_turn(&self) -> Result<Session, SourceError> {
        take_turn(self.settings, self.state, &Stop::default())
    }

    fn run(&self, session: &mut Session, sql: &str) -> Result<(), SourceError> {
        session.execute(sql).map_err(|error| {
            error.during(format!("cannot run `{sql}` at {}", self.settings.server()))
        })
    }

    fn names(&self) -> Vec<&str> {
        let databases = self.state.databases.iter();
        databases
            .flat_map(|database| {
                [
                    Some(&database.live),
                    Some(&database.staged),
                    database.before.as_ref(),
                ]
            })
            .flatten()
            .map(String::as_str)
            .collect()
    }

    fn look(&self, session: &mut Session) -> Result<Found, SourceError> {
        let sql = format!(
            "SELECT d.datname, shobj_description(d.oid, 'pg_database')
             FROM pg_database d WHERE d.datname IN ({})",
            literals(self.names())
        );
        let rows = self.list(session, &sql)?;
        let found = rows
            .iter()
            .map(|row| (row.text(0), row.get(1).map(ToOwned::to_owned)));
        Ok(found.collect())
    }

    fn list(&self, session: &mut Session, sql: &str) -> Result<Vec<Row>, SourceError> {
        session.query(sql).map_err(|error| {
            error.during(format!(
                "cannot list the databases at {}",
                self.settings.server()
            ))
        })
    }

    /// Databases with the mark of a restore that are live or were, each with its comment proper.
    fn bearers(
        &self,
        session: &mut Session,
        database: &DatabasePlan,
        id: &str,
    ) -> Result<Vec<(String, Option<String>)>, SourceError> {
        let sql = "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database";
        let rows = self.list(session, sql)?;
        Ok(rows
            .iter()
            .filter(|row| id_of(row.get(1)).as_deref() == Some(id))
            .map(|row| (row.text(0), proper(row.get(1))))
            .filter(|(name, _)| *name == database.live || names::was(name, &database.live))
            .collect())
    }

    /// Whether this restore made the database of this name.
    fn is_ours(&self, found: &Found, name: &str) -> bool {
        let comment = found.get(name).and_then(Option::as_deref);
        id_of(comment).as_ref() == Some(&self.state.id)
    }

    /// Its mark is gone, and with it the proof that what it replaced may go.
    fn is_another(&self, live: &str, before: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::Occupied,
            format!(
                "database {live} at {} is no longer the one that this restore switched in, or its comment was \
                 changed; what it replaced is {before}",
                self.settings.server()
            ),
        )
    }

    /// Changes all names in one transaction.
    fn rename_all(
        &self,
        session: &mut Session,
        statements: &[String],
        act: &str,
    ) -> Result<(), SourceError> {
        if statements.is_empty() {
            return Ok(());
        }
        // A commit that was told must be on the server's disk: the journal relies on it.
        let script = format!(
            "BEGIN; SET LOCAL synchronous_commit = on; {}; COMMIT",
            statements.join("; ")
        );
        let mut emptier = maintenance(self.settings, &self.state.databases, &Stop::default())?;
        let (done, ended) = bounded::<()>(0);
        thread::scope(|scope| {
            scope.spawn(move || {
                let names = literals(self.names());
                let leave = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname IN ({names}) AND pid <> pg_backend_pid()"
                );
                loop {
                    // Whether they may be ended shows when the rename cannot go on.
                    let asked = emptier.execute(&leave);
                    let waits = ended
                        .recv_timeout(ASK_AGAIN)
                        .is_err_and(|error| error.is_timeout());
                    if !waits || matches!(asked, Err(PgError::Closed | PgError::Io(_))) {
                        return;
                    }
                }
            });
            let deadline = Instant::now() + self.settings.timeouts.lock;
            let renamed = loop {
                match session.execute(&script) {
                    // The server gives the sessions five seconds to leave; some take longer.
                    Err(error) if error.code() == "55006" && Instant::now() < deadline => {
                        if let Err(error) = session.execute("ROLLBACK") {
                            break Err(error);
                        }
                    }
                    other => break other,
                }
            };
            drop(done);
            renamed.map_err(|error| {
                drop(session.execute("ROLLBACK"));
                error.during(format!("{act} at {}", self.settings.server()))
            })
        })
    }

    fn drop_database(&self, session: &mut Session, name: &str) -> Result<(), SourceError> {
        self.run(
            session,
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name)),
        )
    }

    fn drop_roles(&self, session: &mut Session) -> Result<(), SourceError> {
        for (role, comment) in marked_roles(session, &self.state.id)? {
            match session.execute(&format!("DROP ROLE IF EXISTS {}", ident(&role))) {
                // Somebody uses it by now.
                Err(error) if error.code() == "2BP01" => {
                    self.run(session, &comment_on("ROLE", &role, comment.as_deref()))?;
                }
                Err(error) => return Err(error.during(format!("cannot drop role {role}"))),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

/// Roles that a restore made, each with its comment proper.
pub(crate) fn marked_roles(
    session: &mut Session,
    id: &str,
) -> Result<Vec<(String, Option<String>)>, SourceError> {
    let sql = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles";
    let rows = session
        .query(sql)
        .map_err(|error| error.during("cannot list the roles"))?;
    Ok(rows
        .iter()
        .filter(|row| id_of(row.get(1)).as_deref() == Some(id))
        .map(|row| (row.text(0), proper(row.get(1))))
        .collect())
}
