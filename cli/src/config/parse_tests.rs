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
    let SourceOptions::Files(etc) = &set[0].options else {
        panic!("options of files");
    };
    assert_eq!(etc.exclude, ["*.tmp"]);
    assert!(etc.one_file_system);
    let SourceOptions::Postgres(db) = &set[1].options else {
        panic!("options of postgres");
    };
    assert_eq!(db.connections, Some(4));
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
        "k.toml:4: unknown option of a redis source `exclude`, expected one of `mode`, `key_pattern`, `tls_ca_file`, \
         `connect_timeout`, `answer_timeout`, `sort_memory`, `spool_dir`, `spool_max`",
    );
    check_error(
        "[sets.a]\nsources = []\n",
        "k.toml:1: unknown field `sets`, expected one of `repository`, `source`, `set`, `retention`",
    );
}

#[test]
fn options_are_typed_and_named_with_their_line() {
    for (source, expected) in [
        (
            "url = \"postgres://h\"\nconnections = 65",
            "give a number from 1 to 64",
        ),
        (
            "url = \"postgres://h\"\nsslmode = \"hunter2\"",
            "unknown variant `…`, expected one of `disable`, `prefer`, `require`, `verify-full`",
        ),
        (
            "url = \"postgres://h\"\nlock_timeout = \"soon\"",
            "write a number of seconds from 1 on, or a text such as \"90s\" or \"5min\"",
        ),
        (
            "url = \"sqlite:/a.db\"\nspool_dir = \"var\"",
            "a path in this file must be absolute",
        ),
        (
            "url = \"sqlite:/a.db\"\ndigest_rows = 'a\"b, expected `c'",
            "invalid type: string \"…\", expected a boolean",
        ),
        (
            "url = \"sqlite:/a.db\"\ndigest_rows = 17",
            "invalid type: integer `…`, expected a boolean",
        ),
        (
            "url = \"files:/a\"\nexclude_larger_than = \"big\"",
            "write a whole number of bytes, or with a unit: 500k, 100M, 2G (of 1024), 100MB (of 1000)",
        ),
        (
            "argv = [\"dump\"]\nenvironment = { \"A=B\" = \"hunter2\" }",
            "a variable has an unusable name or value",
        ),
    ] {
        check_error(
            &format!("[source.a]\n{source}\n"),
            &format!("k.toml:3: {expected}"),
        );
    }
    check_error(
        "[source.a]\nurl = \"postgres://h/app\"\ndatabases = \"log\"\n",
        "k.toml:2: the address and databases both name databases",
    );
    check_error(
        "[source.a]\nurl = \"sqlite:/a.db\"\npassword_file = \"/x\"\n",
        "k.toml:1: a sqlite source takes no password",
    );
}

#[test]
fn one_text_is_a_list_of_one_and_arguments_need_no_address() {
    let config = parse_text(
        "[source.a]\nurl = \"files:/a\"\nexclude = \"*.tmp\"\nexclude_larger_than = \"1k\"\n\
         [source.b]\nargv = [\"dump\", \"a b\"]\ntimeout = \"5min\"\nenvironment = { A = \"1\" }\n\
         [set.x]\nsources = [\"a\", \"b\"]\nretention = { keep_daily = 7 }\n",
    )
    .unwrap();
    let source = |name: &str| config.source(&name.parse().unwrap()).unwrap();
    let SourceOptions::Files(files) = source("a").options else {
        panic!("options of files");
    };
    assert_eq!(files.exclude, ["*.tmp"]);
    assert_eq!(files.exclude_larger_than.map(|size| size.0), Some(1024));
    let command = source("b");
    assert_eq!(
        command.address,
        SourceAddress::Url(Scheme::Command, "command:dump".into())
    );
    let SourceOptions::Command(options) = command.options else {
        panic!("options of a command");
    };
    assert_eq!(options.argv, ["dump", "a b"]);
    assert_eq!(
        options.timeout.map(|time| time.duration().as_secs()),
        Some(300)
    );
    assert_eq!(options.environment["A"], "1");
    assert!(config.sets[&"x".parse().unwrap()].retention.is_some());
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
