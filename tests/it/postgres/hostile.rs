//! Owners who would have us run something of theirs, and names that come to mean something else while a capture runs.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items as _, Source as _, SourceError, SourceErrorKind};
use keepstone_sources::postgres::{Databases, PostgresSource};
use keepstone_testkit::memory::MemorySink;
use keepstone_testkit::servers::postgres::{PostgresServer, bin};

use super::noticing::Noticing;
use super::{capture, fill_small};

/// Makes a role and a schema of its own, with a function that complains if it is called by a superuser.
const MALLORY: &str =
    "CREATE ROLE mallory; CREATE SCHEMA shop AUTHORIZATION mallory; SET ROLE mallory;
    CREATE FUNCTION shop.evil(n integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            RAISE EXCEPTION 'called by %', current_user;
        END IF;
        RETURN n;
    END $$;";

#[test]
fn what_owners_compute_for_their_indexes_is_not_called_with_our_rights() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        &format!(
            "{MALLORY}
             CREATE TABLE shop.t (id integer PRIMARY KEY, v text);
             INSERT INTO shop.t VALUES (2, 'b'), (1, 'a');
             CREATE INDEX ON shop.t ((shop.evil(1))); CREATE INDEX ON shop.t (v) WHERE shop.evil(1) = 1;
             CREATE STATISTICS shop.s ON (shop.evil(1)), v FROM shop.t;
             CREATE TABLE shop.whole (id integer PRIMARY KEY) PARTITION BY RANGE (id);
             RESET ROLE;
             CREATE TABLE part PARTITION OF shop.whole FOR VALUES FROM (0) TO (10);
             CREATE TABLE shop.ours (id integer PRIMARY KEY);
             CREATE TABLE safe (id integer PRIMARY KEY); INSERT INTO safe VALUES (2), (1)"
        ),
    );
    let capture = capture(&server, "postgres");
    assert_eq!(capture.content("postgres/table/shop/t"), b"2\tb\n1\ta\n");
    assert_eq!(capture.content("postgres/table/public/safe"), b"1\n2\n");
    let sorted = |table: &str| {
        let path = RepoPath::parse(format!("postgres/table/{table}")).unwrap();
        capture.get(&path).unwrap().unwrap().facts.attributes["key_sorted"].clone()
    };
    assert_eq!(sorted("public/safe"), true);
    // Whoever owns the whole makes indexes of its parts, and whoever owns the schema another table of the name.
    for table in ["shop/t", "public/part", "shop/ours"] {
        assert_eq!(sorted(table), false, "{table}");
    }
}

/// Makes a table one of the extension pgcrypto, which leaves the rows that fulfil a condition to users.
fn adopt(server: &PostgresServer, table: &str, condition: &str) {
    server.execute(
        "postgres",
        &format!(
            "ALTER EXTENSION pgcrypto ADD TABLE {table};
             UPDATE pg_extension SET extconfig = extconfig || '{table}'::regclass::oid,
                extcondition = extcondition || '{condition}'::text WHERE extname = 'pgcrypto'"
        ),
    );
}

#[test]
fn what_owners_compute_for_tables_of_extensions_is_not_called_with_our_rights() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        &format!(
            "{MALLORY} RESET ROLE; CREATE EXTENSION pgcrypto;
             UPDATE pg_extension SET extconfig = '{{}}', extcondition = '{{}}' WHERE extname = 'pgcrypto';
             CREATE TABLE shop.part AS SELECT v FROM (VALUES ('default'), ('own')) rows (v);
             CREATE TABLE shop.whole AS TABLE shop.part; ALTER TABLE shop.whole OWNER TO mallory"
        ),
    );
    adopt(&server, "shop.part", "WHERE v <> $$default$$");
    adopt(&server, "shop.whole", "");
    server.execute(
        "postgres",
        "SET ROLE mallory; CREATE INDEX ON shop.whole ((shop.evil(1)))",
    );
    let captured = capture(&server, "postgres");
    assert_eq!(captured.content("postgres/table/shop/part"), b"own\n");
    assert_eq!(
        captured.content("postgres/table/shop/whole"),
        b"default\nown\n"
    );
    // Which rows are meant is a query, in which its owner might have something called.
    server.execute("postgres", "ALTER TABLE shop.part OWNER TO mallory");
    let captured = capture(&server, "postgres");
    assert_eq!(captured.content("postgres/table/shop/part"), b"own\n");
    let source = PostgresSource::new(server.settings("postgres"));
    let mut mallory = server.client("postgres");
    mallory
        .batch_execute("SET ROLE mallory; SET lock_timeout = '100ms'")
        .unwrap();
    let opened = source.open().unwrap();
    for sql in [
        "CREATE INDEX ON shop.part ((shop.evil(1)))",
        "CREATE INDEX ON shop.part (v) WHERE shop.evil(1) = 1",
        "CREATE STATISTICS shop.s ON (shop.evil(1)), v FROM shop.part",
        "ALTER TABLE shop.part ADD mine text",
    ] {
        let error = mallory.batch_execute(sql).unwrap_err();
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("55P03"), "{sql}: {error}");
    }
    drop(opened);
    mallory.batch_execute("RESET lock_timeout").unwrap();
    for (made, gone) in [
        (
            "CREATE INDEX i ON shop.part ((shop.evil(1)))",
            "DROP INDEX shop.i",
        ),
        (
            "CREATE STATISTICS shop.s ON (shop.evil(1)), v FROM shop.part",
            "DROP STATISTICS shop.s",
        ),
        (
            "CREATE TYPE shop.mood AS ENUM ('bad'); ALTER TABLE shop.part ADD mine shop.mood",
            "ALTER TABLE shop.part DROP mine",
        ),
    ] {
        mallory.batch_execute(made).unwrap();
        refuses(&server);
        mallory.batch_execute(gone).unwrap();
    }
    let captured = capture(&server, "postgres");
    assert_eq!(captured.content("postgres/table/shop/part"), b"own\n");
}

/// The table may have functions of its owner called.
fn refuses(server: &PostgresServer) {
    let source = PostgresSource::new(server.settings("postgres"));
    let error = source.open().err().unwrap();
    assert_eq!(error.kind(), SourceErrorKind::Preflight, "{error}");
    let text = format!("{error:?}");
    assert!(
        text.contains("shop.part") && text.contains("mallory"),
        "{text}"
    );
}

/// Swaps a schema for another when the first table of a capture comes, and gives what the capture says.
fn swapped(server: &PostgresServer, next: &[&str]) -> SourceError {
    server.execute(
        "postgres",
        "CREATE SCHEMA live; DO $$ BEGIN FOR n IN 10..49 LOOP
            EXECUTE 'CREATE TABLE live.t' || n || ' AS SELECT 1 AS a'; END LOOP; END $$;
         CREATE SCHEMA next",
    );
    let mut client = server.client("postgres");
    for sql in next {
        client.batch_execute(sql).unwrap();
    }
    let source = PostgresSource::new(server.settings("postgres"));
    let mut opened = source.open().unwrap();
    let mut done = false;
    let mut sink = Noticing {
        sink: MemorySink::new(None),
        record: &mut || (),
        notice: &mut || {
            if !std::mem::replace(&mut done, true) {
                let swap = "ALTER SCHEMA live RENAME TO old; ALTER SCHEMA next RENAME TO live";
                server.execute("postgres", swap);
            }
        },
    };
    let error = opened.stream(&mut sink).unwrap_err();
    for (path, (_, content)) in &sink.sink.items {
        let table = path.to_string().starts_with("postgres/table/live/");
        assert!(!table || content == b"1\n", "{path}");
    }
    opened.close().unwrap();
    error
}

#[test]
fn a_table_that_takes_the_name_of_another_is_not_taken_for_it() {
    let tables = "DO $$ BEGIN FOR n IN 10..49 LOOP
        EXECUTE 'CREATE TABLE next.t' || n || ' (a integer PRIMARY KEY)'; END LOOP; END $$;";
    // The second time somebody holds their locks, so that the session that is to be let through looks at them.
    let locks = "BEGIN; DO $$ BEGIN FOR n IN 10..49 LOOP
        EXECUTE 'LOCK TABLE next.t' || n || ' IN SHARE ROW EXCLUSIVE MODE'; END LOOP; END $$";
    let views = "DO $$ BEGIN FOR n IN 10..49 LOOP
        EXECUTE 'CREATE VIEW next.t' || n || ' AS SELECT 2 AS a'; END LOOP; END $$";
    for next in [&[tables][..], &[tables, locks], &[views]] {
        let error = swapped(&PostgresServer::start(), next);
        assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
        let said = error.to_string();
        assert!(
            said.starts_with("table live.t") && said.contains("renamed or replaced"),
            "{said}"
        );
    }
}

#[test]
fn a_table_in_the_place_of_a_sequence_is_not_taken_for_it() {
    let server = PostgresServer::start();
    let folder = tempfile::tempdir().unwrap();
    let (gate, tool) = (folder.path().join("gate"), folder.path().join("pg_dump"));
    let made = std::process::Command::new("mkfifo").arg(&gate).status();
    assert!(made.unwrap().success());
    let script = format!(
        "#!/bin/sh\ncase $1 in --version) ;; *) [ -p {gate} ] && cat {gate};; esac; exec {} \"$@\"\n",
        bin("pg_dump").display(),
        gate = gate.display()
    );
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    fill_small(&server, "first", "x");
    server.execute("postgres", "CREATE DATABASE second");
    server.execute(
        "second",
        "CREATE SEQUENCE a; CREATE SEQUENCE b; CREATE SEQUENCE c; SELECT setval('c', 7)",
    );
    let mut settings = server.settings("");
    settings.databases = Databases::Named(vec!["first".into(), "second".into()]);
    settings.connections = 1;
    settings.pg_dump = Some(tool);
    // Nobody who reads it comes to its end while it is open here.
    let hold = File::options().read(true).write(true).open(&gate).unwrap();
    let source = PostgresSource::new(settings);
    let mut opened = source.open().unwrap();
    server.execute(
        "second",
        "ALTER SEQUENCE a RENAME TO d; CREATE TABLE a (last_value bigint, is_called boolean);
         INSERT INTO a VALUES (3, true), (4, true)",
    );
    std::fs::remove_file(&gate).unwrap();
    drop(hold);
    let error = opened.stream(&mut MemorySink::new(None)).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
    assert_eq!(
        error.to_string(),
        "sequence public.a was renamed or replaced while it was read"
    );
    opened.close().unwrap();
}
