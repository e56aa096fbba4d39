//! Restores whose process was killed: live data is all old or all new, the next run names what was left, and it is
//! finished or undone.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use keepstone_testkit::servers::postgres::PostgresServer;
use keepstone_testkit::servers::redis::RedisServer;
use redis::Commands as _;
use rusqlite::Connection;

use super::Home;
use super::stall::{Stall, Stop};

/// Starts a restore, waits until it stands where it is to be killed, and kills it.
fn kill(home: &Home, arguments: &[&str], wait: impl FnOnce()) {
    let mut child = home
        .command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait();
    assert_eq!(child.try_wait().unwrap(), None, "it waits there");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until the journal says how far a restore has come.
fn wait_for_phase(home: &Home, phase: &str) {
    let folder = home.path("state/keepstone/restores");
    let deadline = Instant::now() + Duration::from_secs(60);
    let wanted = format!("\"phase\": \"{phase}\"");
    let is_there = || {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        // What is only being written is not yet there.
        entries
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"))
            .filter_map(|entry| fs::read_to_string(entry.path()).ok())
            .any(|text| text.contains(&wanted))
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "no restore is {phase}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The id of the one restore that was cut off, which every way to look names.
fn left(home: &Home) -> String {
    let listed = home.ok(&["restore", "--list"]);
    assert!(listed.contains("UNFINISHED"), "{listed}");
    fs::write(home.path("file"), "x").unwrap();
    let said = home.ok(&["backup", &home.text("file")]);
    let (before, rest) = said.split_once("--resume ").expect("what to do");
    assert!(before.contains("was cut off"), "{said}");
    // What can only be finished is not said to be undone.
    let id = rest.split(|char: char| !char.is_ascii_hexdigit()).next();
    id.unwrap().to_owned()
}

fn nothing_is_cut_off(home: &Home) {
    fs::write(home.path("file"), "x").unwrap();
    let said = home.ok(&["backup", &home.text("file")]);
    assert!(!said.contains("cut off"), "{said}");
}

/// The two ways to end it, and what is live then.
const WAYS: [(&str, &str); 2] = [("--resume", "saved"), ("--rollback", "since")];

#[test]
fn sqlite() {
    for (way, expected) in WAYS {
        for table in [None, Some("t")] {
            let home = Home::new();
            let live = Connection::open(home.path("app.db")).unwrap();
            live.execute_batch(
                "PRAGMA journal_mode = wal; CREATE TABLE t(a); INSERT INTO t VALUES ('saved')",
            )
            .unwrap();
            let address = format!("db=sqlite:{}", home.text("app.db"));
            home.ok(&["backup", &address]);
            live.execute_batch("UPDATE t SET a = 'since'").unwrap();
            // A whole database waits for those who have it open, a table for those who write.
            let (phase, release) = match table {
                None => ("staging", ""),
                Some(_) => ("switching", "COMMIT"),
            };
            let mut restore = vec![
                "restore", "latest~0", "--source", "db", "--force", "--to", &address,
            ];
            if let Some(table) = table {
                restore.extend(["--table", table]);
                live.execute_batch("BEGIN IMMEDIATE; UPDATE t SET a = 'since'")
                    .unwrap();
            }
            kill(&home, &restore, || wait_for_phase(&home, phase));
            live.execute_batch(release).unwrap();
            let value = || {
                let live = Connection::open(home.path("app.db")).unwrap();
                live.query_row("SELECT a FROM t", [], |row| row.get::<_, String>(0))
                    .unwrap()
            };
            assert_eq!(value(), "since");
            if table.is_none() {
                drop(live);
            }
            let id = left(&home);
            home.ok(&["restore", way, &id, "--force"]);
            assert_eq!(value(), expected, "{way} {table:?}");
            nothing_is_cut_off(&home);
        }
    }
}

#[test]
fn redis() {
    let places: [(&'static [&'static str], Stop, &str); 3] = [
        (&["RESTORE"], Stop::Before, "since"),
        (&["SWAPDB"], Stop::Before, "since"),
        (&["SWAPDB", "EXEC\r\n"], Stop::After, "saved"),
    ];
    for (words, stop, live) in places {
        for (way, expected) in WAYS {
            let server = RedisServer::start();
            let () = server.connection().set("key", "saved").unwrap();
            let home = Home::new();
            let url = |port: u16| format!("cache=redis://127.0.0.1:{port}");
            home.ok(&["backup", &url(server.port())]);
            let () = server.connection().set("key", "since").unwrap();
            let stall = Stall::start(server.port(), words, stop);
            let to = url(stall.port());
            kill(
                &home,
                &["restore", "latest", "--force", "--to", &to],
                || stall.wait(),
            );
            let value = || -> String { server.connection().get("key").unwrap() };
            assert_eq!(value(), live, "{words:?}");
            let id = left(&home);
            home.ok(&["restore", way, &id, "--force"]);
            assert_eq!(value(), expected, "{words:?} {way}");
            nothing_is_cut_off(&home);
        }
    }
}

#[test]
fn postgres() {
    let server = PostgresServer::start();
    let places: [(&'static [&'static str], Stop, &str); 3] = [
        (&["COPY "], Stop::Before, "since"),
        (&[" RENAME TO "], Stop::Before, "since"),
        (&[" RENAME TO "], Stop::After, "saved"),
    ];
    for (words, stop, live) in places {
        for (way, expected) in WAYS {
            server.execute("postgres", "DROP DATABASE IF EXISTS app WITH (FORCE)");
            server.execute("postgres", "CREATE DATABASE app");
            server.execute(
                "app",
                "CREATE TABLE t(a text); INSERT INTO t VALUES ('saved')",
            );
            let home = Home::new();
            let url = |port: u16| format!("pg={}?sslmode=disable", server.url_at(port, "app"));
            home.ok(&["backup", &url(server.port())]);
            server.execute("app", "UPDATE t SET a = 'since'");
            let stall = Stall::start(server.port(), words, stop);
            let to = url(stall.port());
            kill(
                &home,
                &["restore", "latest", "--force", "--to", &to],
                || stall.wait(),
            );
            settle(&server);
            assert_eq!(server.value("app", "SELECT a FROM t"), live, "{words:?}");
            if words == ["COPY "] {
                // Nothing was replaced yet; what lies there is what was being rebuilt.
                let listed = home.ok(&["restore", "--list"]);
                let mut staged = server.databases().into_iter();
                let staged = staged.find(|name| name.starts_with("app__")).unwrap();
                assert!(listed.contains(&staged), "{listed}");
                assert!(!listed.contains("__before_"), "{listed}");
            }
            let id = left(&home);
            let said = home.ok(&["restore", way, &id, "--force"]);
            assert_eq!(
                server.value("app", "SELECT a FROM t"),
                expected,
                "{words:?} {way}"
            );
            nothing_is_cut_off(&home);
            if let Some((_, rest)) = said.split_once("--discard-old ") {
                home.ok(&["restore", "--discard-old", rest.trim(), "--force"]);
            }
            assert_eq!(server.databases(), ["app", "postgres"], "{words:?} {way}");
        }
    }
}

/// Waits until the server has noticed that the process is gone.
fn settle(server: &PostgresServer) {
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keepstone'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while server.value("postgres", busy) != "0" {
        assert!(
            Instant::now() < deadline,
            "sessions of a killed process stay"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn what_came_into_an_empty_redis_meanwhile_is_kept_and_comes_back() {
    for words in [&["RESTORE"][..], &["SWAPDB"]] {
        for way in ["--rollback", "--discard-old"] {
            let server = RedisServer::start();
            let () = server.connection().set("key", "saved").unwrap();
            let home = Home::new();
            let url = |port: u16| format!("cache=redis://127.0.0.1:{port}");
            home.ok(&["backup", &url(server.port())]);
            redis::cmd("FLUSHALL")
                .exec(&mut server.connection())
                .unwrap();
            let stall = Stall::start(server.port(), words, Stop::Before);
            let to = url(stall.port());
            kill(&home, &["restore", "latest", "--to", &to], || stall.wait());
            let () = server.connection().set("order", "paid").unwrap();
            let id = left(&home);
            let said = home.ok(&["restore", "--resume", &id, "--force"]);
            assert!(said.contains("kept: database 0 as it was"), "{said}");
            assert!(home.ok(&["restore", "--list"]).contains("database 0"));
            let keys = |db| -> Vec<String> { server.connection_to(db).keys("*").unwrap() };
            assert_eq!(keys(0), ["key"]);
            home.ok(&["restore", way, &id, "--force"]);
            if way == "--rollback" {
                assert_eq!(keys(0), ["order"]);
            } else {
                assert_eq!((keys(0), keys(15)), (vec!["key".to_owned()], Vec::new()));
            }
        }
    }
}

#[test]
fn an_empty_redis_is_filled_without_a_trace() {
    let server = RedisServer::start();
    let () = server.connection().set("key", "saved").unwrap();
    let home = Home::new();
    let url = |port: u16| format!("cache=redis://127.0.0.1:{port}");
    home.ok(&["backup", &url(server.port())]);
    for words in [&["SWAPDB", "EXEC\r\n"][..], &["$3\r\nDEL\r\n", "EXEC\r\n"]] {
        redis::cmd("FLUSHALL")
            .exec(&mut server.connection())
            .unwrap();
        let stall = Stall::start(server.port(), words, Stop::After);
        let to = url(stall.port());
        kill(
            &home,
            &["restore", "latest~0", "--source", "cache", "--to", &to],
            || stall.wait(),
        );
        let id = left(&home);
        home.ok(&["restore", "--resume", &id, "--force"]);
        let said = home.ok(&["restore", "--list"]);
        assert!(said.contains("no earlier restore"), "{said}");
        let keys = |db| -> Vec<String> { server.connection_to(db).keys("*").unwrap() };
        assert_eq!((keys(0), keys(15)), (vec!["key".to_owned()], Vec::new()));
    }
}

#[test]
fn a_restore_that_is_running_is_left_alone() {
    let home = Home::new();
    let live = Connection::open(home.path("app.db")).unwrap();
    live.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES ('saved')")
        .unwrap();
    let address = format!("db=sqlite:{}", home.text("app.db"));
    home.ok(&["backup", &address]);
    // It waits for who writes.
    live.execute_batch("BEGIN IMMEDIATE; UPDATE t SET a = 'since'")
        .unwrap();
    let restore = [
        "restore", "latest", "--force", "--to", &address, "--table", "t",
    ];
    let to_be_killed = || {
        wait_for_phase(&home, "switching");
        let listed = home.ok(&["--json", "restore", "--list"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["running"], true);
        assert!(home.ok(&["restore", "--list"]).contains("running"));
        nothing_is_cut_off(&home);
        let id = listed["id"].as_str().unwrap();
        for way in ["--resume", "--rollback", "--discard-old"] {
            let said = home.fails(11, &["restore", way, id, "--force"]);
            assert!(said.contains("is running"), "{said}");
        }
    };
    kill(&home, &restore, to_be_killed);
    live.execute_batch("COMMIT").unwrap();
    let id = left(&home);
    home.ok(&["restore", "--rollback", &id, "--force"]);
    assert_eq!(home.files_below("state/keepstone/restores").len(), 0);
}
