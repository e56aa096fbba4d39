//! The command line as typed. What it means is `settings` and each verb's own business.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cmd;
use crate::exit::ExitCode;
use crate::keep::TagList;
use crate::source_name::SourceName;

const EXAMPLES: &str = "\
Examples:
  keepstone init -r /srv/backup
  keepstone backup -r /srv/backup /etc sqlite:/var/lib/app.db redis://localhost
  keepstone snapshots -r /srv/backup
  keepstone restore -r /srv/backup --at 3h --target /tmp/restored";

/// Backs up files, databases and the output of commands into one encrypted repository, for the price of what changed
#[derive(Debug, Parser)]
#[command(
    name = "keepstone",
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    after_long_help = long_help(),
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\nExit codes:\n{}", ExitCode::table())
}

/// What every verb takes. Each has a twin in the environment; the command line wins over it, and both over the file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct GlobalArgs {
    /// Address of the repository: a folder, or a URL such as s3://bucket/folder [env: KEEPSTONE_REPOSITORY]
    #[arg(short, long, global = true, value_name = "ADDRESS")]
    pub(crate) repo: Option<String>,
    /// File that holds the address of the repository [env: KEEPSTONE_REPOSITORY_FILE]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) repository_file: Option<PathBuf>,
    /// File that holds the password [env: KEEPSTONE_PASSWORD_FILE; KEEPSTONE_PASSWORD holds it itself]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Command that prints the password; no shell [env: KEEPSTONE_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", hide_short_help = true)]
    pub(crate) password_command: Option<String>,
    /// File that holds a raw key, instead of a password [env: KEEPSTONE_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) key_file: Option<PathBuf>,
    /// Configuration file, instead of the user's or the machine's keepstone.toml [env: KEEPSTONE_CONFIG]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
    /// Folder of the cache [env: KEEPSTONE_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Keep no cache [env: KEEPSTONE_NO_CACHE]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_cache: bool,
    /// Folder of what this machine remembers of its repositories [env: KEEPSTONE_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Take a repository as it is now, although it is not the one that was last seen there, or lost snapshots
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) accept_change: bool,
    /// Say only results and what is wrong [env: KEEPSTONE_QUIET]
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say what was decided, and why; twice: everything [env: KEEPSTONE_VERBOSE]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write results as JSON, one object a line [env: KEEPSTONE_JSON]
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Ask nothing; what would be asked fails [env: KEEPSTONE_NO_INPUT]
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) no_input: bool,
    /// When to use colours [env: KEEPSTONE_COLOR, NO_COLOR]
    #[arg(long, global = true, value_name = "WHEN", hide_short_help = true)]
    pub(crate) color: Option<ColorChoice>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only snapshots of this host; may be given several times
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with all these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS")]
    pub(crate) tag: Vec<TagList>,
    /// Only snapshots that hold this source, and of them only this source; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<SourceName>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a repository
    Init(cmd::init::InitArgs),
    /// Save sources as one snapshot
    Backup(cmd::backup::BackupArgs),
    /// List snapshots
    Snapshots(cmd::snapshots::SnapshotsArgs),
    /// List what a snapshot holds
    Ls(cmd::ls::LsArgs),
    /// Show what differs between two snapshots
    Diff(cmd::diff::DiffArgs),
    /// Search snapshots for names
    Find(cmd::find::FindArgs),
    /// Write a file or a source of a snapshot to standard output
    Dump(cmd::dump::DumpArgs),
    /// Bring back what a snapshot holds
    Restore(cmd::restore::RestoreArgs),
    /// Verify the repository
    Check(cmd::check::CheckArgs),
    /// Remove snapshots, by id or by rules
    Forget(cmd::forget::ForgetArgs),
    /// Free the space that no snapshot needs
    Prune(cmd::prune::PruneArgs),
    /// Bring a forgotten snapshot back, while its data is there
    Undelete(cmd::undelete::UndeleteArgs),
    /// Show how much space snapshots and the repository take
    Stats(cmd::stats::StatsArgs),
    /// Change the tags of snapshots
    Tag(cmd::tag::TagArgs),
    /// Manage passwords and keys
    Key(cmd::key::KeyArgs),
    /// Show an object of the repository as it is
    Cat(cmd::cat::CatArgs),
    /// Write completions for a shell
    Completions(cmd::completions::CompletionsArgs),
    /// Show the version
    Version(cmd::version::VersionArgs),
}
