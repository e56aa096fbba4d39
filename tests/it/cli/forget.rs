//! `keepstone forget`.

use super::world::{World, of_type};
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
      keepstone forget --keep-within 7d --keep-within-daily 30d --prune
      keepstone forget --keep-last 24 --keep-tag-last pre-upgrade=1
      keepstone forget                          by the rules of [retention] in keepstone.toml

    Rules are applied to each group by itself: by host, and by set or the names of the sources. A
    snapshot that satisfies one rule stays. So does the last good copy of every source, and a snapshot
    that is dated after it was stored. A set with a retention of its own in keepstone.toml goes by that.
    Until prune has removed its data, undelete brings a snapshot back.
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

/// One snapshot of each of these times.
fn at(times: &[&str]) -> World {
    let world = World::new();
    world.write("data/x", "x");
    for time in times {
        world.backup_at(time, &[]);
    }
    world
}

#[test]
fn named_snapshots_go() {
    let world = at(&["2024-05-01 10:00", "2024-05-02 10:00", "2024-05-03 10:00"]);
    let ids = world.snapshots();
    insta::assert_snapshot!(world.run(&["forget", &ids[0], "latest", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    forget  ID1  2024-05-01 10:00:00  web1
    forget  ID2  2024-05-03 10:00:00  web1
    dry run: 2 snapshots would be forgotten
    "###);
    assert_eq!(world.snapshots(), ids);
    insta::assert_snapshot!(world.run(&["forget", &ids[0][..12], "latest"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    forget  ID1  2024-05-01 10:00:00  web1
    forget  ID2  2024-05-03 10:00:00  web1
    2 snapshots forgotten
    "###);
    assert_eq!(world.snapshots(), [ids[1].clone()]);
    insta::assert_snapshot!(world.run(&["forget", &ids[0]]), @r###"
    exit 1
    -- stderr
    error: no snapshot begins with ID1
    "###);
    insta::assert_snapshot!(world.run(&["forget", "latest", "--keep-last", "1"]), @r###"
    exit 2
    -- stderr
    error: snapshots and rules exclude each other
    "###);
    insta::assert_snapshot!(world.run(&["forget"]), @r###"
    exit 2
    -- stderr
    error: no rule says what to keep
    hint: Give --keep-last, --keep-daily and their likes, or [retention] in keepstone.toml, or name snapshots.
    "###);
}

#[test]
fn every_rule_keeps_what_it_names() {
    let world = at(&[
        "2022-12-31 23:00",
        "2023-06-30 12:00",
        "2023-12-30 12:00",
        "2024-01-31 12:00",
        "2024-03-30 12:00",
        "2024-04-29 09:00",
        "2024-04-30 09:00",
        "2024-04-30 10:00",
        "2024-04-30 10:30",
    ]);
    let kept = |rules: &[&str]| {
        let mut arguments = vec!["forget", "--dry-run"];
        arguments.extend(rules);
        let lines = world.json(&arguments);
        let decisions = of_type(&lines, "decision");
        assert_eq!(decisions.len(), 9);
        let mut shown = String::new();
        let snapshots = world.json(&["snapshots"]);
        for snapshot in &snapshots {
            let decision = decisions
                .iter()
                .find(|d| d["id"] == snapshot["id"])
                .unwrap();
            if decision["keep"] == true {
                let time = snapshot["time"].as_str().unwrap().replace(":00Z", "");
                let reasons: Vec<_> = decision["reasons"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|r| r.as_str())
                    .collect();
                shown.push_str(&format!("{time} {}\n", reasons.join(", ")));
            }
        }
        shown
    };
    insta::assert_snapshot!(kept(&["--keep-last", "2"]), @r###"
    2024-04-30T10:00 last
    2024-04-30T10:30 last
    "###);
    insta::assert_snapshot!(kept(&["--keep-hourly", "2"]), @r###"
    2024-04-30T09:00 hourly
    2024-04-30T10:30 hourly
    "###);
    insta::assert_snapshot!(kept(&["--keep-daily", "2"]), @r###"
    2024-04-29T09:00 daily
    2024-04-30T10:30 daily
    "###);
    insta::assert_snapshot!(kept(&["--keep-weekly", "2"]), @r###"
    2024-03-30T12:00 weekly
    2024-04-30T10:30 weekly
    "###);
    insta::assert_snapshot!(kept(&["--keep-monthly", "3"]), @r###"
    2024-01-31T12:00 monthly
    2024-03-30T12:00 monthly
    2024-04-30T10:30 monthly
    "###);
    insta::assert_snapshot!(kept(&["--keep-quarter-yearly", "2"]), @r###"
    2024-03-30T12:00 quarter-yearly
    2024-04-30T10:30 quarter-yearly
    "###);
    insta::assert_snapshot!(kept(&["--keep-yearly", "unlimited"]), @r###"
    2022-12-31T23:00 yearly
    2023-12-30T12:00 yearly
    2024-04-30T10:30 yearly
    "###);
    insta::assert_snapshot!(kept(&["--keep-within", "1d12h"]), @r###"
    2024-04-29T09:00 within
    2024-04-30T09:00 within
    2024-04-30T10:00 within
    2024-04-30T10:30 within
    "###);
    insta::assert_snapshot!(kept(&["--keep-within-hourly", "1h"]), @r###"
    2024-04-30T10:30 within hourly
    "###);
    insta::assert_snapshot!(kept(&["--keep-within-daily", "2d"]), @r###"
    2024-04-29T09:00 within daily
    2024-04-30T10:30 within daily
    "###);
    insta::assert_snapshot!(kept(&["--keep-within-weekly", "2m"]), @r###"
    2024-03-30T12:00 within weekly
    2024-04-30T10:30 within weekly
    "###);
    insta::assert_snapshot!(kept(&["--keep-within-monthly", "4m"]), @r###"
    2023-12-30T12:00 within monthly
    2024-01-31T12:00 within monthly
    2024-03-30T12:00 within monthly
    2024-04-30T10:30 within monthly
    "###);
    insta::assert_snapshot!(kept(&["--keep-within-quarter-yearly", "1y"]), @r###"
    2023-06-30T12:00 within quarter-yearly
    2023-12-30T12:00 within quarter-yearly
    2024-03-30T12:00 within quarter-yearly
    2024-04-30T10:30 within quarter-yearly
    "###);
    insta::assert_snapshot!(kept(&["--keep-within-yearly", "2y"]), @r###"
    2022-12-31T23:00 within yearly
    2023-12-30T12:00 within yearly
    2024-04-30T10:30 within yearly
    "###);
    insta::assert_snapshot!(kept(&["--keep-last", "1", "--keep-yearly", "2"]), @r###"
    2023-12-30T12:00 yearly
    2024-04-30T10:30 last, yearly
    "###);
}

#[test]
fn tags_keep() {
    let world = World::filled();
    for (day, tags) in [("01", "a"), ("02", "a,b"), ("03", "a"), ("04", "c")] {
        world.backup_at(&format!("2024-05-{day} 10:00"), &["--tag", tags]);
    }
    insta::assert_snapshot!(world.run(&["forget", "--keep-tag", "a,b", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-04 10:00:00  web1  last good files
    forget  ID2  2024-05-03 10:00:00  web1
    keep  ID3  2024-05-02 10:00:00  web1  tag
    forget  ID4  2024-05-01 10:00:00  web1
    dry run: 2 snapshots would be forgotten
    "###);
    insta::assert_snapshot!(world.run(&["forget", "--keep-tag-last", "a=2", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-04 10:00:00  web1  last good files
    keep  ID2  2024-05-03 10:00:00  web1  last a
    keep  ID3  2024-05-02 10:00:00  web1  last a
    forget  ID4  2024-05-01 10:00:00  web1
    dry run: 1 snapshot would be forgotten
    "###);
    insta::assert_snapshot!(world.run(&["forget", "--keep-last", "1", "--group-by", "tags", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-03 10:00:00  web1  last
    forget  ID2  2024-05-01 10:00:00  web1
    keep  ID3  2024-05-02 10:00:00  web1  last
    keep  ID4  2024-05-04 10:00:00  web1  last
    dry run: 1 snapshot would be forgotten
    "###);
    insta::assert_snapshot!(world.run(&["forget", "--keep-last", "1", "--tag", "a", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-03 10:00:00  web1  last
    forget  ID2  2024-05-02 10:00:00  web1
    forget  ID3  2024-05-01 10:00:00  web1
    dry run: 2 snapshots would be forgotten
    "###);
}

#[test]
fn groups_are_judged_by_themselves() {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &["-H", "a"]);
    world.backup_at("2024-05-02 10:00", &["-H", "a"]);
    world.backup_at("2024-05-03 10:00", &["-H", "b"]);
    world.backup(&[
        "backup",
        "command:printf x",
        "--time",
        "2024-05-04 10:00",
        "-H",
        "a",
    ]);
    insta::assert_snapshot!(world.run(&["forget", "--keep-last", "1", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-04 10:00:00  a  last
    keep  ID2  2024-05-02 10:00:00  a  last
    forget  ID3  2024-05-01 10:00:00  a
    keep  ID4  2024-05-03 10:00:00  b  last
    dry run: 1 snapshot would be forgotten
    "###);
    // The only copy of a source stays, whatever the group says.
    insta::assert_snapshot!(world.run(&["forget", "--keep-last", "1", "--group-by", "", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-04 10:00:00  a  last
    keep  ID2  2024-05-03 10:00:00  b  last good files
    forget  ID3  2024-05-02 10:00:00  a
    forget  ID4  2024-05-01 10:00:00  a
    dry run: 2 snapshots would be forgotten
    "###);
    insta::assert_snapshot!(world.run(&["forget", "--keep-last", "1", "--host", "a", "--dry-run"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-04 10:00:00  a  last
    keep  ID2  2024-05-02 10:00:00  a  last
    forget  ID3  2024-05-01 10:00:00  a
    dry run: 1 snapshot would be forgotten
    "###);
}

#[test]
fn rules_of_the_configuration_are_applied_and_space_is_freed() {
    let world = at(&["2024-05-01 10:00", "2024-05-02 10:00", "2024-05-03 10:00"]);
    world.configure("[retention]\nkeep_daily = 2\n");
    insta::assert_snapshot!(world.run(&["forget", "--prune"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-03 10:00:00  web1  daily
    keep  ID2  2024-05-02 10:00:00  web1  daily
    forget  ID3  2024-05-01 10:00:00  web1
    1 snapshot forgotten
    PACKS (SIZE) removed, SIZE written anew
    "###);
    assert_eq!(world.snapshots().len(), 2);
    insta::assert_snapshot!(world.run(&["forget", "--prune"]), @r###"
    exit 0
    -- stdout
          ID  Time  Host  Why
    keep  ID1  2024-05-03 10:00:00  web1  daily
    keep  ID2  2024-05-02 10:00:00  web1  daily
    0 snapshots forgotten
    PACKS (SIZE) removed, SIZE written anew
    "###);
    world.ok(&["check", "--read-data"]);
}

#[test]
fn a_snapshot_that_is_named_twice_counts_once() {
    let world = at(&["2024-05-01 10:00"]);
    let id = world.snapshots().remove(0);
    for verb in [vec!["tag", "--add", "x"], vec!["stats"]] {
        let said = world.ok(&[verb.as_slice(), &["latest", "latest"]].concat());
        assert!(!said.contains("2 snapshots"), "{said}");
        assert_eq!(world.snapshots().len(), 1);
    }
    assert_ne!(world.snapshots(), [id]);
    let said = world.ok(&["forget", "latest", "latest"]);
    assert!(said.ends_with("\n1 snapshot forgotten\n"), "{said}");
    let forgotten = world.json(&["snapshots", "--forgotten"]);
    let id = forgotten[0]["id"].as_str().unwrap();
    world.ok(&["undelete", id, id]);
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn with_a_set_only_what_is_of_it_can_be_named() {
    let world = World::filled();
    let data = world.text("data");
    world.configure(&format!(
        "[source.a]\nurl = \"files:{data}\"\n[source.b]\nurl = \"command:printf b\"\n\
         [set.temp]\nsources = [\"a\"]\n[set.nightly]\nsources = [\"a\", \"b\"]\n"
    ));
    let temp = world.backup(&["backup", "--set", "temp", "--time", "2024-05-01 10:00"]);
    let nightly = world.backup(&["backup", "--set", "nightly", "--time", "2024-05-02 10:00"]);
    let plain = world.backup_at("2024-05-03 10:00", &[]);
    insta::assert_snapshot!(world.run(&["forget", &nightly, "--set", "temp"]), @r###"
    exit 2
    -- stderr
    error: snapshot ID1 is not of the set temp
    hint: Leave out --set to forget it all the same.
    "###);
    insta::assert_snapshot!(world.run(&["forget", "latest", "--set", "tmp"]), @r###"
    exit 1
    -- stderr
    error: no snapshot is of the set tmp
    "###);
    insta::assert_snapshot!(world.run(&["forget", "latest~1", "--set", "temp"]), @r###"
    exit 1
    -- stderr
    error: latest~1 goes back too far: 1 complete snapshots fit
    "###);
    assert_eq!(world.snapshots().len(), 3);
    insta::assert_snapshot!(world.run(&["forget", "latest", "--set", "temp"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    forget  ID1  2024-05-01 10:00:00  web1
    1 snapshot forgotten
    "###);
    assert_eq!(world.snapshots(), [nightly.clone(), plain]);
    assert!(!world.snapshots().contains(&temp));
    insta::assert_snapshot!(world.run(&["forget", &nightly[..9], "--set", "nightly"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    forget  ID1  2024-05-02 10:00:00  web1
    1 snapshot forgotten
    "###);
}
