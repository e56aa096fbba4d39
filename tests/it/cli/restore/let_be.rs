//! Restores of which only the target could tell whether they are done: none of what is live goes unasked.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::world::{World, of_type};

/// A database that was restored in place, and its entry in the journal.
struct Restored {
    world: World,
    id: String,
}

impl Restored {
    fn new() -> Self {
        let world = World::filled();
        world.backup(&["backup", &world.database()]);
        world.sql("UPDATE t SET name = 'newer' WHERE id = 50");
        world.ok(&["restore", "latest", "--in-place", "--force"]);
        let lines = world.json(&["restore", "--list"]);
        let id = of_type(&lines, "restore")[0]["id"].as_str().unwrap();
        let id = id.to_owned();
        Self { world, id }
    }

    fn entry(&self) -> PathBuf {
        let name = format!("state/keepstone/restores/{}.json", self.id);
        self.world.path(&name)
    }

    /// As if its process had been killed where the journal says this.
    fn cut_off(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.entry()).unwrap();
        let mut entry = serde_json::from_str(&text).unwrap();
        change(&mut entry);
        fs::write(self.entry(), entry.to_string()).unwrap();
    }

    fn run(&self, flags: &[&str]) -> String {
        let [way, rest @ ..] = flags else {
            panic!("no way")
        };
        self.world
            .run(&[&["restore", *way, &self.id], rest].concat())
    }

    fn is_kept(&self) -> bool {
        let files = fs::read_dir(self.world.home()).unwrap().flatten();
        files
            .map(|file| file.file_name().into_string().unwrap())
            .any(|name| name.ends_with(".old"))
    }

    /// How many rows are live.
    fn rows(&self) -> u32 {
        let database = rusqlite::Connection::open(self.world.path("app.db")).unwrap();
        let count = database.query_row("SELECT count(*) FROM t", (), |row| row.get(0));
        count.unwrap()
    }
}

#[test]
fn a_restore_that_may_be_done_is_let_be_with_all_that_is_live() {
    let restored = Restored::new();
    restored
        .world
        .sql("INSERT INTO t VALUES (101, 'work since')");
    restored.cut_off(|entry| entry["phase"] = json!("switching"));
    insta::assert_snapshot!(restored.run(&["--discard-old"]), @r###"
    exit 2
    -- stderr
    error: The switch of restore ID1 may be done: --resume finishes it, --rollback undoes it. Forget it, and let be whatever is in sqlite:HOME/app.db? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    assert!(restored.entry().exists());
    insta::assert_snapshot!(restored.run(&["--discard-old", "--force"]), @r###"
    exit 0
    -- stdout
    restore ID1 is let be; what it may have left: HOME/app.db.keepstone-ID2.new, HOME/app.db.keepstone-ID2.old
    "###);
    assert_eq!(restored.rows(), 101);
    assert!(restored.is_kept());
    assert!(!restored.entry().exists());
}

#[test]
fn a_rollback_of_what_may_be_done_asks_first() {
    let restored = Restored::new();
    restored
        .world
        .sql("INSERT INTO t VALUES (101, 'work since')");
    restored.cut_off(|entry| entry["phase"] = json!("switching"));
    insta::assert_snapshot!(restored.run(&["--rollback"]), @r###"
    exit 2
    -- stderr
    error: Undo the restore of sqlite-app.db to sqlite:HOME/app.db, and drop what it has put in place if it came so far, with every change made to it since? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    assert!(restored.entry().exists());
    assert_eq!(restored.rows(), 101);
    let said = restored.run(&["--rollback", "--force"]);
    assert!(said.starts_with("exit 0"), "{said}");
    assert_eq!(restored.rows(), 100);
    assert!(!restored.entry().exists());
}

#[test]
fn the_end_of_a_restore_that_replaced_nothing_is_finished_and_not_undone() {
    let restored = Restored::new();
    restored.cut_off(|entry| {
        entry["phase"] = json!("discarding");
        entry["plan"]["keeps"] = json!([]);
    });
    let warned = restored.world.run(&["backup", &restored.world.database()]);
    let advice = "was cut off: finish it with keepstone restore --resume ";
    assert!(warned.contains(advice), "{warned}");
    assert!(!warned.contains("--rollback"), "{warned}");
    insta::assert_snapshot!(restored.run(&["--rollback", "--force"]), @r###"
    exit 1
    -- stderr
    error: restore ID1 can no longer be undone: it had replaced nothing
    hint: Finish it with keepstone restore --resume ID1.
    "###);
    let said = restored.run(&["--resume", "--force"]);
    assert!(said.starts_with("exit 0"), "{said}");
    assert!(!restored.entry().exists());
}
