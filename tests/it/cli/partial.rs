//! Snapshots in which a source failed: what `latest` and `--at` take instead, and that they say so.

use std::fs;

use super::world::World;

/// A complete snapshot of May 1st, and a partial one of May 2nd in which `x` failed and `w/f` is newer.
fn scene() -> World {
    let world = World::new();
    world.write("w/f", "v1\n");
    world.backup(&[
        "backup",
        "w",
        "x=command:printf x",
        "--time",
        "2024-05-01 10:00",
    ]);
    world.write("w/f", "v2\n");
    let partial = [
        "backup",
        "--partial",
        "w",
        "x=command:false",
        "--time",
        "2024-05-02 10:00",
    ];
    assert_eq!(world.code(&partial), 23);
    world
}

#[test]
fn whoever_gets_older_data_is_told_what_failed_since() {
    let world = scene();
    let file = world.text("w/f");
    insta::assert_snapshot!(world.run(&["dump", &format!("latest:{file}")]), @r###"
    exit 0
    -- stdout
    v1
    -- stderr
    warning: snapshot ID1 of 2024-05-02 10:00:00 is newer, but partial: x failed; --source NAME takes the newest of each source
    "###);
    insta::assert_snapshot!(world.run(&["dump", &format!("latest:{file}"), "--source", "files"]), @r###"
    exit 0
    -- stdout
    v2
    "###);
    // An address of a source chooses as --source does; so does a target.
    insta::assert_snapshot!(world.run(&["dump", &format!("latest:files{file}")]), @r###"
    exit 0
    -- stdout
    v2
    "###);
    insta::assert_snapshot!(world.run(&["dump", "latest", "x"]), @r###"
    exit 0
    -- stdout
    x-- stderr
    warning: snapshot ID1 of 2024-05-02 10:00:00 is newer, but partial: x failed
    "###);
    // Two names of the same, and one warning.
    insta::assert_snapshot!(world.run(&["diff", "latest", "latest"]), @r###"
    exit 0
    -- stdout
    0 added (SIZE), 0 removed (SIZE), 0 modified
    -- stderr
    warning: snapshot ID1 of 2024-05-02 10:00:00 is newer, but partial: x failed; --source NAME takes the newest of each source
    "###);
    let at = |time: &str| world.run(&["restore", "--at", time, "--target", "out", "--dry-run"]);
    assert!(at("2024-06-01").contains("but partial: x failed"));
    let earlier = at("2024-05-01 12:00");
    assert!(!earlier.contains("partial"), "{earlier}");
    let newest = world.backup(&["backup", "w", "x=command:printf y"]);
    insta::assert_snapshot!(world.run(&["dump", "latest:x"]), @r###"
    exit 0
    -- stdout
    y
    "###);
    let said = world.json(&["snapshots", "latest"]);
    assert_eq!(said[0]["id"], newest.as_str());
}

#[test]
fn what_is_forgotten_or_tagged_is_never_another_than_the_newest() {
    let world = scene();
    let ids = || {
        let listed = world.json(&["snapshots"]);
        let ids = listed.iter().filter_map(|line| line["id"].as_str());
        ids.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let before = ids();
    assert_eq!(before.len(), 2);
    insta::assert_snapshot!(world.run(&["forget", "latest"]), @r###"
    exit 2
    -- stderr
    error: latest could be ID1 of 2024-05-01 10:00:00, or ID2 of 2024-05-02 10:00:00, which is newer, but partial: x failed
    hint: Name the snapshot that is meant by its id.
    "###);
    for arguments in [
        &["forget", "latest", "--dry-run"][..],
        &["forget", "latest", "--source", "x"],
        &["tag", "--add", "good", "latest"],
        &["tag", "--add", "good", "latest", "--source", "x"],
    ] {
        let said = world.run(arguments);
        assert!(said.starts_with("exit 2"), "{arguments:?}: {said}");
        assert!(said.contains("Name the snapshot"), "{arguments:?}: {said}");
    }
    assert_eq!(ids(), before);
    // What is asked for is whole in the newest; or all before it is as far away as it seems.
    world.ok(&["tag", "--add", "good", "latest", "--source", "files"]);
    world.backup(&["backup", "w", "x=command:printf y"]);
    let said = world.run(&["forget", "latest~1"]);
    assert!(said.contains("latest~1 could be"), "{said}");
    world.ok(&["forget", "latest"]);
    assert_eq!(ids().len(), 2);
}

#[test]
fn where_all_is_partial_a_source_can_be_had_by_its_name() {
    let world = World::new();
    let partial = ["backup", "--partial", "/nonexistent", "ok=command:printf x"];
    assert_eq!(world.code(&partial), 23);
    insta::assert_snapshot!(world.run(&["dump", "latest:ok"]), @r###"
    exit 0
    -- stdout
    x
    "###);
    let to = format!("ok=command:tee {}", world.text("loaded"));
    world.ok(&["restore", "latest", "--to", &to, "--force"]);
    assert_eq!(fs::read_to_string(world.path("loaded")).unwrap(), "x");
    for what in ["latest", "latest:files"] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(world.run(&["ls", what]), @r###"
            exit 1
            -- stderr
            error: no complete snapshot fits the filters
            hint: Snapshot ID1 of TIME is partial: files failed. Name it by its id, or say with --source NAME which source is meant, and the newest snapshot that holds it is taken.
            "###);
        }
    }
}

#[test]
fn a_snapshot_whose_record_is_damaged_is_no_unknown_one() {
    let world = World::filled();
    let id = world.backup(&["backup", "data"]);
    let whole = world.backup(&["backup", "data"]);
    let records = world.objects().into_keys();
    let name = format!("end/{id}");
    let mut record = records.filter(|path| path.to_string_lossy().ends_with(&name));
    let record = record.next().expect("the record");
    let mut bytes = fs::read(&record).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&record, &bytes).unwrap();
    let target = world.text("out");
    for arguments in [
        &["ls", &id][..],
        &["ls", &id[..10]],
        &["restore", &id, "--target", &target],
        &["cat", "snapshot", &id],
        &["snapshots", &id],
    ] {
        let said = world.output(arguments);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(20), "{arguments:?}: {text}");
        assert!(
            text.contains(&format!("error: {name} is damaged")),
            "{text}"
        );
        assert!(
            text.contains("keepstone forget gives that snapshot up"),
            "{text}"
        );
    }
    world.ok(&["restore", &whole, "--target", &target]);
    // It may be the newest.
    for arguments in [
        &["forget", "latest"][..],
        &["forget", "latest~1", "--dry-run"],
        &["tag", "--add", "good", "latest"],
    ] {
        let said = world.run(arguments);
        assert!(said.starts_with("exit 2\n"), "{arguments:?}: {said}");
        assert!(
            said.contains("latest") && said.contains(" could be snapshot ID"),
            "{said}"
        );
    }
    world.ok(&["forget", &whole]);
}

#[test]
fn where_everything_failed_partial_is_no_advice() {
    let world = World::new();
    insta::assert_snapshot!(world.run(&["backup", "--partial", "command:false"]), @r###"
    exit 23
    -- stderr
    error: source command-false failed: false ended with status 1
    hint: Run that program by itself, as this user, to see what it lacks.
    "###);
}
