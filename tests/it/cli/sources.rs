//! What the command line and keepstone.toml say of sources, against real systems: options that reach them, parts of
//! them restored, restores that were cut off.

mod cut_off;
mod files;
mod options;
mod postgres;
mod redis;
mod sets;
mod sqlite;
mod stall;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use keepstone_testkit::binary::keepstone;
use keepstone_testkit::folders;
use tempfile::TempDir;

/// A home with a repository.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self {
            folder: super::home(),
        };
        home.ok(&["init"]);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        // The kernel's name for it, which addresses show.
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes keepstone.toml.
    fn configure(&self, text: &str) {
        let folder = self.path("config/keepstone");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("keepstone.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = keepstone(self.folder.path());
        command
            .args(arguments)
            .env("KEEPSTONE_REPOSITORY", self.path("repository"))
            .env("KEEPSTONE_PASSWORD", "of the test")
            .env("KEEPSTONE_HOST", "here");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs what must succeed, and gives everything it said.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = said(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// Runs what must fail with this code, and gives everything it said.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// The id in `kept: … --rollback ID, …`.
    fn restored(&self, arguments: &[&str]) -> String {
        let said = self.ok(arguments);
        let id = said
            .split_once("--rollback ")
            .and_then(|(_, rest)| rest.split_once(','));
        id.unwrap_or_else(|| panic!("{said}")).0.to_owned()
    }

    /// Every file below a folder, by relative path.
    fn files_below(&self, name: &str) -> Vec<String> {
        let root = self.path(name);
        let files = folders::files_below(&root);
        let relative = files.iter().map(|file| file.strip_prefix(&root).unwrap());
        let names = relative.map(|file| file.to_str().unwrap().to_owned());
        names.collect()
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
