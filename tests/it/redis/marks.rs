//! The marks of a restore: what is done where they, or what they tell of, were taken away by somebody.

use std::collections::BTreeMap;

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::redis::{RedisRestoreOptions, RedisTarget};
use keepstone_testkit::servers::redis::{RedisServer, free_port};
use redis::{Commands as _, cmd};

use super::capture::{capture, records};
use super::restore::{fresh, keys, live, scene, staged, target};

const MARK: &str = "keepstone:restore";

fn both_ways() -> Vec<(RedisRestoreOptions, u32)> {
    let single = RedisRestoreOptions {
        key_patterns: vec!["*e*".to_owned()],
        ..RedisRestoreOptions::default()
    };
    // Each way with each of the two databases in which something is kept.
    let whole = RedisRestoreOptions::default();
    vec![
        (whole.clone(), 15),
        (whole, 14),
        (single.clone(), 14),
        (single, 12),
    ]
}

fn flush(server: &RedisServer, db: u32) {
    cmd("FLUSHDB").exec(&mut server.connection_to(db)).unwrap();
}

fn through_fifteen() -> RedisRestoreOptions {
    RedisRestoreOptions {
        databases: BTreeMap::from([(0, 0)]),
        spare_databases: vec![15],
        ..RedisRestoreOptions::default()
    }
}

fn into_fifteen() -> RedisRestoreOptions {
    RedisRestoreOptions {
        databases: BTreeMap::from([(0, 15)]),
        ..RedisRestoreOptions::default()
    }
}

#[test]
fn nothing_is_rolled_back_if_one_of_several_databases_lost_what_was_kept() {
    for (options, lost_db) in both_ways() {
        let (server, captured) = scene();
        let old = [live(&server, 0), live(&server, 3)];
        let (plan, _) = staged(&server, &captured, options);
        fresh(&server).switch(&plan).unwrap();
        for db in [0, 3] {
            let () = server.connection_to(db).set("since", "live").unwrap();
        }
        let new = [live(&server, 0), live(&server, 3)];
        assert_ne!(new, old);
        flush(&server, lost_db);
        let undone = fresh(&server).rollback(&plan, Phase::Switched).unwrap_err();
        let finished = fresh(&server).switch(&plan).unwrap_err();
        for error in [undone, finished] {
            assert_eq!(error.kind(), SourceErrorKind::Missing, "{error}");
            assert!(
                error.to_string().contains(&format!("database {lost_db}")),
                "{error}"
            );
        }
        assert_eq!([live(&server, 0), live(&server, 3)], new);
        // What the other one keeps can be discarded.
        fresh(&server).discard(&plan).unwrap();
        assert_eq!([live(&server, 0), live(&server, 3)], new);
        assert_eq!((12..16).map(|db| keys(&server, db)).sum::<i64>(), 0);
    }
}

#[test]
fn nothing_is_switched_if_one_of_several_databases_lost_what_was_staged() {
    for (options, lost_db) in both_ways() {
        let (server, captured) = scene();
        let old = [live(&server, 0), live(&server, 3)];
        let (plan, _) = staged(&server, &captured, options);
        flush(&server, lost_db);
        let error = fresh(&server).switch(&plan).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Missing, "{error}");
        assert!(
            error.to_string().contains(&format!("database {lost_db}")),
            "{error}"
        );
        assert_eq!([live(&server, 0), live(&server, 3)], old);
        // Where the first of them lost its mark nothing tells any more whether there was a switch.
        let decides = plan.state["places"][0]["keep"].as_u64();
        let decides = decides.or(plan.state["places"][0]["staging"].as_u64());
        let undone = fresh(&server).rollback(&plan, Phase::Switching);
        assert_eq!(
            undone.is_err(),
            decides == Some(lost_db.into()),
            "{undone:?}"
        );
        assert_eq!([live(&server, 0), live(&server, 3)], old);
    }
}

#[test]
fn what_is_kept_without_its_mark_is_not_said_to_be_removed() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    let error = fresh(&server).discard(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
    fresh(&server).switch(&plan).unwrap();
    let kept = |db| {
        keys(&server, db)
            - i64::from(
                cmd("EXISTS")
                    .arg(MARK)
                    .query::<bool>(&mut server.connection_to(db))
                    .unwrap(),
            )
    };
    for lost in [&[14][..], &[15]] {
        for db in lost {
            let () = server.connection_to(*db).del(MARK).unwrap();
        }
        let error = fresh(&server).discard(&plan).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
        assert!(error.to_string().contains("database 1"), "{error}");
        assert_eq!((kept(15), kept(14)), (51, 51));
    }
    // One was emptied, and the other is somebody's: the answer tells how to say so.
    flush(&server, 15);
    let error = fresh(&server).discard(&plan).unwrap_err();
    let advice = std::error::Error::source(&error).unwrap().to_string();
    let mark = advice.split('"').nth(1).unwrap();
    let () = server.connection_to(14).set(MARK, mark).unwrap();
    fresh(&server).discard(&plan).unwrap();
    fresh(&server).discard(&plan).unwrap_err();
    assert_eq!((keys(&server, 15), keys(&server, 14)), (0, 51));
    flush(&server, 14);
    fresh(&server).discard(&plan).unwrap();
}

#[test]
fn a_database_that_another_restore_has_taken_holds_nothing_of_an_earlier_one() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    // As after a discard that was killed before it was written down.
    for db in [14, 15] {
        flush(&server, db);
    }
    let (other, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&other).unwrap();
    fresh(&server).discard(&plan).unwrap();
    assert_eq!(
        (keys(&server, 15), keys(&server, 14)),
        (keys_of(&captured, 0), 2)
    );
    fresh(&server).rollback(&other, Phase::Switched).unwrap();
}

fn keys_of(captured: &keepstone_testkit::memory::MemoryCapture, db: u32) -> i64 {
    // What is kept is what the first restore had made live, and the mark.
    i64::try_from(records(captured, db).len()).unwrap() + 1
}

#[test]
fn the_mark_of_an_undone_restore_hides_no_data() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    let mark: String = server.connection_to(15).get(MARK).unwrap();
    assert!(mark.starts_with("undone"), "{mark}");
    let () = server.connection_to(15).set("app", "data").unwrap();
    let again = capture(server.settings()).unwrap();
    let names: Vec<_> = records(&again, 15)
        .into_iter()
        .map(|record| record.key)
        .collect();
    assert_eq!(names, [b"app"]);
    assert_eq!(again.report.warnings, [""; 0]);
}

#[test]
fn the_mark_of_an_undone_restore_is_no_hindrance_in_the_database_that_is_restored() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    let () = server.connection_to(15).set("app", "data").unwrap();
    let (plan, _) = staged(&server, &captured, into_fifteen());
    fresh(&server).switch(&plan).unwrap();
    let is_marked: bool = server.connection_to(15).exists(MARK).unwrap();
    assert!(!is_marked, "a mark is live");
    let again = capture(server.settings()).unwrap();
    assert_eq!(again.content("db/15"), captured.content("db/0"));
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    let app: String = server.connection_to(15).get("app").unwrap();
    assert_eq!((app.as_str(), keys(&server, 15)), ("data", 1));
}

#[test]
fn a_capture_of_what_a_restore_has_kept_can_be_restored() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    let old = live(&server, 0);
    fresh(&server).switch(&plan).unwrap();
    let mut settings = server.settings();
    settings.db = Some(15);
    let kept = capture(settings).unwrap();
    assert_eq!(kept.content("db/15"), old);
    let other = RedisServer::start();
    let (plan, _) = staged(&other, &kept, RedisRestoreOptions::default());
    fresh(&other).switch(&plan).unwrap();
    assert_eq!(live(&other, 15), old);
}

fn configure(server: &RedisServer, name: &str, value: &str) {
    cmd("CONFIG")
        .arg("SET")
        .arg(name)
        .arg(value)
        .exec(&mut server.connection())
        .unwrap();
}

fn fill_memory(server: &RedisServer) {
    configure(server, "maxmemory-policy", "noeviction");
    configure(server, "maxmemory", "1000");
    let refused: redis::RedisResult<()> = server.connection().set("no", "room");
    assert_eq!(refused.unwrap_err().code(), Some("OOM"));
}

#[test]
fn what_is_kept_is_discarded_where_the_memory_is_full() {
    for (options, _) in both_ways() {
        let (server, captured) = scene();
        let (plan, _) = staged(&server, &captured, options);
        fresh(&server).switch(&plan).unwrap();
        let new = [live(&server, 0), live(&server, 3)];
        fill_memory(&server);
        fresh(&server).may_discard(&plan).unwrap();
        fresh(&server).discard(&plan).unwrap();
        fresh(&server).discard(&plan).unwrap();
        configure(&server, "maxmemory", "0");
        assert_eq!((12..16).map(|db| keys(&server, db)).sum::<i64>(), 0);
        assert_eq!([live(&server, 0), live(&server, 3)], new);
    }
}

#[test]
fn the_notes_alone_go_where_the_memory_is_full_and_nothing_is_said_to_be_kept() {
    let (server, captured) = scene();
    let (mut plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    plan.keeps.clear();
    fill_memory(&server);
    fresh(&server).discard(&plan).unwrap();
    assert_eq!((keys(&server, 15), keys(&server, 14)), (51, 51));
}

#[test]
fn a_discard_is_refused_beforehand_where_it_would_be_or_nobody_answers() {
    let (server, captured) = scene();
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    let error = fresh(&server).may_discard(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
    fresh(&server).switch(&plan).unwrap();
    fresh(&server).may_discard(&plan).unwrap();
    let mut settings = server.settings();
    settings.port = free_port();
    let dead = RedisTarget::new(settings, RedisRestoreOptions::default());
    let error = dead.may_discard(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error}");
    assert_eq!((keys(&server, 15), keys(&server, 14)), (52, 52));
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
}

#[test]
fn a_database_that_is_not_said_to_be_kept_loses_the_notes_and_no_key() {
    let (server, captured) = scene();
    let (mut plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    plan.keeps.truncate(1);
    fresh(&server).discard(&plan).unwrap();
    assert_eq!((keys(&server, 15), keys(&server, 14)), (0, 51));
}

#[test]
fn nothing_is_switched_into_a_database_that_another_restore_has_taken_meanwhile() {
    let (server, captured) = scene();
    let old = live(&server, 0);
    // Planned when nothing told of the other one.
    let second = target(&server, through_fifteen()).plan(&captured).unwrap();
    let (first, _) = staged(&server, &captured, into_fifteen());
    fresh(&server).stage(&second, &captured).unwrap();
    // Both what it has staged there and what it keeps there.
    for is_switched in [false, true] {
        if is_switched {
            fresh(&server).switch(&second).unwrap();
        }
        let error = fresh(&server).switch(&first).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
        assert!(error.to_string().contains("database 15"), "{error}");
    }
    assert_eq!(live(&server, 0), captured.content("db/0"));
    fresh(&server).rollback(&second, Phase::Switched).unwrap();
    assert_eq!(live(&server, 0), old);
    fresh(&server).switch(&first).unwrap();
    assert_eq!(live(&server, 15), captured.content("db/0"));
    assert_eq!(live(&server, 0), old);
}

#[test]
fn nothing_is_undone_into_a_database_that_another_restore_has_taken_since() {
    let (server, captured) = scene();
    let old = live(&server, 0);
    let second = target(&server, through_fifteen()).plan(&captured).unwrap();
    let (first, _) = staged(&server, &captured, into_fifteen());
    fresh(&server).switch(&first).unwrap();
    flush(&server, 15);
    fresh(&server).stage(&second, &captured).unwrap();
    for is_switched in [false, true] {
        if is_switched {
            fresh(&server).switch(&second).unwrap();
        }
        let error = fresh(&server)
            .rollback(&first, Phase::Switched)
            .unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
        assert!(error.to_string().contains("database 15"), "{error}");
    }
    fresh(&server).rollback(&second, Phase::Switched).unwrap();
    assert_eq!(live(&server, 0), old);
    fresh(&server).rollback(&first, Phase::Switched).unwrap();
}

#[test]
fn a_database_that_an_earlier_restore_may_come_back_to_is_no_spare_one() {
    let (server, captured) = scene();
    let (first, _) = staged(&server, &captured, into_fifteen());
    fresh(&server).switch(&first).unwrap();
    flush(&server, 15);
    let error = target(&server, through_fifteen())
        .plan(&captured)
        .unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error}");
    assert!(error.to_string().contains("earlier restore"), "{error}");
    let (second, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&second).unwrap();
    fresh(&server).rollback(&first, Phase::Switched).unwrap();
    assert_eq!(live(&server, 0), captured.content("db/0"));
    fresh(&server).rollback(&second, Phase::Switched).unwrap();
}

#[test]
fn what_is_staged_goes_where_it_has_filled_the_memory() {
    for (options, _) in both_ways() {
        let (server, captured) = scene();
        let old = [live(&server, 0), live(&server, 3)];
        let (plan, _) = staged(&server, &captured, options);
        fill_memory(&server);
        for _ in 0..2 {
            fresh(&server).rollback(&plan, Phase::Staged).unwrap();
        }
        configure(&server, "maxmemory", "0");
        assert_eq!((12..16).map(|db| keys(&server, db)).sum::<i64>(), 0);
        assert_eq!([live(&server, 0), live(&server, 3)], old);
    }
}

#[test]
fn a_switch_is_not_undone_where_the_memory_is_full_and_the_way_back_is_told() {
    let (server, captured) = scene();
    let old = live(&server, 0);
    let (plan, _) = staged(&server, &captured, RedisRestoreOptions::default());
    fresh(&server).switch(&plan).unwrap();
    fill_memory(&server);
    let error = fresh(&server).rollback(&plan, Phase::Switched).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("maxmemory"), "{error}");
    configure(&server, "maxmemory", "0");
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(live(&server, 0), old);
}
