//! `keepstone key`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::failures::run_on_a_small_disk;
use super::help;
use super::world::{World, of_type};

#[test]
fn help_of_key() {
    insta::assert_snapshot!(help(&["key"]), @r###"
    exit 0
    -- stdout
    Manage passwords and keys

    Usage: keepstone key [OPTIONS] <COMMAND>

    Commands:
      add     Add a password or a raw key
      list    List what opens the repository
      passwd  Replace the password that was given by a new one
      remove  Remove a password or a raw key; the last one stays
      export  Write a raw key that opens the repository into a new file

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone key list
      keepstone key add --label 'restore at home'
      keepstone key add --new-key-file /root/keepstone.key
      keepstone key passwd
      keepstone key remove 3fc2a9
      keepstone key export /mnt/safe/keepstone.key

    Whoever had a password once may have kept what it opens: removing it does not lock them out of old
    copies.
    "###);
}

#[test]
fn help_of_key_add() {
    insta::assert_snapshot!(help(&["key", "add"]), @r###"
    exit 0
    -- stdout
    Add a password or a raw key

    Usage: keepstone key add [OPTIONS]

    Options:
          --new-password-file <FILE>        File that holds the new password
          --new-password-command <COMMAND>  Command that prints the new password; no shell
          --new-key-file <FILE>             File that holds a new raw key; made if it does not exist
          --label <LABEL>                   What it is called in `key list`
      -h, --help                            Print help (see more with '--help')
    "###);
}

/// A world whose repository opens with a password in the file `pw`.
fn with_password() -> World {
    let world = World::bare();
    world.private("pw", "first\n");
    let made = by_password(&world, "pw", &["init"]);
    assert!(made.contains("exit 0"), "{made}");
    world
}

fn by_password(world: &World, file: &str, arguments: &[&str]) -> String {
    let mut command = world.command(arguments);
    command
        .env_remove("KEEPSTONE_KEY_FILE")
        .env("KEEPSTONE_PASSWORD_FILE", world.path(file));
    world.transcript(&mut command)
}

#[test]
fn passwords_and_keys_come_and_go() {
    let world = with_password();
    insta::assert_snapshot!(by_password(&world, "pw", &["key", "list"]), @r###"
    exit 0
    -- stdout
    ID  Kind  Made  Label  User
    ID1*  password  TIME  web1  operator
    "###);
    world.private("pw2", "second\n");
    insta::assert_snapshot!(
        by_password(&world, "pw", &["key", "add", "--new-password-file", "pw2", "--label", "at home"]),
        @r###"
        exit 0
        -- stdout
        key ID1 added
        "###
    );
    insta::assert_snapshot!(by_password(&world, "pw2", &["key", "list"]), @r###"
    exit 0
    -- stdout
    ID  Kind  Made  Label  User
    ID1  password  TIME  web1  operator
    ID2*  password  TIME  at home  operator
    "###);
    insta::assert_snapshot!(by_password(&world, "pw", &["key", "export", "safe.key"]), @r###"
    exit 0
    -- stdout
    key ID1 written to safe.key
    -- stderr
    whoever has this file can read the whole repository
    "###);
    let mode = fs::metadata(world.path("safe.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    insta::assert_snapshot!(by_password(&world, "pw", &["key", "export", "safe.key"]), @r###"
    exit 1
    -- stderr
    error: cannot write the key file safe.key: File exists (os error 17)
    "###);
    let mut by_key = world.command(&["snapshots"]);
    by_key.env("KEEPSTONE_KEY_FILE", world.path("safe.key"));
    insta::assert_snapshot!(world.transcript(&mut by_key), @r###"
    exit 0
    -- stderr
    no snapshots
    "###);
}

#[test]
fn a_key_that_finds_no_room_leaves_no_file() {
    let world = World::new();
    let script = "head -c 2000000 /dev/zero > small/rest 2>/dev/null\n\
                  for verb in 'export' 'add --new-key-file'; do k key $verb small/safe.key; ls small; done\n\
                  rm small/rest\nk key export small/safe.key -q >/dev/null\nls small\n\
                  KEEPSTONE_KEY_FILE=$PWD/small/safe.key k snapshots -q\n";
    let said = run_on_a_small_disk(&world, &world.command(&[]), "100k", script);
    insta::assert_snapshot!(said, @r###"
    exit 24
    rest
    exit 24
    rest
    safe.key
    exit 0
    -- stderr
    error: cannot write the key file small/safe.key: No space left on device (os error 28)
    hint: Free some space there and run it again.
    error: cannot write the key file small/safe.key: No space left on device (os error 28)
    hint: Free some space there and run it again.
    "###);
}

#[test]
fn a_new_password_replaces_the_old_one() {
    let world = with_password();
    world.private("pw2", "second\n");
    insta::assert_snapshot!(by_password(&world, "pw", &["key", "passwd", "--new-password-file", "pw2"]), @r###"
    exit 0
    -- stdout
    key ID1 replaces the old one
    "###);
    insta::assert_snapshot!(by_password(&world, "pw", &["snapshots"]), @r###"
    exit 12
    -- stderr
    error: no key slot of the repository opens with this password or key file
    hint: Check the password file or command; keepstone key list names the slots.
    "###);
    insta::assert_snapshot!(by_password(&world, "pw2", &["snapshots"]), @r###"
    exit 0
    -- stderr
    no snapshots
    "###);
}

#[test]
fn the_key_that_is_used_is_not_removed() {
    let world = World::new();
    world.ok(&[
        "key",
        "add",
        "--new-key-file",
        "second.key",
        "--label",
        "second",
    ]);
    let mode = fs::metadata(world.path("second.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let keys = world.json(&["key", "list"]);
    let id = |current: bool| {
        let keys = of_type(&keys, "key");
        let key = keys.iter().find(|key| key["current"] == current).unwrap();
        key["id"].as_str().unwrap().to_owned()
    };
    insta::assert_snapshot!(world.run(&["key", "remove", &id(true)]), @r###"
    exit 1
    -- stderr
    error: the key that opened the repository is not removed; use another one for that
    "###);
    insta::assert_snapshot!(world.run(&["key", "remove", "ffff"]), @r###"
    exit 1
    -- stderr
    error: no key begins with ffff
    "###);
    insta::assert_snapshot!(world.run(&["key", "remove", &id(false)]), @r###"
    exit 0
    -- stdout
    key ID1 removed
    "###);
    let mut removed = world.command(&["snapshots"]);
    removed.env("KEEPSTONE_KEY_FILE", world.path("second.key"));
    insta::assert_snapshot!(world.transcript(&mut removed), @r###"
    exit 12
    -- stderr
    error: no key slot of the repository opens with this password or key file
    hint: Check the password file or command; keepstone key list names the slots.
    "###);
}

#[test]
fn a_key_that_can_be_guessed_is_refused() {
    for bytes in [0, 2, 31] {
        let world = World::bare();
        world.private("short.key", &"k".repeat(bytes));
        let init = world.run(&["init", "--key-file", "short.key"]);
        assert!(init.starts_with("exit 1\n"), "{init}");
        let why = format!("a raw key of {bytes} bytes can be guessed");
        assert!(init.contains(&why), "{init}");
        assert!(!world.path("repo").exists());

        let world = with_password();
        world.private("short.key", &"k".repeat(bytes));
        for verb in ["add", "passwd"] {
            let arguments = ["key", verb, "--new-key-file", "short.key"];
            let said = by_password(&world, "pw", &arguments);
            assert!(said.starts_with("exit 1\n"), "{said}");
            assert!(said.contains(&why), "{said}");
        }
        // Nobody else gets in, and nobody is locked out.
        for (key, code) in [("/dev/null", 12), ("short.key", 12)] {
            let mut command = world.command(&["snapshots"]);
            command.env("KEEPSTONE_KEY_FILE", key);
            assert_eq!(command.output().unwrap().status.code(), Some(code), "{key}");
        }
        assert!(by_password(&world, "pw", &["snapshots"]).starts_with("exit 0\n"));
        assert_eq!(fs::read(world.path("short.key")).unwrap().len(), bytes);
    }
    let world = with_password();
    world.private("empty", "");
    insta::assert_snapshot!(by_password(&world, "pw", &["key", "add", "--new-key-file", "empty"]), @r###"
    exit 1
    -- stderr
    error: a raw key of 0 bytes can be guessed: it needs at least 32 random bytes
    hint: Name a file of 32 random bytes, or to key add and key passwd one that does not exist: a good key is made in it.
    "###);
}

/// The program with the password `first` on its standard input, which gives it once.
fn by_pipe(world: &World, arguments: &[&str]) -> String {
    let command = world.command(arguments);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "echo first | \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(world.home());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
        .env_remove("KEEPSTONE_KEY_FILE")
        .env("KEEPSTONE_PASSWORD_FILE", "/dev/stdin");
    world.transcript(&mut shell)
}

#[test]
fn a_password_that_can_be_read_once_is_enough() {
    let world = with_password();
    let keys = by_pipe(&world, &["--json", "key", "list"]);
    assert!(keys.contains("\"current\":true"), "{keys}");
    world.private("pw2", "second\n");
    let added = by_pipe(&world, &["key", "add", "--new-password-file", "pw2"]);
    assert!(added.starts_with("exit 0"), "{added}");
    let keys = by_password_json(&world, "pw2");
    let id = |current: bool| {
        let keys = of_type(&keys, "key");
        let key = keys.iter().find(|key| key["current"] == current).unwrap();
        key["id"].as_str().unwrap().to_owned()
    };
    // The one that is typed is the one that is not removed.
    let refused = by_pipe(&world, &["key", "remove", &id(false)]);
    assert!(refused.contains("is not removed"), "{refused}");
    let removed = by_pipe(&world, &["key", "remove", &id(true)]);
    assert!(removed.starts_with("exit 0"), "{removed}");
    world.private("pw3", "third\n");
    let changed = by_pipe(&world, &["key", "passwd", "--new-password-file", "pw3"]);
    assert!(changed.starts_with("exit 0"), "{changed}");
    for (file, code) in [("pw", 12), ("pw2", 12), ("pw3", 0)] {
        let said = by_password(&world, file, &["snapshots"]);
        assert!(
            said.starts_with(&format!("exit {code}\n")),
            "{file}: {said}"
        );
    }
}

fn by_password_json(world: &World, file: &str) -> Vec<serde_json::Value> {
    let mut command = world.command(&["--json", "key", "list"]);
    command
        .env_remove("KEEPSTONE_KEY_FILE")
        .env("KEEPSTONE_PASSWORD_FILE", world.path(file));
    let stdout = command.output().unwrap().stdout;
    super::world::objects(&String::from_utf8(stdout).unwrap())
}
