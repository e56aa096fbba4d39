//! `keepstone init`.

use super::help;

#[test]
fn help_of_init() {
    insta::assert_snapshot!(help(&["init"]), @"");
}
