//! Standard output that nobody reads any more: the work is done all the same, and its exit code tells how it went.

use std::fs;
use std::process::Output;

use super::world::World;

/// Runs the program with a standard output that is closed from the start.
fn unread(world: &World, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.command(arguments);
    command.stdout(writer).output().unwrap()
}

fn code(world: &World, arguments: &[&str]) -> Option<i32> {
    let output = unread(world, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("standard output"), "{said}");
    output.status.code()
}

fn value(world: &World, file: &str) -> String {
    let database = rusqlite::Connection::open(world.path(file)).unwrap();
    let value = database.query_row("SELECT a FROM t", (), |row| row.get(0));
    value.unwrap()
}

#[test]
fn every_source_is_restored() {
    let world = World::new();
    let files = ["a.db", "b.db", "c.db"];
    let set = |file: &str, statement: &str| {
        let database = rusqlite::Connection::open(world.path(file)).unwrap();
        database.execute_batch(statement).unwrap();
    };
    let addresses = files.map(|file| format!("sqlite:{}", world.text(file)));
    for file in files {
        set(file, "CREATE TABLE t(a); INSERT INTO t VALUES ('saved')");
    }
    world.backup(&["backup", &addresses[0], &addresses[1], &addresses[2]]);
    for file in files {
        set(file, "UPDATE t SET a = 'since'");
    }
    for json in [&["--json"][..], &[]] {
        let restore = ["restore", "latest", "--in-place", "--force"];
        let done = code(&world, &[json, &restore].concat());
        assert_eq!(done, Some(0));
        assert_eq!(files.map(|file| value(&world, file)), ["saved"; 3]);
        for file in files {
            set(file, "UPDATE t SET a = 'since'");
        }
    }
}

#[test]
fn what_is_wrong_shows_in_the_exit_code() {
    let world = World::filled();
    let gone = format!("sqlite:{}", world.text("gone.db"));
    let partial = ["backup", "data", &gone, "--partial"];
    assert_eq!(code(&world, &partial), Some(23));
    let id = world.backup(&["backup", "data"]);
    let pack = world.packs().remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&pack, &bytes).unwrap();
    assert_eq!(code(&world, &["check", "--read-data"]), Some(20));
    assert_eq!(code(&world, &["forget", &id]), Some(0));
    assert!(!world.snapshots().contains(&id));
}

#[test]
fn lists_end_in_silence() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    for arguments in [
        &["snapshots"][..],
        &["ls", "latest"],
        &["--help"],
        &["version"],
        &["completions", "bash"],
    ] {
        let output = unread(&world, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
