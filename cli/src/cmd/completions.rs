//! `completions`: writes completions for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use serde::Serialize;

use crate::args::Cli;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  keepstone completions bash > /etc/bash_completion.d/keepstone
  keepstone completions zsh > ~/.zfunc/_keepstone
  keepstone completions fish > ~/.config/fish/completions/keepstone.fish";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Serialize)]
struct Script<'a> {
    shell: String,
    script: &'a str,
}

/// Writes them.
pub(crate) fn run(args: &CompletionsArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keepstone", &mut script);
    if ui.is_json() {
        let shell = args.shell.to_string();
        let script = &String::from_utf8_lossy(&script);
        ui.object("completions", &Script { shell, script })?;
    } else {
        ui.bytes(&script)?;
    }
    Ok(ExitCode::Done)
}
