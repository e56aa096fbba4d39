//! Captures: everything is in them, at one instant, and the same twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Consistency, Items as _, Source as _, SourceErrorKind};
use keepstone_sources::postgres::{
    Databases, PostgresRestoreOptions, PostgresSource, PostgresTarget,
};
use keepstone_testkit::memory::{MemoryCapture, MemorySink};
use keepstone_testkit::servers::postgres::PostgresServer;

use super::noticing::Noticing;
use super::{capture, fill, fill_small, in_place, restore, target};

#[test]
fn a_capture_holds_everything_and_twice_the_same_bytes() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let source = PostgresSource::new(server.settings("app"));
    assert_eq!(source.consistency(), Consistency::PointInTime);
    assert_eq!(
        source.address(),
        format!("postgres://127.0.0.1:{}/app", server.port())
    );
    let capture = MemoryCapture::of(&source).unwrap();
    let paths = capture.paths();
    let expected = [
        "@roles",
        "app/database",
        "app/large-object-owners",
        "app/large-objects",
        "app/schema-post.sql",
        "app/schema-pre.sql",
        "app/sequences",
        "app/table/odd%20%2F%20schema/%2E%2E",
        "app/table/public/Odd%20%22table%22%20%2F%20n%C3%A4me",
        "app/table/public/cache",
        "app/table/public/child",
        "app/table/public/empty_table",
        "app/table/public/events_2025",
        "app/table/public/events_2026_a",
        "app/table/public/events_2026_rest",
        "app/table/public/no_columns",
        "app/table/public/orders",
        "app/table/public/parent",
        "app/table/public/texts",
        "app/table/public/types",
        "app/table/public/users",
        "app/tables",
    ];
    assert_eq!(paths, expected);
    assert!(
        capture
            .open_facts
            .version
            .as_deref()
            .unwrap()
            .starts_with("1")
    );

    // Counts are exact, and the digest is that of the lines.
    for facts in &capture.report.collections {
        let Some(table) = facts.name.strip_prefix("app/public.") else {
            continue;
        };
        let path = format!(
            "app/table/public/{}",
            keepstone_engine::path::percent_encode(table)
        );
        let content = capture.content(&path);
        let mut digest = keepstone_engine::source::RecordDigest::new();
        content
            .split_inclusive(|byte| *byte == b'\n')
            .for_each(|line| digest.add(line));
        assert_eq!(
            (facts.records, facts.digest),
            (digest.count(), Some(digest.finish())),
            "{table}"
        );
        assert_eq!(facts.bytes, content.len() as u64);
        let rows = server.value(
            "app",
            &format!(
                "SELECT count(*) FROM ONLY public.\"{}\"",
                table.replace('"', "\"\"")
            ),
        );
        assert_eq!(facts.records.to_string(), rows, "{table}");
    }
    // The generated column is computed anew, so it is not in the rows.
    let users = String::from_utf8_lossy(capture.content("app/table/public/users")).into_owned();
    assert!(
        users.starts_with("1\tUser1@Example.org\t\\\\x"),
        "{}",
        &users[..80]
    );
    assert!(users.lines().all(|line| line.split('\t').count() == 3));
    // What differs from run to run or from machine to machine is not in the schema.
    let schema = String::from_utf8_lossy(capture.content("app/schema-pre.sql")).into_owned();
    assert!(schema.starts_with("SET ") && schema.ends_with(";\n"));
    assert!(!schema.contains("Dumped by"));

    assert_eq!(capture, MemoryCapture::of(&source).unwrap());
    // Nothing of us is left on the server.
    server.until_left_alone();
}

#[test]
fn rows_are_in_key_order_where_the_key_is_a_number() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        "CREATE TABLE sorted (v text, id bigint PRIMARY KEY);
         INSERT INTO sorted SELECT 'v', i FROM generate_series(1000, -1000, -1) i;
         UPDATE sorted SET v = 'w' WHERE id % 3 = 0; ANALYZE sorted;
         CREATE TABLE heap (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n integer);
         INSERT INTO heap (n) SELECT i FROM generate_series(1, 100) i",
    );
    let capture = capture(&server, "postgres");
    let column = |table: &str, place: usize| -> Vec<i64> {
        let content = String::from_utf8_lossy(capture.content(table)).into_owned();
        content
            .lines()
            .map(|line| line.split('\t').nth(place).unwrap().parse().unwrap())
            .collect()
    };
    assert_eq!(
        column("postgres/table/public/sorted", 1),
        (-1000..=1000).collect::<Vec<_>>()
    );
    assert_eq!(
        column("postgres/table/public/heap", 1),
        (1..=100).collect::<Vec<_>>()
    );
    let sorted = |table| {
        let path = RepoPath::parse(table).unwrap();
        capture.get(&path).unwrap().unwrap().facts.attributes["key_sorted"].clone()
    };
    assert_eq!(sorted("postgres/table/public/sorted"), true);
    assert_eq!(sorted("postgres/table/public/heap"), false);
}

#[test]
fn a_capture_shows_one_instant_while_writers_run() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        "CREATE TABLE a (id serial PRIMARY KEY, n integer); CREATE TABLE b (id serial PRIMARY KEY, n integer);
         CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 20000);
         INSERT INTO a (n) SELECT 1 FROM generate_series(1, 100);
         INSERT INTO b (n) SELECT -1 FROM generate_series(1, 100)",
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client("postgres");
            while !done.load(Ordering::Relaxed) {
                // The sum over both tables is 0, and they have as many rows, in every committed state.
                let sql = "BEGIN; INSERT INTO a (n) VALUES (2); UPDATE b SET n = n - 1 WHERE id = 1;
                    INSERT INTO b (n) VALUES (-1); DELETE FROM a WHERE id IN (SELECT id FROM a WHERE n = 5); COMMIT";
                client.batch_execute(sql).unwrap();
            }
        });
        for _ in 0..5 {
            let capture = capture(&server, "postgres");
            let sum = |table: &str| -> (usize, i64) {
                let content = String::from_utf8_lossy(capture.content(table)).into_owned();
                let numbers = content
                    .lines()
                    .map(|line| line.rsplit('\t').next().unwrap().parse::<i64>().unwrap());
                (content.lines().count(), numbers.sum())
            };
            let (a, b) = (
                sum("postgres/table/public/a"),
                sum("postgres/table/public/b"),
            );
            assert_eq!((a.0, a.1), (b.0, -b.1));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn all_databases_are_captured_but_those_that_nobody_may_enter() {
    let server = PostgresServer::start();
    let names = ["app", "Größe / \"x\"", "roles", "@roles"];
    for name in names {
        let quoted = name.replace('"', "\"\"");
        server.execute("postgres", &format!("CREATE DATABASE \"{quoted}\""));
        server.execute(
            name,
            "CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1), (2)",
        );
    }
    server.execute("postgres", "CREATE DATABASE closed ALLOW_CONNECTIONS false");
    let source = PostgresSource::new(server.settings(""));
    assert_eq!(source.consistency(), Consistency::PerStream);
    let capture = MemoryCapture::of(&source).unwrap();
    for name in names.iter().chain(&["postgres"]) {
        let path = format!("{}/database", keepstone_engine::path::percent_encode(name));
        assert!(capture.paths().contains(&path), "{path}");
    }
    assert!(
        !capture
            .paths()
            .iter()
            .any(|path| path.starts_with("closed") || path.starts_with("template"))
    );
    assert!(
        capture
            .report
            .warnings
            .iter()
            .any(|warning| warning.contains("closed"))
    );
    assert_eq!(
        capture.open_facts.attributes["databases"]
            .as_array()
            .unwrap()
            .len(),
        5
    );

    // A database that is missing is said to be.
    let error = MemoryCapture::of(&PostgresSource::new(server.settings("nowhere"))).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing, "{error:?}");
}

#[test]
fn reading_rights_suffice_and_what_they_do_not_show_is_named() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        "CREATE ROLE backup LOGIN; GRANT pg_read_all_data TO backup; CREATE ROLE stranger LOGIN PASSWORD 'x';
         CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES; CREATE SCHEMA hidden;
         CREATE TABLE hidden.t (v text); INSERT INTO hidden.t VALUES ('v')",
    );
    let settings = |user: &str| {
        let mut settings = server.settings("postgres");
        settings.user = user.to_owned();
        settings
    };
    let capture = MemoryCapture::of(&PostgresSource::new(settings("backup"))).unwrap();
    assert_eq!(capture.content("postgres/table/hidden/t"), b"v\n");
    assert_eq!(capture.report.warnings, Vec::<String>::new());
    let all = super::capture(&server, "postgres");
    assert_eq!(capture, all);
    assert!(String::from_utf8_lossy(all.content("@roles")).contains("SCRAM-SHA-256"));

    server.execute("postgres", "CREATE DATABASE own OWNER stranger");
    let mut own = settings("stranger");
    own.databases = Databases::Named(vec!["own".into()]);
    let capture = MemoryCapture::of(&PostgresSource::new(own)).unwrap();
    assert!(
        capture
            .report
            .warnings
            .iter()
            .any(|warning| warning.contains("passwords"))
    );
    assert!(!String::from_utf8_lossy(capture.content("@roles")).contains("SCRAM"));
    let error = MemoryCapture::of(&PostgresSource::new(settings("stranger"))).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Denied, "{error:?}");
    // Rows that a policy would hide are an error, not a smaller capture.
    server.execute("postgres", "ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    let error = MemoryCapture::of(&PostgresSource::new(settings("backup"))).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Denied, "{error:?}");
}

#[test]
fn a_lock_that_is_held_ends_the_wait_and_one_that_is_waited_for_does_not_matter() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let mut settings = server.settings("app");
    settings.timeouts.lock = std::time::Duration::from_millis(300);
    let source = PostgresSource::new(settings);
    let mut holder = server.client("app");
    holder
        .batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        .unwrap();
    let error = MemoryCapture::of(&source).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
    holder.batch_execute("ROLLBACK").unwrap();

    // Somebody waits for the lock behind us: a second session of ours would wait behind them.
    for table in 0..40 {
        server.execute(
            "app",
            &format!("CREATE TABLE more_{table:02} AS SELECT 1 AS a"),
        );
    }
    let source = PostgresSource::new(server.settings("app"));
    let mut opened = source.open().unwrap();
    thread::scope(|scope| {
        let mut waiter = None;
        let mut sink = Noticing {
            sink: MemorySink::new(None),
            record: &mut || (),
            notice: &mut || {
                waiter.get_or_insert_with(|| {
                    let waiter =
                        scope.spawn(|| server.execute("app", "ALTER TABLE more_39 ADD b integer"));
                    while server.value("app", "SELECT count(*) FROM pg_locks WHERE NOT granted")
                        == "0"
                    {
                        thread::yield_now();
                    }
                    waiter
                });
            },
        };
        let streamed = opened.stream(&mut sink);
        let content = sink.sink.items[&RepoPath::parse("app/table/public/more_39").unwrap()]
            .1
            .clone();
        opened.close().unwrap();
        waiter.unwrap().join().unwrap();
        streamed.unwrap();
        assert_eq!(content, b"1\n");
    });
}

#[test]
fn definitions_are_those_of_the_instant_however_long_the_databases_before_take() {
    let server = PostgresServer::start();
    fill_small(&server, "first", "x");
    fill_small(&server, "second", "y");
    server.execute(
        "second",
        "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE moods (m mood); INSERT INTO moods VALUES ('good');
         CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT f()",
    );
    let mut settings = server.settings("");
    settings.databases = Databases::Named(vec!["first".into(), "second".into()]);
    let source = PostgresSource::new(settings);
    let quiet = MemoryCapture::of(&source).unwrap();
    let mut opened = source.open().unwrap();
    let mut changed = false;
    let mut sink = Noticing {
        sink: MemorySink::new(None),
        record: &mut || (),
        notice: &mut || {
            if !std::mem::replace(&mut changed, true) {
                // Nobody can hold a lock on these.
                let sql = "ALTER TYPE mood RENAME TO temper; ALTER FUNCTION f() RENAME TO g";
                server.execute("second", sql);
            }
        },
    };
    let report = opened.stream(&mut sink).unwrap();
    let capture = MemoryCapture {
        open_facts: opened.facts(),
        report,
        items: std::mem::take(&mut sink.sink.items),
    };
    opened.close().unwrap();
    assert_eq!(capture, quiet);
    assert_eq!(server.value("second", "SELECT g()"), "1");

    let other = PostgresServer::start();
    let target = PostgresTarget::new(other.settings(""), PostgresRestoreOptions::default());
    super::restore(&target, &capture).unwrap();
    assert_eq!(other.value("second", "SELECT f() + v.f FROM v"), "2");
    assert_eq!(other.value("second", "SELECT 'good'::mood"), "good");
}

#[test]
fn a_sink_that_fails_gets_its_own_error_back_and_a_stop_is_heard() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let source = PostgresSource::new(server.settings("app"));
    for limit in [0, 3000, 100_000] {
        let mut opened = source.open().unwrap();
        let mut sink = MemorySink::new(None);
        sink.fail_after_bytes = Some(limit);
        let error = opened.stream(&mut sink).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Engine, "{error:?}");
        assert_eq!(error.to_string(), "cannot keep the stream");
        opened.close().unwrap();
    }
    let mut opened = source.open().unwrap();
    let mut sink = MemorySink::new(None);
    sink.cancel = true;
    let error = opened.stream(&mut sink).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Cancelled, "{error:?}");
}

#[test]
fn what_lives_elsewhere_is_named_and_what_an_extension_made_is_not_captured_twice() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE far (a text) SERVER files OPTIONS (filename '/etc/hostname');
         CREATE TEMPORARY TABLE mine (a integer); CREATE TABLE near (a integer)",
    );
    let capture = capture(&server, "postgres");
    assert!(
        capture
            .report
            .warnings
            .iter()
            .any(|warning| warning.contains("public.far")),
        "{:?}",
        capture.report.warnings
    );
    let tables: Vec<_> = capture
        .paths()
        .into_iter()
        .filter(|path| path.contains("/table/"))
        .collect();
    assert_eq!(tables, ["postgres/table/public/near"]);
}

#[test]
fn a_standby_is_captured_and_what_it_lacks_is_named() {
    let primary = PostgresServer::start();
    primary.execute("postgres", "CREATE DATABASE app");
    primary.execute(
        "app",
        "CREATE UNLOGGED TABLE keyed (id serial PRIMARY KEY, v text);
         CREATE UNLOGGED TABLE heap (v text);
         CREATE UNLOGGED TABLE bare ();
         CREATE TABLE logged (id serial PRIMARY KEY, v text);
         INSERT INTO keyed (v) SELECT 'x' FROM generate_series(1, 10);
         INSERT INTO heap SELECT 'x' FROM generate_series(1, 10);
         INSERT INTO bare DEFAULT VALUES;
         INSERT INTO logged (v) SELECT 'x' FROM generate_series(1, 10);
         SELECT lo_from_bytea(0, 'large')",
    );
    let standby = primary.start_standby();
    standby.until_it_follows(&primary);
    let (whole, lacking) = (capture(&primary, "app"), capture(&standby, "app"));
    assert_eq!(whole.paths(), lacking.paths());
    for table in ["keyed", "heap", "bare"] {
        let path = format!("app/table/public/{table}");
        assert_ne!(whole.content(&path), b"", "{table}");
        assert_eq!(lacking.content(&path), b"", "{table}");
    }
    for same in [
        "large-objects",
        "schema-post.sql",
        "schema-pre.sql",
        "table/public/logged",
        "tables",
    ] {
        let path = format!("app/{same}");
        assert_eq!(whole.content(&path), lacking.content(&path), "{same}");
    }
    let rowless = |table: &str| {
        let path = RepoPath::parse(format!("app/table/public/{table}")).unwrap();
        let item = lacking.get(&path).unwrap().unwrap();
        item.facts.attributes.contains_key("rowless")
    };
    assert!(rowless("heap") && !rowless("logged"));
    // Since version 15 the sequence of an unlogged table is unlogged too.
    let mut warnings = vec![
        "unlogged tables of app were saved empty, since a standby server has none of their rows: \
         public.bare, public.heap, public.keyed",
    ];
    let unlogged = "SELECT relpersistence FROM pg_class WHERE relname = 'keyed_id_seq'";
    if primary.value("app", unlogged) == "u" {
        warnings.push(
            "unlogged sequences of app will start anew, since a standby server does not know where they stand: \
             public.keyed_id_seq",
        );
    }
    assert_eq!(lacking.report.warnings, warnings);

    let fresh = PostgresServer::start();
    restore(&target(&fresh, "app", in_place()), &lacking).unwrap();
    let next = "INSERT INTO keyed (v) VALUES ('y') RETURNING id";
    if warnings.len() == 2 {
        assert_eq!(fresh.value("app", next), "1");
    }
    let next = "INSERT INTO logged (v) VALUES ('y') RETURNING id";
    assert_eq!(fresh.value("app", next), "11");
    let kept = "SELECT relpersistence FROM pg_class WHERE relname = 'keyed'";
    assert_eq!(fresh.value("app", kept), "u");
}
