//! Routines whose text is easily taken for something else.

use keepstone_sources::postgres::PostgresRestoreOptions;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::export::{export, load};
use super::{capture, restore, schema, target};

#[test]
fn a_routine_that_is_called_begin_or_reads_such_a_column_ends_where_it_ends() {
    let server = PostgresServer::start();
    server.execute("postgres", "CREATE DATABASE app");
    let mut client = server.client("app");
    for sql in [
        "CREATE TABLE shifts (id integer, begin date, \"end\" date)",
        "INSERT INTO shifts VALUES (1, '2026-01-02', '2026-01-03')",
        "CREATE FUNCTION begin() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$",
        "CREATE PROCEDURE \"end\"() LANGUAGE sql AS $$ SELECT 1; $$",
    ] {
        client.batch_execute(sql).unwrap();
    }
    // Only since version 14.
    client
        .batch_execute(
            "CREATE FUNCTION days(i integer) RETURNS SETOF date LANGUAGE sql BEGIN ATOMIC
                SELECT CASE WHEN s.begin > s.\"end\" THEN s.\"end\" ELSE s.begin END FROM shifts s
                    WHERE s.id = days.i;
                SELECT s.begin FROM shifts s WHERE s.id = days.i;
             END",
        )
        .unwrap();
    let before = capture(&server, "app");
    restore(
        &target(&server, "copy", PostgresRestoreOptions::default()),
        &before,
    )
    .unwrap();
    server.execute("postgres", "CREATE DATABASE loaded TEMPLATE template0");
    load(&server, "loaded", &export(&before)["app.sql"]);
    for other in ["copy", "loaded"] {
        assert_eq!(schema(&server, "app"), schema(&server, other));
        let answers = "SELECT public.begin() || ': ' || public.days(1)";
        assert_eq!(server.value(other, answers), "1: 2026-01-02");
    }
}

#[test]
fn a_schema_that_cannot_be_taken_apart_is_no_capture() {
    use keepstone_engine::source::SourceErrorKind;
    use keepstone_sources::postgres::PostgresSource;
    use std::os::unix::fs::PermissionsExt as _;

    let server = PostgresServer::start();
    let folder = tempfile::tempdir().unwrap();
    let tool = folder.path().join("pg_dump");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 99.1' || echo 'SELECT (1;'\n";
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut settings = server.settings("postgres");
    settings.pg_dump = Some(tool);
    let error = keepstone_testkit::memory::MemoryCapture::of(&PostgresSource::new(settings));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Other, "{error:?}");
    assert!(error.to_string().contains("postgres"), "{error:?}");
}
