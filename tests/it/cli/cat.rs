//! `keepstone cat`.

use super::help;

#[test]
fn help_of_cat() {
    insta::assert_snapshot!(help(&["cat"]), @"");
}
