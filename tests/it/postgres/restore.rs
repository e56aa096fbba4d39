//! Restores: beside, in place, under another name, in part; and what is refused beforehand.

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::postgres::PostgresRestoreOptions;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::{assert_same_data, capture, fill, fill_small, in_place, mark, restore, schema, target};

#[test]
fn a_restored_database_equals_the_captured_one() {
    let server = PostgresServer::start();
    fill(&server, "app");
    server.execute("app", "ALTER DATABASE app SET work_mem = '5MB'; ALTER DATABASE app SET search_path = \"$user\", public;
        COMMENT ON DATABASE app IS 'it''s mine'; GRANT CONNECT ON DATABASE app TO reader;
        ALTER ROLE reader IN DATABASE app SET statement_timeout = '7s'; ALTER DATABASE app OWNER TO \"app owner\"");
    let before = capture(&server, "app");
    let target = target(&server, "copy of app", PostgresRestoreOptions::default());
    let plan = restore(&target, &before).unwrap();
    assert_eq!(plan.replaces, Vec::<String>::new());
    target.discard(&plan).unwrap();

    assert_eq!(schema(&server, "app"), schema(&server, "copy of app"));
    let after = capture(&server, "copy of app");
    assert_same_data((&before, "app"), (&after, "copy of app"));
    let facts = |capture: &keepstone_testkit::memory::MemoryCapture, name: &str| {
        String::from_utf8(capture.content(name).to_vec()).unwrap()
    };
    let expected =
        facts(&before, "app/database").replace("\"name\":\"app\"", "\"name\":\"copy of app\"");
    assert_eq!(expected, facts(&after, "copy%20of%20app/database"));
    // Materialized views were filled, but for the one that never was.
    assert_eq!(
        server.value("copy of app", "SELECT total FROM public.grand_total"),
        server.value("app", "SELECT total FROM public.grand_total")
    );
    assert_eq!(
        server.value(
            "copy of app",
            "SELECT count(*) FROM pg_matviews WHERE NOT ispopulated"
        ),
        "1"
    );
}

#[test]
fn a_live_database_is_replaced_and_brought_back() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    server.execute("app", "UPDATE t SET mark = 'new'");
    let target = target(&server, "app", in_place());
    // Somebody is connected all the while, and is asked to leave.
    let _somebody = server.client("app");
    let plan = restore(&target, &old).unwrap();
    assert_eq!(mark(&server, "app"), "old10");
    assert_eq!(plan.replaces, ["database app"]);
    assert_eq!(server.databases().len(), 3, "{:?}", server.databases());
    // A second switch finds nothing to do.
    target.switch(&plan).unwrap();
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(mark(&server, "app"), "new10");
    assert_eq!(server.databases(), ["app", "postgres"]);
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(mark(&server, "app"), "new10");

    let plan = restore(&target, &old).unwrap();
    target.discard(&plan).unwrap();
    target.discard(&plan).unwrap();
    assert_eq!(mark(&server, "app"), "old10");
    assert_eq!(server.databases(), ["app", "postgres"]);
    assert_eq!(
        server.value("postgres", "SELECT count(*) FROM pg_db_role_setting"),
        "0"
    );
}
