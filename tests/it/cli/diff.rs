//! `keepstone diff`.

use super::help;

#[test]
fn help_of_diff() {
    insta::assert_snapshot!(help(&["diff"]), @"");
}
