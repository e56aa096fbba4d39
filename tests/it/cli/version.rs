//! `keepstone version`.

use super::{help, home, run};

#[test]
fn help_of_version() {
    insta::assert_snapshot!(help(&["version"]), @r###"
    exit 0
    -- stdout
    Show the version

    Usage: keepstone version [OPTIONS]

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone version
      keepstone version --json
    "###);
}

#[test]
fn version_works_where_nothing_else_does() {
    let home = home();
    let text = run(home.path(), &["version", "--config", "/no/such/file"]);
    assert!(
        text.starts_with("exit 0\n-- stdout\nkeepstone 0."),
        "{text}"
    );
    let json = run(home.path(), &["version", "--json"]);
    let start =
        "exit 0\n-- stdout\n{\"message_type\":\"version\",\"schema_version\":1,\"version\":\"";
    assert!(json.starts_with(start), "{json}");
    let flag = run(home.path(), &["--version"]);
    assert!(
        flag.starts_with("exit 0\n-- stdout\nkeepstone 0."),
        "{flag}"
    );
}
