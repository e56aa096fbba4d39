//! Ways to reach a server: TLS and a socket of this machine, for capture and restore alike.

use std::process::Command;

use keepstone_engine::source::{SourceErrorKind, Target as _};
use keepstone_sources::redis::{
    CaptureMethod, RedisRestoreOptions, RedisSettings, RedisSource, RedisTarget,
};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::redis::{RedisServer, free_port};

use super::capture::capture;
use super::data::fill;
use super::restore::fresh;

/// Captures both ways, plans and stages.
fn use_all(settings: &RedisSettings, expected: &MemoryCapture) {
    for method in [CaptureMethod::Replication, CaptureMethod::Scan] {
        let mut settings = settings.clone();
        settings.method = method;
        let captured = MemoryCapture::of(&RedisSource::new(settings)).unwrap();
        assert_eq!(captured.items, expected.items);
    }
    let target = RedisTarget::new(settings.clone(), RedisRestoreOptions::default());
    let plan = target.plan(expected).unwrap();
    target.stage(&plan, expected).unwrap();
    let validation = target.validate(&plan, expected).unwrap();
    assert_eq!(validation.differences, [""; 0]);
    target.switch(&plan).unwrap();
    target.discard(&plan).unwrap();
}

#[test]
fn a_server_is_reached_by_tls_and_only_if_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &path("key"), "-out", &path("cert")])
        .output()
        .expect("openssl runs: install the package openssl");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let port = free_port();
    let server = RedisServer::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("cert"),
        "--tls-key-file",
        &path("key"),
        "--tls-ca-cert-file",
        &path("cert"),
        "--tls-auth-clients",
        "no",
        "--tls-replication",
        "yes",
        "--requirepass",
        "secret",
    ]);
    let mut connection = server.connection_as("secret");
    fill(&mut connection);
    let mut plain = server.settings();
    plain.password = Some("secret".to_owned().into());
    let expected = capture(plain).unwrap();

    let url = format!("rediss://localhost:{port}");
    let mut settings = RedisSettings::parse_url(&url).unwrap();
    settings.password = Some("secret".to_owned().into());
    for method in [CaptureMethod::Replication, CaptureMethod::Scan] {
        settings.method = method;
        let error = capture(settings.clone()).unwrap_err();
        assert!(
            [SourceErrorKind::Unreachable, SourceErrorKind::Interrupted].contains(&error.kind()),
            "{error:?}"
        );
    }
    settings.tls_roots_pem = Some(std::fs::read(path("cert")).unwrap());
    use_all(&settings, &expected);
    "127.0.0.1".clone_into(&mut settings.host);
    assert!(
        capture(settings).is_err(),
        "the certificate names another host"
    );
}

#[test]
fn a_server_is_reached_by_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let server = RedisServer::with(&["--unixsocket", socket.to_str().unwrap()]);
    fill(&mut server.connection());
    let expected = capture(server.settings()).unwrap();
    let url = format!("redis+unix://{}", socket.display());
    let settings = RedisSettings::parse_url(&url).unwrap();
    use_all(&settings, &expected);
    assert_eq!(
        fresh(&server).address(),
        format!("redis://127.0.0.1:{}", server.port())
    );
    let mut missing = settings;
    missing.unix_socket = Some(folder.path().join("no.sock"));
    assert_eq!(
        capture(missing).unwrap_err().kind(),
        SourceErrorKind::Unreachable
    );
}
