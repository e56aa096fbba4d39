//! Parts of tables among which rows are divided by something that differs from database to database.

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::postgres::PostgresRestoreOptions;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::export::{export, load};
use super::{capture, in_place, restore, schema, target};

/// Everything in the table, and in which parts it lies.
const ROWS: &str = "SELECT string_agg(n || m::text, ',' ORDER BY n) FROM h";
const PLACES: &str = "SELECT string_agg(tableoid::regclass::text, ',' ORDER BY n) FROM h";

/// Makes a database with tables that are divided by the hash of an enum.
fn fill_moods(server: &PostgresServer) {
    server.execute("postgres", "CREATE DATABASE app");
    let labels: Vec<_> = (0..40).map(|n| format!("'mood {n}'")).collect();
    let mut sql = format!(
        "CREATE TYPE mood AS ENUM ({});
         CREATE TABLE h (n integer, m mood) PARTITION BY HASH (m);
         CREATE TABLE years (y integer, ms mood[]) PARTITION BY RANGE (y);
         CREATE TABLE hs PARTITION OF years FOR VALUES FROM (2000) TO (3000) PARTITION BY HASH (ms);
         CREATE TABLE plain (n integer) PARTITION BY HASH (n);",
        labels.join(", ")
    );
    for part in 0..3 {
        for table in ["h", "hs", "plain"] {
            sql += &format!(
                "CREATE TABLE {table}{part} PARTITION OF {table} FOR VALUES WITH (MODULUS 3, REMAINDER {part});"
            );
        }
    }
    sql += "INSERT INTO h SELECT row_number() OVER (), m FROM unnest(enum_range(NULL::mood)) m;
        INSERT INTO years SELECT 2026, ARRAY[m, m] FROM h; INSERT INTO plain SELECT n FROM h";
    server.execute("app", &sql);
}

#[test]
fn rows_that_are_divided_by_the_hash_of_an_enum_find_their_parts_anew() {
    let server = PostgresServer::start();
    fill_moods(&server);
    let before = capture(&server, "app");
    let tables = String::from_utf8_lossy(before.content("app/tables")).into_owned();
    for (table, root) in [
        ("h1", Some("[\"public\",\"h\"]")),
        ("hs1", Some("[\"public\",\"hs\"]")),
        ("plain1", None),
    ] {
        let line = tables
            .lines()
            .find(|line| line.contains(&format!("\"name\":\"{table}\"")))
            .unwrap();
        assert_eq!(line.contains("\"root\""), root.is_some(), "{line}");
        assert!(line.contains(root.unwrap_or_default()), "{line}");
    }
    restore(
        &target(&server, "copy", PostgresRestoreOptions::default()),
        &before,
    )
    .unwrap();
    server.execute("postgres", "CREATE DATABASE loaded TEMPLATE template0");
    load(&server, "loaded", &export(&before)["app.sql"]);
    for other in ["copy", "loaded"] {
        assert_eq!(schema(&server, "app"), schema(&server, other));
        assert_eq!(server.value("app", ROWS), server.value(other, ROWS));
        assert_eq!(server.value(other, "SELECT count(ms) FROM years"), "40");
        assert_eq!(server.value(other, "SELECT count(*) FROM plain"), "40");
        // Otherwise nothing would be shown here.
        assert_ne!(server.value("app", PLACES), server.value(other, PLACES));
    }
}

#[test]
fn rows_of_such_tables_are_compared_as_a_whole() {
    let server = PostgresServer::start();
    fill_moods(&server);
    let before = capture(&server, "app");
    let target = target(&server, "copy", PostgresRestoreOptions::default());
    let plan = target.plan(&before).unwrap();
    target.stage(&plan, &before).unwrap();
    let databases = server.databases();
    let staged = databases
        .iter()
        .find(|name| name.contains("__keepstone_"))
        .unwrap();
    let found = |sql: &str| {
        server.execute(staged, sql);
        target.validate(&plan, &before).unwrap().differences
    };
    assert_eq!(found("SELECT 1"), Vec::<String>::new());
    assert_eq!(
        found("UPDATE h SET n = 0 WHERE n = 40"),
        ["database app: table public.h has other rows than were captured"]
    );
    assert_eq!(
        found("DELETE FROM h WHERE n = 0"),
        ["database app: table public.h has 39 rows instead of 40"]
    );
    target.rollback(&plan, Phase::Staged).unwrap();
}

#[test]
fn such_a_table_is_restored_with_all_of_its_parts_or_not_at_all() {
    let server = PostgresServer::start();
    fill_moods(&server);
    let before = capture(&server, "app");
    let of = |table: &str| {
        let options = PostgresRestoreOptions {
            tables: vec![PostgresRestoreOptions::parse_table(table).unwrap()],
            ..PostgresRestoreOptions::default()
        };
        target(&server, "some", options)
    };
    let some = of("h1");
    let plan = some.plan(&before).unwrap();
    let error = some.stage(&plan, &before).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Preflight, "{error:?}");
    assert!(error.to_string().contains("public.h0"), "{error:?}");
    some.rollback(&plan, Phase::Staging).unwrap();
    restore(&of("h"), &before).unwrap();
    assert_eq!(server.value("app", ROWS), server.value("some", ROWS));
}

#[test]
fn rows_are_never_loaded_through_a_table_that_has_parts_elsewhere() {
    let server = PostgresServer::start();
    fill_moods(&server);
    server.execute("postgres", "CREATE DATABASE elsewhere");
    server.execute("elsewhere", "CREATE TABLE far (n integer, m text)");
    server.execute(
        "app",
        &format!(
            "DROP TABLE h2; CREATE EXTENSION postgres_fdw;
             CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw
                OPTIONS (host '127.0.0.1', port '{}', dbname 'elsewhere');
             CREATE USER MAPPING FOR postgres SERVER other OPTIONS (user 'postgres');
             CREATE FOREIGN TABLE h2 PARTITION OF h FOR VALUES WITH (MODULUS 3, REMAINDER 2)
                SERVER other OPTIONS (table_name 'far')",
            server.port()
        ),
    );
    let before = capture(&server, "app");
    let tables = String::from_utf8_lossy(before.content("app/tables")).into_owned();
    let root_of = |table: &str| {
        let named = format!("\"name\":\"{table}\"");
        let line = tables.lines().find(|line| line.contains(&named)).unwrap();
        line.contains("\"root\"")
    };
    assert!(!root_of("h0") && root_of("hs0"), "{tables}");
    server.execute("postgres", "ALTER DATABASE app RENAME TO was");
    // Loud, and nothing was sent.
    restore(&target(&server, "app", in_place()), &before).unwrap_err();
    assert_eq!(server.value("elsewhere", "SELECT count(*) FROM far"), "0");
}
