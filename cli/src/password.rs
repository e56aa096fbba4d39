//! Where a password comes from: a file, a command, the environment, or the terminal.
//!
//! Passwords are zeroized when they are dropped, have no `Debug`, and stand in no message.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::cancel::cancel;
use crate::environment::Environment;
use crate::error::CliError;
use crate::ui::Ui;
use crate::words;

/// Longer files hold something else.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// A password or raw key.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// Where a password is to be got.
#[derive(Clone)]
pub(crate) enum PasswordFrom {
    /// The first line of a file.
    File(PathBuf),
    /// What a command prints; no shell.
    Command(String),
    /// Given as it is, by the environment.
    Value(Zeroizing<String>),
}

impl fmt::Debug for PasswordFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command(_) => f.write_str("Command"),
            Self::Value(_) => f.write_str("Value"),
        }
    }
}

impl PasswordFrom {
    /// Gets it. A file that others can read is warned of.
    pub(crate) fn get(&self, environment: &Environment, ui: &Ui) -> Result<Secret, CliError> {
        match self {
            Self::File(path) => read_file(path, ui),
            Self::Command(command) => run_command(command, environment),
            Self::Value(value) => Ok(Zeroizing::new(value.as_bytes().to_vec())),
        }
    }
}

/// Reads a raw key; its length is the engine's business.
pub(crate) fn read_key_file(path: &Path, ui: &Ui) -> Result<Secret, CliError> {
    read_bounded(path, "read the key file", ui)
}

/// Asks on the terminal.
pub(crate) fn ask(question: &str, ui: &Ui) -> Result<Secret, CliError> {
    if !ui.can_ask() {
        return Err(CliError::Password {
            act: "no password was given, and nobody can be asked".into(),
            hint: Some(
                "Give --password-file, --password-command or --key-file, or set KEEPSTONE_PASSWORD_FILE.".into(),
            ),
            source: None,
        });
    }
    // Whoever listens to ^C is not ended by it: only then the terminal gets its echo back.
    cancel();
    let password = rpassword::prompt_password(format!("{question}: "))
        .map(Zeroizing::new)
        .map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => keepstone_engine::Error::Cancelled.into(),
            _ => CliError::Password {
                act: "cannot read the password from the terminal".into(),
                hint: None,
                source: Some(source),
            },
        })?;
    not_empty(Zeroizing::new(password.as_bytes().to_vec()), "the password")
}

/// Asks twice, for a new password.
pub(crate) fn ask_new(ui: &Ui) -> Result<Secret, CliError> {
    let first = ask("new password", ui)?;
    let second = ask("new password again", ui)?;
    if *first == *second {
        Ok(first)
    } else {
        Err(CliError::Refused("the two passwords differ".into()))
    }
}

fn read_file(path: &Path, ui: &Ui) -> Result<Secret, CliError> {
    let content = read_bounded(path, "read the password file", ui)?;
    first_line(&content, &format!("the password file {}", path.display()))
}

fn read_bounded(path: &Path, act: &'static str, ui: &Ui) -> Result<Secret, CliError> {
    let failed = |source| CliError::File {
        act,
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // A pipe or a descriptor of the shell is private whatever its mode says.
    if metadata.is_file() && metadata.mode() & 0o044 != 0 {
        ui.warning(&format!(
            "{} can be read by others: chmod 600 it",
            path.display()
        ));
    }
    // Room for all of it at once, so that growing leaves no copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(8192));
    file.take(PASSWORD_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > PASSWORD_BYTES_MAX {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {PASSWORD_BYTES_MAX} bytes"),
        )));
    }
    Ok(content)
}

fn run_command(command: &str, environment: &Environment) -> Result<Secret, CliError> {
    let words = words::split(command).map_err(|error| {
        CliError::usage(format!("the password command cannot be split: {error}"))
    })?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(CliError::usage("the password command is empty"));
    };
    let failed = |problem: &str, source| CliError::Password {
        act: format!("the password command {program} {problem}"),
        hint: None,
        source,
    };
    let mut child = Command::new(program);
    child
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit());
    environment.hide_ours(&mut child);
    let output = child
        .output()
        .map_err(|error| failed("cannot be started", Some(error)))?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(&format!("failed: {}", output.status), None));
    }
    first_line(&stdout, &format!("the output of {program}"))
}

/// The content without its line end. Several lines are no password.
fn first_line(content: &[u8], what: &str) -> Result<Secret, CliError> {
    let line = content.strip_suffix(b"\n").unwrap_or(content);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&b'\n') {
        return Err(CliError::Password {
            act: format!("{what} has more than one line"),
            hint: None,
            source: None,
        });
    }
    not_empty(Zeroizing::new(line.to_vec()), what)
}

fn not_empty(secret: Secret, what: &str) -> Result<Secret, CliError> {
    if secret.is_empty() {
        return Err(CliError::Password {
            act: format!("{what} is empty"),
            hint: None,
            source: None,
        });
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Result<Secret, CliError> {
        run_command(text, &Environment::default())
    }

    #[test]
    fn a_line_end_is_no_part_of_a_password() {
        for content in ["pw", "pw\n", "pw\r\n"] {
            assert_eq!(
                first_line(content.as_bytes(), "it").unwrap().as_slice(),
                b"pw"
            );
        }
        assert_eq!(first_line(b" p w \n", "it").unwrap().as_slice(), b" p w ");
        for content in ["", "\n", "a\nb\n"] {
            assert!(first_line(content.as_bytes(), "it").is_err());
        }
    }

    #[test]
    fn a_command_prints_the_password_without_a_shell() {
        assert_eq!(command("printf %s 'p w'").unwrap().as_slice(), b"p w");
        assert_eq!(command("echo $HOME").unwrap().as_slice(), b"$HOME");
    }

    #[test]
    fn a_failed_command_is_named_and_its_output_is_not_shown() {
        let message = command("sh -c 'echo hidden; exit 3'")
            .unwrap_err()
            .message();
        assert!(message.starts_with("the password command sh failed"));
        assert!(!message.contains("hidden"));
        assert!(command("/no/such/program").is_err());
        assert!(command("").is_err());
    }

    #[test]
    fn a_password_shows_in_no_debug_output() {
        let from = PasswordFrom::Value(Zeroizing::new("hidden".into()));
        assert_eq!(format!("{from:?}"), "Value");
    }
}
