//! `init`: creates a repository.

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;

const EXAMPLES: &str = "\
Examples:
  keepstone init -r /srv/backup
  keepstone init -r /srv/backup --password-file /etc/keepstone/password
  keepstone init -r 's3://bucket/backup?region=eu-central-1' --password-command 'pass show backup'

The password is asked for twice, unless it comes from a file, a command or the environment. \
Without the password or a key, nothing in the repository can be read by anyone, ever.";

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// What the first key slot is called in `key list`
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
}

#[derive(Serialize)]
struct Made {
    repository_id: String,
    address: String,
    /// Whether the store was asked, and refused to write a name twice; a folder need not be asked.
    put_if_absent: Option<bool>,
}

/// Makes a repository.
pub(crate) fn run(args: &InitArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.init_repo(args.label.as_deref().unwrap_or_default())?;
    let (repository_id, address) = (repo.id().to_string(), repo.backend().address());
    context
        .ui
        .line(&format!("repository {} made at {address}", &repository_id))?;
    context
        .ui
        .status("keep the password or key file safe: without it nothing can be read, ever");
    context.ui.object(
        "initialized",
        &Made {
            repository_id,
            address,
            put_if_absent: repo.backend().must_be_probed().then_some(true),
        },
    )?;
    Ok(ExitCode::Done)
}
