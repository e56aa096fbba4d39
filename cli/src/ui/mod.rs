//! What the user sees: results on standard output, everything else on standard error.
//!
//! With `--json`, standard output holds one object a line and nothing else. Nothing outside this folder prints.

mod ask;
pub(crate) mod format;
mod json;
mod progress;
pub(crate) mod table;

pub(crate) use progress::Progress;
pub(crate) use table::Table;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::cancel::cancel;
use crate::error::CliError;
use crate::exit::ExitCode;

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Warnings and errors.
    Quiet,
    /// And what is being done.
    Normal,
    /// And what was decided, and why.
    Verbose,
    /// And what the parts log.
    Debug,
}

/// How to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UiOptions {
    /// Objects instead of text.
    pub(crate) json: bool,
    /// How much.
    pub(crate) level: Level,
    /// Whether to use colours.
    pub(crate) color: bool,
    /// Whether questions may be asked.
    pub(crate) may_ask: bool,
}

/// Speaks to the user.
///
/// Whoever reads the results may have enough before the work is done. That is no failure and stops nothing: what is left of
/// them goes nowhere, and the verb ends as it would have.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    options: UiOptions,
    /// Nobody reads standard output any more.
    is_unread: Arc<AtomicBool>,
    /// Warnings that are not said again.
    said: Arc<Mutex<BTreeSet<String>>>,
}

impl Ui {
    /// Speaks as the options say.
    pub(crate) fn new(options: UiOptions) -> Self {
        Self {
            options,
            is_unread: Arc::default(),
            said: Arc::default(),
        }
    }

    /// Writes to standard output as long as somebody reads it.
    fn write(&self, act: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
        if self.is_unread.load(Ordering::Relaxed) {
            return Ok(());
        }
        match act(&mut io::stdout().lock()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_unread.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(CliError::Output),
        }
    }

    /// Whether results are objects.
    pub(crate) fn is_json(&self) -> bool {
        self.options.json
    }

    /// Whether colours are used.
    pub(crate) fn uses_color(&self) -> bool {
        self.options.color
    }

    /// Whether what belongs to a level is said.
    pub(crate) fn is_heard(&self, level: Level) -> bool {
        self.options.level >= level
    }

    /// Whether somebody is there to answer.
    pub(crate) fn can_ask(&self) -> bool {
        self.options.may_ask && io::stdin().is_terminal()
    }

    /// Writes one result as an object; only with `--json`.
    pub(crate) fn object<T: Serialize>(
        &self,
        message_type: &str,
        body: &T,
    ) -> Result<(), CliError> {
        if !self.options.json {
            return Ok(());
        }
        self.write(|out| json::write_line(out, message_type, body))
    }

    /// Writes a result for people; not with `--json`. Names in it must be printable.
    pub(crate) fn line(&self, text: &str) -> Result<(), CliError> {
        if self.options.json {
            return Ok(());
        }
        self.write(|out| writeln!(out, "{text}"))
    }

    /// Writes a table; not with `--json`.
    pub(crate) fn table(&self, table: Table) -> Result<(), CliError> {
        if self.options.json {
            return Ok(());
        }
        let text = table.render(terminal_width());
        self.write(|out| out.write_all(text.as_bytes()))
    }

    /// Writes bytes as they are, whatever the options.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.write(|out| out.write_all(bytes))
    }

    /// Says what is being done.
    pub(crate) fn status(&self, text: &str) {
        if self.options.level >= Level::Normal && !self.options.json {
            say(text);
        }
    }

    /// Says what was decided, with `-v`.
    pub(crate) fn verbose(&self, text: &str) {
        if self.options.level >= Level::Verbose && !self.options.json {
            say(text);
        }
    }

    /// Says what the user should know.
    pub(crate) fn warning(&self, text: &str) {
        if self.options.json {
            let message = json::Message { message: text };
            // Nobody is left to be told that standard error is gone.
            let _ignored = json::write_line(&mut io::stderr().lock(), "warning", &message);
        } else {
            say(&format!("{} {text}", self.paint("warning:", "33")));
        }
    }

    /// The same, of what may come up several times in a run.
    pub(crate) fn warning_once(&self, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert(text.to_owned()) {
            self.warning(text);
        }
    }

    /// Says a text that was laid out elsewhere.
    #[expect(clippy::unused_self, reason = "whoever speaks has a voice")]
    pub(crate) fn say_as_it_is(&self, text: &str) {
        let _ignored = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Says why the command failed, and what to do.
    pub(crate) fn error(&self, code: ExitCode, message: &str, hint: Option<&str>) {
        if self.options.json {
            let end = json::ExitError {
                code: code.code(),
                message,
                hint,
            };
            let _ignored = json::write_line(&mut io::stderr().lock(), "exit_error", &end);
            return;
        }
        say(&format!("{} {message}", self.paint("error:", "31")));
        if let Some(hint) = hint {
            say(&format!("{} {hint}", self.paint("hint:", "36")));
        }
    }

    /// Asks a question that is answered with yes or no. Anything but yes is no.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, CliError> {
        if !self.can_ask() {
            return Err(CliError::usage(format!("{question} Nobody can be asked"))
                .hint("Say yes beforehand with --force."));
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")
            .and_then(|()| stderr.flush())
            .map_err(|source| CliError::File {
                act: "ask on",
                path: "standard error".into(),
                source,
            })?;
        let answer = ask::read_line(&mut io::stdin().lock(), &cancel())?;
        let Some(answer) = answer else {
            // The error that follows gets a line of its own.
            let _ignored = writeln!(stderr);
            return Err(keepstone_engine::Error::Cancelled.into());
        };
        Ok(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }

    /// Shows how far an operation is, if there is a terminal to show it on.
    pub(crate) fn progress(&self) -> Progress {
        let is_wanted = self.options.level >= Level::Normal && !self.options.json;
        if is_wanted && io::stderr().is_terminal() {
            Progress::on_terminal(self.clone())
        } else {
            Progress::hidden(self.clone())
        }
    }

    fn paint(&self, text: &str, color: &str) -> String {
        if self.options.color {
            format!("\x1b[1;{color}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Writes a line to standard error; if that is gone, nobody is left to be told.
fn say(text: &str) {
    let _ignored = writeln!(io::stderr().lock(), "{text}");
}

/// Columns of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<u16> {
    comfy_table::Table::new()
        .width()
        .filter(|width| *width > 20)
}
