//! The program itself, built once and run with nothing of the surroundings in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A run of `keepstone` whose home is a folder of the test: no configuration, no repository, no terminal.
pub fn keepstone(home: &Path) -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars_os() {
        let name_bytes = name.as_encoded_bytes();
        if ["KEEPSTONE_", "RESTIC_", "XDG_", "AWS_", "PG", "CLICOLOR"]
            .iter()
            .any(|prefix| name_bytes.starts_with(prefix.as_bytes()))
        {
            command.env_remove(&name);
        }
    }
    command
        .env_remove("NO_COLOR")
        .env_remove("STATE_DIRECTORY")
        .env_remove("CACHE_DIRECTORY")
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join("config"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("XDG_STATE_HOME", home.join("state"))
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env("COLUMNS", "100")
        .current_dir(home);
    command
}

/// Where the program is. The first caller builds it.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(build)
}

/// Builds into the folder that this test was built into, with the same profile.
fn build() -> PathBuf {
    // …/debug/deps/it-0123456789abcdef
    let test = std::env::current_exe().expect("the path of this test");
    let profile_folder = test
        .parent()
        .and_then(Path::parent)
        .expect("the folder of the profile");
    let target_folder = profile_folder.parent().expect("the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "keepstone"])
        .arg("--target-dir")
        .arg(target_folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "keepstone does not build: {status}");
    profile_folder.join("keepstone")
}
