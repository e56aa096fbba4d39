//! A command: anything that writes a dump to its standard output.
//!
//! # What is captured
//!
//! `command:mysqldump --all-databases` starts the program and keeps every byte of its standard output as the stream
//! `output`, or under the name that `stream` gives it. The program is started when the run opens its sources, so that its instant lies close to theirs.
//! Nothing is said of what the bytes mean: the consistency is the program's own, recorded as fuzzy.
//!
//! # When it counts as good
//!
//! Only when the program ended by itself with status 0 *and* its output was read to the end. Any other status, a
//! signal, a time-out (`timeout`, none by default) or ^C fails the source; the error names the program, its status and
//! the last lines of its standard error. An empty output with status 0 is kept, with a warning. A background process
//! that outlives the program and keeps its output open makes the end unprovable: after five seconds in which nothing
//! came the source fails, and says so. (One that only keeps standard error open, as an `ssh` master does, is let be.)
//!
//! # How the program is started
//!
//! - Without a shell. The text is split into arguments at blanks; `'…'` keeps everything, `"…"` keeps everything but
//!   lets `\` escape `"`, `\`, `$` and a backquote, and outside quotes `\` takes the next character as it is. Nothing is
//!   expanded. What a shell would act on (`|`, `&`, `;`, `<`, `>`, `$`, a backquote), unquoted, is refused with the
//!   advice to quote it or to ask for a shell. In a configuration file the arguments may be given as a list.
//! - With `shell`, `/bin/sh -c TEXT`. A pipe's status is then the last program's: write `set -o pipefail` where the
//!   shell has it, or a failed dump in front of `gzip` counts as good. (Do not compress: it undoes deduplication.)
//! - In a process group of its own, which is ended (SIGTERM, two seconds later SIGKILL) when the run is cancelled, the
//!   time is up, or the repository fails; one that is fed a capture is ended by SIGKILL at once. A program that this user
//!   may not end (`sudo`) is left, and its process named.
//!   Standard input is empty. A program that asks a question on the terminal is
//!   noticed and ended.
//! - Without the variables `KEEPSTONE_*`, `RESTIC_*` and those that object stores are opened with (`AWS_*`, `AZURE_*`,
//!   `GOOGLE_*`, `B2_*`, `OS_*`, `ST_*`, `DO_*`) of this process; what the program needs of them is named in `environment`.
//!
//! Arguments are never recorded, only the program (`argv[0]`). They show in the machine's process list while it runs:
//! give passwords to the program by file or environment.
//!
//! # Restore
//!
//! A capture is fed to the standard input of a command that the user names; its status is honoured, and it must read to
//! the end: also what fits into the pipe is waited for. One that is stopped half-way does not see the end of its input
//! while it lives, or `psql -1` would commit the part as the whole. (Where this process itself is killed, it does.)
//! Excepted is what goes on outside of the process group: `sudo` runs as somebody whom this user may not end, and sees no
//! end as long as this process lives, but then; behind a filter (`zcat | sudo …`) it sees its input end with the filter, and
//! the error says so; and behind `ssh` or `docker exec` the other side sees its input end with
//! them. Give to these a dump that has a `BEGIN` and a `COMMIT` of its own. What the command does to its system cannot be staged, compared, switched or undone, and the plan says so:
//! the command runs in the staging phase, validation can only repeat that it succeeded, and a rollback after it
//! started is an error. `restore --target` writes a file that is named like the stream.

mod capture;
mod client;
mod environment;
mod rebuild;
mod remains;
mod split;
mod talk;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{SourceError, SourceErrorKind};

pub use capture::CommandSource;
pub use rebuild::{CommandExport, CommandTarget};

/// Kind of the source and scheme of its URLs.
const KIND: &str = "command";
/// The one stream of a capture, if it is given no other name.
const STREAM: &str = "output";

/// Takes every line that a command writes to its standard error, as it comes.
pub type LineHook = Arc<dyn Fn(&str) + Send + Sync>;

/// What is run.
#[derive(Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A program and its arguments, passed as they are.
    Argv(Vec<String>),
    /// A text for `/bin/sh -c`.
    Shell(String),
}

impl CommandLine {
    /// The program, which is all that is ever recorded or shown.
    pub fn program(&self) -> &str {
        match self {
            Self::Argv(argv) => argv.first().map_or("", String::as_str),
            Self::Shell(_) => "/bin/sh",
        }
    }

    fn argv(&self) -> Vec<&str> {
        match self {
            Self::Argv(argv) => argv.iter().map(String::as_str).collect(),
            Self::Shell(text) => vec!["/bin/sh", "-c", text],
        }
    }
}

/// Arguments may hold passwords, so only the program is shown.
impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({:?}, …)", self.program())
    }
}

/// How a command is run, for a capture or for a restore.
#[derive(Clone)]
pub struct CommandSettings {
    /// What is run.
    pub command: CommandLine,
    /// How long it may take from start to end; none by default.
    pub timeout: Option<Duration>,
    /// Variables that are set for the command, after the cleaning of its environment.
    pub environment: Vec<(String, String)>,
    /// Takes what the command says on its standard error, line by line.
    pub on_line: Option<LineHook>,
    /// Name of the stream in the capture; `output` by default.
    pub stream: Option<RepoPath>,
}

impl CommandSettings {
    /// Settings for a command line, everything else at its default.
    pub fn new(command: CommandLine) -> Result<Self, SourceError> {
        let argv = command.argv();
        if argv.first().is_none_or(|program| program.is_empty()) {
            return Err(unusable("the command is empty"));
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(unusable("the command holds a NUL character"));
        }
        Ok(Self {
            command,
            timeout: None,
            environment: Vec::new(),
            on_line: None,
            stream: None,
        })
    }

    /// Takes `command:PROGRAM ARGUMENTS…` apart, without a shell.
    pub fn parse_url(url: &str) -> Result<Self, SourceError> {
        let argv = split::split(text_of(url)?).map_err(|problem| unusable(&problem))?;
        Self::new(CommandLine::Argv(argv))
    }

    /// Takes `command:TEXT` as a text for a shell.
    pub fn parse_shell_url(url: &str) -> Result<Self, SourceError> {
        let text = text_of(url)?;
        if text.trim().is_empty() {
            return Err(unusable("the command is empty"));
        }
        Self::new(CommandLine::Shell(text.to_owned()))
    }

    fn address(&self) -> String {
        format!("{KIND}:{}", self.command.program())
    }
}

impl fmt::Debug for CommandSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("CommandSettings")
            .field("command", &self.command)
            .field("timeout", &self.timeout)
            .field("environment", &names)
            .finish_non_exhaustive()
    }
}

fn text_of(url: &str) -> Result<&str, SourceError> {
    url.strip_prefix("command:")
        .ok_or_else(|| unusable("the address does not begin with `command:`"))
}

fn unusable(problem: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Settings,
        format!("cannot use the command: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_neither_shown_nor_part_of_the_address() {
        let mut settings =
            CommandSettings::parse_url("command:mysqldump -psecret --all-databases").unwrap();
        settings.environment = vec![("MYSQL_PWD".into(), "hidden".into())];
        assert_eq!(settings.address(), "command:mysqldump");
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("hidden"),
            "{shown}"
        );
        assert!(shown.contains("MYSQL_PWD"));
    }

    #[test]
    fn a_shell_is_used_only_when_asked_for() {
        let plain = CommandSettings::parse_url("command:dump | gzip").unwrap_err();
        assert_eq!(plain.kind(), SourceErrorKind::Settings);
        let shell = CommandSettings::parse_shell_url("command:dump | gzip").unwrap();
        assert_eq!(shell.command, CommandLine::Shell("dump | gzip".into()));
        assert_eq!(shell.address(), "command:/bin/sh");
    }

    #[test]
    fn commands_without_a_program_are_refused() {
        for url in ["command:", "command:  ", "command:''", "mysqldump"] {
            assert!(CommandSettings::parse_url(url).is_err(), "{url}");
        }
        assert!(CommandSettings::new(CommandLine::Argv(vec![])).is_err());
        assert!(CommandSettings::new(CommandLine::Argv(vec!["a\0b".into()])).is_err());
    }
}
