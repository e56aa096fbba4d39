//! All five sources in one snapshot: loaded by their own tools from what `restore` and `dump` write, and restored live.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use keepstone_testkit::servers::postgres::PostgresServer;
use keepstone_testkit::servers::redis::RedisServer;
use redis::cmd;
use serde_json::Value;

use super::world::{World, of_type};

/// A world with everything in one snapshot, and the servers that it came from.
struct Five {
    world: World,
    redis: RedisServer,
    postgres: PostgresServer,
}

impl Five {
    fn saved() -> Self {
        let five = Self {
            world: World::filled(),
            redis: RedisServer::start(),
            postgres: PostgresServer::start(),
        };
        fill_redis(&five.redis);
        five.postgres.execute("postgres", "CREATE DATABASE app");
        five.postgres
            .execute("app", include_str!("../postgres/schema.sql"));
        let said = five.world.ok(&[
            "backup",
            "data",
            &five.world.database(),
            &redis_address(&five.redis),
            &five.postgres.url("app"),
            "note=command:printf 'a %s' dump",
        ]);
        assert_eq!(said.lines().count(), 6, "{said}");
        five
    }

    /// What a source of the newest snapshot said of its content: names, records and digests.
    fn collections(&self, source: &str) -> Vec<(String, Value, Value)> {
        let address = match source {
            "sqlite-app.db" => self.world.database(),
            "redis" => redis_address(&self.redis),
            _ => self.postgres.url("app"),
        };
        collections(&self.world, &format!("{source}={address}"))
    }
}

/// Captures a source again, without keeping it, and gives what it holds. Databases are compared whatever they are called.
fn collections(world: &World, source: &str) -> Vec<(String, Value, Value)> {
    let lines = world.json(&["backup", "--dry-run", source]);
    let report = &of_type(&lines, "summary")[0]["details"][0]["report"];
    let found = report["collections"]
        .as_array()
        .expect("collections")
        .iter();
    let found = found.map(|facts| {
        let name = facts["name"].as_str().expect("a name");
        let name = name.split_once('/').map_or(name, |(_, name)| name);
        (
            name.to_owned(),
            facts["records"].clone(),
            facts["digest"].clone(),
        )
    });
    let found: Vec<_> = found.collect();
    assert!(!found.is_empty(), "{source} says nothing of its content");
    found
}

fn redis_address(server: &RedisServer) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

/// Every type that commands can make again whole.
fn fill_redis(server: &RedisServer) {
    let mut connection = server.connection();
    let mut run = |words: &[&str]| {
        let mut command = cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.exec(&mut connection).expect("a command");
    };
    for n in 0..300 {
        run(&["SET", &format!("many:{n}"), &format!("value {n}")]);
    }
    run(&["SET", "lasting", "x", "PXAT", "4102444800123"]);
    run(&["RPUSH", "list", "a", "b", "a"]);
    run(&["SADD", "set", "x", "y", "3"]);
    run(&["ZADD", "scores", "1.5", "one", "-2", "two"]);
    run(&["HSET", "hash", "field", "value", "other", "line\r\nbreak"]);
    run(&["XADD", "stream", "1-1", "field", "value"]);
    run(&["SELECT", "3"]);
    run(&["SET", "three", "3"]);
}

fn succeed(command: &mut Command, package: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .unwrap_or_else(|_| panic!("{name} is missing: install the package {package}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sqlite3(database: &Path, words: &str) -> String {
    succeed(Command::new("sqlite3").arg(database).arg(words), "sqlite3")
}

fn redis_cli_pipe(server: &RedisServer, file: &Path) {
    let mut command = Command::new("redis-cli");
    command
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::from(File::open(file).expect("an export")));
    let said = succeed(&mut command, "redis-tools");
    assert!(said.contains("errors: 0"), "{}: {said}", file.display());
}

/// The schema as pg_dump writes it, but for the random words that guard it.
fn schema(server: &PostgresServer, database: &str) -> String {
    let dump = server
        .tool("pg_dump", &["--schema-only", "-d", database])
        .expect("a dump");
    let text = String::from_utf8(dump).expect("text");
    let lines = text.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn stock_tools_load_what_restore_writes() {
    let five = Five::saved();
    let world = &five.world;
    let out = world.path("out");
    world.ok(&["restore", "latest", "--target", &world.text("out")]);

    let file = out.join("sqlite-app.db/app.db");
    assert_eq!(sqlite3(&file, "PRAGMA integrity_check"), "ok\n");
    assert_eq!(
        sqlite3(&file, ".dump"),
        sqlite3(&world.path("app.db"), ".dump")
    );
    let loaded = collections(world, &format!("x=sqlite:{}", file.display()));
    assert_eq!(loaded, five.collections("sqlite-app.db"));

    let other = RedisServer::start();
    for entry in std::fs::read_dir(out.join("redis")).expect("exports") {
        redis_cli_pipe(&other, &entry.expect("an entry").path());
    }
    let loaded = collections(world, &format!("x={}", redis_address(&other)));
    assert_eq!(loaded, five.collections("redis"));

    // Onto a server that has neither roles nor databases.
    let other = PostgresServer::start();
    let sql = out.join("postgres-app");
    other.load("postgres", &sql.join("globals.sql"));
    other.execute("postgres", "CREATE DATABASE app TEMPLATE template0");
    other.load("app", &sql.join("app.sql"));
    assert_eq!(schema(&other, "app"), schema(&five.postgres, "app"));
    let loaded = collections(world, &format!("x={}", other.url("app")));
    assert_eq!(loaded, five.collections("postgres-app"));

    assert_eq!(
        std::fs::read_to_string(out.join("note/output")).expect("a file"),
        "a dump"
    );
}

#[test]
fn stock_tools_load_what_dump_writes() {
    let five = Five::saved();
    let world = &five.world;
    let dump = |source: &str, file: &str| {
        let target = world.text(file);
        world.ok(&["dump", &format!("latest:{source}"), "--target", &target]);
        world.path(file)
    };
    let file = dump("sqlite-app.db", "copy.db");
    assert_eq!(
        sqlite3(&file, ".dump"),
        sqlite3(&world.path("app.db"), ".dump")
    );

    let other = RedisServer::start();
    redis_cli_pipe(&other, &dump("redis", "all.resp"));
    let loaded = collections(world, &format!("x={}", redis_address(&other)));
    assert_eq!(loaded, five.collections("redis"));

    // As `dump --help` has it: beside the original, on the same server.
    five.postgres
        .execute("postgres", "CREATE DATABASE copy_of_app TEMPLATE template0");
    five.postgres
        .load("copy_of_app", &dump("postgres-app", "all.sql"));
    assert_eq!(
        schema(&five.postgres, "copy_of_app"),
        schema(&five.postgres, "app")
    );
    let loaded = collections(world, &format!("x={}", five.postgres.url("copy_of_app")));
    assert_eq!(loaded, five.collections("postgres-app"));

    assert_eq!(world.ok(&["dump", "latest:note"]), "a dump");
}

#[test]
fn everything_is_restored_live_beside_what_is_there() {
    let five = Five::saved();
    let world = &five.world;
    let other = RedisServer::start();
    let copy = five.postgres.url("app_copy");
    let out = world.text("out");
    let to = [
        format!("sqlite-app.db=sqlite:{}", world.text("copy.db")),
        format!("redis={}", redis_address(&other)),
        format!("postgres-app={copy}"),
        format!("note=command:tee {}", world.text("note")),
    ];
    let mut arguments = vec!["restore", "latest", "--target", &out, "--force"];
    for to in &to {
        arguments.extend(["--to", to.as_str()]);
    }
    let lines = world.json(&arguments);
    assert_eq!(of_type(&lines, "restored").len(), 1, "{lines:?}");
    assert_eq!(of_type(&lines, "restored_live").len(), 4, "{lines:?}");
    let hello = world.text("data/hello.txt");
    assert!(
        world
            .path("out")
            .join(hello.trim_start_matches('/'))
            .is_file()
    );
    assert!(
        !world.path("out/redis").exists(),
        "what goes elsewhere is not exported too"
    );
    assert_eq!(
        std::fs::read_to_string(world.path("note")).expect("a file"),
        "a dump"
    );
    let copies = [
        ("sqlite-app.db", format!("sqlite:{}", world.text("copy.db"))),
        ("redis", redis_address(&other)),
        ("postgres-app", copy),
    ];
    let held = |address: &str| collections(world, &format!("x={address}"));
    for (name, address) in &copies {
        assert_eq!(held(address), five.collections(name), "{name}");
    }
    assert_eq!(
        schema(&five.postgres, "app_copy"),
        schema(&five.postgres, "app")
    );
    // Nothing was replaced, so nothing is kept.
    assert!(of_type(&world.json(&["restore", "--list"]), "restore").is_empty());
    replaced_and_brought_back(&five, &other, &copies, &arguments);
}

/// The copies live on, are replaced by the snapshot again, and what they had become is brought back.
fn replaced_and_brought_back(
    five: &Five,
    other: &RedisServer,
    copies: &[(&str, String)],
    restore: &[&str],
) {
    let world = &five.world;
    let held = |address: &str| collections(world, &format!("x={address}"));
    sqlite3(
        &world.path("copy.db"),
        "CREATE TABLE later (x); INSERT INTO later VALUES (1)",
    );
    cmd("SET")
        .arg("later")
        .arg(1)
        .exec(&mut other.connection())
        .expect("a key");
    five.postgres
        .execute("app_copy", "CREATE TABLE later AS SELECT 1 AS x");
    let lived: Vec<_> = copies.iter().map(|(_, address)| held(address)).collect();
    let lines = world.json(restore);
    for (name, address) in copies {
        assert_eq!(held(address), five.collections(name), "{name}");
    }
    for entry in of_type(&lines, "restored_live") {
        if entry["source"] != "note" {
            let id = entry["id"].as_str().expect("an id");
            world.ok(&["restore", "--rollback", id, "--force"]);
        }
    }
    for ((name, address), lived) in copies.iter().zip(lived) {
        assert_ne!(lived, five.collections(name), "{name}");
        assert_eq!(held(address), lived, "{name}");
    }
    assert!(of_type(&world.json(&["restore", "--list"]), "restore").is_empty());
    assert_eq!(five.postgres.databases(), ["app", "app_copy", "postgres"]);
}
