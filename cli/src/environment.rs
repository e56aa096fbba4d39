//! The environment of the process as a value, so that nothing else reads it and tests can make one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use crate::error::CliError;

/// Variables by name. An empty one counts as not set.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place where it is read")]
    pub(crate) fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
        }
    }

    /// The bytes of a variable.
    pub(crate) fn os(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// The text of a variable.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, CliError> {
        self.os(name)
            .map(|value| {
                value
                    .to_str()
                    .map(str::to_owned)
                    .ok_or_else(|| CliError::usage(format!("{name} is not UTF-8")))
            })
            .transpose()
    }

    /// A variable that holds a path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.os(name).map(PathBuf::from)
    }

    /// A variable that holds an absolute path; others do not count, as the XDG specification has it.
    pub(crate) fn absolute_path(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| path.is_absolute())
    }

    /// A variable that switches something on or off.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>, CliError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Some(true)),
            "0" | "false" | "no" | "off" => Ok(Some(false)),
            _ => Err(CliError::usage(format!("{name} is neither 1 nor 0"))),
        }
    }

    /// The same with one more variable.
    #[cfg(test)]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Takes from a child what is meant for us alone: the repository and its password.
    pub(crate) fn hide_ours(&self, child: &mut Command) {
        for name in self.variables.keys() {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b"KEEPSTONE_") || bytes.starts_with(b"RESTIC_") {
                child.env_remove(name);
            }
        }
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}
