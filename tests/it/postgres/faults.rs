//! Faults: each has its kind, none shows a secret, and none leaves a wait without an end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use keepstone_engine::source::{Source as _, SourceError, SourceErrorKind, Target as _};
use keepstone_sources::postgres::{
    Host, PostgresRestoreOptions, PostgresSettings, PostgresSource, PostgresTarget, SslMode,
};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::{PostgresServer, PostgresServerOptions, bin};
use keepstone_testkit::servers::postgres_proxy::{Fault, PostgresProxy};
use zeroize::Zeroizing;

use super::{capture, fill_small};

const PASSWORD: &str = "correct horse: battery\\staple";

fn with_password() -> PostgresServer {
    let options = PostgresServerOptions {
        password: Some(PASSWORD),
        ..PostgresServerOptions::default()
    };
    PostgresServer::start_with(&options)
}

fn failure(settings: PostgresSettings) -> SourceError {
    MemoryCapture::of(&PostgresSource::new(settings)).unwrap_err()
}

/// A `pg_dump` that is a shell script.
fn fake_pg_dump(folder: &Path, script: &str) -> std::path::PathBuf {
    let path = folder.join("pg_dump");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_wrong_or_missing_password_is_denied_and_not_shown() {
    let server = with_password();
    let mut settings = server.settings("postgres");
    for password in [None, Some("hunter2")] {
        settings.password = password.map(|password| Zeroizing::new(password.to_owned()));
        let error = failure(settings.clone());
        assert_eq!(error.kind(), SourceErrorKind::Denied, "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let target = PostgresTarget::new(settings.clone(), PostgresRestoreOptions::default());
        assert!(!format!("{target:?}").contains("hunter2"));
        let error = target.plan(&empty_capture()).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

fn empty_capture() -> MemoryCapture {
    MemoryCapture::default()
}

#[test]
fn a_password_comes_from_a_file_that_nobody_else_can_read() {
    let server = with_password();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgpass");
    let quoted = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    std::fs::write(
        &file,
        format!("127.0.0.1:{}:*:postgres:{quoted}\n", server.port()),
    )
    .unwrap();
    let mut settings = server.settings("postgres");
    settings.password = None;
    settings.passfile = Some(file.clone());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = failure(settings.clone());
    assert_eq!(error.kind(), SourceErrorKind::Settings, "{error:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    MemoryCapture::of(&PostgresSource::new(settings)).unwrap();
}

#[test]
fn children_know_no_password_and_nothing_else_of_ours() {
    let server = with_password();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = format!(
        "case $1 in --version) ;; *) echo \"$0 $*\" >> {log}.args; env >> {log}.env;; esac; exec {} \"$@\"",
        bin("pg_dump").display(),
        log = log.display()
    );
    let mut settings = server.settings("postgres");
    settings.pg_dump = Some(fake_pg_dump(folder.path(), &script));
    MemoryCapture::of(&PostgresSource::new(settings)).unwrap();
    let read = |end: &str| std::fs::read_to_string(format!("{}.{end}", log.display())).unwrap();
    assert!(read("args").contains("--section=pre-data") && !read("args").contains(PASSWORD));
    let known = [
        "PG",
        "PATH=",
        "HOME=",
        "LC_ALL=",
        "LD_LIBRARY_PATH=",
        "TMPDIR=",
        "PWD=",
        "SHLVL=",
        "_=",
        "OLDPWD=",
    ];
    for line in read("env").lines() {
        assert!(known.iter().any(|name| line.starts_with(name)), "{line}");
    }
    // They speak through our session, which has proved who we are.
    assert!(!read("env").contains("PGPASSWORD") && !read("env").contains(PASSWORD));
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgres://u@127.0.0.1:{port}/db");
    let error = failure(PostgresSettings::parse_url(&url).unwrap());
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
    let error =
        failure(PostgresSettings::parse_url("postgres://u@%2Fno%2Fsuch%2Ffolder/db").unwrap());
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
    // Something listens and never says a word.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!(
        "postgres://u@127.0.0.1:{}/db?connect_timeout=1",
        silent.local_addr().unwrap().port()
    );
    for url in [url.clone(), format!("{url}&sslmode=disable")] {
        let error = failure(PostgresSettings::parse_url(&url).unwrap());
        assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
    }
}

fn big_database(server: &PostgresServer) {
    server.execute(
        "postgres",
        "CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 30) AS v FROM generate_series(1, 20000) i",
    );
}

#[test]
fn a_connection_that_is_cut_is_no_capture() {
    let server = PostgresServer::start();
    big_database(&server);
    for limit in [200, 5_000, 1_000_000, 10_000_000] {
        let proxy = PostgresProxy::start(server.port(), Fault::AfterBytes(limit));
        let url = format!(
            "{}?sslmode=disable",
            server.url_at(proxy.port(), "postgres")
        );
        let error = failure(server.settings_of(&url));
        assert_eq!(
            error.kind(),
            SourceErrorKind::Interrupted,
            "{limit}: {error:?}"
        );
    }
}

#[test]
fn an_answer_that_never_comes_ends_in_time() {
    let server = PostgresServer::start();
    big_database(&server);
    for limit in [200, 5_000, 1_000_000] {
        let proxy = PostgresProxy::start(server.port(), Fault::Stall(limit));
        let url = format!(
            "{}?sslmode=disable&answer_timeout=1&connect_timeout=1",
            server.url_at(proxy.port(), "postgres")
        );
        let error = failure(server.settings_of(&url));
        assert_eq!(
            error.kind(),
            SourceErrorKind::Unreachable,
            "{limit}: {error:?}"
        );
        assert!(proxy.is_broken());
    }
}

#[test]
fn a_server_that_ends_a_session_interrupts_the_capture() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    let source = PostgresSource::new(server.settings("app"));
    let mut opened = source.open().unwrap();
    server.execute(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keepstone'",
    );
    let mut sink = keepstone_testkit::memory::MemorySink::new(None);
    let error = opened.stream(&mut sink).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
}

#[test]
fn pg_dump_must_be_there_fit_and_succeed() {
    let server = PostgresServer::start();
    let folder = tempfile::tempdir().unwrap();
    let with = |script: &str| {
        let mut settings = server.settings("postgres");
        settings.pg_dump = Some(fake_pg_dump(folder.path(), script));
        settings.timeouts.answer = Duration::from_secs(2);
        MemoryCapture::of(&PostgresSource::new(settings))
    };
    let version = |version: &str, rest: &str| {
        format!(
            "[ \"$1\" = --version ] && {{ echo 'pg_dump (PostgreSQL) {version}'; exit; }}; {rest}"
        )
    };
    let error = with(&version("9.6.24", "exit 0")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Preflight, "{error:?}");
    assert!(
        error.to_string().contains("9.6.24")
            && error.to_string().contains("install postgresql-client-")
    );

    let capture = with(&version("99.1", "echo 'SET a = 1;'")).unwrap();
    assert!(
        capture
            .report
            .warnings
            .iter()
            .any(|warning| warning.contains("99.1")),
        "{:?}",
        capture.report
    );
    assert_eq!(capture.content("postgres/schema-pre.sql"), b"SET a = 1;\n");

    let error = with(&version(
        "99.1",
        "echo 'SET a = 1;'; echo 'out of luck' >&2; exit 3",
    ))
    .unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
    assert!(format!("{error:?}").contains("out of luck"), "{error:?}");
    let error = with(&version("99.1", "echo 'SET a = 1;'; kill -9 $$")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
    let error = with(&version("99.1", "exec sleep 1000")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");

    let mut settings = server.settings("postgres");
    settings.pg_dump = Some("/no/such/pg_dump".into());
    assert_eq!(failure(settings).kind(), SourceErrorKind::Preflight);
}

#[test]
fn connections_are_encrypted_as_asked() {
    let options = PostgresServerOptions {
        password: Some(PASSWORD),
        tls: true,
        ..PostgresServerOptions::default()
    };
    let server = PostgresServer::start_with(&options);
    let encrypted = |query: &str| {
        let settings = server.settings_of(&format!("{}?{query}", server.url("postgres")));
        let source = PostgresSource::new(settings);
        let opened = source.open()?;
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
            WHERE a.application_name = 'keepstone'";
        let answer = server.value("postgres", sql);
        opened.close()?;
        Ok::<_, SourceError>(answer)
    };
    assert_eq!(encrypted("sslmode=disable").unwrap(), "f");
    assert_eq!(encrypted("sslmode=prefer").unwrap(), "t");
    assert_eq!(encrypted("sslmode=require").unwrap(), "t");
    let error = encrypted("sslmode=verify-full").unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
    // The whole capture, children included.
    let settings = server.settings_of(&format!("{}?sslmode=require", server.url("postgres")));
    MemoryCapture::of(&PostgresSource::new(settings)).unwrap();

    let plain = PostgresServer::start();
    let mut settings = plain.settings("postgres");
    settings.ssl_mode = SslMode::Prefer;
    MemoryCapture::of(&PostgresSource::new(settings.clone())).unwrap();
    settings.ssl_mode = SslMode::Require;
    assert_eq!(
        failure(settings.clone()).kind(),
        SourceErrorKind::Unreachable
    );
    // A Unix socket needs no encryption.
    settings.host = Host::Unix(plain.socket_folder());
    MemoryCapture::of(&PostgresSource::new(settings)).unwrap();
}

#[test]
fn a_trusted_certificate_that_names_the_host_is_verified() {
    let options = PostgresServerOptions {
        tls: true,
        ..PostgresServerOptions::default()
    };
    let server = PostgresServer::start_with(&options);
    let mut settings = server.settings("postgres");
    settings.ssl_mode = SslMode::VerifyFull;
    settings.ssl_root_cert = Some(server.socket_folder().join("server.crt"));
    MemoryCapture::of(&PostgresSource::new(settings.clone())).unwrap();
    settings.ssl_root_cert = Some("/etc/hostname".into());
    assert_eq!(failure(settings).kind(), SourceErrorKind::Unreachable);
}

#[test]
fn a_certificate_of_the_first_version_encrypts_and_is_not_verified() {
    let options = PostgresServerOptions {
        tls: true,
        old_certificate: true,
        ..PostgresServerOptions::default()
    };
    let server = PostgresServer::start_with(&options);
    let of = |mode| {
        let mut settings = server.settings("postgres");
        settings.ssl_mode = mode;
        settings
    };
    for mode in [SslMode::Prefer, SslMode::Require] {
        let source = PostgresSource::new(of(mode));
        let opened = source.open().unwrap();
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
            WHERE a.application_name = 'keepstone'";
        assert_eq!(server.value("postgres", sql), "t");
        opened.close().unwrap();
    }
    let error = failure(of(SslMode::VerifyFull));
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
}

#[test]
fn a_database_whose_drop_was_cut_off_is_left_out_and_named() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute("postgres", "CREATE DATABASE half");
    server.execute(
        "postgres",
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'",
    );
    let capture = MemoryCapture::of(&PostgresSource::new(server.settings(""))).unwrap();
    let held = serde_json::json!(["app", "postgres"]);
    assert_eq!(capture.open_facts.attributes["databases"], held);
    let warnings = &capture.report.warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.starts_with("database half was left out")),
        "{warnings:?}"
    );
}

#[test]
fn a_target_that_breaks_while_rows_are_loaded_is_told_apart_from_bad_rows() {
    let server = PostgresServer::start();
    big_database(&server);
    let good = capture(&server, "postgres");
    let options = PostgresRestoreOptions::default();
    let target = PostgresTarget::new(server.settings("copy"), options.clone());
    let mut bad = good.clone();
    let path = keepstone_engine::path::RepoPath::parse("postgres/table/public/big").unwrap();
    bad.items.get_mut(&path).unwrap().1.truncate(1_000_007);
    let plan = target.plan(&bad).unwrap();
    let error = target.stage(&plan, &bad).unwrap_err();
    assert!(error.to_string().contains("public.big"), "{error:?}");
    target
        .rollback(&plan, keepstone_engine::source::Phase::Staging)
        .unwrap();
    assert_eq!(server.databases(), ["postgres"]);

    let proxy = PostgresProxy::start(server.port(), Fault::AfterClientBytes(1_000_000));
    let url = format!("{}?sslmode=disable", server.url_at(proxy.port(), "copy"));
    let broken = PostgresTarget::new(server.settings_of(&url), options);
    let plan = broken.plan(&good).unwrap();
    let error = broken.stage(&plan, &good).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
    target
        .rollback(&plan, keepstone_engine::source::Phase::Staging)
        .unwrap();
    assert_eq!(server.databases(), ["postgres"]);
}
