//! `keepstone forget`.

use super::{help, home, run};

#[test]
fn help_of_forget() {
    insta::assert_snapshot!(help(&["forget"]), @r###"
    exit 0
    -- stdout
    Remove snapshots, by id or by rules

    Usage: keepstone forget [OPTIONS] [SNAPSHOT]...

    Arguments:
      [SNAPSHOT]...  Remove these, whatever the rules say

    Options:
      -n, --dry-run                 Show what would be removed
          --prune                   Free the space at once
          --fence-after <DURATION>  Shut out a run of another host that was silent so long; it then
                                    fails instead of committing [default: 24h]
      -h, --help                    Print help (see more with '--help')

    What to keep:
      -l, --keep-last <N>
              Keep the newest N snapshots (or "unlimited")
      -H, --keep-hourly <N>
              Keep the newest of each of the last N hours that hold a snapshot
      -d, --keep-daily <N>
              Keep the newest of each of the last N days that hold a snapshot
      -w, --keep-weekly <N>
              Keep the newest of each of the last N weeks that hold a snapshot
      -m, --keep-monthly <N>
              Keep the newest of each of the last N months that hold a snapshot
          --keep-quarter-yearly <N>
              Keep the newest of each of the last N quarters that hold a snapshot
      -y, --keep-yearly <N>
              Keep the newest of each of the last N years that hold a snapshot
          --keep-within <DURATION>
              Keep all so long before the newest, for example 1y5m7d2h (m: months)
          --keep-within-hourly <DURATION>
              Keep hourly ones so long before the newest
          --keep-within-daily <DURATION>
              Keep daily ones so long before the newest
          --keep-within-weekly <DURATION>
              Keep weekly ones so long before the newest
          --keep-within-monthly <DURATION>
              Keep monthly ones so long before the newest
          --keep-within-quarter-yearly <DURATION>
              Keep quarterly ones so long before the newest
          --keep-within-yearly <DURATION>
              Keep yearly ones so long before the newest
          --keep-tag <TAGS>
              Keep those with all these tags, separated by commas; may be given several times
          --keep-tag-last <TAG=N>
              Keep the newest N with this tag; may be given several times
      -g, --group-by <GROUP>
              What makes a group that is judged by itself: host, set, tags, separated by commas, or
              nothing

    Filters:
          --host <HOST>    Only snapshots of this host; may be given several times
          --tag <TAGS>     Only snapshots with all these tags, separated by commas; may be given several
                           times
          --source <NAME>  Only snapshots that hold this source; may be given several times
          --set <NAME>     Only snapshots of this set

    Examples:
      keepstone forget 3fc2a9
      keepstone forget --keep-hourly 24 --keep-daily 7 --keep-weekly 4 --dry-run
      keepstone forget --keep-within 7d --keep-within-daily 30d --keep-tag-last pre-upgrade=1 --prune
      keepstone forget                          by the rules of [retention] in keepstone.toml

    Rules are applied to each group by itself: by host, and by set or the names of the sources. A
    snapshot that
    satisfies one rule stays. So does the last good copy of every source, and a snapshot that is dated
    after it was
    stored. A set with a retention of its own in keepstone.toml goes by that. Until prune has removed
    its data,
    undelete brings a snapshot back.
    "###);
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
    insta::assert_snapshot!(ask(&[]), @r###"
    exit 2
    -- stderr
    error: no rule says what to keep
    hint: Give --keep-last, --keep-daily and their likes, or [retention] in keepstone.toml, or name snapshots.
    "###);
    insta::assert_snapshot!(ask(&["--keep-last", "0"]), @r###"
    exit 2
    -- stderr
    error: no rule says what to keep
    hint: Give --keep-last, --keep-daily and their likes, or [retention] in keepstone.toml, or name snapshots.
    "###);
    insta::assert_snapshot!(ask(&["3fc2", "--keep-last", "1"]), @r###"
    exit 2
    -- stderr
    error: snapshots and rules exclude each other
    "###);
    insta::assert_snapshot!(ask(&["--keep-within", "90min"]), @r###"
    exit 2
    -- stderr
    error: invalid value '90min' for '--keep-within <DURATION>': min is not a unit of time here: use y, m, w, d or h

    For more information, try '--help'.
    "###);
}
