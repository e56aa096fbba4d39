//! `keepstone key`.

use super::help;

#[test]
fn help_of_key() {
    insta::assert_snapshot!(help(&["key"]), @"");
}

#[test]
fn help_of_key_add() {
    insta::assert_snapshot!(help(&["key", "add"]), @"");
}
