//! `keepstone check`.

use super::help;

#[test]
fn help_of_check() {
    insta::assert_snapshot!(help(&["check"]), @"");
}
