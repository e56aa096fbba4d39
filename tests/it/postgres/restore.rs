//! Restores: beside, in place, under another name, in part; and what is refused beforehand.

use keepstone_engine::source::{Phase, SourceErrorKind, Target as _};
use keepstone_sources::postgres::PostgresRestoreOptions;
use keepstone_testkit::servers::postgres::PostgresServer;

use super::{
    COMMENTS, assert_same_data, capture, fill, fill_small, in_place, mark, restore, schema, target,
};

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
    assert_eq!(server.value("postgres", COMMENTS), "");
}

#[test]
fn what_several_restores_kept_is_dropped_in_any_order() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "old");
    let old = capture(&server, "app");
    let target = target(&server, "app", in_place());
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let plans = [(); 3].map(|()| restore(&target, &old).unwrap());
        assert_eq!(server.databases().len(), 5);
        // What the second restore switched in is not live: bringing back what it kept would overwrite the third.
        let error = target.rollback(&plans[1], Phase::Switched).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Occupied, "{error:?}");
        for (left, plan) in [4, 3, 2].into_iter().zip(order) {
            target.discard(&plans[plan]).unwrap();
            target.discard(&plans[plan]).unwrap();
            let kept = plans[plan].keeps[0].strip_prefix("database ").unwrap();
            let databases = server.databases();
            assert_eq!(databases.len(), left, "{order:?}: {databases:?}");
            assert!(!databases.iter().any(|name| name == kept), "{order:?}");
        }
        assert_eq!(server.value("postgres", COMMENTS), "", "{order:?}");
    }
}

#[test]
fn several_databases_go_to_another_server_with_their_roles() {
    let server = PostgresServer::start();
    fill(&server, "app");
    fill_small(&server, "Größe / \"x\"", "x");
    let source = keepstone_sources::postgres::PostgresSource::new(server.settings(""));
    let before = keepstone_testkit::memory::MemoryCapture::of(&source).unwrap();
    let other = PostgresServer::start();
    other.execute("postgres", "CREATE TABLE in_the_way (a integer)");
    let options = PostgresRestoreOptions {
        databases: vec!["app".into(), "Größe / \"x\"".into()],
        ..PostgresRestoreOptions::default()
    };
    let target = target(&other, "", options);
    let plan = restore(&target, &before).unwrap();
    assert!(
        plan.creates.contains(&"role app owner".to_owned()),
        "{:?}",
        plan.creates
    );
    assert_eq!(schema(&server, "app"), schema(&other, "app"));
    assert_same_data((&before, "app"), (&capture(&other, "app"), "app"));
    assert_eq!(mark(&other, "Größe / \"x\""), "x10");
    // Everything that was made goes again, and nothing else.
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(other.databases(), ["postgres"]);
    assert_eq!(
        other.value(
            "postgres",
            "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname !~ '^pg_'"
        ),
        "postgres"
    );
}

#[test]
fn a_database_of_another_server_is_taken_without_its_owners() {
    let server = PostgresServer::start();
    fill(&server, "app");
    // A policy names a role, which is no matter of owners.
    server.execute("app", "DROP POLICY own ON orders");
    let before = capture(&server, "app");
    let other = PostgresServer::start();
    let options = PostgresRestoreOptions {
        owners: false,
        ..PostgresRestoreOptions::default()
    };
    let plan = restore(&target(&other, "app", options), &before).unwrap();
    assert_eq!(plan.creates.len(), 1);
    assert_eq!(
        other.value(
            "app",
            "SELECT tableowner FROM pg_tables WHERE tablename = 'users'"
        ),
        "postgres"
    );
    assert_eq!(
        other.value(
            "app",
            "SELECT count(*) FROM pg_roles WHERE rolname = 'reader'"
        ),
        "0"
    );
}

#[test]
fn a_schema_or_a_table_is_restored_beside() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let before = capture(&server, "app");
    let tables = |database: &str| {
        server.value(database, "SELECT string_agg(relname, ',' ORDER BY relname COLLATE \"C\") FROM pg_class c JOIN pg_namespace n
            ON n.oid = c.relnamespace WHERE relkind IN ('r', 'p') AND nspname !~ '^(pg_|information_schema)'")
    };
    let table = |name: &str| PostgresRestoreOptions::parse_table(name).unwrap();
    let options = PostgresRestoreOptions {
        tables: vec![table("orders"), table("public.events")],
        ..PostgresRestoreOptions::default()
    };
    restore(&target(&server, "some", options), &before).unwrap();
    assert_eq!(
        tables("some"),
        "events,events_2025,events_2026,events_2026_a,events_2026_rest,orders"
    );
    assert_eq!(
        server.value("some", "SELECT count(*) FROM orders"),
        server.value("app", "SELECT count(*) FROM orders")
    );
    assert_eq!(server.value("some", "SELECT count(*) FROM events"), "501");

    let options = PostgresRestoreOptions {
        schemas: vec!["odd / schema".into()],
        ..PostgresRestoreOptions::default()
    };
    restore(&target(&server, "odd", options), &before).unwrap();
    assert_eq!(tables("odd"), "..");

    // Children keep their parents, which stay empty.
    let options = PostgresRestoreOptions {
        tables: vec![table("child")],
        ..PostgresRestoreOptions::default()
    };
    restore(&target(&server, "heirs", options), &before).unwrap();
    assert_eq!(tables("heirs"), "child,parent");
    assert_eq!(
        server.value("heirs", "SELECT count(*) FROM ONLY parent"),
        "0"
    );

    let options = PostgresRestoreOptions {
        tables: vec![table("nothing")],
        ..PostgresRestoreOptions::default()
    };
    let error = target(&server, "none", options).plan(&before).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing, "{error:?}");
}

#[test]
fn event_triggers_of_the_capture_are_restored_and_not_fired() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute(
        "app",
        "CREATE TABLE other (a integer); CREATE MATERIALIZED VIEW marks AS SELECT DISTINCT mark FROM t;
         CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'no ddl'; END $$;
         CREATE EVENT TRIGGER always ON ddl_command_start EXECUTE FUNCTION refuse();
         ALTER EVENT TRIGGER always ENABLE ALWAYS; COMMENT ON EVENT TRIGGER always IS 'no ddl';
         CREATE EVENT TRIGGER drops ON sql_drop EXECUTE FUNCTION refuse()",
    );
    let before = capture(&server, "app");
    let some = PostgresRestoreOptions {
        tables: vec![PostgresRestoreOptions::parse_table("t").unwrap()],
        ..PostgresRestoreOptions::default()
    };
    for (name, options) in [("copy", PostgresRestoreOptions::default()), ("some", some)] {
        restore(&target(&server, name, options), &before).unwrap();
        assert_eq!(mark(&server, name), "x10");
        let triggers = "SELECT string_agg(evtname || evtenabled::text, ',' ORDER BY evtname) FROM pg_event_trigger";
        assert_eq!(server.value(name, triggers), "alwaysA,dropsO");
    }
    assert_eq!(schema(&server, "app"), schema(&server, "copy"));
    assert_eq!(server.value("copy", "SELECT mark FROM marks"), "x");
}

#[test]
fn a_plan_refuses_what_cannot_work() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let before = capture(&server, "app");
    let plan = |database: &str, options: PostgresRestoreOptions| {
        target(&server, database, options).plan(&before)
    };
    let kind = |database: &str, options| plan(database, options).unwrap_err().kind();
    assert_eq!(
        kind("app", PostgresRestoreOptions::default()),
        SourceErrorKind::Occupied
    );
    let part = PostgresRestoreOptions {
        schemas: vec!["public".into()],
        ..in_place()
    };
    assert_eq!(kind("app", part), SourceErrorKind::Occupied);
    let other = PostgresRestoreOptions {
        databases: vec!["shop".into()],
        ..in_place()
    };
    assert_eq!(kind("app", other), SourceErrorKind::Missing);
    // A plan alone changes nothing.
    plan("copy", PostgresRestoreOptions::default()).unwrap();
    assert_eq!(server.databases(), ["app", "postgres"]);

    let refused = |change: &dyn Fn(&mut keepstone_testkit::memory::MemoryCapture), options| {
        let mut capture = before.clone();
        change(&mut capture);
        let error = target(&server, "copy", options).plan(&capture).unwrap_err();
        (error.kind(), error.to_string())
    };
    let facts = |from: &'static str, to: &'static str| {
        move |capture: &mut keepstone_testkit::memory::MemoryCapture| {
            let path = keepstone_engine::path::RepoPath::parse("app/database").unwrap();
            let (_, content) = capture.items.get_mut(&path).unwrap();
            *content = String::from_utf8_lossy(content)
                .replace(from, to)
                .into_bytes();
        }
    };
    let (kind, text) = refused(
        &|capture| capture.open_facts.version = Some("99.3".into()),
        PostgresRestoreOptions::default(),
    );
    assert_eq!(kind, SourceErrorKind::Preflight, "{text}");
    let (kind, text) = refused(
        &facts("pgcrypto", "no_such_extension"),
        PostgresRestoreOptions::default(),
    );
    assert!(
        kind == SourceErrorKind::Preflight && text.contains("no_such_extension"),
        "{text}"
    );
    let (kind, text) = refused(
        &facts("\"owner\":\"postgres\"", "\"owner\":\"nobody\""),
        PostgresRestoreOptions::default(),
    );
    assert!(
        kind == SourceErrorKind::Preflight && text.contains("nobody"),
        "{text}"
    );

    server.execute("postgres", "CREATE ROLE weak LOGIN");
    let mut settings = server.settings("copy");
    settings.user = "weak".into();
    let weak = keepstone_sources::postgres::PostgresTarget::new(
        settings,
        PostgresRestoreOptions::default(),
    );
    assert_eq!(
        weak.plan(&before).unwrap_err().kind(),
        SourceErrorKind::Denied
    );
}

#[test]
fn rows_that_are_not_those_of_the_capture_are_found() {
    let server = PostgresServer::start();
    fill(&server, "app");
    let before = capture(&server, "app");
    let target = target(&server, "copy", PostgresRestoreOptions::default());
    let plan = target.plan(&before).unwrap();
    target.stage(&plan, &before).unwrap();
    let staged = server
        .databases()
        .into_iter()
        .find(|name| name.contains("__keepstone_"))
        .unwrap();
    assert_eq!(
        target.validate(&plan, &before).unwrap().differences,
        Vec::<String>::new()
    );
    let found = |sql: &str| {
        server.execute(&staged, sql);
        target
            .validate(&plan, &before)
            .unwrap()
            .differences
            .join("; ")
    };
    let text = found("UPDATE public.users SET email = 'x@y' WHERE id = 1");
    assert!(text.contains("public.users has other rows"), "{text}");
    let text = found("DELETE FROM public.users WHERE id = 2");
    assert!(
        text.contains("public.users has 428 rows instead of 429"),
        "{text}"
    );
    let text = found("SELECT nextval('public.counter')");
    assert!(text.contains("sequence public.counter"), "{text}");
    let text = found("SELECT lo_put(90001, 0, 'x')");
    assert!(text.contains("large objects"), "{text}");
    let text = found("DROP INDEX public.orders_amount");
    assert!(text.contains("CREATE INDEX orders_amount"), "{text}");
    let text = found("DROP TABLE public.cache; CREATE TABLE public.more (a integer)");
    assert!(
        text.contains("public.cache is missing") && text.contains("public.more was not captured"),
        "{text}"
    );
    target.rollback(&plan, Phase::Staged).unwrap();
}

#[test]
fn extensions_that_only_a_superuser_may_create_are_named_beforehand() {
    let server = PostgresServer::start();
    fill_small(&server, "app", "x");
    server.execute(
        "app",
        "CREATE ROLE builder LOGIN CREATEDB; CREATE EXTENSION file_fdw; CREATE EXTENSION pgcrypto",
    );
    let before = capture(&server, "app");
    for (user, named) in [("builder", Some("file_fdw")), ("postgres", None)] {
        let mut settings = server.settings("copy");
        settings.user = user.into();
        let options = PostgresRestoreOptions {
            owners: false,
            ..PostgresRestoreOptions::default()
        };
        let target = keepstone_sources::postgres::PostgresTarget::new(settings, options);
        let warnings = target.plan(&before).unwrap().warnings;
        let ours = warnings
            .iter()
            .find(|warning| warning.contains("extensions"));
        let list = ours.and_then(|warning| Some(warning.rsplit_once(": ")?.1));
        assert_eq!(list, named, "{warnings:?}");
    }
}

#[test]
fn whoever_may_make_databases_may_restore_their_own() {
    let server = PostgresServer::start();
    server.execute(
        "postgres",
        "CREATE ROLE builder LOGIN CREATEDB; GRANT pg_signal_backend TO builder",
    );
    fill_small(&server, "app", "old");
    server.execute(
        "app",
        "ALTER DATABASE app OWNER TO builder; ALTER TABLE t OWNER TO builder; COMMENT ON DATABASE app IS 'ours'",
    );
    let old = capture(&server, "app");
    server.execute("app", "UPDATE t SET mark = 'new'");
    let mut settings = server.settings("app");
    settings.user = "builder".into();
    let target = keepstone_sources::postgres::PostgresTarget::new(settings, in_place());
    let plan = restore(&target, &old).unwrap();
    assert_eq!(mark(&server, "app"), "old10");
    target.rollback(&plan, Phase::Switched).unwrap();
    assert_eq!(mark(&server, "app"), "new10");
    let plan = restore(&target, &old).unwrap();
    target.discard(&plan).unwrap();
    assert_eq!(server.databases(), ["app", "postgres"]);
    assert_eq!(
        server.value(
            "app",
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'app'"
        ),
        "ours"
    );
    assert_eq!(
        capture(&server, "app").content("app/database"),
        old.content("app/database")
    );
}
