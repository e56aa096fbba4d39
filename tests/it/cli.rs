//! The program from the outside: what it prints, where, and how it ends. Few and whole; details are unit tests.

mod backup;
mod cat;
mod check;
mod closed;
mod completions;
mod config;
mod diff;
mod dump;
mod failures;
mod find;
mod five;
mod forget;
mod init;
mod json;
mod key;
mod ls;
mod memory;
mod partial;
mod prune;
mod restore;
mod s3;
mod snapshots;
mod sources;
mod stats;
mod stopped;
mod tag;
mod terminal;
mod undelete;
mod usage;
mod version;
mod world;

use std::path::Path;
use std::process::Command;

use keepstone_testkit::binary::keepstone;
use tempfile::TempDir;

/// A home folder for one test.
fn home() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

/// Runs the program and writes down everything it did, with the home folder called HOME.
fn run(home: &Path, arguments: &[&str]) -> String {
    let mut command = keepstone(home);
    command.args(arguments);
    transcript(home, &mut command)
}

/// Runs a command and writes down everything it did.
fn transcript(home: &Path, command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let home = home.to_str().expect("a path of UTF-8");
    // Entries of a capture are named from the root, without a slash before.
    let names = [home, home.trim_start_matches('/')];
    let text = |bytes: &[u8]| {
        let said = String::from_utf8_lossy(bytes).into_owned();
        names
            .iter()
            .fold(said, |said, name| said.replace(name, "HOME"))
    };
    let code = output
        .status
        .code()
        .map_or_else(|| output.status.to_string(), |code| code.to_string());
    let mut transcript = format!("exit {code}\n");
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            transcript.push_str(&format!("-- {name}\n{}", text(bytes)));
        }
    }
    transcript
}

/// What `-h` says of a verb, without the options that every verb has.
fn help(verb: &[&str]) -> String {
    let home = home();
    let mut arguments = verb.to_vec();
    arguments.push("-h");
    let text = run(home.path(), &arguments);
    let (before, rest) = text
        .split_once("Global options:\n")
        .expect("every verb has the global options");
    // What comes after them begins at the left edge.
    let after = rest
        .lines()
        .skip_while(|line| line.is_empty() || line.starts_with(' '))
        .fold(String::new(), |text, line| text + line + "\n");
    format!("{before}{after}")
}
