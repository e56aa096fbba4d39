//! Restore of single keys, under other names, and into other databases.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::redis::record::Record;
use keepstone_sources::redis::{CaptureMethod, PrefixChange, RedisRestoreOptions, RedisTarget};
use keepstone_testkit::servers::redis::RedisServer;
use redis::{Commands as _, cmd};

use super::capture::{capture, records};
use super::restore::{fresh, keys, live, scene, staged, target};

fn pattern(pattern: &str) -> RedisRestoreOptions {
    RedisRestoreOptions {
        databases: BTreeMap::from([(0, 0)]),
        key_patterns: vec![pattern.to_owned()],
        ..RedisRestoreOptions::default()
    }
}

fn live_records(server: &RedisServer, db: u32) -> BTreeMap<Vec<u8>, Record> {
    let mut settings = server.settings();
    settings.method = CaptureMethod::Scan;
    settings.db = Some(db);
    let all = records(&capture(settings).unwrap(), db);
    all.into_iter()
        .map(|record| (record.key.clone(), record))
        .collect()
}

#[test]
fn only_matching_keys_are_restored_and_what_they_replace_is_kept() {
    let (server, captured) = scene();
    let old = live_records(&server, 0);
    let (plan, validation) = staged(&server, &captured, pattern("many:[1-4]?"));
    assert_eq!(validation.records, 40);
    assert_eq!(live_records(&server, 0), old);
    fresh(&server).switch(&plan).unwrap();
    let mut expected = old.clone();
    for record in records(&captured, 0) {
        if record.key.len() == 7
            && record.key.starts_with(b"many:")
            && (b'1'..=b'4').contains(&record.key[5])
        {
            expected.insert(record.key.clone(), record);
        }
    }
    assert_ne!(expected, old);
    assert_eq!(live_records(&server, 0), expected);
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(live_records(&server, 0), expected);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(live_records(&server, 0), old);

    let (plan, _) = staged(&server, &captured, pattern("many:[1-4]?"));
    fresh(&server).switch(&plan).unwrap();
    fresh(&server).discard(&plan).unwrap();
    assert_eq!(live_records(&server, 0), expected);
    assert_eq!(keys(&server, 15) + keys(&server, 14), 0);
}

#[test]
fn a_rollback_brings_back_kept_keys_whatever_was_written_meanwhile() {
    let (server, captured) = scene();
    let old = live_records(&server, 0);
    let (plan, _) = staged(&server, &captured, pattern("*:small"));
    fresh(&server).switch(&plan).unwrap();
    let () = server
        .connection()
        .set("string:small", "written after the switch")
        .unwrap();
    let () = server.connection().del("set:words").unwrap();
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(live_records(&server, 0), old);
}

#[test]
fn a_keep_that_somebody_wrote_into_stops_the_switch() {
    let (server, captured) = scene();
    let old = live_records(&server, 0);
    let (plan, _) = staged(&server, &captured, pattern("many:*"));
    let () = server
        .connection_to(14)
        .set("many:7", "somebody else's")
        .unwrap();
    let error = fresh(&server).switch(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied);
    assert_eq!(live_records(&server, 0), old);
    // It may also come after the switch: what is kept comes back all the same.
    let () = server.connection_to(14).del("many:7").unwrap();
    fresh(&server).switch(&plan).unwrap();
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(live_records(&server, 0), old);
}

#[test]
fn keys_are_restored_under_another_prefix() {
    let (server, captured) = scene();
    let old = live_records(&server, 0);
    let options = RedisRestoreOptions {
        databases: BTreeMap::from([(0, 0)]),
        prefix: Some(PrefixChange {
            from: "string:".to_owned(),
            to: "restored:".to_owned(),
        }),
        ..RedisRestoreOptions::default()
    };
    let (plan, _) = staged(&server, &captured, options);
    fresh(&server).switch(&plan).unwrap();
    let now = live_records(&server, 0);
    for (key, record) in &old {
        assert_eq!(now.get(key), Some(record));
    }
    let of_capture = records(&captured, 0)
        .into_iter()
        .filter(|r| r.key.starts_with(b"string:"));
    let mut count = 0;
    for mut record in of_capture {
        record.key = [b"restored:".as_slice(), &record.key[7..]].concat();
        assert_eq!(now.get(&record.key), Some(&record));
        count += 1;
    }
    assert_eq!(now.len(), old.len() + count);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(live_records(&server, 0), old);
}

#[test]
fn every_key_gets_a_prefix_when_none_is_taken_away() {
    let (server, captured) = scene();
    let options = RedisRestoreOptions {
        databases: BTreeMap::from([(3, 9)]),
        prefix: Some(PrefixChange {
            from: String::new(),
            to: "test:".to_owned(),
        }),
        ..RedisRestoreOptions::default()
    };
    let (plan, _) = staged(&server, &captured, options);
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(
        live_records(&server, 9).into_keys().collect::<Vec<_>>(),
        [b"test:three"]
    );
    assert_eq!(keys(&server, 3), 51);
}

#[test]
fn one_database_goes_where_it_is_told_to() {
    let (server, captured) = scene();
    let old = live(&server, 0);
    let options = RedisRestoreOptions {
        databases: BTreeMap::from([(0, 5)]),
        spare_databases: vec![8],
        ..RedisRestoreOptions::default()
    };
    let (plan, _) = staged(&server, &captured, options);
    assert_eq!(plan.replaces, [""; 0]);
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(live(&server, 5), captured.content("db/0"));
    assert_eq!(live(&server, 0), old);
    assert_eq!(keys(&server, 8), 1);
    fresh(&server).discard(&plan).unwrap();
    assert_eq!(keys(&server, 8), 0);
}

#[test]
fn single_keys_of_two_databases_are_moved_together() {
    let (server, captured) = scene();
    let old = [live(&server, 0), live(&server, 3)];
    let options = RedisRestoreOptions {
        key_patterns: vec!["*t*:[is]*".to_owned()],
        ..RedisRestoreOptions::default()
    };
    let mut both = options.clone();
    both.key_patterns = vec!["*e*".to_owned()];
    let (plan, _) = staged(&server, &captured, both);
    fresh(&server).switch(&plan).unwrap();
    assert!(live_records(&server, 3).contains_key(b"three".as_slice()));
    assert!(live_records(&server, 0).contains_key(b"zset:large".as_slice()));
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!([live(&server, 0), live(&server, 3)], old);
}

#[test]
fn a_staged_key_that_expires_before_the_switch_takes_the_old_one_along() {
    let server = RedisServer::start();
    let mut connection = server.connection();
    let now: (u64, u64) = cmd("TIME").query(&mut connection).unwrap();
    let soon = now.0 * 1000 + 5_000;
    cmd("SET")
        .arg("soon")
        .arg("x")
        .arg("PXAT")
        .arg(soon)
        .exec(&mut connection)
        .unwrap();
    cmd("SET")
        .arg("stays")
        .arg("x")
        .exec(&mut connection)
        .unwrap();
    let captured = capture(server.settings()).unwrap();
    cmd("SET")
        .arg("soon")
        .arg("newer")
        .exec(&mut connection)
        .unwrap();
    let (plan, _) = staged(&server, &captured, pattern("s*"));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while cmd("EXISTS")
        .arg("soon")
        .query::<bool>(&mut server.connection_to(15))
        .unwrap()
    {
        assert!(std::time::Instant::now() < deadline);
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(keys(&server, 0), 1);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(connection.get::<_, String>("soon").unwrap(), "newer");
}

#[test]
fn a_pattern_that_selects_nothing_is_an_error() {
    let (server, captured) = scene();
    let error = target(&server, pattern("no such key"))
        .plan(&captured)
        .unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
}

/// A line to a server on which somebody acts once, right before the first transaction reaches it; a process may
/// seem killed when it has sent its end.
fn line_with_act(
    server: &RedisServer,
    is_killed: bool,
    act: impl Fn() + Send + 'static,
) -> RedisTarget {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = server.settings();
    let port = std::mem::replace(&mut settings.port, listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut answers, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut answers, &mut to));
            let (mut buffer, mut has_acted) = ([0; 1 << 16], false);
            while let Ok(length @ 1..) = client.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                if !has_acted && text.contains("MULTI") {
                    has_acted = true;
                    act();
                }
                let is_end = is_killed && text.contains("EXEC");
                if server.write_all(&buffer[..length]).is_err() || is_end {
                    break;
                }
            }
            let _closed = server.shutdown(Shutdown::Both);
        }
    });
    RedisTarget::new(settings, RedisRestoreOptions::default())
}

#[test]
fn a_keep_that_somebody_writes_into_in_the_last_moment_costs_no_live_key() {
    // A name that is live and one that is not; a process that sees it, and one that takes it up after a kill.
    for (name, is_killed) in [("many:7", false), ("many:gone", false), ("many:7", true)] {
        let server = RedisServer::start();
        let mut connection = server.connection();
        for key in ["many:6", "many:7", "many:gone"] {
            let () = connection.set(key, "saved").unwrap();
        }
        let captured = capture(server.settings()).unwrap();
        let () = connection.set("many:7", "since").unwrap();
        let () = connection.del("many:gone").unwrap();
        let old = live_records(&server, 0);
        let (plan, _) = staged(&server, &captured, pattern("many:*"));
        let address = format!("redis://127.0.0.1:{}/14", server.port());
        let intruded = line_with_act(&server, is_killed, move || {
            let client = redis::Client::open(address.as_str()).unwrap();
            let () = client
                .get_connection()
                .unwrap()
                .set(name, "foreign")
                .unwrap();
        });
        let error = intruded.switch(&plan).unwrap_err();
        if is_killed {
            wait_for_mark(&server, "kept");
            fresh(&server).switch(&plan).unwrap_err();
        } else {
            assert_eq!(error.kind(), SourceErrorKind::Occupied, "{name}");
        }
        assert_eq!(live_records(&server, 0), old, "{name} {is_killed}");
        fresh(&server).rollback(&plan, Phase::Switching).unwrap();
        assert_eq!(live_records(&server, 0), old, "{name} {is_killed}");
        assert_eq!((keys(&server, 15), keys(&server, 14)), (0, 1));
    }
}

fn wait_for_mark(server: &RedisServer, stage: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mark = || -> String {
        let mut connection = server.connection_to(14);
        connection.get("keepstone:restore").unwrap()
    };
    while !mark().starts_with(stage) {
        assert!(std::time::Instant::now() < deadline, "it is never {stage}");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
}
