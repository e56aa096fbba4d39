//! Restores of several sources: all is known and agreed to before the first is touched. And choices that cannot be meant.

use std::fs;

use crate::cli::world::World;

fn names(world: &World) -> [String; 2] {
    let database = rusqlite::Connection::open(world.path("app.db")).unwrap();
    let name = database.query_row("SELECT name FROM t WHERE id = 50", (), |row| row.get(0));
    let hello = fs::read_to_string(world.path("data/hello.txt")).unwrap();
    [name.unwrap(), hello]
}

/// A folder, a database and the output of a command, saved and then changed.
fn three() -> World {
    let world = World::filled();
    let database = format!("db={}", world.database());
    world.backup(&["backup", "data", &database, "note=command:printf hello"]);
    world.sql("UPDATE t SET name = 'newer' WHERE id = 50");
    world.write("data/hello.txt", "newer\n");
    world
}

#[test]
fn what_cannot_be_restored_is_said_before_anything_is() {
    let world = three();
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--force"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: source note is the output of a command
    hint: Say which command takes it: --to note=command:PROGRAM.
    "###);
    assert_eq!(names(&world), ["newer", "newer\n"]);
    // A question that nobody answers comes before the first source too.
    let (out, to) = (world.text("out"), format!("db={}", world.database()));
    let both = ["restore", "latest", "--target", &out, "--to", &to];
    let both = [&both[..], &["--source", "db", "--source", "files"]].concat();
    insta::assert_snapshot!(world.run(&both), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    db to sqlite:HOME/app.db, SIZE
      makes HOME/app.db.keepstone-ID2.new
      replaces HOME/app.db
      keeps HOME/app.db.keepstone-ID2.old
    error: Replace HOME/app.db in sqlite:HOME/app.db? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    assert!(!world.path("out").exists());
    let same = format!("copy={}", world.database());
    world.backup(&["backup", &to, &same]);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", &to, "--to", &same, "--force"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: the sources db and copy would go to the same place
    "###);
}

#[test]
fn a_failure_says_what_was_restored_before_it() {
    let world = three();
    let (out, to) = (world.text("out"), format!("db={}", world.database()));
    let restore = [
        "restore",
        "latest",
        "--force",
        "--target",
        &out,
        "--to",
        "note=command:false",
        "--to",
        &to,
    ];
    let said = world.run(&restore);
    assert!(said.starts_with("exit 23"), "{said}");
    assert!(
        said.contains("warning: restored before that: files\n"),
        "{said}"
    );
    assert!(said.contains("warning: not restored: db\n"), "{said}");
    assert_eq!(names(&world)[0], "newer");
}

#[test]
fn what_chooses_nothing_of_a_source_is_refused() {
    let world = three();
    let (out, to) = (world.text("out"), format!("db={}", world.database()));
    let here = format!("latest:{}", world.text("data"));
    let refused = |arguments: &[&str], why: &str| {
        let said = world.run(&[&["restore", "--force"], arguments].concat());
        assert!(said.starts_with("exit 2\n"), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert_eq!(names(&world), ["newer", "newer\n"], "{arguments:?}");
        assert!(!world.path("out").exists(), "{arguments:?}");
    };
    let whole = "source db is restored as a whole";
    refused(&["latest:/etc/nothing-like", "--to", &to], whole);
    refused(&[&here, "--to", &to], whole);
    refused(&["latest:note", "--to", &to], whole);
    refused(&["latest:db/absent", "--to", &to], whole);
    let kind = |flag: &str| format!("source db is of kind sqlite, which {flag} is not for");
    refused(
        &["latest", "--include", "zzz", "--to", &to],
        &kind("--include"),
    );
    refused(
        &["latest", "--exclude", "zzz", "--to", &to],
        &kind("--exclude"),
    );
    let folder = ["latest", "--include", "*.nothing", "--target", &out];
    refused(&folder, &kind("--include"));
    for flag in ["--verify", "--privileged"] {
        let why = format!("no files are restored, which {flag} is for");
        refused(&["latest", flag, "--to", &to], &why);
        refused(&["latest:db", flag, "--target", &out], &why);
    }
    let source = ["latest", "--source", "note", "--to", &to];
    refused(&source, "--source leaves db out, and --to names it");
    refused(&["--list", "--to", &to], "cannot be used with");
    // What can be meant goes on.
    world.ok(&["restore", "latest:db", "--to", &to, "--force"]);
    assert_eq!(names(&world)[0], "name 50");
    let files = ["--include", "*.txt", "--verify"];
    world.ok(&[&["restore", &here, "--target", &out][..], &files].concat());
}
