//! Options of `[source.NAME]` at work: the system shows that it was told.

use keepstone_testkit::servers::postgres::PostgresServer;
use keepstone_testkit::servers::redis::RedisServer;
use redis::Commands as _;
use rusqlite::Connection;

use super::Home;

#[test]
fn a_command_gets_its_arguments_its_shell_and_its_variables() {
    let home = Home::new();
    home.configure(
        r#"
        [source.arguments]
        argv = ["printf", "%s|", "a b", "$HOME", "c'd"]
        [source.shell]
        url = "command:printf %s \"$GREETING\" | tr a-z A-Z"
        shell = true
        environment = { GREETING = "hello" }
        [source.slow]
        url = "command:sleep 600"
        timeout = "1s"
        "#,
    );
    home.ok(&["backup", "--source", "arguments", "--source", "shell"]);
    assert_eq!(
        home.ok(&["dump", "latest:arguments/output"]),
        "a b|$HOME|c'd|"
    );
    assert_eq!(home.ok(&["dump", "latest:shell/output"]), "HELLO");
    // Only the program is ever recorded.
    let listed = home.ok(&["snapshots", "--json"]);
    assert!(
        listed.contains("\"command:printf\"") && !listed.contains("a b"),
        "{listed}"
    );
    let said = home.fails(23, &["backup", "--source", "slow"]);
    assert!(said.contains("sleep"), "{said}");
    let said = home.fails(2, &["restore", "latest", "--in-place", "--source", "shell"]);
    assert!(said.contains("--to shell=command:PROGRAM"), "{said}");
}

#[test]
fn redis_is_read_as_told() {
    let server = RedisServer::start();
    for key in ["keep:1", "drop:1"] {
        let () = server.connection().set(key, "v").unwrap();
    }
    let home = Home::new();
    let url = format!("redis://127.0.0.1:{}", server.port());
    home.configure(&format!(
        "[source.whole]\nurl = \"{url}\"\nmode = \"replica\"\nsort_memory = \"1M\"\nspool_dir = \"/tmp\"\n\
         [source.part]\nurl = \"{url}\"\nmode = \"scan\"\nkey_pattern = \"keep:*\"\n"
    ));
    home.ok(&["backup", "--source", "whole", "--source", "part"]);
    let listed = home.ok(&["snapshots", "--json"]);
    for consistency in ["point_in_time", "fuzzy"] {
        assert!(listed.contains(consistency), "{consistency}: {listed}");
    }
    home.ok(&["restore", "latest", "--target", &home.text("out")]);
    let exported = |name: &str| {
        let path = home.path("out").join(name).join("db0.resp");
        std::fs::read_to_string(path).unwrap()
    };
    assert!(exported("whole").contains("drop:1"));
    let part = exported("part");
    assert!(
        part.contains("keep:1") && !part.contains("drop:1"),
        "{part}"
    );
}

#[test]
fn postgres_is_told_its_databases_and_its_pg_dump() {
    let server = PostgresServer::start();
    for name in ["app", "log", "other"] {
        server.execute("postgres", &format!("CREATE DATABASE {name}"));
    }
    let home = Home::new();
    let url = server.url("");
    home.configure(&format!(
        "[source.two]\nurl = \"{url}\"\ndatabases = [\"app\", \"log\"]\nsslmode = \"disable\"\nconnections = 1\n\
         [source.bad]\nurl = \"{url}\"\npg_dump = \"/nowhere/pg_dump\"\n\
         [source.strict]\nurl = \"{url}\"\nsslmode = \"require\"\n"
    ));
    home.ok(&["backup", "--source", "two"]);
    let listed = home.ok(&["ls", "latest"]);
    assert!(listed.contains("app") && listed.contains("log"), "{listed}");
    assert!(!listed.contains("other"), "{listed}");
    let said = home.fails(23, &["backup", "--source", "bad"]);
    assert!(said.contains("cannot find pg_dump"), "{said}");
    let said = home.fails(23, &["backup", "--source", "strict"]);
    assert!(said.contains("offers no encryption"), "{said}");
}

#[test]
fn sqlite_waits_as_long_as_told() {
    let home = Home::new();
    let path = home.path("app.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("CREATE TABLE t(a); BEGIN EXCLUSIVE")
        .unwrap();
    home.configure(&format!(
        "[source.db]\nurl = \"sqlite:{}\"\nbusy_timeout = 1\ndigest_rows = false\nspool_dir = \"{}\"\n",
        path.display(),
        home.text("missing")
    ));
    let said = home.fails(23, &["backup", "--source", "db"]);
    assert!(said.contains("locked"), "{said}");
    connection.execute_batch("COMMIT").unwrap();
    let said = home.fails(23, &["backup", "--source", "db"]);
    assert!(said.contains(&home.text("missing")), "{said}");
    std::fs::create_dir(home.path("missing")).unwrap();
    let said = home.ok(&["backup", "--source", "db", "--json"]);
    assert!(
        said.contains("\"records\":0") && !said.contains("\"digest\""),
        "{said}"
    );
}
