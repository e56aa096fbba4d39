//! `keepstone tag`.

use super::help;

#[test]
fn help_of_tag() {
    insta::assert_snapshot!(help(&["tag"]), @"");
}
