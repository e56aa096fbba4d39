//! Two tables in PostgreSQL: many memories, fewer users.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use keepstone_benches::error::Result;
use keepstone_benches::rng::Rng;

use super::{Churn, StackOptions, moment};
use crate::servers::{self, run};

/// The tables of the database `app`.
#[derive(Debug)]
pub struct Tables {
    /// The server that holds them.
    pub server: servers::Postgres,
    memories: Churn,
    users: Churn,
}

impl Tables {
    /// Makes the tables, empty.
    pub fn new(server: servers::Postgres, options: &StackOptions) -> Result<Self> {
        server.connect("app")?.batch_execute(
            "CREATE TABLE memories (
                 id bigint PRIMARY KEY, user_id text NOT NULL, body text NOT NULL,
                 meta jsonb NOT NULL, importance double precision NOT NULL,
                 updated_at timestamptz NOT NULL);
             CREATE INDEX memories_by_user ON memories (user_id);
             CREATE TABLE users (
                 id bigint PRIMARY KEY, name text NOT NULL UNIQUE, about text NOT NULL,
                 seen_at timestamptz);",
        )?;
        Ok(Self {
            server,
            memories: options.churn("postgres.memories", 82_000),
            users: options.churn("postgres.users", 6000),
        })
    }

    /// Moves both tables on to an hour, in one transaction.
    pub fn advance(&mut self, hour: u32) -> Result<()> {
        let mut client = self.server.connect("app")?;
        let mut transaction = client.transaction()?;
        transaction.batch_execute("SET LOCAL TimeZone = 'UTC'")?;
        advance_table(&mut transaction, &mut self.memories, hour, &MEMORIES)?;
        advance_table(&mut transaction, &mut self.users, hour, &USERS)?;
        transaction.commit()?;
        Ok(())
    }

    /// Runs one of the vacuums.
    pub fn vacuum(&self, command: &str) -> Result<()> {
        Ok(self.server.connect("app")?.batch_execute(command)?)
    }

    /// Dumps the database as plain SQL.
    pub fn dump(&self, out: &Path) -> Result<()> {
        let mut command = Command::new("pg_dump");
        if run(Command::new("pg_dump").arg("--help"))?.contains("--restrict-key") {
            // Otherwise two dumps of the same data differ in a random word.
            command.arg("--restrict-key=keepstone");
        }
        run(command
            .args(["-h", "127.0.0.1", "-p", &self.server.port.to_string()])
            .args(["-U", "postgres", "-f"])
            .arg(out)
            .arg("app"))?;
        Ok(())
    }
}

/// How one table is written.
struct Table {
    copy: &'static str,
    update: &'static str,
    delete: &'static str,
    /// The columns of a row after its id.
    columns: fn(&mut Rng, i64, u32) -> Vec<String>,
}

const MEMORIES: Table = Table {
    copy: "COPY memories FROM STDIN",
    update: "UPDATE memories SET user_id = $2, body = $3, meta = $4::text::jsonb,
             importance = $5::text::double precision, updated_at = $6::text::timestamptz
             WHERE id = $1",
    delete: "DELETE FROM memories WHERE id = $1",
    columns: |rng, id, hour| {
        let body = rng.text(35);
        let meta = format!(
            "{{\"src\": \"{}\", \"tags\": [\"{}\"]}}",
            rng.text(4),
            rng.text(3)
        );
        vec![
            format!("u{}", id % 997),
            body,
            meta,
            rng.unit().to_string(),
            timestamp(rng, hour),
        ]
    },
};

const USERS: Table = Table {
    copy: "COPY users FROM STDIN",
    update: "UPDATE users SET name = $2, about = $3, seen_at = $4::text::timestamptz WHERE id = $1",
    delete: "DELETE FROM users WHERE id = $1",
    columns: |rng, id, hour| vec![format!("u{id}"), rng.text(20), timestamp(rng, hour)],
};

fn advance_table(
    transaction: &mut postgres::Transaction<'_>,
    churn: &mut Churn,
    hour: u32,
    table: &Table,
) -> Result<()> {
    let changes = churn.hour(hour);
    let update = transaction.prepare(table.update)?;
    for id in changes.updated {
        let columns = (table.columns)(&mut churn.rng, id, hour);
        let mut parameters: Vec<&(dyn postgres::types::ToSql + Sync)> = vec![&id];
        parameters.extend(
            columns
                .iter()
                .map(|column| column as &(dyn postgres::types::ToSql + Sync)),
        );
        transaction.execute(&update, &parameters)?;
    }
    let delete = transaction.prepare(table.delete)?;
    for id in changes.deleted {
        transaction.execute(&delete, &[&id])?;
    }
    let mut rows = transaction.copy_in(table.copy)?;
    for id in changes.inserted {
        let columns = (table.columns)(&mut churn.rng, id, hour);
        writeln!(rows, "{id}\t{}", columns.join("\t"))?;
    }
    rows.finish()?;
    Ok(())
}

fn timestamp(rng: &mut Rng, hour: u32) -> String {
    let second = moment(rng, hour);
    let (day, rest) = (second / 86_400, second % 86_400);
    // 20454 days after 1970 is 2026-01-01; a bench stays within January.
    let day = day - 20_453;
    format!(
        "2026-01-{day:02} {:02}:{:02}:{:02}+00",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}
