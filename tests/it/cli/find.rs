//! `keepstone find`.

use super::help;

#[test]
fn help_of_find() {
    insta::assert_snapshot!(help(&["find"]), @"");
}
