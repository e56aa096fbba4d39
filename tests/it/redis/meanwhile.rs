//! What comes into a database while it is restored.

use keepstone_engine::source::{Phase, RestorePlan, Target as _};
use keepstone_sources::redis::RedisRestoreOptions;
use keepstone_testkit::servers::redis::RedisServer;
use redis::Commands as _;

use super::restore::{fresh, journal, keys, live, scene, target};

#[test]
fn what_is_written_to_an_empty_database_before_the_switch_is_kept() {
    let (server, captured) = scene();
    let target = target(&server, into_five());
    let plan = journal(&target.plan(&captured).unwrap());
    assert_eq!(plan.keeps, [""; 0]);
    target.stage(&plan, &captured).unwrap();
    let () = server.connection_to(5).set("order:1", "paid").unwrap();
    let old = live(&server, 5);
    fresh(&server).switch(&plan).unwrap();
    let kept = fresh(&server).kept(&plan).unwrap();
    assert_eq!(kept, ["database 5 as it was, in database 15"]);

    // Whoever believes the plan takes nothing away but the notes of the restore.
    let copy = RedisServer::start();
    let plan_there = journal(&fresh(&copy).plan(&captured).unwrap());
    fresh(&copy).stage(&plan_there, &captured).unwrap();
    for db in [0, 3] {
        let () = copy.connection_to(db).set("order:1", "paid").unwrap();
    }
    fresh(&copy).switch(&plan_there).unwrap();
    assert_eq!(fresh(&copy).kept(&plan_there).unwrap().len(), 2);
    fresh(&copy).discard(&plan_there).unwrap();
    for db in [14, 15] {
        assert_eq!(keys(&copy, db), 1);
        let order: String = copy.connection_to(db).get("order:1").unwrap();
        assert_eq!(order, "paid");
    }

    let kept = RestorePlan {
        keeps: kept,
        ..plan
    };
    fresh(&server).rollback(&kept, Phase::Switched).unwrap();
    assert_eq!(live(&server, 5), old);
    let () = server.connection_to(5).del("order:1").unwrap();
    target.stage(&kept, &captured).unwrap();
    fresh(&server).switch(&kept).unwrap();
    fresh(&server).discard(&kept).unwrap();
    assert_eq!(keys(&server, 15), 0);
}

fn into_five() -> RedisRestoreOptions {
    RedisRestoreOptions {
        databases: std::collections::BTreeMap::from([(0, 5)]),
        ..RedisRestoreOptions::default()
    }
}
