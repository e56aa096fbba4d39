//! The session that pg_dump is lent: nobody else gets at it, nothing of the database shapes it, and it is given back
//! whatever becomes of pg_dump.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{SourceErrorKind, Target as _};
use keepstone_sources::postgres::{PostgresRestoreOptions, PostgresSettings, PostgresSource};
use keepstone_testkit::binary::keepstone;
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::{PostgresServer, PostgresServerOptions, bin};
use keepstone_testkit::waiting::wait_until;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use super::{capture, fill_small, restore, target, until_waiting};

/// What opens the repositories of these tests.
const RAW_KEY: &str = "4f1d0a5be4c9a7f35c8e1a90b7d26c3e4f1d0a5be4c9a7f35c8e1a90b7d26c3e\n";

/// A `pg_dump` that does something else first, with the shell's variable `real` for the one that it stands for.
fn wrapper(folder: &Path, instead: &str) -> PathBuf {
    let path = folder.join("pg_dump");
    let real = bin("pg_dump");
    let script = format!(
        "#!/bin/sh\nreal={}\n[ \"$1\" = --version ] && exec $real --version\n{instead}\nexec $real \"$@\"\n",
        real.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn with_wrapper(server: &PostgresServer, folder: &Path, instead: &str) -> PostgresSettings {
    let mut settings = server.settings("app");
    settings.pg_dump = Some(wrapper(folder, instead));
    settings
}

/// A home with a repository, where the program saves database `app` of a server.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(home.path("key"), RAW_KEY).unwrap();
        std::fs::set_permissions(home.path("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut init = home.dressed(keepstone(home.folder.path()));
        assert!(init.arg("init").status().unwrap().success());
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dressed(&self, mut command: Command) -> Command {
        command
            .env("KEEPSTONE_REPOSITORY", self.path("repo"))
            .env("KEEPSTONE_KEY_FILE", self.path("key"))
            .env("KEEPSTONE_QUIET", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn backup(&self, server: &PostgresServer, instead: &str) -> Command {
        let pg_dump = wrapper(self.folder.path(), instead);
        let mut command = self.dressed(keepstone(self.folder.path()));
        let url = format!("{}?pg_dump={}", server.url("app"), pg_dump.display());
        command.arg("backup").arg(format!("app={url}"));
        command
    }

    /// What the program left in its folder for temporary files.
    fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn end(child: Child) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn no_function_of_a_database_is_called_for_one_of_the_server() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let trace = server.socket_folder().join("called");
    // All that a superuser can do is in this one line. What it answers is what the server's own would.
    let trap = format!("COPY (SELECT 1) TO PROGRAM 'touch {}';", trace.display());
    let functions = [
        (
            "current_setting(text)",
            "text",
            "pg_catalog.current_setting($1)",
        ),
        (
            "set_config(text, text, boolean)",
            "text",
            "pg_catalog.set_config($1, $2, $3)",
        ),
        ("unnest(text[])", "SETOF text", "pg_catalog.unnest($1)"),
        (
            "pg_export_snapshot()",
            "text",
            "pg_catalog.pg_export_snapshot()",
        ),
        (
            "current_database()",
            "name",
            "pg_catalog.current_database()",
        ),
        ("pg_backend_pid()", "integer", "pg_catalog.pg_backend_pid()"),
        (
            "pg_get_userbyid(oid)",
            "name",
            "pg_catalog.pg_get_userbyid($1)",
        ),
        (
            "same(name, text)",
            "boolean",
            "$1 OPERATOR(pg_catalog.=) $2",
        ),
    ];
    let functions = functions.map(|(name, result, answer)| {
        let answer = match result {
            "SETOF text" => format!("RETURN QUERY SELECT {answer}"),
            _ => format!("RETURN {answer}"),
        };
        format!(
            "CREATE FUNCTION evil.{name} RETURNS {result} LANGUAGE plpgsql
             AS $f$ BEGIN {trap} {answer}; END $f$;"
        )
    });
    server.execute(
        "app",
        &format!(
            "CREATE ROLE mallory LOGIN; GRANT ALL ON SCHEMA public TO mallory; CREATE SCHEMA evil; {}
             CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.same);
             ALTER DATABASE app OWNER TO mallory;
             ALTER DATABASE app SET search_path = evil, pg_catalog, public",
            functions.concat()
        ),
    );
    // It is a trap.
    server.value("app", "SELECT current_setting('port')");
    assert!(trace.exists());
    let reset = || std::fs::remove_file(&trace).unwrap();
    reset();
    server.value(
        "app",
        "SELECT datname FROM pg_database WHERE datname = 'app'::text",
    );
    assert!(trace.exists());
    reset();

    let capture = capture(&server, "app");
    assert!(!trace.exists(), "a capture called it");
    restore(
        &target(&server, "copy", PostgresRestoreOptions::default()),
        &capture,
    )
    .unwrap();
    assert!(!trace.exists(), "a restore called it");
    assert_eq!(
        server.value("postgres", "SELECT setconfig::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = 'copy'"),
        "{\"search_path=evil, pg_catalog, public\"}"
    );
}

#[test]
fn a_view_in_the_place_of_a_sequence_calls_nothing() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let trace = server.socket_folder().join("called");
    server.execute(
        "app",
        &format!(
            "CREATE SEQUENCE public.s;
             CREATE FUNCTION public.evil() RETURNS bigint LANGUAGE plpgsql
             AS $f$ BEGIN COPY (SELECT 1) TO PROGRAM 'touch {}'; RETURN 1; END $f$",
            trace.display()
        ),
    );
    let mut mallory = server.client("app");
    mallory
        .batch_execute(
            "BEGIN; DROP SEQUENCE public.s;
             CREATE VIEW public.s AS SELECT public.evil() AS last_value, true AS is_called",
        )
        .unwrap();
    let source = PostgresSource::new(server.settings("app"));
    let capture = thread::scope(|scope| {
        let capture = scope.spawn(|| MemoryCapture::of(&source));
        until_waiting(&server, "app", 1);
        mallory.batch_execute("COMMIT").unwrap();
        capture.join().unwrap()
    });
    capture.unwrap_err();
    assert!(!trace.exists());
    // The next one finds a view, and no sequence.
    super::capture(&server, "app");
    assert!(!trace.exists());
}

#[test]
fn nobody_else_can_enter_the_folder_of_the_socket() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let home = Home::new();
    let log = home.path("log");
    let instead = format!("stat -L -c '%a' \"$PGHOST\" >> {}", log.display());
    let backup = home.backup(&server, &instead);
    // The umask belongs to a process; this one's is that of all tests.
    let mut careless = home.dressed(Command::new("sh"));
    careless.args(["-c", "umask 000; exec \"$@\"", "sh"]);
    careless.arg(backup.get_program()).args(backup.get_args());
    for (name, value) in backup.get_envs() {
        match value {
            Some(value) => careless.env(name, value),
            None => careless.env_remove(name),
        };
    }
    let ended = end(careless.spawn().unwrap());
    assert_eq!(ended, (Some(0), String::new()));
    let modes = std::fs::read_to_string(log).unwrap();
    assert_eq!(modes, "700\n700\n");
}

#[test]
fn the_session_is_what_a_dump_needs_whatever_server_database_and_role_say() {
    let conf = [
        "timezone = 'Asia/Kathmandu'",
        "bytea_output = 'escape'",
        "quote_all_identifiers = on",
        "xmloption = 'document'",
    ];
    let odd = PostgresServerOptions {
        conf: conf.map(ToOwned::to_owned).to_vec(),
        ..PostgresServerOptions::default()
    };
    let (server, plain) = (PostgresServer::start_with(&odd), PostgresServer::start());
    server.execute("postgres", "CREATE DATABASE app");
    server.execute(
        "postgres",
        "ALTER DATABASE app SET standard_conforming_strings = off;
         ALTER DATABASE app SET search_path = public; ALTER DATABASE app SET idle_session_timeout = '1h';
         ALTER ROLE postgres SET intervalstyle = 'iso_8601'; ALTER ROLE postgres SET lock_timeout = '1h'",
    );
    server.execute(
        "app",
        "CREATE TABLE events (at timestamptz, b bytea DEFAULT E'\\\\xdeadbeef', i interval DEFAULT '1 day 2 hours')
             PARTITION BY RANGE (at);
         CREATE TABLE events_2026 PARTITION OF events
             FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2027-01-01 00:00+00');
         INSERT INTO events VALUES ('2026-05-05 12:00+02'); COMMENT ON TABLE events IS E'a \\\\ b';
         SELECT lo_from_bytea(4711, decode('005c27ff', 'hex')); COMMENT ON LARGE OBJECT 4711 IS E'it''s \\\\ c'",
    );
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let names = [
        "search_path",
        "standard_conforming_strings",
        "idle_session_timeout",
        "IntervalStyle",
        "TimeZone",
        "bytea_output",
        "quote_all_identifiers",
        "xmloption",
    ];
    let asked = names.map(|name| format!("SHOW {name};")).concat();
    let instead = format!(
        "{} -X -At -c '{asked}' > {}; exit",
        bin("psql").display(),
        log.display()
    );
    MemoryCapture::of(&PostgresSource::new(with_wrapper(
        &server,
        folder.path(),
        &instead,
    )))
    .unwrap();
    assert_eq!(
        std::fs::read_to_string(log).unwrap(),
        "\"\"\non\n0\npostgres\nUTC\nhex\noff\ncontent\n"
    );

    // Between servers that say otherwise, in both directions.
    let there = capture(&server, "app");
    let options = PostgresRestoreOptions::default;
    restore(&target(&plain, "app", options()), &there).unwrap();
    let back = capture(&plain, "app");
    for path in ["app/schema-pre.sql", "app/schema-post.sql"] {
        assert_eq!(there.content(path), back.content(path), "{path}");
    }
    restore(&target(&server, "copy", options()), &back).unwrap();
    assert_eq!(
        server.value("copy", "SELECT encode(lo_get(4711), 'hex')"),
        "005c27ff"
    );
}

#[test]
fn large_objects_are_restored_whatever_the_script_of_a_schema_makes_of_a_backslash() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute(
        "app",
        "SELECT lo_from_bytea(4711, decode('005c27ff', 'hex')); SELECT lo_put(4711, 70000, decode('5c5c', 'hex'));
         COMMENT ON LARGE OBJECT 4711 IS 'it''s \\ c'",
    );
    let mut capture = capture(&server, "app");
    let path = RepoPath::parse("app/schema-pre.sql").unwrap();
    let script = &mut capture.items.get_mut(&path).unwrap().1;
    let text = String::from_utf8(script.clone()).unwrap();
    let on = "SET standard_conforming_strings = on;";
    assert!(text.contains(on));
    // As pg_dump wrote it where the database says so.
    *script = text.replace(on, &on.replace("on;", "off;")).into_bytes();
    let target = target(&server, "copy", PostgresRestoreOptions::default());
    let plan = target.plan(&capture).unwrap();
    target.stage(&plan, &capture).unwrap();
    let names = server.databases();
    let staged = names.iter().find(|name| name.starts_with("copy__"));
    let content = "SELECT md5(lo_get(4711)) || obj_description(4711, 'pg_largeobject')";
    assert_eq!(
        server.value(staged.unwrap(), content),
        server.value("app", content)
    );
}

#[test]
fn a_pg_dump_that_is_asked_to_end_ends() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let instead = format!("echo $$ > {}", pid_file.display());
    let mut settings = with_wrapper(&server, folder.path(), &instead);
    settings.timeouts.answer = Duration::from_secs(20);
    let mut holder = server.client("app");
    let source = PostgresSource::new(settings);
    let error = thread::scope(|scope| {
        // It holds up a query of pg_dump's, and none of ours.
        holder
            .batch_execute("BEGIN; LOCK TABLE pg_catalog.pg_publication IN ACCESS EXCLUSIVE MODE")
            .unwrap();
        let capture = scope.spawn(|| MemoryCapture::of(&source));
        until_waiting(&server, "app", 1);
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        // A process that has ended and was waited for is nowhere; this one is waited for by the capture.
        wait_until("pg_dump ends", || kill_process(pid, Signal::CONT).is_err());
        holder.batch_execute("ROLLBACK").unwrap();
        capture.join().unwrap().unwrap_err()
    });
    assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
    assert!(format!("{error:?}").contains("terminated"), "{error:?}");
}

#[test]
fn an_interrupt_at_the_terminal_is_one_although_pg_dump_is_at_work() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let home = Home::new();
    let started = home.path("started");
    let mut backup = home.backup(
        &server,
        &format!("echo > {}; exec sleep 1000", started.display()),
    );
    let child = backup.process_group(0).spawn().unwrap();
    wait_until("pg_dump starts", || started.exists());
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    let (code, said) = end(child);
    assert_eq!(code, Some(130), "{said}");
}

#[test]
fn a_place_whose_name_is_too_long_for_a_socket_or_holds_a_comma_does_not_matter() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let home = Home::new();
    for name in ["a,b".to_owned(), "x".repeat(120), "no-such-folder".into()] {
        let place = home.path(&name);
        if name != "no-such-folder" {
            std::fs::create_dir(&place).unwrap();
        }
        let mut backup = home.backup(&server, "");
        backup.env("TMPDIR", &place);
        let ended = end(backup.spawn().unwrap());
        assert_eq!(ended, (Some(0), String::new()), "{name}");
        let entries = std::fs::read_dir(&place).into_iter().flatten();
        assert_eq!(entries.count(), 0, "{name}");
    }
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_one_and_what_is_in_use_is_not() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let home = Home::new();
    std::fs::create_dir(home.path("tmp")).unwrap();
    std::fs::create_dir(home.path("tmp/keepstone-other")).unwrap();
    let started = home.path("started");
    // It ends when the server that it speaks with is gone, which is the killed process.
    let hangs = format!(
        "echo > {}; exec {} -X -c 'SELECT pg_sleep(1000)'",
        started.display(),
        bin("psql").display()
    );
    let start = || {
        let mut backup = home.backup(&server, &hangs);
        let child = backup.env("TMPDIR", home.path("tmp")).spawn().unwrap();
        wait_until("pg_dump starts", || started.exists());
        std::fs::remove_file(&started).unwrap();
        child
    };
    let mut killed = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = home.left();
    assert_eq!(left.len(), 2, "{left:?}");
    let mut lives = start();
    let now = home.left();
    assert_eq!(now.len(), 2, "{now:?}");
    let fresh: Vec<_> = now.iter().filter(|path| !left.contains(path)).collect();
    let ended = end(home
        .backup(&server, "")
        .env("TMPDIR", home.path("tmp"))
        .env("KEEPSTONE_STATE_DIR", home.path("another"))
        .spawn()
        .unwrap());
    assert_eq!(ended, (Some(0), String::new()));
    assert!(fresh.len() == 1 && fresh[0].exists(), "{now:?}");
    lives.kill().unwrap();
    lives.wait().unwrap();
}

#[test]
fn text_that_is_not_utf_8_is_no_fault_that_passes() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        "CREATE DATABASE old TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    server.execute(
        "old",
        "CREATE TABLE t (v text); COMMENT ON TABLE t IS E'gr\\xfc\\xdf'",
    );
    let source = PostgresSource::new(server.settings("old"));
    let error = MemoryCapture::of(&source).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Other, "{error:?}");
}
