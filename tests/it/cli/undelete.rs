//! `keepstone undelete`.

use super::help;

#[test]
fn help_of_undelete() {
    insta::assert_snapshot!(help(&["undelete"]), @"");
}
