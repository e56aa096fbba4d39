//! `keepstone backup`.

use super::{help, home, run};

#[test]
fn help_of_backup() {
    insta::assert_snapshot!(help(&["backup"]), @"");
}

#[test]
fn a_password_in_an_address_is_refused_with_advice_and_not_repeated() {
    let home = home();
    let text = run(
        home.path(),
        &[
            "backup",
            "-r",
            "/srv/x",
            "postgres://app:hunter2@localhost/app",
        ],
    );
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @"");
}

#[test]
fn sources_that_cannot_be_meant_are_refused() {
    let home = home();
    let ask = |arguments: &[&str]| {
        let arguments: Vec<_> = ["backup", "-r", "/srv/x"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        run(home.path(), &arguments)
    };
    insta::assert_snapshot!(ask(&[]), @"");
    insta::assert_snapshot!(ask(&["mysql://localhost/app"]), @"");
    insta::assert_snapshot!(ask(&["redis://a", "redis://b"]), @"");
    insta::assert_snapshot!(ask(&["--set", "nightly"]), @"");
    insta::assert_snapshot!(ask(&["/etc", "--time", "5m"]), @"");
    insta::assert_snapshot!(ask(&["/etc", "--rebase"]), @"");
}
