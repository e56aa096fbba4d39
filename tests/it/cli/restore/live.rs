//! `keepstone restore` into live systems: `--to`, `--in-place`, `--list`, `--rollback`, `--discard-old`.

use std::fs;

use crate::cli::world::{World, of_type};

fn name_of_50(world: &World, file: &str) -> String {
    rusqlite::Connection::open(world.path(file))
        .and_then(|database| {
            database.query_row("SELECT name FROM t WHERE id = 50", (), |row| row.get(0))
        })
        .unwrap()
}

#[test]
fn a_live_database_is_replaced_brought_back_and_let_go() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", &database]);
    world.sql("UPDATE t SET name = 'newer' WHERE id = 50");
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stderr
    no earlier restore has kept or left anything
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--dry-run"]), @r###"
    exit 0
    -- stdout
    sqlite-app.db to sqlite:HOME/app.db, SIZE
      makes HOME/app.db.keepstone-ID1.new
      replaces HOME/app.db
      keeps HOME/app.db.keepstone-ID1.old
    -- stderr
    snapshot ID2 of TIME, host web1
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    sqlite-app.db to sqlite:HOME/app.db, SIZE
      makes HOME/app.db.keepstone-ID2.new
      replaces HOME/app.db
      keeps HOME/app.db.keepstone-ID2.old
    error: Replace HOME/app.db in sqlite:HOME/app.db? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    assert_eq!(name_of_50(&world, "app.db"), "newer");
    insta::assert_snapshot!(world.run(&["restore", "latest", "--in-place", "--force"]), @r###"
    exit 0
    -- stdout
    sqlite-app.db: 100 records restored to sqlite:HOME/app.db and validated
    kept: HOME/app.db.keepstone-ID1.old; undo with --rollback ID2, drop with --discard-old ID2
    -- stderr
    snapshot ID3 of TIME, host web1
    sqlite-app.db to sqlite:HOME/app.db, SIZE
      makes HOME/app.db.keepstone-ID1.new
      replaces HOME/app.db
      keeps HOME/app.db.keepstone-ID1.old
    "###);
    assert_eq!(name_of_50(&world, "app.db"), "name 50");
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stdout
    ID  Time  Source  Target  State  Keeps
    ID1  TIME  sqlite-app.db  sqlite:HOME/app.db  done  HOME/app.db.keepstone-ID2.old
    "###);
    let id = || {
        let lines = world.json(&["restore", "--list"]);
        of_type(&lines, "restore")[0]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    insta::assert_snapshot!(world.run(&["restore", "--rollback", &id()]), @r###"
    exit 2
    -- stderr
    error: Bring back HOME/app.db.keepstone-ID1.old in sqlite:HOME/app.db, and drop what has taken its place, with every change made to it since? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "--rollback", &id(), "--force"]), @r###"
    exit 0
    -- stdout
    sqlite:HOME/app.db is as it was before
    "###);
    assert_eq!(name_of_50(&world, "app.db"), "newer");
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stderr
    no earlier restore has kept or left anything
    "###);
    world.ok(&["restore", "latest", "--in-place", "--force"]);
    insta::assert_snapshot!(world.run(&["restore", "--discard-old", &id(), "--force"]), @r###"
    exit 0
    -- stdout
    HOME/app.db.keepstone-ID1.old removed
    "###);
    assert_eq!(name_of_50(&world, "app.db"), "name 50");
    insta::assert_snapshot!(world.run(&["restore", "--rollback", "ffff"]), @r###"
    exit 1
    -- stderr
    error: no earlier restore begins with ffff
    "###);
    let kept: Vec<_> = fs::read_dir(world.home())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        kept.iter()
            .filter(|name| name.to_string_lossy().contains("app.db"))
            .count(),
        1,
        "{kept:?}"
    );
}

#[test]
fn a_database_goes_to_another_place() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", "data", &database]);
    let copy = format!("sqlite-app.db=sqlite:{}", world.text("copy.db"));
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", &copy]), @r###"
    exit 0
    -- stdout
    sqlite-app.db: 100 records restored to sqlite:HOME/copy.db and validated
    -- stderr
    snapshot ID1 of TIME, host web1
    sqlite-app.db to sqlite:HOME/copy.db, SIZE
      makes HOME/copy.db.keepstone-ID2.new
    "###);
    assert_eq!(name_of_50(&world, "copy.db"), "name 50");
    // Nothing was replaced: there is nothing to go back to.
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stderr
    no earlier restore has kept or left anything
    "###);
    let strange = format!("files=sqlite:{}", world.text("copy.db"));
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", &strange]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: source files is of kind files, its target of kind sqlite
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", "absent=sqlite:/x.db"]), @r###"
    exit 1
    -- stderr
    snapshot ID1 of TIME, host web1
    error: the snapshot holds no source absent
    hint: It holds files, sqlite-app.db.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", "files=files:/x"]), @r###"
    exit 2
    -- stderr
    snapshot ID1 of TIME, host web1
    error: files holds files
    hint: Files are restored with --target DIR or --in-place.
    "###);
}

#[test]
fn a_command_takes_what_was_saved_on_its_standard_input() {
    let world = World::new();
    world.backup(&["backup", "note=command:printf hello"]);
    let to = format!("note=command:tee {}", world.text("loaded"));
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", &to, "--force"]), @r###"
    exit 0
    -- stdout
    note: restored to command:tee
    -- stderr
    snapshot ID1 of TIME, host web1
    note to command:tee, SIZE
      makes whatever tee makes of 5 bytes
      replaces whatever tee overwrites
    warning: tee acts at once on the live system: what it does can be neither compared nor rolled back
    tee read everything and ended with status 0; what it made was not compared
    "###);
    assert_eq!(fs::read_to_string(world.path("loaded")).unwrap(), "hello");
    insta::assert_snapshot!(world.run(&["restore", "latest", "--to", "note=command:false --password=hunter2", "--force"]), @r###"
    exit 23
    -- stderr
    snapshot ID1 of TIME, host web1
    note to command:false, SIZE
      makes whatever false makes of 5 bytes
      replaces whatever false overwrites
    warning: false acts at once on the live system: what it does can be neither compared nor rolled back
    error: source note failed: false ended with status 1; and what it left behind could not be undone: source note failed: cannot undo what false may have done
    hint: Look at what the command has left behind. It can be neither finished nor undone; keepstone restore --discard-old ID2 lets it be.
    "###);
    for entry in fs::read_dir(world.path("state/keepstone/restores")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
    // Nobody knows what it did: it is named until that is accepted.
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stdout
    ID  Time  Source  Target  State  Keeps
    ID1  TIME  note  command:false  UNFINISHED  may have left whatever false makes of 5 bytes
    "###);
    insta::assert_snapshot!(world.run(&["restore", "latest", "--target", &world.text("out"), "--dry-run"]), @r###"
    exit 0
    -- stdout
    export  HOME/out/note
    -- stderr
    warning: a restore of note to command:false failed or was cut off. Look at what the command has left behind. It can be neither finished nor undone; keepstone restore --discard-old ID1 lets it be.
    snapshot ID2 of TIME, host web1
    "###);
    let lines = world.json(&["restore", "--list"]);
    let entries = of_type(&lines, "restore");
    let cut_off = entries.iter().find(|entry| entry["phase"] != "switched");
    let id = cut_off.unwrap()["id"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(world.run(&["restore", "--rollback", &id]), @r###"
    exit 23
    -- stderr
    error: source note failed: cannot undo what false may have done
    hint: Look at what the command has left behind. It can be neither finished nor undone; keepstone restore --discard-old ID1 lets it be.
    "###);
    insta::assert_snapshot!(world.run(&["restore", "--resume", &id, "--force"]), @r###"
    exit 2
    -- stderr
    error: restore ID1 ran a command, whose arguments are not kept: they may hold secrets
    hint: Restore it anew with --to; restore --discard-old ID1 lets this one be.
    "###);
    for (flag, act) in [
        (
            "--rollback",
            "would undo the restore of note to command:false",
        ),
        (
            "--discard-old",
            "would let be whatever was left in command:false",
        ),
    ] {
        let said = world.ok(&["restore", flag, &id, "--dry-run"]);
        assert_eq!(said, format!("{act}\n"));
    }
    insta::assert_snapshot!(world.run(&["restore", "--discard-old", &id, "--force"]), @r###"
    exit 0
    -- stdout
    restore ID1 is let be
    "###);
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stderr
    no earlier restore has kept or left anything
    "###);
}

#[test]
fn how_an_earlier_restore_would_end_is_shown_and_asked_for() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", &database]);
    world.sql("UPDATE t SET name = 'newer' WHERE id = 50");
    world.ok(&["restore", "latest", "--in-place", "--force"]);
    let lines = world.json(&["restore", "--list"]);
    let entry = of_type(&lines, "restore")[0];
    assert_eq!(entry["running"], false);
    let id = entry["id"].as_str().unwrap();
    let dry = |flag: &str| {
        let said = world.run(&["restore", flag, id, "--dry-run"]);
        let lines = world.json(&["restore", flag, id, "--dry-run"]);
        assert_eq!(of_type(&lines, "restore").len(), 1);
        said
    };
    insta::assert_snapshot!(dry("--rollback"), @r###"
    exit 0
    -- stdout
    would bring back HOME/app.db.keepstone-ID1.old in sqlite:HOME/app.db, and drop what has taken its place, with every change made to it since
    "###);
    insta::assert_snapshot!(dry("--discard-old"), @r###"
    exit 0
    -- stdout
    would remove HOME/app.db.keepstone-ID1.old for ever
    "###);
    assert_eq!(name_of_50(&world, "app.db"), "name 50");
    // As if it had been killed before it could write down that it was done.
    let path = world.path(&format!("state/keepstone/restores/{id}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"switched\"", "\"switching\"")).unwrap();
    insta::assert_snapshot!(dry("--resume"), @r###"
    exit 0
    -- stdout
    would finish the restore of sqlite-app.db to sqlite:HOME/app.db and replace HOME/app.db
    "###);
    insta::assert_snapshot!(dry("--rollback"), @r###"
    exit 0
    -- stdout
    would undo the restore of sqlite-app.db to sqlite:HOME/app.db, and drop what it has put in place if it came so far, with every change made to it since
    "###);
    insta::assert_snapshot!(dry("--discard-old"), @r###"
    exit 0
    -- stdout
    would let be whatever was left in sqlite:HOME/app.db
    "###);
    insta::assert_snapshot!(world.run(&["restore", "--resume", id]), @r###"
    exit 2
    -- stderr
    error: Finish the restore of sqlite-app.db to sqlite:HOME/app.db and replace HOME/app.db? Nobody can be asked
    hint: Say yes beforehand with --force.
    "###);
    assert!(fs::read_to_string(&path).unwrap().contains("switching"));
    world.ok(&["restore", "--resume", id, "--force"]);
    world.ok(&["restore", "--rollback", id, "--force"]);
    assert_eq!(name_of_50(&world, "app.db"), "newer");
    let left = fs::read_dir(world.path("state/keepstone/restores")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_discard_that_was_cut_off_is_named_and_finished() {
    let world = World::filled();
    let database = world.database();
    world.backup(&["backup", &database]);
    let kept = || {
        fs::read_dir(world.path("."))
            .unwrap()
            .filter_map(Result::ok)
    };
    let kept = || kept().any(|file| file.file_name().to_str().unwrap().ends_with(".old"));
    for finish in ["--discard-old", "--resume"] {
        world.sql("UPDATE t SET name = 'newer' WHERE id = 50");
        world.ok(&["restore", "latest", "--in-place", "--force"]);
        let lines = world.json(&["restore", "--list"]);
        let id = of_type(&lines, "restore")[0]["id"].as_str().unwrap();
        // As if it had been killed between its first step and its last.
        let path = world.path(&format!("state/keepstone/restores/{id}.json"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"switched\"", "\"discarding\"")).unwrap();
        let listed = world.run(&["restore", "--list"]);
        assert!(
            listed.contains("UNFINISHED") && listed.contains("drops HOME/app.db.keepstone-"),
            "{listed}"
        );
        let warned = world.run(&["backup", &database]);
        let advice = format!(
            "was cut off: finish it with keepstone restore --discard-old {}",
            &id[..8]
        );
        assert!(
            warned.contains("warning: dropping HOME/app.db.keepstone-"),
            "{warned}"
        );
        assert!(
            warned.replace("ID3", &id[..8]).contains(&advice),
            "{warned}"
        );
        for dry in [&["--dry-run"][..], &["--force"]] {
            let refused = world.run(&[&["restore", "--rollback", id], dry].concat());
            assert!(refused.starts_with("exit 1"), "{refused}");
            assert!(refused.contains("can no longer be undone"), "{refused}");
            assert!(
                refused.contains("hint: Finish that with keepstone restore --discard-old"),
                "{refused}"
            );
        }
        assert!(kept());
        let asked = world.run(&["restore", finish, id]);
        assert!(
            asked.starts_with("exit 2") && asked.contains("for ever?"),
            "{asked}"
        );
        world.ok(&["restore", finish, id, "--force"]);
        assert!(!kept());
        assert_eq!(name_of_50(&world, "app.db"), "name 50");
        assert!(!path.exists());
    }
}

#[test]
fn a_state_folder_that_cannot_be_looked_into_holds_no_nothing() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let state = world.text("no-folder");
    world.write("no-folder", "");
    insta::assert_snapshot!(world.run(&["restore", "--list", "--state-dir", &state]), @r###"
    exit 1
    -- stderr
    error: cannot look for the folder HOME/no-folder/restores: Not a directory (os error 20)
    "###);
    let target = world.text("out");
    let said = world.run(&[
        "restore",
        "latest",
        "--target",
        &target,
        "--state-dir",
        &state,
    ]);
    assert!(said.starts_with("exit 0"), "{said}");
    let warning =
        "restores that were cut off earlier cannot be looked for: cannot look for the folder";
    assert!(said.contains(warning), "{said}");
}
