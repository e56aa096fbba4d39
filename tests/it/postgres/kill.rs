//! Kill -9 at every step of a restore: the live data is all old or all new, and a fresh process finishes or undoes.
//!
//! The kill is made between the process and the server, before and after every statement: that is all the server
//! ever sees of one. The process has no state of its own but the plan.

use std::thread;
use std::time::Duration;

use keepstone_engine::source::{Phase, RestorePlan, SourceError, SourceErrorKind, Target as _};
use keepstone_sources::postgres::PostgresTarget;
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;
use keepstone_testkit::servers::postgres_proxy::{Fault, PostgresProxy};

use super::{COMMENTS, fill_small, in_place, mark, target, until_waiting};

struct Scene {
    server: PostgresServer,
    old: MemoryCapture,
}

impl Scene {
    /// Two databases that say `new`, and a capture of both that says `old`.
    fn new() -> Self {
        let server = PostgresServer::start();
        server.execute("postgres", "CREATE ROLE gone");
        for database in ["app", "log"] {
            fill_small(&server, database, "old");
            server.execute(database, "ALTER TABLE t OWNER TO gone");
        }
        let settings = server.settings_of(&format!("{}?databases=app,log", server.url("")));
        let old =
            MemoryCapture::of(&keepstone_sources::postgres::PostgresSource::new(settings)).unwrap();
        for database in ["app", "log"] {
            server.execute(
                database,
                "UPDATE t SET mark = 'new'; ALTER TABLE t OWNER TO postgres",
            );
        }
        server.execute("postgres", "DROP ROLE gone");
        Self { server, old }
    }

    /// A restore that is switched in and kept.
    fn switched(&self) -> RestorePlan {
        let target = self.target();
        let plan = target.plan(&self.old).unwrap();
        target.stage(&plan, &self.old).unwrap();
        target.switch(&plan).unwrap();
        plan
    }

    fn target(&self) -> PostgresTarget {
        target(&self.server, "", in_place())
    }

    /// The same target, as the process sees it that will be killed.
    fn doomed(&self, proxy: &PostgresProxy) -> PostgresTarget {
        let url = format!("{}?sslmode=disable", self.server.url_at(proxy.port(), ""));
        PostgresTarget::new(self.server.settings_of(&url), in_place())
    }

    /// What both databases hold once the server has noticed the kill.
    fn state(&self) -> String {
        self.server.until_left_alone();
        let marks = ["app", "log"].map(|database| mark(&self.server, database));
        assert_eq!(marks[0], marks[1], "all old or all new");
        marks[0].clone()
    }

    fn assert_clean(&self, expected: &str) {
        assert_eq!(self.state(), expected);
        assert_eq!(self.server.databases(), ["app", "log", "postgres"]);
    }

    fn has_role(&self) -> bool {
        self.server.value(
            "postgres",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'gone'",
        ) == "1"
    }
}

/// Runs an act once for every place where it can be killed, until it gets through.
fn killed_everywhere(
    scene: &Scene,
    first: u64,
    step: u64,
    mut prepare: impl FnMut() -> RestorePlan,
    act: impl Fn(&PostgresTarget, &RestorePlan) -> Result<(), SourceError>,
    mut check: impl FnMut(&RestorePlan, u64),
) {
    let mut kills = 0;
    let mut number = first;
    loop {
        let mut through = 0;
        for fault in [
            Fault::BeforeStatement(number),
            Fault::AfterStatement(number),
        ] {
            let plan = prepare();
            let proxy = PostgresProxy::start(scene.server.port(), fault);
            let result = act(&scene.doomed(&proxy), &plan);
            let broken = proxy.is_broken();
            drop(proxy);
            kills += u64::from(broken);
            // The last statements of an act may be those that nobody waits for.
            assert!(broken || result.is_ok(), "{fault:?}: {result:?}");
            through += u64::from(!broken);
            check(&plan, number);
        }
        if through == 2 {
            break;
        }
        number += step;
    }
    assert!(kills > 5, "{kills} kills");
}

#[test]
fn a_switch_killed_anywhere_is_finished_or_undone() {
    let scene = Scene::new();
    let target = scene.target();
    killed_everywhere(
        &scene,
        1,
        1,
        || {
            let plan = target.plan(&scene.old).unwrap();
            target.stage(&plan, &scene.old).unwrap();
            plan
        },
        |doomed, plan| doomed.switch(plan),
        |plan, number| {
            let state = scene.state();
            assert!(["old10", "new10"].contains(&state.as_str()), "{state}");
            // A fresh process that knows the plan and nothing else.
            let fresh = scene.target();
            if number % 2 == 0 {
                fresh.switch(plan).unwrap();
                assert_eq!(scene.state(), "old10");
            }
            fresh.rollback(plan, Phase::Switching).unwrap();
            scene.assert_clean("new10");
            assert!(!scene.has_role());
        },
    );
}

#[test]
fn a_rollback_killed_anywhere_is_finished() {
    let scene = Scene::new();
    killed_everywhere(
        &scene,
        1,
        1,
        || scene.switched(),
        |doomed, plan| doomed.rollback(plan, Phase::Switched),
        |plan, _| {
            let state = scene.state();
            assert!(["old10", "new10"].contains(&state.as_str()), "{state}");
            scene.target().rollback(plan, Phase::Switched).unwrap();
            scene.assert_clean("new10");
            assert!(!scene.has_role());
        },
    );
}

#[test]
fn after_a_rollback_killed_anywhere_no_switch_brings_half_of_it_back() {
    let scene = Scene::new();
    killed_everywhere(
        &scene,
        1,
        1,
        || scene.switched(),
        |doomed, plan| doomed.rollback(plan, Phase::Switched),
        |plan, _| {
            let before = scene.state();
            match scene.target().switch(plan) {
                // Nothing was dropped yet.
                Ok(()) => assert_eq!(scene.state(), "old10", "{before}"),
                Err(error) => {
                    assert_eq!(error.kind(), SourceErrorKind::Missing, "{error}");
                    assert_eq!(scene.state(), "new10");
                }
            }
            scene.target().rollback(plan, Phase::Switched).unwrap();
            scene.assert_clean("new10");
        },
    );
}

#[test]
fn a_discard_killed_anywhere_is_finished() {
    let scene = Scene::new();
    killed_everywhere(
        &scene,
        1,
        1,
        || scene.switched(),
        |doomed, plan| doomed.discard(plan),
        |plan, _| {
            assert_eq!(scene.state(), "old10");
            scene.target().discard(plan).unwrap();
            scene.assert_clean("old10");
            assert!(scene.has_role());
        },
    );
    assert_eq!(scene.server.value("postgres", COMMENTS), "");
}

/// Subscribes to nobody, and tries without end.
const SUBSCRIBE: &str = "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
    WITH (connect = false, slot_name = 's'); ALTER SUBSCRIPTION s ENABLE";

#[test]
fn a_discard_of_what_subscribes_killed_anywhere_is_finished() {
    let scene = Scene::new();
    killed_everywhere(
        &scene,
        1,
        1,
        || {
            scene.server.execute("app", SUBSCRIBE);
            scene.switched()
        },
        |doomed, plan| doomed.discard(plan),
        |plan, _| {
            assert_eq!(scene.state(), "old10");
            scene.target().discard(plan).unwrap();
            scene.assert_clean("old10");
        },
    );
    assert_eq!(scene.server.value("postgres", COMMENTS), "");
}

#[test]
fn a_rollback_of_what_subscribes_killed_anywhere_is_finished() {
    let scene = Scene::new();
    killed_everywhere(
        &scene,
        1,
        1,
        || {
            let plan = scene.switched();
            scene.server.execute("app", SUBSCRIBE);
            plan
        },
        |doomed, plan| doomed.rollback(plan, Phase::Switched),
        |plan, _| {
            let state = scene.state();
            assert!(["old10", "new10"].contains(&state.as_str()), "{state}");
            scene.target().rollback(plan, Phase::Switched).unwrap();
            scene.assert_clean("new10");
        },
    );
}

#[test]
fn a_rollback_that_was_killed_leaves_nothing_to_a_discard() {
    let scene = Scene::new();
    killed_everywhere(
        &scene,
        1,
        1,
        || scene.switched(),
        |doomed, plan| doomed.rollback(plan, Phase::Switched),
        |plan, _| {
            let state = scene.state();
            scene.target().discard(plan).unwrap();
            scene.assert_clean(&state);
        },
    );
    assert_eq!(scene.server.value("postgres", COMMENTS), "");
}

#[test]
fn a_discard_of_a_later_restore_killed_anywhere_strands_none_of_an_earlier_one() {
    let scene = Scene::new();
    let earlier = std::cell::RefCell::new(Vec::new());
    killed_everywhere(
        &scene,
        1,
        1,
        || {
            earlier.borrow_mut().push(scene.switched());
            scene.switched()
        },
        |doomed, plan| doomed.discard(plan),
        |plan, _| {
            let target = scene.target();
            target.discard(plan).unwrap();
            let earlier = earlier.borrow_mut().pop().unwrap();
            target.discard(&earlier).unwrap();
            scene.assert_clean("old10");
        },
    );
    assert_eq!(scene.server.value("postgres", COMMENTS), "");
}

#[test]
fn a_staging_killed_anywhere_leaves_live_data_alone_and_is_undone_or_started_over() {
    let scene = Scene::new();
    let target = scene.target();
    killed_everywhere(
        &scene,
        1,
        7,
        || target.plan(&scene.old).unwrap(),
        |doomed, plan| doomed.stage(plan, &scene.old),
        |plan, number| {
            assert_eq!(scene.state(), "new10");
            let fresh = scene.target();
            if number % 4 == 0 {
                fresh.stage(plan, &scene.old).unwrap();
                assert!(
                    fresh
                        .validate(plan, &scene.old)
                        .unwrap()
                        .differences
                        .is_empty()
                );
            }
            fresh.rollback(plan, Phase::Staging).unwrap();
            scene.assert_clean("new10");
            assert!(!scene.has_role());
        },
    );
}

#[test]
fn a_rollback_comes_after_what_the_server_still_does_for_the_killed() {
    let scene = Scene::new();
    let target = scene.target();
    let plan = target.plan(&scene.old).unwrap();
    target.stage(&plan, &scene.old).unwrap();
    // The switch has renamed the first database and waits for the second when its process is killed.
    let mut holder = scene.server.client("postgres");
    holder
        .batch_execute("BEGIN; COMMENT ON DATABASE log IS 'held'")
        .unwrap();
    let proxy = PostgresProxy::start(scene.server.port(), Fault::None);
    let doomed = scene.doomed(&proxy);
    thread::scope(|scope| {
        let switch = scope.spawn(|| doomed.switch(&plan));
        until_waiting(&scene.server, "postgres", 1);
        drop(proxy);
        switch.join().unwrap().unwrap_err();

        let mut settings = scene.server.settings("");
        settings.timeouts.lock = Duration::from_millis(300);
        let impatient = PostgresTarget::new(settings, in_place());
        let error = impatient.rollback(&plan, Phase::Switching).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
        assert!(error.to_string().contains("another session"), "{error}");

        let rollback = scope.spawn(|| target.rollback(&plan, Phase::Switching));
        until_waiting(&scene.server, "postgres", 2);
        holder.batch_execute("ROLLBACK").unwrap();
        rollback.join().unwrap().unwrap();
    });
    scene.assert_clean("new10");
}

#[test]
fn nothing_is_done_twice_and_foreign_data_is_left_alone() {
    let scene = Scene::new();
    let target = scene.target();
    // Never staged: there is nothing to switch to.
    let plan = target.plan(&scene.old).unwrap();
    target.switch(&plan).unwrap_err();
    target.discard(&plan).unwrap();
    target.rollback(&plan, Phase::Staging).unwrap();
    scene.assert_clean("new10");

    // Somebody put another database in the place of ours: it is not taken away.
    let plan = scene.switched();
    scene
        .server
        .execute("postgres", "ALTER DATABASE app RENAME TO elsewhere");
    scene.server.execute("postgres", "CREATE DATABASE app");
    target.rollback(&plan, Phase::Switched).unwrap_err();
    assert!(scene.server.databases().contains(&"app".to_owned()));
}
