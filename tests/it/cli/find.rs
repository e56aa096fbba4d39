//! `keepstone find`.

use super::help;

#[test]
fn help_of_find() {
    insta::assert_snapshot!(help(&["find"]), @r###"
    exit 0
    -- stdout
    Search snapshots for names

    Usage: keepstone find [OPTIONS] <PATTERN>...

    Arguments:
      <PATTERN>...  Name or path with * and ?, matched as in .gitignore

    Options:
      -i, --ignore-case          Take capitals and small letters as the same
      -l, --long                 Show mode, owner, size and time
      -s, --snapshot <SNAPSHOT>  Search only this snapshot; may be given several times
      -h, --help                 Print help (see more with '--help')

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone find nginx.conf
      keepstone find -i '*.ENV' '*.pem'
      keepstone find --snapshot latest --long /etc/passwd
    "###);
}
