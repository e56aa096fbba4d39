//! `key`: passwords and raw keys that open the repository.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::reference::HexPrefix;

const EXAMPLES: &str = "\
Examples:
  keepstone key list
  keepstone key add --label 'restore at home'
  keepstone key add --new-key-file /root/keepstone.key
  keepstone key passwd
  keepstone key remove 3fc2a9
  keepstone key export /mnt/safe/keepstone.key

Whoever had a password once may have kept what it opens: removing it does not lock them out of old copies.";

/// Arguments of `key`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) act: KeyCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add a password or a raw key
    Add(NewKeyArgs),
    /// List what opens the repository
    List,
    /// Replace the password that was given by a new one
    Passwd(NewKeyArgs),
    /// Remove a password or a raw key; the last one stays
    Remove {
        /// Its id in `key list`, or the first digits of it
        #[arg(value_name = "ID")]
        id: HexPrefix,
    },
    /// Write a raw key that opens the repository into a new file
    Export {
        /// The file, which must not exist yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// The new password or key; asked for if none is named.
#[derive(Debug, Args)]
pub(crate) struct NewKeyArgs {
    /// File that holds the new password
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Command that prints the new password; no shell
    #[arg(long, value_name = "COMMAND", group = "new")]
    pub(crate) new_password_command: Option<String>,
    /// File that holds a new raw key; made if it does not exist
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// What it is called in `key list`
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
}
