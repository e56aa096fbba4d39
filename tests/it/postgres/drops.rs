//! Databases that a server drops only after something else was done, and schemas that name what is elsewhere.

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::postgres::{PostgresRestoreOptions, PostgresTarget};
use keepstone_testkit::servers::postgres::PostgresServer;

use super::{capture, fill_small, in_place, mark, restore, target};

#[test]
fn a_database_that_subscribes_is_brought_back_dropped_and_staged_again() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let enable = "ALTER SUBSCRIPTION \"of others\" ENABLE";
    server.execute(
        "app",
        &format!(
            "CREATE SUBSCRIPTION \"of others\" CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
                WITH (connect = false, slot_name = 'kept'); {enable}"
        ),
    );
    let subscriptions = || {
        let all =
            "SELECT string_agg(concat_ws(' ', datname, subname, subslotname, subenabled), ', ')
            FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid";
        server.value("postgres", all)
    };
    let old = capture(&server, "app");
    server.execute("app", "UPDATE t SET mark = 'new'");
    let target = target(&server, "app", in_place());
    let plan = restore(&target, &old).unwrap();
    let said = plan.warnings.iter().find(|said| said.contains("disabled"));
    assert!(said.unwrap().ends_with(": \"of others\""), "{said:?}");
    server.execute("app", enable);
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(mark(&server, "app"), "new10");
    assert_eq!(server.databases(), ["app", "postgres"]);
    // What was brought back goes on as it did.
    assert_eq!(subscriptions(), "app of others kept t");

    let plan = restore(&target, &old).unwrap();
    target.discard(&plan).unwrap();
    assert_eq!(mark(&server, "app"), "old10");
    assert_eq!(server.databases(), ["app", "postgres"]);
    assert_eq!(subscriptions(), "app of others kept f");

    let plan = target.plan(&old).unwrap();
    target.stage(&plan, &old).unwrap();
    target.stage(&plan, &old).unwrap();
    target.rollback(&plan, Phase::Staging).unwrap();
    assert_eq!(server.databases(), ["app", "postgres"]);
}

#[test]
fn a_template_that_was_replaced_is_dropped() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    server.execute("postgres", "ALTER DATABASE app IS_TEMPLATE true");
    let old = capture(&server, "app");
    let target = target(&server, "app", in_place());
    let plan = restore(&target, &old).unwrap();
    target.discard(&plan).unwrap();
    let all = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database";
    assert_eq!(
        server.value("postgres", all),
        "app,postgres,template0,template1"
    );
}

#[test]
fn roles_that_a_schema_names_are_asked_for_beforehand_even_without_owners() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute(
        "app",
        "CREATE ROLE reader; CREATE ROLE \"far, away\"; CREATE ROLE near;
         CREATE POLICY p ON t TO near, reader USING (mark <> ' TO nobody');
         CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw;
         CREATE USER MAPPING FOR \"far, away\" SERVER s; CREATE USER MAPPING FOR public SERVER s",
    );
    let before = capture(&server, "app");
    let other = PostgresServer::start();
    other.execute("postgres", "CREATE ROLE near");
    let options = PostgresRestoreOptions {
        owners: false,
        ..PostgresRestoreOptions::default()
    };
    let target = target(&other, "app", options);
    let error = target.plan(&before).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Preflight, "{error:?}");
    let text = error.to_string();
    assert!(text.contains(": far, away, reader;"), "{text}");
    other.execute("postgres", "CREATE ROLE reader; CREATE ROLE \"far, away\"");
    restore(&target, &before).unwrap();
    assert_eq!(mark(&other, "app"), "x10");
}

#[test]
fn a_subscription_of_somebody_else_keeps_what_is_kept_closed_and_the_way_back_open() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    server.execute(
        "postgres",
        "CREATE ROLE builder LOGIN CREATEDB; GRANT pg_signal_backend TO builder;
         ALTER DATABASE app OWNER TO builder",
    );
    server.execute("app", "ALTER TABLE t OWNER TO builder");
    let old = capture(&server, "app");
    server.execute(
        "app",
        "UPDATE t SET mark = 'new';
         CREATE SUBSCRIPTION others CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
            WITH (connect = false, slot_name = 'kept')",
    );
    let mut settings = server.settings("app");
    settings.user = "builder".into();
    let target = PostgresTarget::new(settings, in_place());
    let plan = restore(&target, &old).unwrap();
    for refused in [target.may_discard(&plan), target.discard(&plan)] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Denied, "{error:?}");
        assert!(
            error.to_string().contains("its subscription others"),
            "{error}"
        );
    }
    let open =
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'app__before%' AND datallowconn";
    assert_eq!(server.value("postgres", open), "0");
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(mark(&server, "app"), "new10");
    assert_eq!(server.databases(), ["app", "postgres"]);
}
