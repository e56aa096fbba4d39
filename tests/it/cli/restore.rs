//! `keepstone restore`.

use super::{help, home, run};

#[test]
fn help_of_restore() {
    insta::assert_snapshot!(help(&["restore"]), @r###"
    exit 0
    -- stdout
    Bring back what a snapshot holds

    Usage: keepstone restore [OPTIONS] [SNAPSHOT[:PATH]]

    Arguments:
      [SNAPSHOT[:PATH]]  The snapshot: an id or its first digits, latest, latest~N, or with :PATH only
                         that

    Options:
          --at <TIME>  The newest snapshot whose data is not younger than this time
      -n, --dry-run    Show what would change
          --force      Do not ask, and restore what was saved on another host
      -h, --help       Print help (see more with '--help')

    Where to:
      -t, --target <DIR>   Into this folder: files under their paths, the rest as their own tools read
                           it
          --to <NAME=URL>  A source into a live system; may be given several times
          --in-place       Every source to where it was saved from, according to keepstone.toml or the
                           snapshot

    Files:
      -i, --include <PATTERN>  Only what matches, as in .gitignore; may be given several times
      -e, --exclude <PATTERN>  All but what matches, as in .gitignore; may be given several times
          --delete             Remove what the snapshot does not hold from the folders that it does hold
          --verify             Read back and compare what was written
          --privileged         Restore setuid bits, devices and security attributes too

    Databases, with --to or --in-place:
          --database <DATABASE>    Only this database, by name (PostgreSQL) or number (Redis); may be
                                   given several times
          --schema <SCHEMA>        Only this schema, into a database of its own (PostgreSQL); may be
                                   given several times
          --table <TABLE>          Only this table: SCHEMA.TABLE into a database of its own
                                   (PostgreSQL), or TABLE, also into a database that lives on (SQLite);
                                   may be given several times
          --no-owner               Without owners, grants and roles (PostgreSQL)
          --key-pattern <PATTERN>  Only keys that match, with * and ?, beside the others (Redis); may be
                                   given several times
          --prefix <[OLD=]NEW>     Put NEW in front of every key, or in the place of OLD; keys without
                                   OLD stay out (Redis)
          --ttl <HOW>              What becomes of the time keys have to live (Redis) [default: keep]
                                   [possible values: keep, shift, drop]
          --functions              Replace the functions of the server too (Redis)
          --in-use                 Overwrite a database in place, in one transaction, that others have
                                   open (SQLite)

    Earlier restores:
          --list              List restores that can be undone or finished
          --resume <ID>       Finish a restore that was cut off
          --rollback <ID>     Undo a restore: bring back what it replaced
          --discard-old <ID>  Drop what a restore replaced; after that there is no way back

    Filters:
      -H, --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source, and of them only this source; may be
                           given several times

    Examples:
      keepstone restore latest --target /tmp/restored
      keepstone restore latest:/etc/app --target /
      keepstone restore --at '2026-11-20 14:05' --source postgres-app --to
      postgres-app=postgres://localhost/app_copy
      keepstone restore --at 3h --in-place --dry-run
      keepstone restore --at 3h --in-place
      keepstone restore --at 3h --to db=sqlite:/var/lib/app.db --table notes
      keepstone restore --at 3h --to cache=redis://localhost --key-pattern 'user:7:*' --prefix restored:
      keepstone restore --list
      keepstone restore --rollback 3fc2a9

    A restore into a live system is staged beside it, validated, then switched; what it replaced is kept
    until
    --discard-old, and --rollback brings it back. --at takes the newest snapshot whose data is not
    younger than that
    time, says which, and asks.
    "###);
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
    insta::assert_snapshot!(ask(&["--target", "out"]), @r###"
    exit 2
    -- stderr
    error: no snapshot was named
    hint: Name one (latest, an id) or a time (--at 3h); keepstone snapshots lists them.
    "###);
    insta::assert_snapshot!(ask(&["latest"]), @r###"
    exit 2
    -- stderr
    error: no place to restore to was named
    hint: Give --target DIR, --to NAME=URL, or --in-place; --dry-run shows what would happen.
    "###);
    insta::assert_snapshot!(ask(&["latest", "--in-place", "--target", "out"]), @r###"
    exit 2
    -- stderr
    error: the argument '--in-place' cannot be used with '--target <DIR>'

    Usage: keepstone restore --repo <ADDRESS> --in-place <SNAPSHOT[:PATH]>

    For more information, try '--help'.
    "###);
    insta::assert_snapshot!(ask(&["newest", "--target", "out"]), @r###"
    exit 2
    -- stderr
    error: invalid value 'newest' for '[SNAPSHOT[:PATH]]': not a snapshot: give an id or its first digits, latest, or latest~N

    For more information, try '--help'.
    "###);
    insta::assert_snapshot!(ask(&["--at", "noon", "--target", "out"]), @r###"
    exit 2
    -- stderr
    error: --at noon: not a time: write 2026-11-20T14:05:00+01:00, "2026-11-20 14:05", 2026-11-20, or an age such as 3h or 2d
    "###);
    insta::assert_snapshot!(ask(&["latest", "--to", "db=postgres://u:hunter2@h/db"]), @r###"
    exit 2
    -- stderr
    error: the address postgres://h/db holds a password
    hint: Everyone on this machine can read a command line. Name a file or a command instead (?password_file=/path in the address; password_file or password_command under [source.NAME] in keepstone.toml), or use PGPASSWORD, ~/.pgpass or REDISCLI_AUTH.
    "###);
}
