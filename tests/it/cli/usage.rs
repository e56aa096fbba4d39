//! Wrong usage: exit 2, the reason on standard error, nothing on standard output.

use super::{home, run};

#[test]
fn help_of_the_whole() {
    insta::assert_snapshot!(run(home().path(), &["-h"]), @"");
}

#[test]
fn what_is_not_understood_is_said() {
    let home = home();
    insta::assert_snapshot!(run(home.path(), &["backpu"]), @"");
    insta::assert_snapshot!(run(home.path(), &["snapshots", "--hots", "a"]), @"");
    insta::assert_snapshot!(run(home.path(), &["-q", "-v", "snapshots"]), @"");
}

#[test]
fn with_json_the_reason_is_an_object() {
    let home = home();
    insta::assert_snapshot!(run(home.path(), &["--json", "backpu"]), @"");
    insta::assert_snapshot!(run(home.path(), &["--json", "backup"]), @"");
}

#[test]
fn a_password_in_the_wrong_place_is_not_repeated() {
    let home = home();
    let text = run(home.path(), &["snapshots", "redis://:hunter2@localhost"]);
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @"");
}

#[test]
fn colours_are_used_only_when_they_are_wanted() {
    let home = home();
    let with = |when: &str| run(home.path(), &["--color", when, "backup"]);
    assert!(with("always").contains("\u{1b}[1;31merror:"));
    assert!(!with("never").contains('\u{1b}'));
    assert!(!with("auto").contains('\u{1b}'));
}
