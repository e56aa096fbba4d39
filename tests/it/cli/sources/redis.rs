//! Parts of a Redis server: databases, keys, other names, other expiries.

use keepstone_testkit::servers::redis::RedisServer;
use redis::{Commands as _, cmd};

use super::Home;

struct Scene {
    home: Home,
    server: RedisServer,
}

impl Scene {
    /// Two databases, saved and then changed.
    fn new() -> Self {
        let server = RedisServer::start();
        let set = |db, key: &str, value: &str| {
            let () = server.connection_to(db).set(key, value).unwrap();
        };
        for key in ["user:1", "user:2", "item:1", "other"] {
            set(0, key, "saved");
        }
        let () = server
            .connection()
            .set_ex("user:short", "saved", 10_000)
            .unwrap();
        set(3, "three", "saved");
        let scene = Self {
            home: Home::new(),
            server,
        };
        scene
            .home
            .ok(&["backup", &format!("cache={}", scene.url(""))]);
        for key in ["user:1", "item:1", "other", "user:later"] {
            let () = scene.server.connection().set(key, "since").unwrap();
        }
        let () = scene.server.connection().del("user:2").unwrap();
        scene
    }

    fn url(&self, db: &str) -> String {
        format!("redis://127.0.0.1:{}{db}", self.server.port())
    }

    fn restore(&self, db: &str, flags: &[&str]) -> String {
        let to = format!("cache={}", self.url(db));
        let restore = ["restore", "latest", "--force", "--to", &to];
        self.home.ok(&[&restore, flags].concat())
    }

    fn undo(&self, said: &str) {
        let (_, rest) = said.split_once("--rollback ").expect("something to undo");
        let (id, _) = rest.split_once(',').unwrap();
        self.home.ok(&["restore", "--rollback", id, "--force"]);
    }

    /// `key=value` of every key, in order.
    fn keys(&self, db: u32) -> String {
        let mut connection = self.server.connection_to(db);
        let mut keys: Vec<String> = connection.keys("*").unwrap();
        keys.retain(|key| !key.contains("keepstone"));
        keys.sort();
        let pairs = keys.iter().map(|key| {
            let value: String = connection.get(key).unwrap();
            format!("{key}={value}")
        });
        pairs.collect::<Vec<_>>().join(" ")
    }

    fn seconds_left(&self, key: &str) -> i64 {
        cmd("TTL")
            .arg(key)
            .query(&mut self.server.connection())
            .unwrap()
    }
}

const SINCE: &str = "item:1=since other=since user:1=since user:later=since user:short=saved";

#[test]
fn keys_by_pattern_come_back_beside_the_others_and_go_again() {
    let scene = Scene::new();
    let flags = [
        "--database",
        "0",
        "--key-pattern",
        "user:?",
        "--key-pattern",
        "item:*",
    ];
    let said = scene.restore("", &flags);
    assert!(said.contains("3 records restored"), "{said}");
    assert_eq!(
        scene.keys(0),
        "item:1=saved other=since user:1=saved user:2=saved user:later=since user:short=saved"
    );
    scene.undo(&said);
    assert_eq!(scene.keys(0), SINCE);
}

#[test]
fn keys_come_back_under_another_prefix() {
    let scene = Scene::new();
    let said = scene.restore(
        "",
        &[
            "--database",
            "0",
            "--key-pattern",
            "user:?",
            "--prefix",
            "test:",
        ],
    );
    assert_eq!(
        scene.keys(0),
        "item:1=since other=since test:user:1=saved test:user:2=saved user:1=since \
         user:later=since user:short=saved"
    );
    scene.undo(&said);
    scene.restore("", &["--database", "0", "--prefix", "user:=x:"]);
    assert_eq!(
        scene.keys(0),
        format!("{SINCE} x:1=saved x:2=saved x:short=saved")
    );
}

#[test]
fn one_database_goes_into_another_number() {
    let scene = Scene::new();
    let said = scene.restore("/5", &["--database", "3"]);
    assert!(!said.contains("--rollback"), "{said}");
    assert_eq!(scene.keys(5), "three=saved");
    assert_eq!(scene.keys(0), SINCE);
    // Nothing was replaced: no mark, no journal, nothing staged is left.
    assert!(
        scene
            .home
            .ok(&["restore", "--list"])
            .contains("no earlier restore")
    );
    let info: String = cmd("INFO")
        .arg("keyspace")
        .query(&mut scene.server.connection())
        .unwrap();
    assert_eq!(info.matches("keys=").count(), 3, "{info}");
    let said = scene.restore("", &["--database", "0"]);
    assert_eq!(
        scene.keys(0),
        "item:1=saved other=saved user:1=saved user:2=saved user:short=saved"
    );
    scene.undo(&said);
    assert_eq!(scene.keys(0), SINCE);
}

#[test]
fn expiries_are_kept_shifted_or_dropped() {
    let scene = Scene::new();
    // Much later than at the capture, so that kept and shifted can be told from what is there.
    for (how, least, most) in [("keep", 1, 10_000), ("shift", 1, 10_000), ("drop", -1, -1)] {
        let () = scene
            .server
            .connection()
            .set("user:short", "since")
            .unwrap();
        scene.restore(
            "",
            &[
                "--database",
                "0",
                "--key-pattern",
                "user:short",
                "--ttl",
                how,
            ],
        );
        let left = scene.seconds_left("user:short");
        assert!((least..=most).contains(&left), "{how}: {left}");
        let listed = scene.home.ok(&["restore", "--list", "--json"]);
        let id = listed.split_once("\"id\":\"").unwrap().1[..12].to_owned();
        scene.home.ok(&["restore", "--discard-old", &id, "--force"]);
    }
}

#[test]
fn what_the_flags_cannot_mean_is_refused() {
    let scene = Scene::new();
    let to = format!("cache={}", scene.url("/5"));
    let ask = |flags: &[&str]| {
        let restore = ["restore", "latest", "--force", "--to", &to];
        scene.home.fails(2, &[&restore, flags].concat())
    };
    for (flags, expected) in [
        (&["--database", "app"][..], "--database app is no number"),
        (
            &["--database", "0", "--database", "3"],
            "several databases cannot go into database 5",
        ),
        (
            &["--schema", "s"],
            "of kind redis, which --schema is not for",
        ),
        (
            &["--no-owner"],
            "of kind redis, which --no-owner is not for",
        ),
    ] {
        let said = ask(flags);
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(scene.keys(0), SINCE);
}

#[test]
fn a_capture_of_some_keys_leaves_the_others_alone() {
    let server = RedisServer::start();
    let set = |key: &str, value: &str| {
        let () = server.connection().set(key, value).unwrap();
    };
    set("session:1", "saved");
    set("session:gone", "saved");
    set("user:1", "saved");
    let scene = Scene {
        home: Home::new(),
        server,
    };
    let url = scene.url("");
    for mode in ["replica", "scan"] {
        let set = |key: &str, value: &str| {
            let () = scene.server.connection().set(key, value).unwrap();
        };
        scene.home.configure(&format!(
            "[source.cache]\nurl = \"{url}\"\nmode = \"{mode}\"\nkey_pattern = \"session:*\"\n"
        ));
        set("session:1", "saved");
        set("session:gone", "saved");
        let () = scene.server.connection().del("session:2").unwrap();
        scene.home.ok(&["backup", "--source", "cache"]);
        set("session:1", "since");
        set("session:2", "since");
        set("user:2", "since");
        let () = scene.server.connection().del("session:gone").unwrap();
        let since = "session:1=since session:2=since user:1=saved user:2=since";
        assert_eq!(scene.keys(0), since);
        let said = scene
            .home
            .ok(&["restore", "latest", "--in-place", "--force"]);
        assert!(said.contains("only keys like session:*"), "{said}");
        assert_eq!(
            scene.keys(0),
            "session:1=saved session:2=since session:gone=saved user:1=saved user:2=since"
        );
        scene.undo(&said);
        assert_eq!(scene.keys(0), since);
        // Where there is nothing else, nothing has to be kept.
        let said = scene.restore("/5", &[]);
        assert!(!said.contains("--rollback"), "{said}");
        assert_eq!(scene.keys(5), "session:1=saved session:gone=saved");
        cmd("FLUSHDB")
            .exec(&mut scene.server.connection_to(5))
            .unwrap();
    }
}
