//! What goes wrong is said with its object, the attempted act, what to do, and a code; and nothing half-made stays.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::world::World;

/// The same command as somebody to whom modes of files apply, also if the tests are run by root.
pub(crate) fn unprivileged(command: &Command) -> Command {
    let mut bounded = Command::new("setpriv");
    let without = "-dac_override,-dac_read_search";
    bounded
        .args([
            format!("--bounding-set={without}"),
            format!("--inh-caps={without}"),
        ])
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    bounded
}

#[test]
fn a_wrong_password_opens_nothing() {
    let world = World::new();
    world.private("pw", "hunter2\n");
    let by = |name: &str, value: &str| {
        let mut command = world.command(&["snapshots"]);
        command.env_remove("KEEPSTONE_KEY_FILE").env(name, value);
        let said = world.transcript(&mut command);
        assert!(!said.contains("hunter2"), "{said}");
        said
    };
    insta::assert_snapshot!(by("KEEPSTONE_PASSWORD_FILE", &world.text("pw")), @r###"
    exit 12
    -- stderr
    error: no key slot of the repository opens with this password or key file
    hint: Check the password file or command; keepstone key list names the slots.
    "###);
    insta::assert_snapshot!(by("KEEPSTONE_PASSWORD", "hunter2"), @r###"
    exit 12
    -- stderr
    error: no key slot of the repository opens with this password or key file
    hint: Check the password file or command; keepstone key list names the slots.
    "###);
    insta::assert_snapshot!(by("RESTIC_PASSWORD_COMMAND", "printf hunter2"), @r###"
    exit 12
    -- stderr
    error: no key slot of the repository opens with this password or key file
    hint: Check the password file or command; keepstone key list names the slots.
    "###);
    insta::assert_snapshot!(by("KEEPSTONE_PASSWORD_COMMAND", "sh -c 'echo hunter2; exit 3'"), @r###"
    exit 1
    -- stderr
    error: the password command sh failed: exit status: 3
    "###);
    insta::assert_snapshot!(by("KEEPSTONE_PASSWORD_FILE", &world.text("absent")), @r###"
    exit 1
    -- stderr
    error: cannot read the password file HOME/absent: No such file or directory (os error 2)
    "###);
    insta::assert_snapshot!(by("KEEPSTONE_KEY_FILE", &world.text("pw")), @r###"
    exit 12
    -- stderr
    error: no key slot of the repository opens with this password or key file
    hint: Check the password file or command; keepstone key list names the slots.
    "###);
    insta::assert_snapshot!(by("NOTHING", ""), @r###"
    exit 1
    -- stderr
    error: no password was given, and nobody can be asked
    hint: Give --password-file, --password-command or --key-file, or set KEEPSTONE_PASSWORD_FILE.
    "###);
}

#[test]
fn what_is_no_repository_is_said() {
    let world = World::bare();
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 10
    -- stderr
    error: no repository at HOME/repo
    hint: Make one with keepstone init, or check --repo.
    "###);
    fs::create_dir(world.path("repo")).unwrap();
    insta::assert_snapshot!(world.run(&["backup", "/etc"]), @r###"
    exit 10
    -- stderr
    error: no repository at HOME/repo
    hint: Make one with keepstone init, or check --repo.
    "###);
    world.write("repo/letters.txt", "dear");
    insta::assert_snapshot!(world.run(&["check"]), @r###"
    exit 10
    -- stderr
    error: no repository at HOME/repo
    hint: Make one with keepstone init, or check --repo.
    "###);
    let at = |address: &str| world.run(&["snapshots", "-r", address]);
    insta::assert_snapshot!(at(&world.text("repo/letters.txt")), @r###"
    exit 1
    -- stderr
    error: cannot open HOME/repo/letters.txt: cannot open the folder HOME/repo/letters.txt: the store failed: Not a directory (os error 20)
    "###);
    insta::assert_snapshot!(at("sftp:host:/srv"), @r###"
    exit 2
    -- stderr
    error: repositories at sftp: addresses are not supported
    hint: Mount the folder on this machine and give its path.
    "###);
    insta::assert_snapshot!(at("rest:http://host/"), @r###"
    exit 2
    -- stderr
    error: repositories at rest: addresses are not supported
    hint: A store with an S3 interface is written s3:https://HOST/BUCKET.
    "###);
    insta::assert_snapshot!(at("s3://key:hunter2@bucket"), @r###"
    exit 2
    -- stderr
    error: the repository address s3://bucket holds a secret
    hint: Give it in the environment (AWS_SECRET_ACCESS_KEY and its likes) instead.
    "###);
}

#[test]
fn a_restic_repository_is_recognised_and_left_alone() {
    let world = World::bare();
    let made = Command::new("restic")
        .args(["--no-cache", "init", "--repo"])
        .arg(world.path("repo"))
        .env("HOME", world.home())
        .env("RESTIC_PASSWORD", "a password")
        .output()
        .expect("restic runs: install the package restic");
    assert!(made.status.success());
    let before = world.objects();
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 1
    -- stderr
    error: HOME/repo is a restic or rustic repository
    hint: Use another --repo; keepstone does not read or write it.
    "###);
    insta::assert_snapshot!(world.run(&["backup", "/etc"]), @r###"
    exit 1
    -- stderr
    error: HOME/repo is a restic or rustic repository
    hint: Use another --repo; keepstone does not read or write it.
    "###);
    insta::assert_snapshot!(world.run(&["init"]), @r###"
    exit 1
    -- stderr
    error: HOME/repo is a restic or rustic repository
    hint: Use another --repo; keepstone does not read or write it.
    "###);
    assert_eq!(world.objects(), before);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let world = World::new();
    let newer = |from: &str, to: &str| {
        for name in ["config", "config.copy"] {
            let path = world.path("repo").join(name);
            if let Ok(bytes) = fs::read(&path) {
                let text = String::from_utf8_lossy(&bytes[8..]).replace(from, to);
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                fs::write(&path, [&bytes[..8], text.as_bytes()].concat()).unwrap();
            }
        }
    };
    newer("\"format\":1,", "\"format\":7,");
    let before = world.objects();
    insta::assert_snapshot!(world.run(&["snapshots"]), @r###"
    exit 26
    -- stderr
    error: the repository needs format 7, this program reads up to format 1 without further features
    hint: Use the newer keepstone that wrote it.
    "###);
    insta::assert_snapshot!(world.run(&["prune"]), @r###"
    exit 26
    -- stderr
    error: the repository needs format 7, this program reads up to format 1 without further features
    hint: Use the newer keepstone that wrote it.
    "###);
    newer("\"format\":7,", "\"format\":1,");
    newer(
        "\"must_understand\":[]",
        "\"must_understand\":[\"moon-phase\"]",
    );
    insta::assert_snapshot!(world.run(&["backup", "/etc"]), @r###"
    exit 26
    -- stderr
    error: the repository needs feature moon-phase, this program reads up to format 1 without further features
    hint: Use the newer keepstone that wrote it.
    "###);
    assert_eq!(world.objects().len(), before.len());
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let world = World::filled();
    world.backup(&["backup", "data"]);
    fs::create_dir(world.path("closed")).unwrap();
    fs::set_permissions(world.path("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let run = |arguments: &[&str]| world.transcript(&mut unprivileged(&world.command(arguments)));
    let closed = |name: &str| world.text(&format!("closed/{name}"));
    insta::assert_snapshot!(run(&["init", "-r", &closed("repo")]), @r###"
    exit 1
    -- stderr
    error: cannot make HOME/closed/repo: cannot create the folder HOME/closed/repo: access is denied: Permission denied (os error 13)
    hint: Check that this user may read and write there.
    "###);
    insta::assert_snapshot!(run(&["restore", "latest", "--target", &closed("out")]), @r###"
    exit 23
    -- stderr
    snapshot ID1 of TIME, host web1
    error: source files failed: cannot restore into HOME/closed/out: Permission denied (os error 13)
    hint: Check what this user may do there, and the password if there is one.
    "###);
    insta::assert_snapshot!(run(&["dump", "latest", &world.text("data/hello.txt"), "--target", &closed("hello")]), @r###"
    exit 1
    -- stderr
    error: cannot make HOME/closed/hello: Permission denied (os error 13)
    "###);
    insta::assert_snapshot!(run(&["key", "export", &closed("key")]), @r###"
    exit 1
    -- stderr
    error: cannot write the key file HOME/closed/key: Permission denied (os error 13)
    "###);
    insta::assert_snapshot!(run(&["backup", "data", "--state-dir", &closed("state")]), @r###"
    exit 1
    -- stderr
    error: cannot make the folder HOME/closed/state: Permission denied (os error 13)
    "###);
    assert_eq!(fs::read_dir(world.path("closed")).unwrap().count(), 0);
    world.write("plain", "a file");
    insta::assert_snapshot!(run(&["restore", "latest", "--target", &world.text("plain/out")]), @r###"
    exit 23
    -- stderr
    snapshot ID1 of TIME, host web1
    error: source files failed: cannot restore into HOME/plain/out: Not a directory (os error 20)
    hint: Name another target, or remove what is there.
    "###);
    fs::set_permissions(world.path("repo/packs"), fs::Permissions::from_mode(0o500)).unwrap();
    world.write("data/new.txt", "new");
    insta::assert_snapshot!(run(&["backup", "data"]), @r###"
    exit 1
    -- stderr
    error: cannot write packs/ID1.ID2-d: access is denied: Permission denied (os error 13)
    hint: Check that this user may read and write there.
    "###);
    fs::set_permissions(world.path("repo/packs"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.snapshots().len(), 1);
    world.ok(&["check", "--read-data"]);
}

/// Runs a script with a small file system of its own at `small`, of so many bytes; it goes with the script.
fn on_a_small_disk(world: &World, size: &str, script: &str) -> String {
    run_on_a_small_disk(world, &world.command(&[]), size, script)
}

/// The same with the environment of this run of the program.
pub(super) fn run_on_a_small_disk(
    world: &World,
    keepstone: &Command,
    size: &str,
    script: &str,
) -> String {
    fs::create_dir_all(world.path("small")).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(format!(
            "mount -t tmpfs -o size={size},mode=700 tmpfs small || exit 99\nk() {{ \"$KEEPSTONE\" \"$@\"; echo \"exit $?\"; }}\n{script}"
        ))
        .env("KEEPSTONE", keepstone.get_program())
        .current_dir(world.home());
    for (name, value) in keepstone.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command
        .stderr(std::process::Stdio::piped())
        .output()
        .expect("unshare: install util-linux");
    assert_ne!(output.status.code(), Some(99), "mounting needs root");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str("-- stderr\n");
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    super::world::stable(&text.replace(world.home().to_str().unwrap(), "HOME"))
}

#[test]
fn a_disk_that_fills_leaves_a_sound_repository() {
    let world = World::filled();
    let big = "head -c 20000000 /dev/urandom";
    let script = format!(
        "export KEEPSTONE_REPOSITORY=$PWD/small/repo\nk init -q\nk backup data -q\nk backup 'command:{big}'\n\
         k snapshots -q | tail -n 2\nk check --read-data\nk prune -q\nk backup data -q | tail -n 2\nk check --read-data\n"
    );
    insta::assert_snapshot!(on_a_small_disk(&world, "8m", &script), @r###"
    repository ID1 made at HOME/small/repo
    exit 0
    files: 1.7 kB in 3 files, SIZE new, SIZE stored, first capture
    snapshot ID2 saved, SIZE stored
    exit 0
    exit 24
    1 snapshot, SIZE stored by them
    exit 0
    1 snapshot in PACKS: no problems
    exit 0
    PACKS (SIZE) removed, SIZE written anew
    exit 0
    snapshot ID3 saved, SIZE stored
    exit 0
    2 snapshots in PACKS: no problems
    exit 0
    -- stderr
    error: cannot write packs/ID4.ID5-d: no space is left: No space left on device (os error 28)
    hint: Free some space there and run it again; what was committed before is unharmed.
    "###);
}

#[test]
fn a_restore_target_that_fills_holds_no_half_made_file() {
    let world = World::filled();
    let numbers: String = (0..400_000).map(|n| format!("{n}\n")).collect();
    world.write("data/big.txt", &numbers);
    world.backup(&["backup", "data", "big=command:seq 400000"]);
    let big = world.text("data/big.txt");
    let script = format!(
        "k restore latest --source files --target small/files\nfind small -name 'big*' -o -name '*keepstone*'\nrm -rf small/files\n\
         k restore latest --source big --target small/export\nfind small -type f\n\
         k dump latest '{big}' --target small/dumped\nfind small -type f\n\
         \"$KEEPSTONE\" dump latest '{big}' > small/piped; echo \"exit $?\"\n"
    );
    insta::assert_snapshot!(on_a_small_disk(&world, "1m", &script), @r###"
    exit 24
    exit 24
    exit 24
    exit 24
    -- stderr
    snapshot ID1 of TIME, host web1
    error: source files failed: small/files has 1048576 bytes free, the restore needs 2690588
    hint: Free some space there and run it again.
    snapshot ID1 of TIME, host web1
    error: source big failed: cannot write output: No space left on device (os error 28)
    hint: Free some space there and run it again.
    error: cannot write small/dumped: No space left on device (os error 28)
    hint: Free some space there and run it again.
    error: cannot write to standard output: No space left on device (os error 28)
    hint: Free some space there and run it again.
    "###);
    // Room again: the same restore goes through.
    world.ok(&[
        "restore",
        "latest",
        "--source",
        "files",
        "--target",
        &world.text("room"),
        "--verify",
    ]);
}

#[test]
fn a_state_folder_that_fills_commits_or_does_not() {
    let world = World::filled();
    let script = "export KEEPSTONE_STATE_DIR=$PWD/small/state\nk snapshots\nhead -c 2000000 /dev/zero > small/rest 2>/dev/null\n\
                  k backup data -q | tail -n 1\nrm small/rest\nk check --read-data\nk backup data -q | tail -n 1\nk check\n";
    insta::assert_snapshot!(on_a_small_disk(&world, "100k", script), @r###"
    exit 0
    exit 24
    0 snapshots in PACKS: no problems
    exit 0
    exit 0
    1 snapshot in PACKS: no problems
    exit 0
    -- stderr
    no snapshots
    error: cannot write HOME/small/state/writer: No space left on device (os error 28)
    hint: Free some space there and run it again.
    "###);
}

#[test]
fn a_state_folder_that_is_full_or_read_only_keeps_nobody_from_reading() {
    let world = World::filled();
    world.backup(&["backup", "data", &world.database()]);
    let hello = world.text("data/hello.txt");
    let to = format!("sqlite-app.db=sqlite:{}", world.text("copy.db"));
    // What is new in the list cannot be remembered: another state folder made it.
    let script = format!(
        "export KEEPSTONE_STATE_DIR=$PWD/small/state\nk snapshots -q >/dev/null\n\
         KEEPSTONE_STATE_DIR=$PWD/other k backup data {database} -q >/dev/null\n\
         head -c 2000000 /dev/zero > small/rest 2>/dev/null\n\
         verbs() {{\nk snapshots -q | wc -l\nk dump latest:{hello}\nk restore latest -t out$1 -q\nk check -q\n\
         k restore latest --to '{to}' -q\n}}\n\
         verbs 1\nrm small/rest\nmount -o remount,ro small\nverbs 2\n\
         export KEEPSTONE_STATE_DIR=$PWD/small/none\nk dump latest:{hello}\n",
        database = world.database()
    );
    insta::assert_snapshot!(on_a_small_disk(&world, "100k", &script), @r###"
    5
    hello
    exit 0
    files: SIZE restored to out1
    out1/sqlite-app.db/app.db written
    sqlite-app.db: SIZE restored to out1/sqlite-app.db
    exit 0
    2 snapshots in PACKS: no problems
    exit 0
    exit 24
    5
    hello
    exit 0
    files: SIZE restored to out2
    out2/sqlite-app.db/app.db written
    sqlite-app.db: SIZE restored to out2/sqlite-app.db
    exit 0
    2 snapshots in PACKS: no problems
    exit 0
    exit 1
    hello
    exit 0
    -- stderr
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: No space left on device (os error 28) (Free some space there and run it again.)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: No space left on device (os error 28) (Free some space there and run it again.)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: No space left on device (os error 28) (Free some space there and run it again.)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: No space left on device (os error 28) (Free some space there and run it again.)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: No space left on device (os error 28) (Free some space there and run it again.)
    error: cannot write the journal HOME/small/state/restores/ID2.json: No space left on device (os error 28)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: Read-only file system (os error 30)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: Read-only file system (os error 30)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: Read-only file system (os error 30)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: Read-only file system (os error 30)
    warning: what is seen of the repository now cannot be compared later: cannot write HOME/small/state/pins/ID1: Read-only file system (os error 30)
    error: cannot lock the journal HOME/small/state/restores/ID3.lock: Read-only file system (os error 30)
    warning: what this machine has seen of the repository cannot be compared: cannot make the folder HOME/small/none: Read-only file system (os error 30)
    "###);
    assert!(!world.path("copy.db").exists());
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let world = World::filled();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = format!("postgres://app@127.0.0.1:{port}/app?connect_timeout=1&answer_timeout=1");
    let mut command = world.command(&["backup", "data", &address]);
    command.env("PGPASSWORD", "hunter2");
    let said = world
        .transcript(&mut command)
        .replace(&port.to_string(), "PORT");
    assert!(!said.contains("hunter2"), "{said}");
    insta::assert_snapshot!(said, @r###"
    exit 23
    -- stderr
    error: source postgres-app failed: cannot connect to database app at 127.0.0.1:PORT: no answer for 1 s
    hint: Check that it runs and that its address is right. Nothing was committed; --partial saves the other sources.
    "###);
    drop(listener);
    let said = world
        .transcript(&mut command)
        .replace(&port.to_string(), "PORT");
    insta::assert_snapshot!(said, @r###"
    exit 23
    -- stderr
    error: source postgres-app failed: cannot connect to database app at 127.0.0.1:PORT: Connection refused (os error 111)
    hint: Check that it runs and that its address is right. Nothing was committed; --partial saves the other sources.
    "###);
    let redis = format!("redis://127.0.0.1:{port}");
    let said = world
        .run(&["backup", &redis])
        .replace(&port.to_string(), "PORT");
    insta::assert_snapshot!(said, @r###"
    exit 23
    -- stderr
    error: source redis failed: cannot connect to redis at 127.0.0.1:PORT: Connection refused (os error 111)
    hint: Check that it runs and that its address is right. Nothing was committed; --partial saves the other sources.
    "###);
    assert_eq!(world.snapshots(), Vec::<String>::new());
}
