//! Which snapshot is restored, and where in place is.

use std::fs;

use super::super::world::World;

#[test]
fn a_time_chooses_the_newest_snapshot_that_is_not_younger() {
    let world = World::filled();
    for (time, text) in [("2024-05-01 10:00", "one\n"), ("2024-05-02 10:00", "two\n")] {
        world.write("data/hello.txt", text);
        world.backup_at(time, &[]);
    }
    world.write("data/hello.txt", "now\n");
    world.backup(&["backup", "data"]);
    let mut number = 0;
    let mut at = |time: &str, zone: &str| {
        number += 1;
        let target = world.text(&format!("at{number}"));
        let mut command = world.command(&["restore", "--at", time, "--target", &target]);
        command.env("TZ", zone);
        let said = world.transcript(&mut command);
        let hello = world
            .path(&format!("at{number}"))
            .join(world.text("data/hello.txt").trim_start_matches('/'));
        let content = fs::read_to_string(hello).unwrap_or_else(|_| "nothing\n".into());
        format!("{said}-- hello.txt\n{content}").replace(&format!("at{number}"), "out")
    };
    insta::assert_snapshot!(at("2024-05-02T09:59:59Z", "UTC"), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    snapshot ID1 of 2024-05-01 10:00:00+00:00, host web1
    -- hello.txt
    one
    "###);
    insta::assert_snapshot!(at("2024-05-02T12:01:00+02:00", "UTC"), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    -- hello.txt
    two
    "###);
    insta::assert_snapshot!(at("2024-05-02 12:01", "Europe/Berlin"), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    --at is 2024-05-02 12:01:00+02:00
    snapshot ID1 of 2024-05-02 12:00:00+02:00, host web1
    -- hello.txt
    two
    "###);
    insta::assert_snapshot!(at("2024-05-02", "UTC"), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    --at is 2024-05-02 00:00:00+00:00
    snapshot ID1 of 2024-05-01 10:00:00+00:00, host web1
    -- hello.txt
    one
    "###);
    insta::assert_snapshot!(at("3h", "UTC"), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    -- stderr
    --at is TIME
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    -- hello.txt
    two
    "###);
    insta::assert_snapshot!(at("2024-05-01", "UTC"), @r###"
    exit 1
    -- stderr
    --at is 2024-05-01 00:00:00+00:00
    error: there is no complete snapshot at or before that time
    -- hello.txt
    nothing
    "###);
    insta::assert_snapshot!(at("2023-10-29 02:30", "Europe/Berlin"), @r###"
    exit 2
    -- stderr
    error: --at 2023-10-29 02:30: the clock showed this time twice: add an offset, +02 or +01
    -- hello.txt
    nothing
    "###);
    insta::assert_snapshot!(at("2024-03-31 02:30", "Europe/Berlin"), @r###"
    exit 2
    -- stderr
    error: --at 2024-03-31 02:30: the clock was set forward over this time, so it never was: add an offset
    -- hello.txt
    nothing
    "###);
    insta::assert_snapshot!(at("5m", "UTC"), @r###"
    exit 2
    -- stderr
    error: --at 5m: m could be minutes or months: write min or mo
    -- hello.txt
    nothing
    "###);
}

#[test]
fn a_snapshot_is_named_by_its_place_or_its_id() {
    let world = World::filled();
    let first = world.backup_at("2024-05-01 10:00", &[]);
    world.backup_at("2024-05-02 10:00", &[]);
    let said = |reference: &str| {
        world.run(&[
            "restore",
            reference,
            "--target",
            &world.text("out"),
            "--dry-run",
        ])
    };
    assert!(said("latest~1").contains("2024-05-01 10:00:00"));
    assert!(said("latest").contains("2024-05-02 10:00:00"));
    assert!(said(&first[..6]).contains("2024-05-01 10:00:00"));
    insta::assert_snapshot!(said("latest~2"), @r###"
    exit 1
    -- stderr
    error: latest~2 goes back too far: 2 complete snapshots fit
    "###);
    insta::assert_snapshot!(said("ffffffffffff"), @r###"
    exit 1
    -- stderr
    error: no snapshot begins with ffffffffffff
    "###);
}

#[test]
fn in_place_means_the_host_that_was_saved() {
    let world = World::filled();
    world.backup_at("2024-05-01 10:00", &["-H", "db2"]);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of 2024-05-01 10:00:00+00:00, host db2
    error: the snapshot is of the host db2
    hint: --force restores it in place here; --to and --target restore it elsewhere.
    "###);
    world.backup_at("2024-05-02 10:00", &[]);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    error: latest could be of several hosts
    hint: Name one with --host.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--host", "web1"]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to /
    -- stderr
    snapshot ID1 of 2024-05-02 10:00:00+00:00, host web1
    "###);
}
