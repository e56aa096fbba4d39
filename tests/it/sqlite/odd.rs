//! Databases that SQLite's own check dislikes, and that were no better when they were captured.

use keepstone_engine::source::{Target as _, Validation};
use rusqlite::Connection;

use super::restore::target;
use super::{capture, place};

/// What validation says of a restore of a database made like this.
fn validation_of(sql: &str) -> Validation {
    let (_origin, path) = place();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
    let captured = capture(&path).unwrap();
    let (_folder, path) = place();
    let target = target(&path);
    let plan = target.plan(&captured).unwrap();
    target.stage(&plan, &captured).unwrap();
    target.validate(&plan, &captured).unwrap()
}

/// Declares a column otherwise than it was filled.
fn declared_since(table: &str) -> String {
    format!(
        "CREATE TABLE n(a, b); INSERT INTO n VALUES (NULL, 1), (3, 2); CREATE INDEX i ON n(a);
         PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = '{table}' WHERE name = 'n';
         PRAGMA writable_schema = RESET;"
    )
}

#[test]
fn what_a_sound_database_held_against_its_own_rules_comes_back_with_a_note() {
    for (sql, said) in [
        (
            declared_since("CREATE TABLE n(a NOT NULL, b)"),
            "NULL value in n.a",
        ),
        (
            "CREATE TABLE content(a); INSERT INTO content VALUES ('behind');
             CREATE VIRTUAL TABLE search USING fts4(content=\"content\", a);"
                .to_owned(),
            "malformed inverted index for FTS4 table main.search",
        ),
    ] {
        let validation = validation_of(&sql);
        assert_eq!(validation.differences, [""; 0]);
        let notes = &validation.notes;
        assert!(notes.iter().any(|note| note.contains(said)), "{notes:?}");
    }
}

#[test]
fn an_index_that_does_not_fit_its_table_is_refused_all_the_same() {
    let sql = "CREATE TABLE n(a NOT NULL, b); INSERT INTO n VALUES (1, 7), (2, 8); CREATE INDEX i ON n(a);
         PRAGMA writable_schema = 1;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON n(b)' WHERE name = 'i';
         PRAGMA writable_schema = RESET;";
    let validation = validation_of(sql);
    let differences = &validation.differences;
    assert!(
        differences.iter().any(|line| line.contains("index i")),
        "{differences:?}"
    );
}
