//! The command line of Keepstone.

mod args;
mod cache;
mod cancel;
mod choose;
mod cmd;
mod config;
mod context;
mod environment;
mod error;
mod exit;
mod keep;
mod password;
mod pin;
mod place_in;
mod reference;
mod report;
mod repository;
mod run;
mod settings;
mod size;
mod source_name;
mod source_options;
mod source_spec;
mod sources;
mod state;
mod stdin;
mod time;
mod ui;
mod url;
mod words;

fn main() -> std::process::ExitCode {
    run::run(&std::env::args_os().collect::<Vec<_>>()).into()
}
