//! The verbs: one file each, with its arguments and what it does.

pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod dump;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod restore;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod tag;
pub(crate) mod undelete;
pub(crate) mod version;

use crate::args::Command;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;

/// Does what was asked.
pub(crate) fn run(command: Command, context: &Context) -> Result<ExitCode, CliError> {
    match command {
        Command::Backup(args) => backup::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Forget(args) => forget::run(&args, context),
        Command::Completions(args) => completions::run(&args, &context.ui),
        Command::Version(args) => version::run(&args, &context.ui),
        Command::Init(args) => init::run(&args, context),
        Command::Snapshots(args) => snapshots::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Find(args) => find::run(&args, context),
        Command::Dump(args) => dump::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
        Command::Undelete(args) => undelete::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
        Command::Tag(args) => tag::run(&args, context),
        Command::Key(args) => key::run(&args, context),
        Command::Cat(args) => cat::run(&args, context),
    }
}

/// A context over a configuration text: noon in Berlin, nobody to ask.
#[cfg(test)]
pub(crate) fn test_context(config: &str) -> Context {
    use crate::args::GlobalArgs;
    use crate::config::Config;
    use crate::environment::Environment;
    use crate::settings::{Settings, ui_options};
    use crate::time::Clock;
    use crate::ui::Ui;

    let environment = Environment::from([("HOME", "/home/me"), ("KEEPSTONE_NO_INPUT", "1")]);
    let global = GlobalArgs::default();
    let config = Config::parse("keepstone.toml".as_ref(), config).unwrap();
    Context {
        settings: Settings::resolve(&global, &environment, config).unwrap(),
        ui: Ui::new(ui_options(&global, &environment, false).unwrap()),
        clock: Clock::fixed("2026-11-21T11:00:00Z", "Europe/Berlin"),
        folder: "/home/me".into(),
        environment,
    }
}
