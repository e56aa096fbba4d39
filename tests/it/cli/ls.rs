//! `keepstone ls`.

use super::help;

#[test]
fn help_of_ls() {
    insta::assert_snapshot!(help(&["ls"]), @"");
}
