//! The switch: databases change names, all of them in one transaction, so that a kill leaves all old or all new.
//!
//! A rename needs a database without sessions. The transaction first takes the database's lock, which keeps new
//! sessions out, and meanwhile a second connection ends those that are there. Nothing else is closed before.
//!
//! What is decided from a look is looked at once more behind the renames, in their transaction: somebody may have changed
//! names in between who takes no turn, or takes it elsewhere.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::Session;
use super::drop::{drop_database, may_drop};
use super::error::PgError;
use super::mark::{self, Marked, comment_on};
use super::names;
use super::rebuild::{DatabasePlan, PlanState, maintenance, take_turn, take_turn_of_all};
use super::settings::PostgresSettings;
use super::sql::{ident, literal, literals};
use super::wire::Stop;

/// How often sessions that are in the way are asked to leave.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// How the check behind the renames fails.
const DIVISION_BY_ZERO: &str = "22012";

/// The databases of the server: name to comment.
type Found = BTreeMap<String, Marked>;

/// Puts every staged database in the place of the live one.
pub(crate) fn switch(settings: &PostgresSettings, state: &PlanState) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let mut renames = Renames::default();
    for database in &state.databases {
        let live = found.get(&database.live);
        match (&database.before, state.made(&found, &database.staged), live) {
            (Some(before), true, Some(_)) => {
                renames.push(names::rename(&database.live, before));
                renames.push(format!(
                    "ALTER DATABASE {} ALLOW_CONNECTIONS false",
                    ident(before)
                ));
                renames.push_live(&database.staged, &database.live);
            }
            // The live database went away meanwhile: nothing is overwritten.
            (_, true, None) => renames.push_live(&database.staged, &database.live),
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
            (_, false, _) if state.made(&found, &database.live) => {}
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

/// Brings back what was there before and drops what was made. Where what is live was made by another, or what was there
/// before is gone, nothing changes: it may be all there is.
pub(crate) fn rollback(settings: &PostgresSettings, state: &PlanState) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let mut renames = Renames::default();
    for database in &state.databases {
        let kept = database
            .before
            .as_ref()
            .filter(|before| found.contains_key(*before));
        let switched = state.made(&found, &database.live);
        if switched {
            if let (Some(before), None) = (&database.before, kept) {
                return Err(switcher.is_gone(&database.live, before));
            }
            renames.push_ours(&database.live, &database.staged);
            // Beside what is brought back nothing of it may go on, such as a subscription on the same slot.
            renames.push(format!(
                "ALTER DATABASE {} ALLOW_CONNECTIONS false",
                ident(&database.staged)
            ));
        } else if found.contains_key(&database.live)
            && (kept.is_some() || state.heirs(&found, database).next().is_some())
        {
            return Err(switcher.is_another(database));
        }
        let Some(before) = kept else { continue };
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
        if let Some(comment) = found.get(&database.staged) {
            // Of what is dropped in part no switch is made.
            let unmarked = comment.clone().without(&state.id);
            switcher.comment(&mut session, "DATABASE", &database.staged, &unmarked)?;
            drop_database(&mut session, &database.staged)?;
        }
    }
    switcher.drop_roles(&mut session)
}

/// Refuses what `discard` would refuse, and changes nothing.
pub(crate) fn may_discard(
    settings: &PostgresSettings,
    state: &PlanState,
) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let decided = discarding(&found, state).map_err(|database| switcher.is_another(database))?;
    let mut dropped = decided.dropped.iter();
    dropped.try_for_each(|name| may_drop(&mut session, name))
}

/// Drops what the switch had kept, and the marks.
pub(crate) fn discard(settings: &PostgresSettings, state: &PlanState) -> Result<(), SourceError> {
    let switcher = Switcher { settings, state };
    let mut session = switcher.take_turn()?;
    let found = switcher.look(&mut session)?;
    let unproved = |database: &DatabasePlan| switcher.is_another(database);
    let discarding = discarding(&found, state).map_err(unproved)?;
    for (name, comment) in &discarding.handed_on {
        switcher.comment(&mut session, "DATABASE", name, comment)?;
    }
    for name in &discarding.dropped {
        drop_database(&mut session, name)?;
    }
    let unmark =
        |what, name: &str, comment: &Marked| comment_on(what, name, comment.comment().as_deref());
    let roles = marked_roles(&mut session, &state.id)?;
    let roles = roles
        .into_iter()
        .map(|(role, comment)| unmark("ROLE", &role, &comment.without(&state.id)));
    let databases = discarding.unmarked.iter();
    let databases = databases.map(|(name, comment)| unmark("DATABASE", name, comment));
    switcher.unmark_all(&mut session, &roles.chain(databases).collect::<Vec<_>>())
}

/// What a discard does, in this order: a process that is killed in between leaves what the next one needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Discarding<'a> {
    /// Comments that what comes after gets first.
    handed_on: Vec<(&'a str, Marked)>,
    /// Databases that are dropped.
    dropped: Vec<&'a str>,
    /// Comments in the end.
    unmarked: Vec<(&'a str, Marked)>,
}

/// Decides what a discard does, or answers with a database of which nothing shows that what is kept is not all there is.
///
/// What this restore switched in may be kept by a later one by now, and what it kept may be what an earlier one switched
/// in. Of that one nothing is left when it is dropped, and what comes after stands for it, as the proof that what the
/// earlier one kept is not all there is either.
fn discarding<'a>(
    found: &'a Found,
    state: &'a PlanState,
) -> Result<Discarding<'a>, &'a DatabasePlan> {
    let mut discarding = Discarding::default();
    for database in &state.databases {
        let heirs: Vec<_> = state.heirs(found, database).collect();
        let before = database.before.as_ref();
        let kept = before.and_then(|before| found.get_key_value(before));
        if kept.is_some() && heirs.is_empty() {
            // Never switched, or replaced by somebody.
            return Err(database);
        }
        for (name, comment) in heirs {
            let mut comment = comment.clone();
            if let Some((_, kept)) = kept.filter(|(_, kept)| kept.ids().next().is_some()) {
                comment.stands_for.extend(kept.ids().cloned());
                discarding.handed_on.push((name, comment.clone()));
            }
            discarding.unmarked.push((name, comment.without(&state.id)));
        }
        discarding
            .dropped
            .extend(kept.map(|(before, _)| before.as_str()));
        // A rollback that was killed may have left it, and taken its mark.
        if found.contains_key(&database.staged) {
            discarding.dropped.push(&database.staged);
        }
    }
    Ok(discarding)
}

impl PlanState {
    /// Whether this restore made the database of this name.
    fn made(&self, found: &Found, name: &str) -> bool {
        let made = found.get(name).and_then(|comment| comment.made.as_ref());
        made == Some(&self.id)
    }

    /// What this restore made of a database and what comes after that, where it is live or was.
    fn heirs<'a>(
        &'a self,
        found: &'a Found,
        database: &'a DatabasePlan,
    ) -> impl Iterator<Item = (&'a String, &'a Marked)> {
        let live = &database.live;
        found.iter().filter(move |(name, comment)| {
            comment.bears(&self.id) && (*name == live || names::was(name, live))
        })
    }
}

/// Names that change together, and what must be so for it.
#[derive(Default)]
struct Renames<'a> {
    statements: Vec<String>,
    /// Databases that bear our mark under the name that they get.
    ours: Vec<&'a str>,
}

impl<'a> Renames<'a> {
    fn push(&mut self, statement: String) {
        self.statements.push(statement);
    }

    /// Renames what this restore made.
    fn push_ours(&mut self, from: &str, to: &'a str) {
        self.push(names::rename(from, to));
        self.ours.push(to);
    }

    /// The same, to where it is used: an undoing that was killed may have closed it, and dropped nothing of it yet.
    fn push_live(&mut self, staged: &str, live: &'a str) {
        self.push_ours(staged, live);
        self.push(format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS true",
            ident(live)
        ));
    }

    /// One transaction. Behind a rename its database is locked: what is seen then holds until the end. A statement that
    /// divides by how many databases it finds is an error where there is none, without a word of a procedural language.
    fn script(&self, id: &str) -> String {
        let checks = self.ours.iter().map(|name| {
            format!(
                "SELECT 1 / count(*) FROM pg_database WHERE datname = {}
                 AND position({} IN shobj_description(oid, 'pg_database')) > 0",
                literal(name),
                literal(&mark::mark(id))
            )
        });
        let statements = self.statements.iter().cloned();
        durably(&statements.chain(checks).collect::<Vec<_>>())
    }
}

struct Switcher<'a> {
    settings: &'a PostgresSettings,
    state: &'a PlanState,
}

impl Switcher<'_> {
    /// No other act of this restore goes on then, and none of another restore that changes names or marks: what is decided
    /// from one look holds until it is done.
    fn take_turn(&self) -> Result<Session, SourceError> {
        let mut session = take_turn(self.settings, self.state, &Stop::default())?;
        take_turn_of_all(self.settings, &mut session)?;
        Ok(session)
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
        let sql = "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database";
        let rows = session.query(sql).map_err(|error| {
            error.during(format!(
                "cannot list the databases at {}",
                self.settings.server()
            ))
        })?;
        let found = rows
            .iter()
            .map(|row| (row.text(0), Marked::parse(row.get(1))));
        Ok(found.collect())
    }

    fn comment(
        &self,
        session: &mut Session,
        what: &str,
        name: &str,
        comment: &Marked,
    ) -> Result<(), SourceError> {
        let comment = comment.comment();
        self.run(session, &comment_on(what, name, comment.as_deref()))
    }

    /// Takes all marks off in one transaction, durable when it returns: the journal forgets the restore next.
    fn unmark_all(&self, session: &mut Session, statements: &[String]) -> Result<(), SourceError> {
        if statements.is_empty() {
            return Ok(());
        }
        session.execute(&durably(statements)).map_err(|error| {
            drop(session.execute("ROLLBACK"));
            error.during(format!(
                "cannot take the marks of the restore off at {}",
                self.settings.server()
            ))
        })
    }

    /// Its mark is gone, and with it the proof that what it replaced may go.
    fn is_another(&self, database: &DatabasePlan) -> SourceError {
        let replaced = database.before.iter();
        let replaced = replaced.map(|before| format!("; what it replaced is {before}"));
        SourceError::new(
            SourceErrorKind::Occupied,
            format!(
                "database {} at {} is no longer the one that this restore switched in, or its comment was changed, which \
                 ended with {}{}",
                database.live,
                self.settings.server(),
                mark::mark(&self.state.id),
                replaced.collect::<String>()
            ),
        )
    }

    /// There is nothing to bring back: without what is live there would be nothing.
    fn is_gone(&self, live: &str, before: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::Missing,
            format!(
                "database {before} is no longer at {}: it is what {live} was before this restore",
                self.settings.server()
            ),
        )
    }

    /// Changes all names in one transaction.
    fn rename_all(
        &self,
        session: &mut Session,
        renames: &Renames<'_>,
        act: &str,
    ) -> Result<(), SourceError> {
        if renames.statements.is_empty() {
            return Ok(());
        }
        let script = renames.script(&self.state.id);
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
                let server = self.settings.server();
                if error.code() == DIVISION_BY_ZERO {
                    let problem = format!("{act} at {server}: somebody changed them meanwhile");
                    return SourceError::new(SourceErrorKind::Occupied, problem);
                }
                error.during(format!("{act} at {server}"))
            })
        })
    }

    fn drop_roles(&self, session: &mut Session) -> Result<(), SourceError> {
        for (role, comment) in marked_roles(session, &self.state.id)? {
            match session.execute(&format!("DROP ROLE IF EXISTS {}", ident(&role))) {
                // Somebody uses it by now.
                Err(error) if error.code() == "2BP01" => {
                    self.comment(session, "ROLE", &role, &comment.without(&self.state.id))?;
                }
                Err(error) => return Err(error.during(format!("cannot drop role {role}"))),
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

/// One transaction: a commit that was told must be on the server's disk, since the journal relies on it. Each statement sees
/// what is there once it has got its lock.
fn durably(statements: &[String]) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; {}; COMMIT",
        statements.join("; ")
    )
}

/// Roles that a restore made, each with its comment.
pub(crate) fn marked_roles(
    session: &mut Session,
    id: &str,
) -> Result<Vec<(String, Marked)>, SourceError> {
    let sql = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles";
    let rows = session
        .query(sql)
        .map_err(|error| error.during("cannot list the roles"))?;
    Ok(rows
        .iter()
        .map(|row| (row.text(0), Marked::parse(row.get(1))))
        .filter(|(_, comment)| comment.made.as_deref() == Some(id))
        .collect())
}
