//! What restores have kept: whoever brings it back or drops it, in whatever order, loses nothing that is all there is.

use std::thread;

use keepstone_engine::source::{Phase, RestorePlan, SourceErrorKind, Target as _};
use keepstone_sources::postgres::{PostgresSource, PostgresTarget};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::{COMMENTS, capture, fill_small, in_place, mark, restore, target, until_waiting};

/// Changes what a small database says it is.
fn set(server: &PostgresServer, database: &str, mark: &str) {
    server.execute(database, &format!("UPDATE t SET mark = '{mark}'"));
}

fn kept(plan: &RestorePlan) -> &str {
    plan.keeps[0].strip_prefix("database ").unwrap()
}

/// A rollback says that what is live is another's, and changes nothing.
#[track_caller]
fn assert_refused(server: &PostgresServer, target: &PostgresTarget, plan: &RestorePlan) {
    let databases = server.databases();
    let live = mark(server, "app");
    let error = target.rollback(plan, Phase::Switched).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("no longer the one"), "{text}");
    assert_eq!(server.databases(), databases);
    assert_eq!(mark(server, "app"), live);
}

#[test]
fn a_rollback_never_drops_what_a_later_restore_made() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    let target = target(&server, "app", in_place());
    set(&server, "app", "first");
    let a = restore(&target, &old).unwrap();
    set(&server, "app", "second");
    let b = restore(&target, &old).unwrap();
    set(&server, "app", "work since");
    // What A had switched in goes with what B kept; B's database comes after it, and is not A's to drop.
    target.discard(&b).unwrap();
    assert_refused(&server, &target, &a);
    assert_eq!(mark(&server, "app"), "work since10");

    // A further restore can be undone, to the same state.
    let c = restore(&target, &old).unwrap();
    assert_refused(&server, &target, &a);
    target.rollback(&c, Phase::Switched).unwrap();
    assert_eq!(mark(&server, "app"), "work since10");
    assert_refused(&server, &target, &a);
    assert_eq!(server.databases(), ["app", kept(&a), "postgres"]);

    // What A kept can still be dropped.
    target.discard(&a).unwrap();
    assert_eq!(mark(&server, "app"), "work since10");
    assert_eq!(server.databases(), ["app", "postgres"]);
    assert_eq!(server.value("postgres", COMMENTS), "");
}

#[test]
fn a_rollback_of_what_replaced_nothing_drops_no_later_restore_either() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    server.execute("postgres", "DROP DATABASE app");
    let target = target(&server, "app", in_place());
    let a = restore(&target, &old).unwrap();
    assert_eq!(a.keeps, Vec::<String>::new());
    let b = restore(&target, &old).unwrap();
    set(&server, "app", "work since");
    assert_refused(&server, &target, &a);
    target.discard(&b).unwrap();
    assert_refused(&server, &target, &a);
    target.discard(&a).unwrap();
    assert_eq!(mark(&server, "app"), "work since10");
    assert_eq!(server.databases(), ["app", "postgres"]);
    assert_eq!(server.value("postgres", COMMENTS), "");
}

#[test]
fn a_rollback_to_what_is_gone_leaves_what_is_live() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    let target = target(&server, "app", in_place());
    let plan = restore(&target, &old).unwrap();
    let drop = format!("DROP DATABASE \"{}\"", kept(&plan));
    server.execute("postgres", &drop);
    let error = target.rollback(&plan, Phase::Switched).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing, "{error:?}");
    assert_eq!(mark(&server, "app"), "old10");
    target.discard(&plan).unwrap();
    assert_eq!(server.databases(), ["app", "postgres"]);
    assert_eq!(server.value("postgres", COMMENTS), "");
}

#[test]
fn databases_whose_long_names_begin_alike_are_restored_together() {
    let server = PostgresServer::start();
    let names = [1, 2].map(|n| format!("customer_reporting_warehouse_production_eu_west_{n}"));
    let all = server.settings_of(&format!("{}?databases={}", server.url(""), names.join(",")));
    for name in &names {
        fill_small(&server, name, &format!("old of {name}"));
    }
    let old = MemoryCapture::of(&PostgresSource::new(all.clone())).unwrap();
    let state = || names.each_ref().map(|name| mark(&server, name));
    let [restored, live] =
        ["old", "new"].map(|what| names.each_ref().map(|name| format!("{what} of {name}10")));
    for name in &names {
        set(&server, name, &format!("new of {name}"));
    }
    let target = PostgresTarget::new(all, in_place());
    let everything = |plan: &RestorePlan| {
        let kept = plan.keeps.iter();
        let kept = kept.map(|kept| kept.strip_prefix("database ").unwrap());
        let mut expected: Vec<_> = names.iter().map(String::as_str).chain(kept).collect();
        expected.push("postgres");
        expected.sort_unstable();
        assert_eq!(server.databases(), expected);
        assert_eq!(expected.len(), 5);
    };
    let plan = restore(&target, &old).unwrap();
    everything(&plan);
    assert_eq!(state(), restored);
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(state(), live);
    assert_eq!(server.databases().len(), 3);

    let plan = restore(&target, &old).unwrap();
    everything(&plan);
    target.discard(&plan).unwrap();
    assert_eq!(state(), restored);
    assert_eq!(server.databases().len(), 3);
    assert_eq!(server.value("postgres", COMMENTS), "");
}

#[test]
fn names_that_change_while_a_rollback_waits_stop_it() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    let target = target(&server, "app", in_place());
    let plan = restore(&target, &old).unwrap();
    fill_small(&server, "other", "precious");
    // Somebody who takes no turn puts another database in the place of ours.
    let mut holder = server.client("postgres");
    holder
        .batch_execute(
            "BEGIN; ALTER DATABASE app RENAME TO aside; ALTER DATABASE other RENAME TO app",
        )
        .unwrap();
    thread::scope(|scope| {
        let rollback = scope.spawn(|| target.rollback(&plan, Phase::Switched));
        until_waiting(&server, "postgres", 1);
        holder.batch_execute("COMMIT").unwrap();
        let error = rollback.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error:?}");
        assert!(error.to_string().contains("meanwhile"), "{error}");
    });
    assert_eq!(mark(&server, "app"), "precious10");
    assert_eq!(mark(&server, "aside"), "old10");
    assert_eq!(
        server.databases(),
        ["app", kept(&plan), "aside", "postgres"]
    );
}

#[test]
fn a_discard_that_would_be_refused_is_refused_beforehand() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    let target = target(&server, "app", in_place());
    let plan = restore(&target, &old).unwrap();
    let comment = server.value("postgres", COMMENTS);
    target.may_discard(&plan).unwrap();
    assert_eq!(server.value("postgres", COMMENTS), comment);
    server.execute("postgres", "COMMENT ON DATABASE app IS 'production'");
    let error = target.may_discard(&plan).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error:?}");
    // It says what would have to be there.
    assert!(error.to_string().contains(&comment), "{error}");
    server.execute("postgres", &format!("DROP DATABASE \"{}\"", kept(&plan)));
    target.may_discard(&plan).unwrap();
}
