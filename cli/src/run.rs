//! From the words of the command line to an exit code: parses, puts the layers together, runs the verb, tells the end.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, ColorChoice, Command, GlobalArgs};
use crate::cmd;
use crate::config;
use crate::context::Context;
use crate::environment::Environment;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::settings::{self, Settings};
use crate::time::Clock;
use crate::ui::{Level, Ui, UiOptions};
use crate::url;

/// Runs one command.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let environment = Environment::of_process();
    let early = early_ui(arguments, &environment);
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, arguments, &early),
    };
    let is_terminal = io::stderr().is_terminal();
    let ui = match settings::ui_options(&cli.global, &environment, is_terminal) {
        Ok(options) => Ui::new(options),
        Err(error) => return end(&error, &early),
    };
    match run_command(cli, environment, &ui) {
        Ok(code) => code,
        Err(error) => end(&error, &ui),
    }
}

fn run_command(cli: Cli, environment: Environment, ui: &Ui) -> Result<ExitCode, CliError> {
    // These two work where nothing else does.
    match &cli.command {
        Command::Completions(args) => return cmd::completions::run(args, ui),
        Command::Version(args) => return cmd::version::run(args, ui),
        _ => {}
    }
    if ui.is_heard(Level::Debug) {
        log_to_stderr();
    }
    let path = settings::config_path(&cli.global, &environment);
    let config = config::load(path.as_deref(), &environment)?;
    if let Some(path) = &config.path {
        ui.verbose(&format!("the configuration is {}", path.display()));
    }
    let settings = Settings::resolve(&cli.global, &environment, config)?;
    for note in &settings.notes {
        ui.verbose(note);
    }
    let folder = std::env::current_dir().map_err(|source| CliError::File {
        act: "find",
        path: "the current folder".into(),
        source,
    })?;
    let context = Context {
        environment,
        settings,
        ui: ui.clone(),
        clock: Clock::of_system(),
        folder,
    };
    cmd::run(cli.command, &context)
}

fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// A voice for errors of the command line itself: what can be known before it is understood.
fn early_ui(arguments: &[OsString], environment: &Environment) -> Ui {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let never = arguments
        .windows(2)
        .any(|pair| matches!(pair, [flag, value] if flag == "--color" && value == "never"));
    let global = GlobalArgs {
        json: has("--json"),
        color: (never || has("--color=never")).then_some(ColorChoice::Never),
        ..GlobalArgs::default()
    };
    let options = settings::ui_options(&global, environment, io::stderr().is_terminal());
    Ui::new(options.unwrap_or(UiOptions {
        json: global.json,
        level: Level::Normal,
        color: false,
        may_ask: false,
    }))
}

/// Tells what clap found wrong, or the help that was asked for.
fn usage(error: &clap::Error, arguments: &[OsString], ui: &Ui) -> ExitCode {
    if !error.use_stderr() {
        let styled = error.render();
        let text = if ui.uses_color() && io::stdout().is_terminal() {
            styled.ansi().to_string()
        } else {
            styled.to_string()
        };
        return match ui.bytes(text.as_bytes()) {
            Ok(()) => ExitCode::Done,
            Err(error) => end(&error, ui),
        };
    }
    let styled = error.render();
    let text = if ui.uses_color() && !ui.is_json() {
        styled.ansi().to_string()
    } else {
        styled.to_string()
    };
    let text = without_secrets(&text, arguments);
    if ui.is_json() {
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let message = text.split_once("\n\n").map_or(text, |(first, _)| first);
        let message: Vec<_> = message.lines().map(str::trim).collect();
        ui.error(ExitCode::Usage, &message.join(" "), None);
    } else {
        ui.say_as_it_is(&text);
    }
    ExitCode::Usage
}

/// clap repeats what it does not understand; an address in the wrong place may hold a password.
fn without_secrets(text: &str, arguments: &[OsString]) -> String {
    arguments
        .iter()
        .filter_map(|argument| argument.to_str())
        .filter(|argument| url::holds_secret(argument))
        .fold(text.to_owned(), |text, argument| {
            text.replace(argument, &url::redacted(argument))
        })
}

fn end(error: &CliError, ui: &Ui) -> ExitCode {
    let code = error.exit_code();
    ui.error(code, &error.message(), error.advice().as_deref());
    code
}

/// What the parts log, for `-vv`. Once: the first of two calls wins.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::new(
        "warn,keepstone=debug,keepstone_engine=debug,keepstone_sources=debug",
    );
    let _already_set = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(filter)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_examples() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string);
            let name = verb.get_name();
            assert!(
                help.is_some_and(|help| help.contains("Examples:\n") && help.contains(name)),
                "{name} has no examples"
            );
        }
    }

    #[test]
    fn a_password_in_the_wrong_place_is_not_repeated() {
        let arguments = ["keepstone", "version", "redis://:hunter2@h"].map(OsString::from);
        let error = parse(&arguments).unwrap_err();
        let text = without_secrets(&error.to_string(), &arguments);
        assert!(text.contains("redis://h"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
