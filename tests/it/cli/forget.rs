//! `keepstone forget`.

use super::{help, home, run};

#[test]
fn help_of_forget() {
    insta::assert_snapshot!(help(&["forget"]), @"");
}

#[test]
fn rules_that_keep_nothing_are_refused() {
    let home = home();
    let ask = |arguments: &[&str]| {
        let arguments: Vec<_> = ["forget", "-r", "/srv/x"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(home.path(), &arguments)
    };
    insta::assert_snapshot!(ask(&[]), @"");
    insta::assert_snapshot!(ask(&["--keep-last", "0"]), @"");
    insta::assert_snapshot!(ask(&["3fc2", "--keep-last", "1"]), @"");
    insta::assert_snapshot!(ask(&["--keep-within", "90min"]), @"");
}
