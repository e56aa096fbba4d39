//! A repository on S3, from its making to its pruning, against MinIO.

use std::process::Command;

use keepstone_testkit::servers::minio::Minio;

use super::failures::run_on_a_small_disk;
use super::world::{World, objects, of_type};

/// A run on the repository of a MinIO.
fn on(minio: &Minio, world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    command
        .env("KEEPSTONE_REPOSITORY", minio.url("web1"))
        .envs(minio.environment());
    command
}

#[test]
fn a_repository_lives_on_s3() {
    let minio = Minio::start();
    let world = World::bare();
    world.fill();
    let run = |arguments: &[&str]| {
        let said = world.transcript(&mut on(&minio, &world, arguments));
        said.replace(&minio.endpoint(), "ENDPOINT")
    };
    insta::assert_snapshot!(run(&["snapshots"]), @r###"
    exit 10
    -- stderr
    error: no repository at s3://backups/web1?endpoint=ENDPOINT
    hint: Make one with keepstone init, or check --repo.
    "###);
    insta::assert_snapshot!(run(&["init"]), @r###"
    exit 0
    -- stdout
    repository ID1 made at s3://backups/web1?endpoint=ENDPOINT
    -- stderr
    the store refuses to write a name twice: several hosts may back up at once
    keep the password or key file safe: without it nothing can be read, ever
    "###);
    insta::assert_snapshot!(run(&["init"]), @r###"
    exit 1
    -- stderr
    error: s3://backups/web1?endpoint=ENDPOINT already holds a repository
    hint: Use another --repo; an existing repository is never made anew.
    "###);
    let database = world.database();
    insta::assert_snapshot!(run(&["backup", "data", &database, "--time", "2024-05-01 10:00"]), @r###"
    exit 0
    -- stdout
    files: 1.7 kB in 3 files, SIZE new, SIZE stored, first capture
    sqlite-app.db: 8.2 kB in 1 stream, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    -- stderr
    the snapshot is dated 2024-05-01 10:00:00+00:00
    "###);
    world.write("data/hello.txt", "hello again\n");
    insta::assert_snapshot!(run(&["backup", "data", &database, "--time", "2024-05-02 10:00"]), @r###"
    exit 0
    -- stdout
    files: 1.7 kB in 3 files (0 new, 1 changed), SIZE new, SIZE stored, delta against 2024-05-01 10:00:00
    sqlite-app.db: 8.2 kB in 1 stream, SIZE new, SIZE stored, delta against 2024-05-01 10:00:00
    snapshot ID1 saved, SIZE stored
    -- stderr
    the snapshot is dated 2024-05-02 10:00:00+00:00
    "###);
    insta::assert_snapshot!(run(&["snapshots"]), @r###"
    exit 0
    -- stdout
    ID  Time  Host  Sources  Tags  Holds  Cost
    ID1  2024-05-01 10:00:00  web1  files, sqlite-app.db  SIZE  SIZE
    ID2  2024-05-02 10:00:00  web1  files, sqlite-app.db  SIZE  SIZE
    2 snapshots, SIZE stored by them
    "###);
    let target = world.text("out");
    insta::assert_snapshot!(run(&["restore", "latest~1", "--target", &target]), @r###"
    exit 0
    -- stdout
    files: SIZE restored to HOME/out
    HOME/out/sqlite-app.db/app.db written
    sqlite-app.db: SIZE restored to HOME/out/sqlite-app.db
    -- stderr
    snapshot ID1 of 2024-05-01 10:00:00+00:00, host web1
    "###);
    let hello = world
        .path("out")
        .join(world.text("data/hello.txt").trim_start_matches('/'));
    assert_eq!(std::fs::read_to_string(hello).unwrap(), "hello\n");
    insta::assert_snapshot!(run(&["forget", "--keep-last", "1", "--prune"]), @r###"
    exit 0
    -- stdout
            ID  Time  Host  Why
    keep  ID1  2024-05-02 10:00:00  web1  last
    forget  ID2  2024-05-01 10:00:00  web1
    1 snapshot forgotten
    PACKS (SIZE) removed, SIZE written anew
    "###);
    insta::assert_snapshot!(run(&["check", "--read-data"]), @r###"
    exit 0
    -- stdout
    1 snapshot in PACKS: no problems
    "###);
    assert_eq!(
        run(&["dump", "latest", &world.text("data/hello.txt")]),
        "exit 0\n-- stdout\nhello again\n"
    );
}

#[test]
fn a_store_that_cannot_be_used_is_named_without_its_secret() {
    let minio = Minio::start();
    let world = World::bare();
    let said = |command: &mut Command| {
        let said = world.transcript(command);
        for (_, secret) in minio.environment() {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        said.replace(&minio.endpoint(), "ENDPOINT")
    };
    let mut wrong = on(&minio, &world, &["init"]);
    wrong.env("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2");
    let denied = said(&mut wrong);
    assert!(denied.starts_with("exit 1\n"), "{denied}");
    assert!(
        denied.contains("hint: Check that this user may read and write there."),
        "{denied}"
    );
    let mut absent = on(&minio, &world, &["init"]);
    absent.env(
        "KEEPSTONE_REPOSITORY",
        format!("s3:{}/no-such-bucket/x", minio.endpoint()),
    );
    let absent = said(&mut absent);
    assert!(!absent.starts_with("exit 0"), "{absent}");
    assert!(absent.contains("no-such-bucket"), "{absent}");
    let mut made = on(&minio, &world, &["--json", "init"]);
    let output = made.output().unwrap();
    let lines = objects(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(of_type(&lines, "initialized")[0]["put_if_absent"], true);
}

#[test]
fn a_cache_that_fills_is_in_nobodys_way() {
    let minio = Minio::start();
    let world = World::bare();
    world.fill();
    assert_eq!(
        on(&minio, &world, &["init", "-q"]).status().unwrap().code(),
        Some(0)
    );
    let big = "head -c 20000000 /dev/urandom";
    let script = format!(
        "export KEEPSTONE_CACHE_DIR=$PWD/small/cache\nk backup 'command:{big}' -q\nk backup data 'command:{big}' -q\n\
         head -c 9000000 /dev/zero > small/rest 2>/dev/null\nk backup data -q\nk check --read-data\nk restore latest --target out -q\n"
    );
    let said = run_on_a_small_disk(&world, &on(&minio, &world, &[]), "4m", &script);
    insta::assert_snapshot!(said, @r###"
    command-head: 20 MB in 1 stream, SIZE new, SIZE stored, first capture
    snapshot ID1 saved, SIZE stored
    exit 0
    files: 1.7 kB in 3 files, SIZE new, SIZE stored, first capture
    command-head: 20 MB in 1 stream, SIZE new, SIZE stored, delta: cold cache
    snapshot ID2 saved, SIZE stored
    exit 0
    files: 1.7 kB in 3 files (0 new, 0 changed), SIZE new, SIZE stored, delta against TIME
    snapshot ID3 saved, SIZE stored
    exit 0
    3 snapshots in PACKS: no problems
    exit 0
    files: SIZE restored to out
    exit 0
    -- stderr
    "###);
}
