//! `keepstone init`.

use super::help;

#[test]
fn help_of_init() {
    insta::assert_snapshot!(help(&["init"]), @r###"
    exit 0
    -- stdout
    Create a repository

    Usage: keepstone init [OPTIONS]

    Options:
          --label <LABEL>  What the first key slot is called in `key list`
      -h, --help           Print help (see more with '--help')

    Examples:
      keepstone init -r /srv/backup
      keepstone init -r /srv/backup --password-file /etc/keepstone/password
      keepstone init -r 's3://bucket/backup?region=eu-central-1' --password-command 'pass show backup'

    The password is asked for twice, unless it comes from a file, a command or the environment.
    Without the password or a key, nothing in the repository can be read by anyone, ever.
    "###);
}
