//! What a plan refuses before anything is touched, and what stops a restore that has begun.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::redis::{RedisRestoreOptions, RedisTarget};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::proxy::{Fault, Proxy};
use keepstone_testkit::servers::redis::{RedisServer, free_port};
use redis::{Commands as _, cmd};

use super::capture::capture;
use super::data::{fill, text};
use super::restore::{fresh, keys, live, staged, target};

fn captured() -> MemoryCapture {
    let server = RedisServer::start();
    fill(&mut server.connection());
    capture(server.settings()).unwrap()
}

fn refusal(server: &RedisServer, options: RedisRestoreOptions) -> (SourceErrorKind, String) {
    let error = target(server, options).plan(&captured()).unwrap_err();
    (error.kind(), error.to_string())
}

fn spare(databases: &[u32]) -> RedisRestoreOptions {
    RedisRestoreOptions {
        spare_databases: databases.to_vec(),
        ..RedisRestoreOptions::default()
    }
}

#[test]
fn what_would_not_fit_into_memory_is_refused() {
    for policy in ["noeviction", "allkeys-lru"] {
        let server = RedisServer::with(&["--maxmemory", "2mb", "--maxmemory-policy", policy]);
        let (kind, text) = refusal(&server, RedisRestoreOptions::default());
        assert_eq!(kind, SourceErrorKind::Preflight, "{text}");
        assert!(text.contains("maxmemory"), "{text}");
        assert_eq!(text.contains("evicted"), policy != "noeviction");
    }
    let server = RedisServer::with(&["--maxmemory", "20mb"]);
    let captured = captured();
    fresh(&server).plan(&captured).unwrap();
}

#[test]
fn the_estimate_of_memory_is_on_the_safe_side_and_not_far_off() {
    let server = RedisServer::start();
    let used = || -> i64 {
        let text: String = cmd("INFO")
            .arg("memory")
            .query(&mut server.connection())
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory_dataset:"));
        line.unwrap().parse().unwrap()
    };
    let empty = used();
    let mut pipe = redis::pipe();
    for n in 0..20_000_u64 {
        pipe.set(format!("key:{n}"), text(n, 30)).ignore();
        pipe.zadd("zset", text(n, 20), n).ignore();
        pipe.hset("hash", text(n, 20), text(n, 20)).ignore();
        pipe.sadd(format!("set:{}", n / 50), text(n, 20)).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
    let really = u64::try_from(used() - empty).unwrap();
    let captured = capture(server.settings()).unwrap();
    let other = RedisServer::start();
    let estimated = fresh(&other).plan(&captured).unwrap().size_bytes;
    assert!(
        estimated >= really,
        "estimated {estimated}, really {really}"
    );
    assert!(
        estimated <= 3 * really,
        "estimated {estimated}, really {really}"
    );
}

#[test]
fn a_cluster_and_a_replica_are_refused() {
    let server = RedisServer::with(&["--cluster-enabled", "yes"]);
    let (kind, text) = refusal(&server, RedisRestoreOptions::default());
    assert_eq!(kind, SourceErrorKind::Preflight);
    assert!(text.contains("cluster"), "{text}");

    let master = RedisServer::start();
    let replica = RedisServer::with(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let (kind, text) = refusal(&replica, RedisRestoreOptions::default());
    assert_eq!(kind, SourceErrorKind::Preflight);
    assert!(text.contains("replica"), "{text}");
}

#[test]
fn a_spare_database_that_is_not_empty_or_not_there_is_refused() {
    let server = RedisServer::start();
    let () = server.connection_to(9).set("mine", "x").unwrap();
    assert_eq!(
        refusal(&server, spare(&[9, 10])).0,
        SourceErrorKind::Occupied
    );
    assert_eq!(
        refusal(&server, spare(&[15, 16])).0,
        SourceErrorKind::Preflight
    );
    assert_eq!(
        refusal(&server, spare(&[3, 15])).0,
        SourceErrorKind::Occupied
    );
    let elsewhere = RedisRestoreOptions {
        databases: BTreeMap::from([(0, 16)]),
        ..RedisRestoreOptions::default()
    };
    assert_eq!(refusal(&server, elsewhere).0, SourceErrorKind::Preflight);
    let one = RedisServer::with(&["--databases", "4"]);
    for db in 0..4 {
        let () = one.connection_to(db).set("mine", "x").unwrap();
    }
    assert_eq!(
        refusal(&one, RedisRestoreOptions::default()).0,
        SourceErrorKind::Occupied
    );
}

#[test]
fn a_spare_database_that_is_filled_after_the_plan_is_left_alone() {
    let server = RedisServer::start();
    let captured = captured();
    let target = fresh(&server);
    let plan = target.plan(&captured).unwrap();
    let () = server.connection_to(15).set("mine", "x").unwrap();
    let error = target.stage(&plan, &captured).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied);
    target.rollback(&plan, Phase::Staging).unwrap();
    assert_eq!((keys(&server, 15), keys(&server, 14)), (1, 0));
}

#[test]
fn a_second_restore_waits_for_the_first_to_be_settled() {
    let server = RedisServer::start();
    let captured = captured();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    assert_eq!(
        refusal(&server, RedisRestoreOptions::default()).0,
        SourceErrorKind::Occupied
    );
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(
        refusal(&server, RedisRestoreOptions::default()).0,
        SourceErrorKind::Occupied
    );
    fresh(&server).discard(&plan).unwrap();
    fresh(&server).plan(&captured).unwrap();
}

#[test]
fn memory_that_runs_out_while_staging_stops_it_before_a_live_key_is_evicted() {
    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut pipe = redis::pipe();
    for n in 0..40_000_u64 {
        pipe.set(format!("live:{n}"), text(n, 1_000)).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
    let captured = capture(server.settings()).unwrap();
    let old = live(&server, 0);
    let target = fresh(&server);
    let plan = target.plan(&captured).unwrap();
    cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg("95mb")
        .exec(&mut server.connection())
        .unwrap();
    let error = target.stage(&plan, &captured).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace, "{error:?}");
    target.rollback(&plan, Phase::Staging).unwrap();
    assert!(live(&server, 0) == old, "live keys were evicted");
}

fn number(server: &RedisServer, section: &str, name: &str) -> u64 {
    let text: String = cmd("INFO")
        .arg(section)
        .query(&mut server.connection())
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().parse().unwrap()
}

#[test]
fn reading_back_what_was_staged_evicts_no_live_key() {
    const KEYS: u64 = 6;
    let source = RedisServer::start();
    for n in 0..KEYS {
        // A repetition so far away is not compressed.
        let long = text(n, 1 << 20).repeat(20);
        let () = source.connection().set(format!("big:{n}"), long).unwrap();
    }
    let captured = capture(source.settings()).unwrap();
    drop(source);

    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut pipe = redis::pipe();
    for n in 0..20_000_u64 {
        pipe.set(format!("live:{n}"), text(n, 100)).ignore();
    }
    pipe.exec(&mut server.connection()).unwrap();
    let options = RedisRestoreOptions {
        databases: BTreeMap::from([(0, 1)]),
        ..RedisRestoreOptions::default()
    };
    let target = target(&server, options);
    let estimated = target.plan(&captured).unwrap().size_bytes;
    // Staging wants some room to spare.
    let limit = number(&server, "memory", "used_memory") + estimated + (64 << 20);
    cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg(limit)
        .exec(&mut server.connection())
        .unwrap();
    let plan = target.plan(&captured).unwrap();
    // Others go on using the server: with each of their commands it looks at its memory.
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = server.connection();
            while !is_done.load(Ordering::Relaxed) {
                let _: Option<String> = connection.get("live:7").unwrap();
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        let read = target
            .stage(&plan, &captured)
            .and_then(|()| target.validate(&plan, &captured));
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(read.unwrap().differences, [""; 0]);
    });
    assert_eq!(number(&server, "stats", "evicted_keys"), 0);
    assert_eq!(keys(&server, 0), 20_000);

    // Where there is no room for even one of them a second time, nothing is read.
    let limit = number(&server, "memory", "used_memory") + (10 << 20);
    cmd("CONFIG")
        .arg("SET")
        .arg("maxmemory")
        .arg(limit)
        .exec(&mut server.connection())
        .unwrap();
    let error = target.validate(&plan, &captured).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace, "{error:?}");
    assert_eq!(number(&server, "stats", "evicted_keys"), 0);
    target.switch(&plan).unwrap();
    assert_eq!((keys(&server, 0), keys(&server, 1)), (20_000, 6));
}

#[test]
fn a_wrong_password_a_closed_port_and_silence_are_told_apart() {
    let captured = captured();
    let server = RedisServer::with(&["--requirepass", "right"]);
    let plan_with = |change: &dyn Fn(&mut keepstone_sources::redis::RedisSettings)| {
        let mut settings = server.settings();
        settings.answer_timeout = Duration::from_millis(300);
        change(&mut settings);
        RedisTarget::new(settings, RedisRestoreOptions::default()).plan(&captured)
    };
    let wrong = plan_with(&|settings| settings.password = Some("wrong".to_owned().into()));
    assert_eq!(wrong.unwrap_err().kind(), SourceErrorKind::Denied);
    let closed = plan_with(&|settings| settings.port = free_port());
    assert_eq!(closed.unwrap_err().kind(), SourceErrorKind::Unreachable);
    let silent = plan_with(&|settings| {
        settings.password = Some("right".to_owned().into());
        settings.port = Proxy::before(server.port(), Fault::Stall(100)).port();
    });
    assert_eq!(silent.unwrap_err().kind(), SourceErrorKind::Unreachable);
    plan_with(&|settings| settings.password = Some("right".to_owned().into())).unwrap();
}
