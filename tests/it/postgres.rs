//! PostgreSQL, against the real server.

mod capture;
mod drops;
mod export;
mod faults;
mod hostile;
mod kept;
mod kill;
mod lend;
mod locks;
mod noticing;
mod parts;
mod restore;
mod routines;

use keepstone_engine::source::{RestorePlan, SourceError, Target as _};
use keepstone_sources::postgres::{PostgresRestoreOptions, PostgresSource, PostgresTarget};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;

/// Comments on databases and roles, but for those that every server has.
const COMMENTS: &str = "SELECT string_agg(description, ',') FROM pg_shdescription
    WHERE description NOT LIKE '%template%' AND description <> 'unmodifiable empty database'
    AND description NOT LIKE 'default administrative%'";

/// Makes a database that holds a bit of everything.
fn fill(server: &PostgresServer, database: &str) {
    server.execute("postgres", &format!("CREATE DATABASE \"{database}\""));
    server.execute(database, include_str!("postgres/schema.sql"));
}

/// Makes a small database whose rows say what it is.
fn fill_small(server: &PostgresServer, database: &str, mark: &str) {
    let quoted = database.replace('"', "\"\"");
    server.execute("postgres", &format!("CREATE DATABASE \"{quoted}\""));
    server.execute(
        database,
        &format!(
            "CREATE TABLE t (id serial PRIMARY KEY, mark text);
             INSERT INTO t (mark) SELECT '{mark}' FROM generate_series(1, 10)"
        ),
    );
}

/// Which data a small database holds.
fn mark(server: &PostgresServer, database: &str) -> String {
    server.value(
        database,
        "SELECT string_agg(DISTINCT mark, ',') || count(*) FROM t",
    )
}

fn capture(server: &PostgresServer, database: &str) -> MemoryCapture {
    MemoryCapture::of(&PostgresSource::new(server.settings(database))).unwrap()
}

fn in_place() -> PostgresRestoreOptions {
    PostgresRestoreOptions {
        replace: true,
        ..PostgresRestoreOptions::default()
    }
}

fn target(
    server: &PostgresServer,
    database: &str,
    options: PostgresRestoreOptions,
) -> PostgresTarget {
    PostgresTarget::new(server.settings(database), options)
}

/// Plans, stages, validates and switches.
fn restore(target: &PostgresTarget, capture: &MemoryCapture) -> Result<RestorePlan, SourceError> {
    let plan = target.plan(capture)?;
    target.stage(&plan, capture)?;
    let validation = target.validate(&plan, capture)?;
    assert_eq!(validation.differences, Vec::<String>::new());
    target.switch(&plan)?;
    Ok(plan)
}

/// Schema as pg_dump writes it, without what differs from run to run.
fn schema(server: &PostgresServer, database: &str) -> String {
    let dump = server
        .tool("pg_dump", &["--schema-only", "-d", database])
        .unwrap();
    let text = String::from_utf8(dump).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Compares two captures stream by stream, whatever their databases are called.
fn assert_same_data(a: (&MemoryCapture, &str), b: (&MemoryCapture, &str)) {
    let streams = |(capture, database): (&MemoryCapture, &str)| {
        let prefix = format!("{}/", keepstone_engine::path::percent_encode(database));
        let mut found: Vec<_> = capture
            .items
            .values()
            .filter_map(|(info, content)| {
                let path = info.path.to_string();
                let name = path.strip_prefix(&prefix)?.to_owned();
                // Facts name the database; the digest says whether rows in another order are the same.
                (name != "database").then(|| match info.facts.digest {
                    Some(digest) => (name, format!("{:?} {digest}", info.facts.records)),
                    None => (name, String::from_utf8_lossy(content).into_owned()),
                })
            })
            .collect();
        found.sort();
        found
    };
    let (a, b) = (streams(a), streams(b));
    assert!(!a.is_empty());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a, b);
    }
    assert_eq!(a.len(), b.len());
}

/// Waits until so many sessions wait for a lock.
fn until_waiting(server: &PostgresServer, database: &str, sessions: usize) {
    let waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted";
    let mut client = server.client(database);
    while client.query_one(waiting, &[]).unwrap().get::<_, i64>(0) < sessions as i64 {
        std::thread::yield_now();
    }
}
