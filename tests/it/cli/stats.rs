//! `keepstone stats`.

use super::help;

#[test]
fn help_of_stats() {
    insta::assert_snapshot!(help(&["stats"]), @"");
}
