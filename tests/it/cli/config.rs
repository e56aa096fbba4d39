//! Configuration, environment and folders, from the outside.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keepstone_testkit::binary::keepstone;

use super::{home, run, transcript};

fn write_config(home: &Path, text: &str) {
    let folder = home.join("config/keepstone");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("keepstone.toml");
    fs::write(&path, text).unwrap();
    set_mode(&path, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let home = home();
    write_config(
        home.path(),
        "[repository]\nurl = \"/srv/x\"\npasword_file = \"hunter2\"\n",
    );
    insta::assert_snapshot!(run(home.path(), &["backup", "--set", "a"]), @r###"
    exit 2
    -- stderr
    error: HOME/config/keepstone/keepstone.toml:3: unknown field `pasword_file`, expected one of `url`, `password_file`, `password_command`, `key_file`, `cache_dir`, `state_dir`, `host`
    "###);
    write_config(home.path(), "[source.a]\nurl = \"redis://:hunter2@h\"\n");
    insta::assert_snapshot!(run(home.path(), &["backup", "--set", "a"]), @r###"
    exit 2
    -- stderr
    error: HOME/config/keepstone/keepstone.toml:2: the address redis://h holds a password
    "###);
    write_config(
        home.path(),
        "[source.a]\nurl = \"redis://h\"\n[set.b]\nsources = [\"c\"]\n",
    );
    insta::assert_snapshot!(run(home.path(), &["backup", "--set", "b"]), @r###"
    exit 2
    -- stderr
    error: HOME/config/keepstone/keepstone.toml:4: there is no [source.c]
    "###);
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let home = home();
    write_config(home.path(), "");
    let path = home.path().join("config/keepstone/keepstone.toml");
    set_mode(&path, 0o660);
    insta::assert_snapshot!(run(home.path(), &["backup", "--set", "a"]), @r###"
    exit 2
    -- stderr
    error: HOME/config/keepstone/keepstone.toml: others can write the file
    hint: It names commands that are run: only you or root may be able to write it (chmod go-w, chown).
    "###);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let home = home();
    insta::assert_snapshot!(run(home.path(), &["backup", "--config", "missing.toml", "/etc"]), @r###"
    exit 1
    -- stderr
    error: cannot read the configuration missing.toml: No such file or directory (os error 2)
    "###);
}

#[test]
fn a_file_in_the_current_folder_is_not_read() {
    let home = home();
    fs::write(home.path().join("keepstone.toml"), "nonsense").unwrap();
    insta::assert_snapshot!(run(home.path(), &["backup", "--set", "a"]), @r###"
    exit 2
    -- stderr
    error: there is no set a
    hint: There is no keepstone.toml; --config names one.
    "###);
}

#[test]
fn a_variable_that_makes_no_sense_is_named() {
    let home = home();
    let mut command = keepstone(home.path());
    command
        .args(["backup", "/etc"])
        .env("KEEPSTONE_JSON", "perhaps");
    insta::assert_snapshot!(transcript(home.path(), &mut command), @r###"
    exit 2
    -- stderr
    error: KEEPSTONE_JSON is neither 1 nor 0
    "###);
    let mut command = keepstone(home.path());
    command
        .args(["backup", "/etc"])
        .env("KEEPSTONE_PASSWORD", "hunter2")
        .env("KEEPSTONE_PASSWORD_FILE", "/x");
    insta::assert_snapshot!(transcript(home.path(), &mut command), @r###"
    exit 2
    -- stderr
    error: KEEPSTONE_PASSWORD and KEEPSTONE_PASSWORD_FILE exclude each other
    "###);
}
