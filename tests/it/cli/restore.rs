//! `keepstone restore`.

use super::{help, home, run};

#[test]
fn help_of_restore() {
    insta::assert_snapshot!(help(&["restore"]), @"");
}

#[test]
fn a_restore_that_does_not_say_what_or_where_is_refused() {
    let home = home();
    let ask = |arguments: &[&str]| {
        let arguments: Vec<_> = ["restore", "-r", "/srv/x"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(home.path(), &arguments)
    };
    insta::assert_snapshot!(ask(&["--target", "out"]), @"");
    insta::assert_snapshot!(ask(&["latest"]), @"");
    insta::assert_snapshot!(ask(&["latest", "--in-place", "--target", "out"]), @"");
    insta::assert_snapshot!(ask(&["newest", "--target", "out"]), @"");
    insta::assert_snapshot!(ask(&["--at", "noon", "--target", "out"]), @"");
    insta::assert_snapshot!(ask(&["latest", "--to", "db=postgres://u:hunter2@h/db"]), @"");
}
