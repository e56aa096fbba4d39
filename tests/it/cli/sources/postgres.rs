//! Parts of a PostgreSQL server, dumps of it, and restores by somebody who may little.

use std::fs;

use keepstone_testkit::servers::postgres::PostgresServer;

use super::Home;

/// Comments that a restore might have left.
const MARKS: &str = "SELECT count(*) FROM pg_shdescription WHERE description LIKE '%keepstone%'";
const USERS: &str = "SELECT string_agg(name, ',' ORDER BY name) FROM shop.users";

struct Scene {
    home: Home,
    server: PostgresServer,
}

impl Scene {
    /// Two databases, saved and then changed.
    fn new() -> Self {
        let server = PostgresServer::start();
        server.execute("postgres", "CREATE ROLE seller");
        for name in ["app", "log"] {
            server.execute("postgres", &format!("CREATE DATABASE {name}"));
            server.execute(
                name,
                "CREATE SCHEMA shop;
                 CREATE TABLE shop.users(id serial PRIMARY KEY, name text);
                 CREATE TABLE shop.orders(id int PRIMARY KEY, user_id int REFERENCES shop.users);
                 CREATE TABLE public.extra(a int);
                 INSERT INTO shop.users(name) VALUES ('saved'), ('twice');
                 INSERT INTO shop.orders VALUES (1, 1);
                 GRANT USAGE ON SCHEMA shop TO seller;
                 ALTER TABLE shop.users OWNER TO seller",
            );
        }
        let home = Home::new();
        let url = format!("pg={}", server.url(""))
            .trim_end_matches('/')
            .to_owned();
        home.ok(&["backup", &url]);
        for name in ["app", "log"] {
            server.execute(name, "UPDATE shop.users SET name = 'since' WHERE id = 1");
        }
        Self { home, server }
    }

    fn restore(&self, url: &str, flags: &[&str]) -> String {
        let to = format!("pg={url}");
        let restore = ["restore", "latest", "--force", "--to", &to];
        self.home.ok(&[&restore, flags].concat())
    }

    fn tables(&self, database: &str) -> String {
        let sql = "SELECT string_agg(schemaname || '.' || tablename, ',' ORDER BY 1)
                   FROM (SELECT * FROM pg_tables ORDER BY 1, 2) t
                   WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        self.server.value(database, sql)
    }

    /// Nothing is left to undo, on the server or here.
    fn assert_nothing_left(&self) {
        assert_eq!(self.server.value("postgres", MARKS), "0");
        assert!(
            self.home
                .ok(&["restore", "--list"])
                .contains("no earlier restore")
        );
    }
}

#[test]
fn one_database_a_schema_and_a_table_go_into_databases_of_their_own() {
    let scene = Scene::new();
    let server = &scene.server;
    scene.restore(&server.url("copy"), &["--database", "app"]);
    assert_eq!(server.value("copy", USERS), "saved,twice");
    assert_eq!(scene.tables("copy"), "public.extra,shop.orders,shop.users");
    scene.assert_nothing_left();
    scene.restore(
        &server.url("shop_only"),
        &["--database", "app", "--schema", "shop"],
    );
    assert_eq!(scene.tables("shop_only"), "shop.orders,shop.users");
    scene.restore(
        &server.url("users_only"),
        &["--database", "log", "--table", "shop.users"],
    );
    assert_eq!(scene.tables("users_only"), "shop.users");
    assert_eq!(server.value("users_only", USERS), "saved,twice");
    scene.assert_nothing_left();
    assert_eq!(server.value("app", USERS), "since,twice");
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'users'";
    assert_eq!(server.value("copy", owner), "seller");
    let to = format!("pg={}", server.url("app"));
    let said = scene.home.fails(
        23,
        &[
            "restore",
            "latest",
            "--force",
            "--to",
            &to,
            "--database",
            "app",
            "--table",
            "shop.users",
        ],
    );
    assert!(said.contains("under a name of its own"), "{said}");
}

#[test]
fn a_database_in_place_is_kept_brought_back_and_dropped() {
    let scene = Scene::new();
    let server = &scene.server;
    let restore = || {
        let to = format!("pg={}", server.url("app"));
        scene.home.restored(&[
            "restore",
            "latest",
            "--force",
            "--to",
            &to,
            "--database",
            "app",
        ])
    };
    let id = restore();
    assert_eq!(server.value("app", USERS), "saved,twice");
    assert_eq!(server.value("log", USERS), "since,twice");
    let listed = scene.home.ok(&["restore", "--list"]);
    assert!(
        listed.contains("done") && listed.contains("app__before_"),
        "{listed}"
    );
    scene.home.ok(&["restore", "--rollback", &id, "--force"]);
    assert_eq!(server.value("app", USERS), "since,twice");
    assert_eq!(server.databases(), ["app", "log", "postgres"]);
    let id = restore();
    scene.home.ok(&["restore", "--discard-old", &id, "--force"]);
    assert_eq!(server.value("app", USERS), "saved,twice");
    assert_eq!(server.databases(), ["app", "log", "postgres"]);
    scene.assert_nothing_left();
}

#[test]
fn a_rollback_says_what_it_drops_and_never_drops_what_a_later_restore_made() {
    let scene = Scene::new();
    let server = &scene.server;
    let to = format!("pg={}", server.url("app"));
    let restore = || {
        let restore = ["restore", "latest", "--force", "--to", &to];
        let flags = ["--database", "app"];
        scene.home.restored(&[&restore[..], &flags].concat())
    };
    let first = restore();
    let asked = scene.home.fails(2, &["restore", "--rollback", &first]);
    assert!(
        asked.contains("and drop what has taken its place, with every change made to it since?"),
        "{asked}"
    );
    let second = restore();
    server.execute("app", "UPDATE shop.users SET name = 'work' WHERE id = 1");
    let discard = |id: &str| scene.home.ok(&["restore", "--discard-old", id, "--force"]);
    discard(&second);
    let said = scene
        .home
        .fails(23, &["restore", "--rollback", &first, "--force"]);
    assert!(said.contains("is no longer the one"), "{said}");
    assert!(said.contains("app__before_"), "{said}");
    assert!(
        said.contains("What is live was left as it is. To stay with it, say --discard-old"),
        "{said}"
    );
    assert_eq!(server.value("app", USERS), "twice,work");
    discard(&first);
    assert_eq!(server.value("app", USERS), "twice,work");
    assert_eq!(server.databases(), ["app", "log", "postgres"]);
    scene.assert_nothing_left();
}

#[test]
fn a_role_that_may_only_create_databases_restores_and_leaves_no_mark() {
    let scene = Scene::new();
    let server = &scene.server;
    server.execute("postgres", "CREATE ROLE clerk LOGIN CREATEDB");
    let url = |database: &str| format!("postgres://clerk@127.0.0.1:{}/{database}", server.port());
    let flags = ["--database", "app", "--no-owner"];
    scene.restore(&url("copy"), &flags);
    assert_eq!(server.value("copy", USERS), "saved,twice");
    let owners =
        "SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables WHERE schemaname = 'shop'";
    assert_eq!(server.value("copy", owners), "clerk");
    scene.assert_nothing_left();
    // What it owns it may also replace, bring back and drop.
    server.execute("copy", "UPDATE shop.users SET name = 'since' WHERE id = 1");
    let id = scene.restore(&url("copy"), &flags);
    let id = id
        .split_once("--rollback ")
        .unwrap()
        .1
        .split_once(',')
        .unwrap()
        .0;
    assert_eq!(server.value("copy", USERS), "saved,twice");
    scene.home.ok(&["restore", "--rollback", id, "--force"]);
    assert_eq!(server.value("copy", USERS), "since,twice");
    scene.assert_nothing_left();
}

/// Loads a script as the example in the help does.
fn load(scene: &Scene, script: &[u8], database: &str) {
    let path = scene.home.path("script.sql");
    fs::write(&path, script).unwrap();
    scene.server.load(database, &path);
}

#[test]
fn a_dump_that_is_loaded_into_a_copy_changes_nothing_else() {
    let scene = Scene::new();
    let server = &scene.server;
    let url = format!("one={}", server.url("app"));
    server.execute("postgres", "ALTER ROLE seller PASSWORD 'old'");
    scene.home.ok(&["backup", &url]);
    server.execute(
        "postgres",
        "ALTER ROLE seller PASSWORD 'rotated'; CREATE ROLE heir; ALTER DATABASE app OWNER TO heir;
         COMMENT ON DATABASE app IS 'production'",
    );
    server.execute("postgres", "CREATE DATABASE copy_of_app");
    let of_server = || {
        let roles = "SELECT string_agg(rolname || coalesce(rolpassword, ''), ',' ORDER BY 1) FROM pg_authid";
        let app = "SELECT datdba::regrole || shobj_description(oid, 'pg_database')
                   FROM pg_database WHERE datname = 'app'";
        (
            server.value("postgres", roles),
            server.value("postgres", app),
        )
    };
    let before = of_server();
    let dump = |address: &str| scene.home.run(&["dump", address]).stdout;
    load(&scene, &dump("latest:one"), "copy_of_app");
    assert_eq!(server.value("copy_of_app", USERS), "since,twice");
    assert_eq!(of_server(), before);
    let restricted = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().filter(|line| !line.contains("restrict "));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        restricted(dump("latest:one/app")),
        restricted(dump("latest:one"))
    );
    // Who names it gets what changes the server.
    let globals = restricted(dump("latest:one/globals.sql"));
    assert!(globals.contains("ALTER ROLE \"seller\""), "{globals}");
    assert!(!globals.contains("CREATE TABLE"), "{globals}");
    let out = scene.home.text("out");
    scene.home.ok(&["restore", "latest:one", "--target", &out]);
    assert_eq!(
        scene.home.files_below("out"),
        ["one/app.sql", "one/globals.sql"]
    );
}

#[test]
fn a_dump_of_several_databases_asks_which() {
    let scene = Scene::new();
    let said = scene.home.fails(2, &["dump", "latest:pg"]);
    assert!(said.contains("source pg holds 3 databases"), "{said}");
    let names = "pg/app, pg/log, pg/postgres, pg/globals.sql";
    assert!(said.contains(names), "{said}");
    let server = &scene.server;
    server.execute("postgres", "CREATE DATABASE copy");
    let script = scene.home.run(&["dump", "latest:pg/log"]).stdout;
    load(&scene, &script, "copy");
    assert_eq!(server.value("copy", USERS), "saved,twice");
    let said = scene.home.fails(1, &["dump", "latest:pg/absent"]);
    assert!(said.contains("the snapshot holds no pg/absent"), "{said}");
}

#[test]
fn what_was_replaced_is_kept_until_it_is_surely_what_was_replaced() {
    let scene = Scene::new();
    let server = &scene.server;
    let to = format!("pg={}", server.url("app"));
    let flags = ["--force", "--to", &to, "--database", "app"];
    let id = scene
        .home
        .restored(&[&["restore", "latest"][..], &flags].concat());
    let mark = server.value(
        "postgres",
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'app'",
    );
    // It takes the mark off.
    server.execute("postgres", "COMMENT ON DATABASE app IS 'production'");
    let discard = ["restore", "--discard-old", &id, "--force"];
    let said = scene.home.fails(23, &discard);
    assert!(said.contains("no longer the one"), "{said}");
    assert!(!said.contains("removed"), "{said}");
    // What is there is what is live.
    assert!(!said.contains("remove what is there"), "{said}");
    let advice = "What is live was left as it is. Bring back what shows that this restore made it";
    assert!(said.contains(advice), "{said}");
    let said = scene
        .home
        .fails(23, &["restore", "--rollback", &id, "--force"]);
    let advice = "To stay with it, remove what is kept yourself, and then say --discard-old";
    assert!(said.contains(advice), "{said}");
    assert_eq!(server.databases().len(), 4);
    assert!(scene.home.ok(&["restore", "--list"]).contains(&id));
    server.execute("postgres", &format!("COMMENT ON DATABASE app IS '{mark}'"));
    scene.home.ok(&discard);
    assert_eq!(server.databases(), ["app", "log", "postgres"]);
    scene.assert_nothing_left();
}

#[test]
fn a_restore_is_let_be_where_it_may_be_done_or_its_server_is_gone() {
    let scene = Scene::new();
    let Scene { home, server } = &scene;
    let to = format!("pg={}", server.url("app"));
    let cut_off = |phase: &str| {
        let flags = ["--force", "--to", &to, "--database", "app"];
        let id = home.restored(&[&["restore", "latest"][..], &flags].concat());
        let entries = home.files_below("state/keepstone/restores");
        let is_its = |name: &&String| name.starts_with(&id) && name.ends_with(".json");
        let name = entries.iter().find(is_its).unwrap();
        let path = home.path("state/keepstone/restores").join(name);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"switched\"", &format!("\"{phase}\""))).unwrap();
        id
    };
    let id = cut_off("switching");
    server.execute("app", "UPDATE shop.users SET name = 'work' WHERE id = 1");
    let said = home.ok(&["restore", "--discard-old", &id, "--force"]);
    assert!(
        said.contains("may have left: database app__keepstone_"),
        "{said}"
    );
    assert!(said.contains("database app__before_"), "{said}");
    assert_eq!(server.value("app", USERS), "twice,work");
    assert_eq!(server.databases().len(), 4);
    assert!(!home.ok(&["restore", "--list"]).contains(&id));

    let (switching, staged) = (cut_off("switching"), cut_off("staged"));
    let done = cut_off("switched");
    drop(scene.server);
    let home = &scene.home;
    home.ok(&["restore", "--discard-old", &switching, "--force"]);
    let said = home.ok(&["restore", "--discard-old", &staged, "--force"]);
    let warning = "may have left was not removed: database app__keepstone_";
    assert!(said.contains(warning), "{said}");
    assert!(said.contains("cannot connect to database"), "{said}");
    // Nothing was begun: it is still as it was.
    home.fails(23, &["restore", "--discard-old", &done, "--force"]);
    let listed = home.ok(&["restore", "--list"]);
    assert!(
        listed.contains(&done) && !listed.contains("UNFINISHED"),
        "{listed}"
    );
    assert!(
        !listed.contains(&staged) && !listed.contains(&switching),
        "{listed}"
    );
}
