//! One table of a SQLite database, into one that lives on and into a file of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::Home;

fn database(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = wal;
             CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT, upper AS (upper(text)));
             CREATE INDEX notes_text ON notes(text);
             CREATE TABLE changes(of INTEGER);
             CREATE TRIGGER notes_changed AFTER UPDATE ON notes BEGIN INSERT INTO changes VALUES (new.id); END;
             CREATE VIEW loud AS SELECT upper FROM notes;
             CREATE TABLE plain(a);
             CREATE TABLE keyed(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
             INSERT INTO notes(text) VALUES ('one'), ('two'), ('gone');
             DELETE FROM notes WHERE text = 'gone';
             INSERT INTO plain(rowid, a) VALUES (7, 'seven');
             INSERT INTO keyed VALUES ('k', 'v');",
        )
        .unwrap();
    connection
}

fn texts(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

/// A saved database, and the same with other content since, which stays open.
fn scene() -> (Home, Connection) {
    let home = Home::new();
    let live = database(&home.path("app.db"));
    home.ok(&["backup", &format!("db=sqlite:{}", home.text("app.db"))]);
    live.execute_batch(
        "DELETE FROM notes WHERE text = 'one';
         UPDATE notes SET text = 'changed';
         INSERT INTO notes(text) VALUES ('later');
         UPDATE plain SET a = 'since';
         UPDATE keyed SET v = 'since';
         DELETE FROM changes;",
    )
    .unwrap();
    (home, live)
}

const NOTES: &str = "SELECT text FROM notes ORDER BY id";

#[test]
fn one_table_returns_into_a_database_that_is_in_use() {
    let (home, live) = scene();
    let to = format!("db=sqlite:{}", home.text("app.db"));
    let restore = ["restore", "latest", "--to", &to, "--table", "notes"];
    let planned = home.ok(&[&restore[..], &["--dry-run"]].concat());
    assert!(planned.contains("replaces table notes of"), "{planned}");
    let id = home.restored(&[&restore[..], &["--force"]].concat());
    assert_eq!(texts(&live, NOTES), ["one", "two"]);
    assert_eq!(texts(&live, "SELECT a FROM plain"), ["since"]);
    assert_eq!(texts(&live, "SELECT v FROM keyed"), ["since"]);
    assert_eq!(texts(&live, "SELECT upper FROM loud"), ["ONE", "TWO"]);
    assert_eq!(texts(&live, "PRAGMA integrity_check"), ["ok"]);
    // Its indexes, its triggers and its numbers came along, and the restore has left no mark.
    let objects =
        "SELECT name FROM sqlite_schema WHERE name LIKE 'notes_%' OR name LIKE 'keepstone%'";
    assert_eq!(texts(&live, objects), ["notes_text", "notes_changed"]);
    live.execute_batch(
        "UPDATE notes SET text = 'x' WHERE text = 'one'; INSERT INTO notes(text) VALUES ('new')",
    )
    .unwrap();
    assert_eq!(
        texts(&live, "SELECT text || id FROM notes ORDER BY id"),
        ["x1", "two2", "new4"]
    );
    assert_eq!(texts(&live, "SELECT cast(of AS TEXT) FROM changes"), ["1"]);

    home.ok(&["restore", "--rollback", &id, "--force"]);
    assert_eq!(texts(&live, NOTES), ["changed", "later"]);
    assert_eq!(texts(&live, "SELECT a FROM plain"), ["since"]);
    let said = home.ok(&["restore", "--list"]);
    assert!(said.contains("no earlier restore"), "{said}");

    let id = home.restored(&[&restore[..], &["--table", "plain", "--force"]].concat());
    assert_eq!(texts(&live, "SELECT a || rowid FROM plain"), ["seven7"]);
    home.ok(&["restore", "--discard-old", &id, "--force"]);
    assert_eq!(texts(&live, NOTES), ["one", "two"]);
    let beside: Vec<_> = home
        .files_below("")
        .into_iter()
        .filter(|name| name.contains(".keepstone-"))
        .collect();
    assert_eq!(beside, [""; 0]);
}

#[test]
fn what_is_in_the_way_is_said_with_the_flag_that_takes_it_away() {
    let (home, live) = scene();
    fs::write(home.path("text.db"), "a text, and no database\n").unwrap();
    let to = format!("db=sqlite:{}", home.text("text.db"));
    let said = home.fails(23, &["restore", "latest", "--to", &to, "--force"]);
    assert!(
        said.contains("text.db is not a SQLite database\n"),
        "{said}"
    );
    assert!(
        said.contains("say --in-use: it replaces the file"),
        "{said}"
    );
    home.ok(&["restore", "latest", "--to", &to, "--force", "--in-use"]);
    let replaced = Connection::open(home.path("text.db")).unwrap();
    assert_eq!(texts(&replaced, NOTES), ["one", "two"]);

    home.configure(&format!(
        "[source.db]\nurl = \"sqlite:{}\"\nbusy_timeout = 1\n",
        home.text("app.db")
    ));
    let restore = ["restore", "latest", "--in-place", "--force"];
    let said = home.fails(23, &restore);
    assert!(said.contains("app.db open\n"), "{said}");
    assert!(
        said.contains("or say --in-use: the database is overwritten"),
        "{said}"
    );
    assert_eq!(texts(&live, NOTES), ["changed", "later"]);
    home.ok(&[&restore[..], &["--in-use"]].concat());
    assert_eq!(texts(&live, NOTES), ["one", "two"]);
}

#[test]
fn a_table_that_is_gone_comes_back_and_goes_again() {
    let (home, live) = scene();
    let to = format!("db=sqlite:{}", home.text("app.db"));
    live.execute_batch("DROP TABLE keyed").unwrap();
    let id = home.restored(&[
        "restore", "latest", "--to", &to, "--table", "keyed", "--force",
    ]);
    assert_eq!(texts(&live, "SELECT v FROM keyed"), ["v"]);
    home.ok(&["restore", "--rollback", &id, "--force"]);
    assert_eq!(
        texts(&live, "SELECT name FROM sqlite_schema WHERE name = 'keyed'"),
        [""; 0]
    );
}

#[test]
fn one_table_goes_into_a_file_of_its_own() {
    let (home, _live) = scene();
    let to = format!("db=sqlite:{}", home.text("part.db"));
    home.ok(&[
        "restore", "latest", "--to", &to, "--table", "keyed", "--table", "notes",
    ]);
    let part = Connection::open(home.path("part.db")).unwrap();
    assert_eq!(texts(&part, NOTES), ["one", "two"]);
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    assert_eq!(texts(&part, tables), ["keyed", "notes"]);
    assert_eq!(
        fs::metadata(home.path("part.db"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        mode(&home)
    );
    let said = home.ok(&["restore", "--list"]);
    assert!(said.contains("no earlier restore"), "{said}");
}

fn mode(home: &Home) -> u32 {
    fs::metadata(home.path("app.db"))
        .unwrap()
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn what_cannot_be_restored_alone_is_refused_before_anything_is_touched() {
    let (home, live) = scene();
    let to = format!("db=sqlite:{}", home.text("app.db"));
    let ask = |code, table: &str| {
        home.fails(
            code,
            &[
                "restore", "latest", "--to", &to, "--table", table, "--force",
            ],
        )
    };
    let said = ask(23, "missing");
    assert!(said.contains("holds no table missing"), "{said}");
    ask(23, "sqlite_sequence");
    let said = home.fails(2, &["restore", "latest", "--to", &to, "--key-pattern", "x"]);
    assert!(
        said.contains("of kind sqlite, which --key-pattern is not for"),
        "{said}"
    );
    // An index of the same name that belongs to another table: the whole change is undone.
    live.execute_batch("DROP INDEX notes_text; CREATE INDEX notes_text ON plain(a)")
        .unwrap();
    let said = ask(23, "notes");
    assert!(said.contains("notes_text"), "{said}");
    assert_eq!(texts(&live, NOTES), ["changed", "later"]);
    assert!(
        home.ok(&["restore", "--list"])
            .contains("no earlier restore")
    );
}
