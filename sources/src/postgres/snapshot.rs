//! One database at one instant: a session that holds the snapshot, and a lock on every table.
//!
//! The locks come first and the snapshot after them: what was emptied or rewritten between the two would be read as if
//! it were empty. A table that came meanwhile, and that the snapshot shows without a lock of ours, is noticed.

use std::thread;
use std::time::{Duration, Instant};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::SourceError;

use super::catalog::{self, Contents};
use super::client::Session;
use super::error::PgError;
use super::rows::PLAIN_SCANS;
use super::settings::PostgresSettings;
use super::wire::Stop;

/// The first and the longest pause before a database is opened anew because tables came or went between listing and
/// locking.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];
/// What the server answers then: no such table, no such schema, no table any more, and a deadlock with whoever locks the
/// same tables in another order.
const ANEW: [&str; 4] = ["42P01", "3F000", "42809", "40P01"];
/// Tables that are locked in one statement.
const LOCKS_AT_ONCE: usize = 100;

/// One database at its instant.
pub(crate) struct OpenedDatabase {
    /// Name.
    pub(crate) name: String,
    /// The session that holds the snapshot and the locks.
    pub(crate) session: Session,
    /// Name under which other sessions join the snapshot.
    pub(crate) snapshot: String,
    /// What is there.
    pub(crate) contents: Contents,
}

impl OpenedDatabase {
    /// Takes the snapshot and the locks.
    pub(crate) fn open(
        settings: &PostgresSettings,
        name: String,
        stop: &Stop,
    ) -> Result<Self, SourceError> {
        let act = format!("cannot open database {name} at {}", settings.server());
        let mut session = Session::connect(settings, &name, stop.clone())?;
        let since = Instant::now();
        let [mut pause, longest] = PAUSES;
        loop {
            let pinned = Self::pin(&mut session);
            let again = since.elapsed() < settings.timeouts.lock;
            if !again || !pinned.as_ref().is_err_and(is_passing) {
                return Self::with(name, session, pinned, act);
            }
            session
                .execute("ROLLBACK")
                .map_err(|error| error.during(act.as_str()))?;
            thread::park_timeout(pause);
            if stop.is_set() {
                return Err(PgError::Stopped.during(act));
            }
            pause = longest.min(pause * 2);
        }
    }

    fn with(
        name: String,
        session: Session,
        pinned: Result<(String, Contents), PgError>,
        act: String,
    ) -> Result<Self, SourceError> {
        let (snapshot, mut contents) = pinned.map_err(|error| error.during(act))?;
        let mut paths = contents
            .tables
            .drain(..)
            .map(|table| Ok((table.path(&name)?, table)))
            .collect::<Result<Vec<(RepoPath, _)>, SourceError>>()?;
        paths.sort_by(|a, b| a.0.cmp(&b.0));
        contents.tables = paths.into_iter().map(|(_, table)| table).collect();
        Ok(Self {
            name,
            session,
            snapshot,
            contents,
        })
    }

    fn pin(session: &mut Session) -> Result<(String, Contents), PgError> {
        let tables = catalog::to_lock(session)?;
        let guarded = catalog::to_guard(session)?;
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        // A lock alone takes no snapshot: the first query does.
        for tables in tables.chunks(LOCKS_AT_ONCE) {
            let names: Vec<_> = tables.iter().map(|table| format!("ONLY {table}")).collect();
            session.execute(&format!(
                "LOCK TABLE {} IN ACCESS SHARE MODE",
                names.join(", ")
            ))?;
        }
        for table in guarded {
            session.execute(&format!(
                "LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE"
            ))?;
        }
        let rows = session.query("SELECT pg_export_snapshot()")?;
        let snapshot = rows.first().map(|row| row.text(0)).unwrap_or_default();
        session.execute(PLAIN_SCANS)?;
        if let Some(table) = catalog::unlocked(session)?.into_iter().next() {
            return Err(PgError::Unlocked(table));
        }
        let contents = catalog::contents(session)?;
        Ok((snapshot, contents))
    }
}

/// Whether another look may find what can be locked.
fn is_passing(error: &PgError) -> bool {
    matches!(error, PgError::Unlocked(_)) || ANEW.contains(&error.code())
}
