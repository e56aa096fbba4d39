//! An application's SQLite file, rows updated in place.

use std::path::{Path, PathBuf};

use keepstone_benches::error::Result;
use keepstone_benches::rng::Rng;
use rusqlite::{Connection, params};

use super::{Changes, Churn, StackOptions, moment};

/// The database file.
#[derive(Debug)]
pub struct Notes {
    path: PathBuf,
    churn: Churn,
}

impl Notes {
    /// Makes the database, empty.
    pub fn new(path: &Path, options: &StackOptions) -> Result<Self> {
        Connection::open(path)?.execute_batch(
            "CREATE TABLE notes (
                 id INTEGER PRIMARY KEY, user TEXT NOT NULL, body TEXT NOT NULL,
                 score REAL NOT NULL, updated INTEGER NOT NULL);
             CREATE INDEX notes_by_user ON notes (user, id);",
        )?;
        Ok(Self {
            path: path.to_path_buf(),
            churn: options.churn("sqlite", 32_000),
        })
    }

    /// Moves the rows on to an hour, in one transaction; the file is whole afterwards.
    pub fn advance(&mut self, hour: u32) -> Result<()> {
        let Changes {
            updated,
            inserted,
            deleted,
        } = self.churn.hour(hour);
        let rng = &mut self.churn.rng;
        let mut connection = Connection::open(&self.path)?;
        let transaction = connection.transaction()?;
        let mut update = transaction
            .prepare("UPDATE notes SET body = ?2, score = ?3, updated = ?4 WHERE id = ?1")?;
        for id in updated {
            let (body, score, when) = content(rng, hour);
            update.execute(params![id, body, score, when])?;
        }
        drop(update);
        let mut delete = transaction.prepare("DELETE FROM notes WHERE id = ?1")?;
        for id in deleted {
            delete.execute(params![id])?;
        }
        drop(delete);
        let mut insert = transaction.prepare("INSERT INTO notes VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for id in inserted {
            let (body, score, when) = content(rng, hour);
            let user = format!("u{}", id % 997);
            insert.execute(params![id, user, body, score, when])?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }
}

fn content(rng: &mut Rng, hour: u32) -> (String, f64, i64) {
    let body = rng.text(40);
    (body, rng.unit(), moment(rng, hour))
}
