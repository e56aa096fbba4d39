//! Restore of whole databases: beside the live data, validated, switched, undone.

use keepstone_engine::source::{
    Phase, RestorePlan, SourceError, SourceErrorKind, Target as _, Validation,
};
use keepstone_sources::redis::{CaptureMethod, RedisRestoreOptions, RedisTarget, Ttl};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::redis::RedisServer;
use redis::{Commands as _, cmd};

use super::capture::{capture, records};
use super::data::{FAR_MS, fill, text};

/// Everything in a database of a server, in canonical bytes.
pub fn live(server: &RedisServer, db: u32) -> Vec<u8> {
    let mut settings = server.settings();
    settings.method = CaptureMethod::Scan;
    settings.db = Some(db);
    capture(settings)
        .unwrap()
        .content(&format!("db/{db}"))
        .to_vec()
}

/// Number of keys in a database.
pub fn keys(server: &RedisServer, db: u32) -> i64 {
    cmd("DBSIZE").query(&mut server.connection_to(db)).unwrap()
}

/// A target with options.
pub fn target(server: &RedisServer, options: RedisRestoreOptions) -> RedisTarget {
    RedisTarget::new(server.settings(), options)
}

/// A target of a fresh process: it has its connection and nothing else.
pub fn fresh(server: &RedisServer) -> RedisTarget {
    target(server, RedisRestoreOptions::default())
}

/// The plan as a journal would give it back.
pub fn journal(plan: &RestorePlan) -> RestorePlan {
    serde_json::from_str(&serde_json::to_string(plan).unwrap()).unwrap()
}

/// A server with data, its capture, and then other data: two databases replaced, one left alone.
pub fn scene() -> (RedisServer, MemoryCapture) {
    let server = RedisServer::start();
    fill(&mut server.connection());
    let captured = capture(server.settings()).unwrap();
    let mut connection = server.connection();
    for db in [0, 3] {
        cmd("SELECT").arg(db).exec(&mut connection).unwrap();
        cmd("FLUSHDB").exec(&mut connection).unwrap();
        for n in 0..50_u64 {
            let () = connection
                .set(format!("many:{n}"), text(n + 9, 10))
                .unwrap();
        }
        let () = connection.set("new", "made after the capture").unwrap();
    }
    cmd("SELECT").arg(7).exec(&mut connection).unwrap();
    let () = connection.set("seven", "is in no capture").unwrap();
    (server, captured)
}

/// Plans, stages and validates without a difference.
pub fn staged(
    server: &RedisServer,
    captured: &MemoryCapture,
    options: RedisRestoreOptions,
) -> (RestorePlan, Validation) {
    let target = target(server, options);
    let plan = journal(&target.plan(captured).unwrap());
    target.stage(&plan, captured).unwrap();
    let validation = fresh(server).validate(&plan, captured).unwrap();
    assert_eq!(validation.differences, [""; 0]);
    (plan, validation)
}

#[test]
fn a_restore_gives_back_what_was_captured_and_can_be_undone() {
    let (server, captured) = scene();
    let old = [live(&server, 0), live(&server, 3), live(&server, 7)];
    let (plan, validation) = staged(&server, &captured, RedisRestoreOptions::default());
    assert_eq!(
        plan.replaces,
        ["database 0 (51 keys)", "database 3 (51 keys)"]
    );
    assert_eq!(validation.expired, 0);
    let all = captured
        .report
        .collections
        .iter()
        .map(|facts| facts.records)
        .sum::<u64>();
    assert_eq!(validation.records, all);
    assert_eq!([live(&server, 0), live(&server, 3), live(&server, 7)], old);

    fresh(&server).switch(&plan).unwrap();
    assert_eq!(live(&server, 0), captured.content("db/0"));
    assert_eq!(live(&server, 3), captured.content("db/3"));
    assert_eq!(live(&server, 7), old[2]);
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(live(&server, 0), captured.content("db/0"));

    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!([live(&server, 0), live(&server, 3), live(&server, 7)], old);
    for phase in [
        Phase::Staging,
        Phase::Staged,
        Phase::Switching,
        Phase::Switched,
    ] {
        fresh(&server).rollback(&plan, phase).unwrap();
    }
    assert_eq!([live(&server, 0), live(&server, 3), live(&server, 7)], old);
    // The mark of what was undone does not stand in the way of the next one.
    assert_eq!(keys(&server, 15) + keys(&server, 14), 1);
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    fresh(&server).discard(&plan).unwrap();
    fresh(&server).discard(&plan).unwrap();
    assert_eq!(live(&server, 0), captured.content("db/0"));
    assert_eq!(keys(&server, 15) + keys(&server, 14), 0);
    let error = fresh(&server).rollback(&plan, Phase::Switched).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
    assert_eq!(live(&server, 0), captured.content("db/0"));
}

#[test]
fn each_step_can_be_undone_by_another_process() {
    let (server, captured) = scene();
    let old = live(&server, 0);
    for steps in 0..4 {
        let target = target(&server, RedisRestoreOptions::default());
        let plan = journal(&target.plan(&captured).unwrap());
        let phase = match steps {
            0 => Phase::Staging,
            1 => {
                target.stage(&plan, &captured).unwrap();
                Phase::Staging
            }
            2 => {
                target.stage(&plan, &captured).unwrap();
                // Staging starts over what an earlier try left.
                target.stage(&plan, &captured).unwrap();
                assert_eq!(
                    target.validate(&plan, &captured).unwrap().differences,
                    [""; 0]
                );
                Phase::Staged
            }
            _ => {
                target.stage(&plan, &captured).unwrap();
                target.switch(&plan).unwrap();
                assert_eq!(live(&server, 0), captured.content("db/0"));
                let error = target.stage(&plan, &captured).unwrap_err();
                assert_eq!(error.kind(), SourceErrorKind::Occupied);
                Phase::Switching
            }
        };
        fresh(&server).rollback(&plan, phase).unwrap();
        assert_eq!(live(&server, 0), old);
        assert!(keys(&server, 15) + keys(&server, 14) <= 1);
        let switched = fresh(&server).switch(&plan).unwrap_err();
        assert_eq!(switched.kind(), SourceErrorKind::Missing);
    }
}

#[test]
fn nothing_is_switched_before_it_is_staged_and_nothing_discarded_before_it_is_switched() {
    let (server, captured) = scene();
    let target = fresh(&server);
    let plan = target.plan(&captured).unwrap();
    assert_eq!(
        target.switch(&plan).unwrap_err().kind(),
        SourceErrorKind::Missing
    );
    target.stage(&plan, &captured).unwrap();
    assert!(target.discard(&plan).is_err());
    target.switch(&plan).unwrap();
}

#[test]
fn what_differs_is_found() {
    let (server, captured) = scene();
    let target = fresh(&server);
    let plan = target.plan(&captured).unwrap();
    let changes: [fn(&mut redis::Connection); 4] = [
        |spare| spare.set("string:small", "hellp").unwrap(),
        |spare| spare.del("string:small").unwrap(),
        |spare| spare.set("one more", "").unwrap(),
        |spare| cmd("PERSIST").arg("expires:later").exec(spare).unwrap(),
    ];
    for change in changes {
        target.stage(&plan, &captured).unwrap();
        change(&mut server.connection_to(15));
        let validation = target.validate(&plan, &captured).unwrap();
        assert_eq!(validation.differences.len(), 1, "{validation:?}");
    }
    target.rollback(&plan, Phase::Staging).unwrap();
}

#[test]
fn expiries_are_kept_shifted_or_dropped() {
    let server = RedisServer::start();
    let mut connection = server.connection();
    let now: (u64, u64) = cmd("TIME").query(&mut connection).unwrap();
    let now_ms = now.0 * 1000 + now.1 / 1000;
    // Gone by the time of the restore, which waits for it.
    let soon_ms = now_ms + 1_500;
    cmd("SET")
        .arg("soon")
        .arg("x")
        .arg("PXAT")
        .arg(soon_ms)
        .exec(&mut connection)
        .unwrap();
    cmd("SET")
        .arg("later")
        .arg("x")
        .arg("PXAT")
        .arg(FAR_MS)
        .exec(&mut connection)
        .unwrap();
    cmd("SET")
        .arg("never")
        .arg("x")
        .exec(&mut connection)
        .unwrap();
    let captured = capture(server.settings()).unwrap();
    assert_eq!(records(&captured, 0).len(), 3);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while cmd("EXISTS")
        .arg("soon")
        .query::<bool>(&mut connection)
        .unwrap()
    {
        assert!(std::time::Instant::now() < deadline);
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let expiry = |key: &str| -> i64 {
        cmd("PEXPIRETIME")
            .arg(key)
            .query(&mut server.connection())
            .unwrap()
    };
    let with = |ttl| RedisRestoreOptions {
        ttl,
        ..RedisRestoreOptions::default()
    };

    let (plan, validation) = staged(&server, &captured, with(Ttl::Keep));
    assert_eq!((validation.records, validation.expired), (2, 1));
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(
        (expiry("soon"), expiry("later"), expiry("never")),
        (-2, FAR_MS as i64, -1)
    );
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();

    let (plan, validation) = staged(&server, &captured, with(Ttl::Shift));
    assert_eq!(validation.records + validation.expired, 3);
    fresh(&server).switch(&plan).unwrap();
    assert!(expiry("later") > FAR_MS as i64 + 1_000);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();

    let (plan, validation) = staged(&server, &captured, with(Ttl::Drop));
    assert_eq!((validation.records, validation.expired), (3, 0));
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(
        (expiry("soon"), expiry("later"), expiry("never")),
        (-1, -1, -1)
    );
}

#[test]
fn what_expires_soon_is_compared_too() {
    let server = RedisServer::start();
    let mut connection = server.connection();
    let now: (u64, u64) = cmd("TIME").query(&mut connection).unwrap();
    for n in 0..500_u64 {
        cmd("SET")
            .arg(format!("soon:{n}"))
            .arg(n)
            .arg("PXAT")
            .arg(now.0 * 1000 + 100_000 + 700 * n)
            .exec(&mut connection)
            .unwrap();
    }
    let captured = capture(server.settings()).unwrap();
    let (plan, validation) = staged(&server, &captured, RedisRestoreOptions::default());
    assert_eq!((validation.records, validation.expired), (500, 0));
    let () = cmd("SET")
        .arg("soon:77")
        .arg("another")
        .arg("KEEPTTL")
        .query(&mut server.connection_to(15))
        .unwrap();
    let validation = fresh(&server).validate(&plan, &captured).unwrap();
    assert_eq!(validation.differences.len(), 1, "{validation:?}");
}

#[test]
fn functions_are_restored_when_asked_for_and_come_back() {
    let server = RedisServer::start();
    let library = |name: &str, value: u32| {
        format!(
            "#!lua name={name}\nredis.register_function('{name}', function() return {value} end)"
        )
    };
    let load = |code: String| {
        cmd("FUNCTION")
            .arg("LOAD")
            .arg("REPLACE")
            .arg(code)
            .exec(&mut server.connection())
            .unwrap();
    };
    let call = |name: &str| -> Option<u32> {
        cmd("FCALL")
            .arg(name)
            .arg(0)
            .query(&mut server.connection())
            .ok()
    };
    let () = server.connection().set("a", "old").unwrap();
    load(library("one", 1));
    load(library("two", 2));
    let captured = capture(server.settings()).unwrap();
    load(library("one", 11));
    load(library("three", 3));
    cmd("FUNCTION")
        .arg("DELETE")
        .arg("two")
        .exec(&mut server.connection())
        .unwrap();
    let () = server.connection().set("a", "new").unwrap();

    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(
        (call("one"), call("two"), call("three")),
        (Some(11), None, Some(3))
    );
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();

    let with_functions = RedisRestoreOptions {
        functions: true,
        ..RedisRestoreOptions::default()
    };
    let (plan, _) = staged(&server, &captured, with_functions);
    assert_eq!(
        (call("one"), call("two"), call("three")),
        (Some(11), None, Some(3))
    );
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(
        (call("one"), call("two"), call("three")),
        (Some(1), Some(2), None)
    );
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(live(&server, 0), captured.content("db/0"));
    assert_eq!(keys(&server, 0), 1);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(
        (call("one"), call("two"), call("three")),
        (Some(11), None, Some(3))
    );
    assert_eq!(server.connection().get::<_, String>("a").unwrap(), "new");
}

#[test]
fn functions_that_the_server_refuses_undo_the_switch() {
    let (server, captured) = scene();
    let old = live(&server, 0);
    let with_functions = RedisRestoreOptions {
        functions: true,
        ..RedisRestoreOptions::default()
    };
    let (plan, _) = staged(&server, &captured, with_functions);
    let key = "keepstone:restore:functions:new";
    let () = server.connection_to(15).set(key, "no payload").unwrap();
    assert!(fresh(&server).switch(&plan).is_err());
    assert_eq!(live(&server, 0), old);
}

#[test]
fn large_values_come_back() {
    let server = RedisServer::start();
    let mut connection = server.connection();
    let long = text(5, 6 << 20);
    let () = connection.set("string", &long).unwrap();
    let mut pipe = redis::pipe();
    for n in 0..90_000_u64 {
        let member = text(n, 60);
        pipe.rpush("list", &member).ignore();
        pipe.sadd("set", &member).ignore();
        pipe.zadd("zset", &member, n).ignore();
        pipe.hset("hash", n, &member).ignore();
        pipe.cmd("XADD")
            .arg("stream")
            .arg(n + 1)
            .arg("f")
            .arg(&member)
            .ignore();
        if n % 10_000 == 9_999 {
            pipe.exec(&mut connection).unwrap();
            pipe.clear();
        }
    }
    pipe.cmd("XDEL").arg("stream").arg("70-0");
    pipe.cmd("XGROUP")
        .arg("CREATE")
        .arg("stream")
        .arg("g")
        .arg("5000");
    pipe.cmd("XREADGROUP")
        .arg("GROUP")
        .arg("g")
        .arg("c")
        .arg("COUNT")
        .arg(2_000);
    pipe.arg("STREAMS").arg("stream").arg(">").ignore();
    pipe.cmd("PEXPIREAT").arg("stream").arg(FAR_MS);
    pipe.cmd("PEXPIREAT").arg("hash").arg(FAR_MS);
    pipe.exec(&mut connection).unwrap();
    let captured = capture(server.settings()).unwrap();
    cmd("FLUSHALL").exec(&mut connection).unwrap();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    assert!(live(&server, 0) == captured.content("db/0"));
}

#[test]
fn a_capture_leaves_out_what_restores_work_in() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    for method in [CaptureMethod::Replication, CaptureMethod::Scan] {
        let mut settings = server.settings();
        settings.method = method;
        let again = capture(settings.clone()).unwrap();
        assert_eq!(again.paths(), ["acl", "db/0", "db/3", "db/7", "functions"]);
        let told = again
            .report
            .warnings
            .iter()
            .filter(|text| text.contains("left out"))
            .count();
        assert_eq!(told, 2, "{:?}", again.report.warnings);
        // Who asks for it gets it.
        settings.db = Some(15);
        assert!(
            capture(settings)
                .unwrap()
                .paths()
                .contains(&"db/15".to_owned())
        );
    }
    fresh(&server).switch(&plan).unwrap();
    let again = capture(server.settings()).unwrap();
    assert_eq!(again.content("db/0"), captured.content("db/0"));
    assert_eq!(again.paths(), ["acl", "db/0", "db/3", "db/7", "functions"]);
}

#[test]
fn an_empty_capture_empties_and_can_be_undone() {
    let server = RedisServer::start();
    let captured = capture(server.settings()).unwrap();
    let () = server.connection().set("a", "b").unwrap();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(keys(&server, 0), 0);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(keys(&server, 0), 1);
}

#[test]
fn a_plan_of_something_else_is_refused() {
    let server = RedisServer::start();
    let plan = RestorePlan {
        creates: Vec::new(),
        replaces: Vec::new(),
        keeps: Vec::new(),
        warnings: Vec::new(),
        size_bytes: 0,
        state: serde_json::json!({ "tables": [] }),
    };
    let error: SourceError = fresh(&server).switch(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Corrupt);
}
