//! A process that dies at any byte it sends, or before any answer it gets: live data is all old or all new, and the
//! next process finishes or undoes.

use keepstone_engine::source::{Phase, RestorePlan, SourceError, Target};
use keepstone_sources::redis::{RedisRestoreOptions, RedisTarget};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::proxy::{Fault, Proxy};
use keepstone_testkit::servers::redis::RedisServer;
use redis::{Commands as _, cmd};

use super::capture::capture;
use super::restore::{fresh, journal, keys, live, target};

/// A small server: what is sent is short, so that every place in it can be tried.
fn small() -> (RedisServer, MemoryCapture, [Vec<u8>; 2]) {
    let server = RedisServer::start();
    let mut connection = server.connection();
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3")] {
        let () = connection.set(key, value).unwrap();
    }
    cmd("FUNCTION")
        .arg("LOAD")
        .arg("#!lua name=l\nredis.register_function('l', function() return 1 end)")
        .exec(&mut connection)
        .unwrap();
    let captured = capture(server.settings()).unwrap();
    cmd("FUNCTION")
        .arg("LOAD")
        .arg("REPLACE")
        .arg("#!lua name=l\nredis.register_function('l', function() return 2 end)")
        .exec(&mut connection)
        .unwrap();
    let () = connection.set("b", "changed").unwrap();
    let () = connection.set("d", "new").unwrap();
    let () = connection.del("c").unwrap();
    let old = live(&server, 0);
    (server, captured, [old, Vec::new()])
}

fn function(server: &RedisServer) -> u32 {
    cmd("FCALL")
        .arg("l")
        .arg(0)
        .query(&mut server.connection())
        .unwrap()
}

struct Scene {
    server: RedisServer,
    captured: MemoryCapture,
    options: RedisRestoreOptions,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Scene {
    fn new(options: RedisRestoreOptions) -> Self {
        let (server, captured, [old, _]) = small();
        let mut scene = Self {
            server,
            captured,
            options,
            old,
            new: Vec::new(),
        };
        // What the switch leads to is learnt from one that is not disturbed.
        let plan = scene.staged();
        fresh(&scene.server).switch(&plan).unwrap();
        scene.new = live(&scene.server, 0);
        fresh(&scene.server)
            .rollback(&plan, Phase::Switched)
            .unwrap();
        assert_ne!(scene.old, scene.new);
        scene.assert_old();
        scene
    }

    fn plan(&self) -> RestorePlan {
        journal(
            &target(&self.server, self.options.clone())
                .plan(&self.captured)
                .unwrap(),
        )
    }

    fn staged(&self) -> RestorePlan {
        let plan = self.plan();
        fresh(&self.server).stage(&plan, &self.captured).unwrap();
        plan
    }

    fn assert_old(&self) {
        assert_eq!(live(&self.server, 0), self.old);
        assert_eq!(function(&self.server), 2);
    }

    fn assert_new(&self) {
        assert_eq!(live(&self.server, 0), self.new);
        assert_eq!(
            function(&self.server),
            if self.options.functions { 1 } else { 2 }
        );
    }

    /// Whether the new data is live; everything is as before or everything is as restored.
    fn is_new(&self) -> bool {
        let data = live(&self.server, 0);
        assert!(data == self.old || data == self.new, "a mixture is live");
        if data == self.new {
            self.assert_new();
            return true;
        }
        self.assert_old();
        false
    }

    fn target_behind(&self, fault: Fault) -> RedisTarget {
        let mut settings = self.server.settings();
        settings.port = Proxy::before(self.server.port(), fault).port();
        RedisTarget::new(settings, RedisRestoreOptions::default())
    }

    /// Nothing of a restore is left but perhaps the mark of an undone one.
    fn assert_clean(&self) {
        assert!(keys(&self.server, 15) + keys(&self.server, 14) <= 1);
    }
}

/// Tries a step with faults at growing places until one no longer hits it.
fn with_faults(
    step_bytes: usize,
    fault: impl Fn(usize) -> Fault,
    mut attempt: impl FnMut(Fault) -> Result<(), SourceError>,
) -> usize {
    let mut failures = 0;
    for place in (0..).step_by(step_bytes) {
        match attempt(fault(place)) {
            Ok(()) => return failures,
            Err(_) => failures += 1,
        }
        assert!(place < 1 << 20, "the step never succeeds");
    }
    failures
}

type MakeFault = fn(usize) -> Fault;
const FAULTS: [(usize, MakeFault); 2] = [(7, Fault::CutRequests), (11, Fault::Cut)];

fn scenes() -> [Scene; 2] {
    let with_functions = RedisRestoreOptions {
        functions: true,
        ..RedisRestoreOptions::default()
    };
    let keys = RedisRestoreOptions {
        key_patterns: vec!["[bc]".to_owned()],
        ..with_functions.clone()
    };
    [Scene::new(with_functions), Scene::new(keys)]
}

#[test]
fn killed_while_staging() {
    for scene in scenes() {
        for (step, fault) in FAULTS {
            let failures = with_faults(step, fault, |fault| {
                let plan = scene.plan();
                let outcome = scene.target_behind(fault).stage(&plan, &scene.captured);
                scene.assert_old();
                let capture = capture(scene.server.settings()).unwrap();
                assert!(
                    !capture
                        .paths()
                        .iter()
                        .any(|path| path == "db/15" || path == "db/14")
                );
                fresh(&scene.server)
                    .rollback(&plan, Phase::Staging)
                    .unwrap();
                scene.assert_old();
                scene.assert_clean();
                outcome
            });
            assert!(failures > 20, "{failures} places were tried");
        }
    }
}

#[test]
fn killed_while_staging_and_staged_again() {
    for scene in scenes() {
        let (_, fault) = FAULTS[0];
        with_faults(97, fault, |fault| {
            let plan = scene.plan();
            let outcome = scene.target_behind(fault).stage(&plan, &scene.captured);
            fresh(&scene.server).stage(&plan, &scene.captured).unwrap();
            let validation = fresh(&scene.server)
                .validate(&plan, &scene.captured)
                .unwrap();
            assert_eq!(validation.differences, [""; 0]);
            fresh(&scene.server).switch(&plan).unwrap();
            scene.assert_new();
            fresh(&scene.server)
                .rollback(&plan, Phase::Switched)
                .unwrap();
            outcome
        });
    }
}

#[test]
fn killed_while_switching_then_finished_or_undone() {
    for scene in scenes() {
        for (step, fault) in FAULTS {
            let mut news = 0;
            let failures = with_faults(step, fault, |fault| {
                let mut outcome = Ok(());
                for finish in [true, false] {
                    let plan = scene.staged();
                    outcome = scene.target_behind(fault).switch(&plan);
                    let is_new = scene.is_new();
                    news += u32::from(is_new && outcome.is_err());
                    assert!(is_new || outcome.is_err());
                    if finish {
                        fresh(&scene.server).switch(&plan).unwrap();
                        scene.assert_new();
                    }
                    fresh(&scene.server)
                        .rollback(&plan, Phase::Switching)
                        .unwrap();
                    scene.assert_old();
                    scene.assert_clean();
                }
                outcome
            });
            assert!(failures > 20, "{failures} places were tried");
            // A lost answer hides a switch that was done.
            assert!(news > 0 || !matches!(fault(0), Fault::Cut(_)));
        }
    }
}

#[test]
fn killed_while_rolling_back_and_rolled_back_again() {
    for scene in scenes() {
        for (step, fault) in FAULTS {
            with_faults(step, fault, |fault| {
                let plan = scene.staged();
                fresh(&scene.server).switch(&plan).unwrap();
                let outcome = scene.target_behind(fault).rollback(&plan, Phase::Switched);
                let is_new = scene.is_new();
                assert!(!is_new || outcome.is_err());
                fresh(&scene.server)
                    .rollback(&plan, Phase::Switched)
                    .unwrap();
                scene.assert_old();
                scene.assert_clean();
                outcome
            });
        }
    }
}

#[test]
fn killed_while_discarding_and_discarded_again() {
    for scene in scenes() {
        for (step, fault) in FAULTS {
            with_faults(step, fault, |fault| {
                // The old data is put back by hand afterwards: a discard is for good.
                let plan = scene.staged();
                fresh(&scene.server).switch(&plan).unwrap();
                let outcome = scene.target_behind(fault).discard(&plan);
                scene.assert_new();
                fresh(&scene.server).discard(&plan).unwrap();
                scene.assert_new();
                assert_eq!(keys(&scene.server, 15) + keys(&scene.server, 14), 0);
                scene.put_old_back();
                outcome
            });
        }
    }
}

impl Scene {
    fn put_old_back(&self) {
        let mut connection = self.server.connection();
        cmd("FLUSHDB").exec(&mut connection).unwrap();
        for (key, value) in [("a", "1"), ("b", "changed"), ("d", "new")] {
            let () = connection.set(key, value).unwrap();
        }
        cmd("FUNCTION")
            .arg("LOAD")
            .arg("REPLACE")
            .arg("#!lua name=l\nredis.register_function('l', function() return 2 end)")
            .exec(&mut connection)
            .unwrap();
        self.assert_old();
    }
}

#[test]
fn a_server_that_goes_back_to_its_last_save_is_undone_from_there() {
    let (server, captured, [old, _]) = small();
    let mut server = server;
    let plan = fresh(&server).plan(&captured).unwrap();
    fresh(&server).stage(&plan, &captured).unwrap();
    // Saves, then switches, then crashes: the switch is forgotten.
    server.restart();
    let mut connection = server.connection();
    fresh(&server).switch(&plan).unwrap();
    assert_eq!(live(&server, 0), captured.content("db/0"));
    drop(cmd("SHUTDOWN").arg("NOSAVE").exec(&mut connection));
    server.start_again();
    assert_eq!(live(&server, 0), old);
    fresh(&server).rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(live(&server, 0), old);
}
