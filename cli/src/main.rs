//! The command line of Keepstone.
#![expect(
    dead_code,
    reason = "the verbs wait for the engine's repository, backup and restore"
)]

mod args;
mod cmd;
mod config;
mod context;
mod environment;
mod error;
mod exit;
mod keep;
mod password;
mod reference;
mod run;
mod settings;
mod size;
mod source_name;
mod source_spec;
mod state;
mod time;
mod ui;
mod url;
mod words;

fn main() -> std::process::ExitCode {
    run::run(std::env::args_os().collect()).into()
}
