//! The configuration file: what is understood, and what is said of the rest.

use super::*;

fn parse_text(text: &str) -> Result<Config, CliError> {
    parse(Path::new("k.toml"), text)
}

fn check_error(text: &str, expected: &str) {
    let message = parse_text(text).map(|_| ()).unwrap_err().message();
    assert_eq!(message, expected);
}

#[test]
fn a_whole_file_is_understood() {
    let config = parse_text(
        r#"
        [repository]
        url = "/srv/backup"
        password_file = "/etc/keepstone/password"
        host = "web1"

        [source.etc]
        url = "files:/etc"
        paths = ["/srv/app"]
        exclude = ["*.tmp"]
        one_file_system = true

        [source.db]
        url = "postgres://backup@localhost/app"
        password_command = "pass show db"
        connections = 4

        [set.nightly]
        sources = ["etc", "db"]

        [retention]
        keep_last = 3
        keep_daily = "unlimited"
        keep_within = "7d"
        "#,
    )
    .unwrap();
    assert_eq!(config.repository.address.as_deref(), Some("/srv/backup"));
    assert!(config.retention.is_some());
    let set = config.set(&"nightly".parse().unwrap()).unwrap();
    let names: Vec<_> = set.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["etc", "db"]);
    assert_eq!(
        set[0].address,
        SourceAddress::Files(vec!["/etc".into(), "/srv/app".into()])
    );
    let db = &config.sources[&"db".parse().unwrap()];
    assert_eq!(db.options["connections"], OptionValue::Text("4".into()));
    assert!(config.set(&"weekly".parse().unwrap()).is_err());
}

#[test]
fn unknown_keys_are_errors_with_their_line() {
    check_error(
        "[repository]\nurl = \"/x\"\nurll = \"/y\"\n",
        "k.toml:3: unknown field `urll`, expected one of `url`, `password_file`, `password_command`, `key_file`, \
         `cache_dir`, `state_dir`, `host`",
    );
    check_error(
        "[source.a]\nurl = \"redis://h\"\n\nexclude = \"x\"\n",
        "k.toml:4: exclude is no option of a redis source",
    );
    check_error(
        "[sets.a]\nsources = []\n",
        "k.toml:1: unknown field `sets`, expected one of `repository`, `source`, `set`, `retention`",
    );
}

#[test]
fn names_and_sets_are_checked() {
    check_error(
        "[source.Big]\nurl = \"redis://h\"\n",
        "k.toml:1: Big cannot be a name: a name is up to 64 of a-z, 0-9, dot, dash and underscore, and starts with a \
         letter or digit",
    );
    check_error(
        "[set.a]\nsources = [\n  \"db\",\n]\n",
        "k.toml:3: there is no [source.db]",
    );
    check_error(
        "[set.a]\nsources = []\n",
        "k.toml:1: the set has no sources",
    );
    check_error("[source.a]\n", "k.toml:1: the source has no url");
}

#[test]
fn passwords_have_one_place_and_never_the_address() {
    check_error(
        "[source.a]\nurl = \"redis://:hunter2@h\"\n",
        "k.toml:2: the address redis://h holds a password",
    );
    check_error(
        "[source.a]\nurl = \"redis://h?password_file=/a\"\npassword_command = \"b\"\n",
        "k.toml:3: the password comes from two places",
    );
    check_error(
        "[repository]\npassword_file = \"/a\"\nkey_file = \"/b\"\n",
        "k.toml:3: give one of password_file, password_command and key_file",
    );
    check_error(
        "[repository]\npassword_file = \"a\"\n",
        "k.toml:2: a path in this file must be absolute",
    );
}

#[test]
fn no_message_repeats_a_value() {
    for text in [
        "[repository]\nhost = [\"hunter2\"]\n",
        "[repository]\npassword = \"hunter2\"\n",
        "[retention]\nkeep_last = \"hunter2\"\n",
        "[repository]\nhost = hunter2\n",
        "[source.a]\nurl = \"redis://h\"\npassword = \"hunter2\"\n",
    ] {
        let message = parse_text(text).map(|_| ()).unwrap_err().message();
        assert!(!message.contains("hunter2"), "{message}");
    }
}
