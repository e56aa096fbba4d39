//! `init`: creates a repository.

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  keepstone init -r /srv/backup
  keepstone init -r /srv/backup --password-file /etc/keepstone/password
  keepstone init -r 's3://bucket/backup?region=eu-central-1' --password-command 'pass show backup'

The password is asked for twice, unless it comes from a file, a command or the environment.
Without the password or a key, nothing in the repository can be read by anyone, ever.";

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// What the first key slot is called in `key list`
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
}
