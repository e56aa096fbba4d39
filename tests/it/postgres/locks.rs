//! Locks: a capture waits for nobody who waits for it, and what changes while it takes its locks is seen whole.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Source as _, SourceErrorKind};
use keepstone_sources::postgres::PostgresSource;
use keepstone_testkit::memory::{MemoryCapture, MemorySink};
use keepstone_testkit::servers::postgres::PostgresServer;

use super::noticing::Noticing;
use super::{fill_small, until_waiting};

#[test]
fn a_capture_gets_through_while_a_table_is_emptied_and_filled_again_and_again() {
    let server = PostgresServer::start();
    fill_small(&server, "bank", "x");
    server.execute("bank", "CREATE TABLE staging AS SELECT 1 AS a");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = server.client("bank");
            while !done.load(Ordering::Relaxed) {
                // One transaction: every committed state has one row.
                let sql = "TRUNCATE staging; INSERT INTO staging VALUES (1); SELECT pg_sleep(0.02)";
                client.batch_execute(sql).unwrap();
            }
        });
        let mut settings = server.settings("bank");
        settings.timeouts.lock = Duration::from_secs(20);
        let source = PostgresSource::new(settings);
        let captures: Vec<_> = (0..5).map(|_| MemoryCapture::of(&source)).collect();
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        for capture in captures {
            let capture = capture.unwrap();
            assert_eq!(capture.content("bank/table/public/staging"), b"1\n");
            assert_eq!(capture.content("bank/table/public/t").len(), 10 * 4 + 1);
        }
    });
}

#[test]
fn a_capture_gets_through_after_tables_were_made_faster_than_it_locks_them() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute(
        "app",
        "DO $$ BEGIN FOR n IN 1..1000 LOOP EXECUTE 'CREATE TABLE t' || n || ' ()'; END LOOP; END $$",
    );
    let source = PostgresSource::new(server.settings("app"));
    let begun = AtomicBool::new(false);
    let capture = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client("app");
            for n in 0..1500 {
                let made = client.batch_execute(&format!("CREATE TABLE new_{n} ()"));
                begun.store(true, Ordering::Relaxed);
                made.unwrap();
            }
        });
        while !begun.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        MemoryCapture::of(&source)
    });
    let capture = capture.unwrap();
    assert_eq!(capture.content("app/table/public/t").len(), 10 * 4 + 1);
}

#[test]
fn whoever_waits_for_the_locks_of_a_capture_does_not_stop_it() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute(
        "app",
        "CREATE VIEW shown AS SELECT mark FROM t;
         CREATE TABLE events (at date, n integer) PARTITION BY RANGE (at);
         CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         INSERT INTO events VALUES ('2026-02-03', 7)",
    );
    let source = PostgresSource::new(server.settings("app"));
    let quiet = MemoryCapture::of(&source).unwrap();
    let mut opened = source.open().unwrap();
    let ddl = [
        "TRUNCATE t",
        "ALTER TABLE t ADD COLUMN more integer",
        "DROP TABLE events",
        "ALTER TABLE events_2026 ADD CHECK (n > 0)",
    ];
    thread::scope(|scope| {
        let waiters = ddl.map(|sql| scope.spawn(|| server.client("app").batch_execute(sql)));
        until_waiting(&server, "app", ddl.len());
        let mut sink = MemorySink::new(None);
        let streamed = opened.stream(&mut sink);
        opened.close().unwrap();
        for waiter in waiters {
            // Among themselves they may undo each other.
            drop(waiter.join().unwrap());
        }
        streamed.unwrap();
        for (path, (_, content)) in &quiet.items {
            assert!(sink.items[path].1 == *content, "{path}");
        }
    });
    assert_eq!(server.value("app", "SELECT count(*) FROM t"), "0");
}

#[test]
fn what_is_emptied_while_the_capture_waits_for_its_lock_is_seen_as_it_is_afterwards() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let mut writer = server.client("app");
    writer
        .batch_execute("BEGIN; TRUNCATE t; INSERT INTO t (id, mark) VALUES (99, 'new')")
        .unwrap();
    let source = PostgresSource::new(server.settings("app"));
    let capture = thread::scope(|scope| {
        let capture = scope.spawn(|| MemoryCapture::of(&source));
        until_waiting(&server, "app", 1);
        writer
            .batch_execute("CREATE TABLE late AS SELECT 5 AS five; COMMIT")
            .unwrap();
        capture.join().unwrap().unwrap()
    });
    assert_eq!(capture.content("app/table/public/t"), b"99\tnew\n");
    // It came when the tables had been listed.
    let late = RepoPath::parse("app/table/public/late").unwrap();
    assert_eq!(capture.items[&late].1, b"5\n");
}

#[test]
fn a_lock_that_is_missed_in_the_middle_of_a_table_does_not_begin_it_anew() {
    const INLINE: u64 = 2000;
    let server = PostgresServer::start();
    // Tables before it, so that it is not read before the first comes; rows in the table before one that lies outside.
    server.execute(
        "postgres",
        &format!(
            "DO $$ BEGIN FOR n IN 10..40 LOOP EXECUTE 'CREATE TABLE a' || n || ' ()'; END LOOP; END $$;
             CREATE TABLE docs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), v text);
             ALTER TABLE docs ALTER v SET STORAGE EXTERNAL;
             INSERT INTO docs (v) SELECT repeat('x', 1000) FROM generate_series(1, {INLINE});
             INSERT INTO docs (v) SELECT repeat('y', 100000)"
        ),
    );
    let mut settings = server.settings("postgres");
    settings.timeouts.lock = Duration::from_millis(300);
    let source = PostgresSource::new(settings);
    let mut opened = source.open().unwrap();
    let holder = Mutex::new(None);
    let mut records = 0;
    let mut sink = Noticing {
        sink: MemorySink::new(None),
        notice: &mut || {
            holder.lock().unwrap().get_or_insert_with(|| {
                let mut client = server.client("postgres");
                // It takes the index of what lies outside, and lets everybody read the table.
                client.batch_execute("BEGIN; REINDEX TABLE docs").unwrap();
                client
            });
        },
        record: &mut || {
            records += 1;
            if records > INLINE {
                // Somebody reads it a second time, and would get through.
                if let Some(client) = holder.lock().unwrap().as_mut() {
                    client.batch_execute("ROLLBACK").unwrap();
                }
            }
        },
    };
    let error = opened.stream(&mut sink).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
    assert!(error.to_string().contains("public.docs"), "{error:?}");
    let docs = RepoPath::parse("postgres/table/public/docs").unwrap();
    assert!(!sink.sink.items.contains_key(&docs));
    opened.close().unwrap();
}
