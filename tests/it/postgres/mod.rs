//! PostgreSQL, against the real server.

mod capture;

use keepstone_testkit::servers::postgres::PostgresServer;

/// Makes a database that holds a bit of everything.
fn fill(server: &PostgresServer, database: &str) {
    server.execute("postgres", &format!("CREATE DATABASE \"{database}\""));
    server.execute(database, include_str!("schema.sql"));
}
