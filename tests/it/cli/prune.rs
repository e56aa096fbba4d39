//! `keepstone prune`.

use super::help;

#[test]
fn help_of_prune() {
    insta::assert_snapshot!(help(&["prune"]), @"");
}
