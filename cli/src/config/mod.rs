//! `keepstone.toml`: repositories, sources, sets, retention. Everything in it is optional; everything unknown is an
//! error with its line.
//!
//! Messages never repeat a value of the file, which may be a secret in the wrong place.

mod file;
mod parse;

pub(crate) use file::load;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::keep::KeepRules;
use crate::password::PasswordFrom;
use crate::source_name::SourceName;
use crate::source_options::SourceOptions;
use crate::source_spec::{SourceAddress, SourceSpec};

/// What the configuration file says.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// Where it was read; none: there is no file.
    pub(crate) path: Option<PathBuf>,
    /// `[repository]`.
    pub(crate) repository: RepositoryConfig,
    /// `[source.NAME]`.
    pub(crate) sources: BTreeMap<SourceName, SourceConfig>,
    /// `[set.NAME]`.
    pub(crate) sets: BTreeMap<SourceName, SetConfig>,
    /// `[retention]`.
    pub(crate) retention: Option<KeepRules>,
}

/// Which repository, and how to open it.
#[derive(Debug, Default)]
pub(crate) struct RepositoryConfig {
    /// Its address.
    pub(crate) address: Option<String>,
    /// Where the password comes from.
    pub(crate) password: Option<PasswordFrom>,
    /// A raw key instead of a password.
    pub(crate) key_file: Option<PathBuf>,
    /// Where to keep the cache.
    pub(crate) cache_dir: Option<PathBuf>,
    /// Where to keep the state.
    pub(crate) state_dir: Option<PathBuf>,
    /// Host label.
    pub(crate) host: Option<String>,
}

/// One source and its options.
#[derive(Debug)]
pub(crate) struct SourceConfig {
    /// Where it lies.
    pub(crate) address: SourceAddress,
    /// Where its password comes from.
    pub(crate) password: Option<PasswordFrom>,
    /// What else was said of it.
    pub(crate) options: SourceOptions,
}

/// Sources that are saved together.
#[derive(Debug)]
pub(crate) struct SetConfig {
    /// Their names, each of them known.
    pub(crate) members: Vec<SourceName>,
    /// What is kept of its snapshots, instead of what `[retention]` says.
    pub(crate) retention: Option<KeepRules>,
}

impl Config {
    /// Understands the text of the file at `path`.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        parse::parse(path, text)
    }

    /// The sources of a set.
    pub(crate) fn set(&self, name: &SourceName) -> Result<Vec<SourceSpec>, CliError> {
        let set = self.sets.get(name).ok_or_else(|| {
            CliError::usage(format!("there is no set {name}")).hint(self.place("[set.NAME]"))
        })?;
        set.members.iter().map(|name| self.source(name)).collect()
    }

    /// A source by name.
    pub(crate) fn source(&self, name: &SourceName) -> Result<SourceSpec, CliError> {
        let source = self.sources.get(name).ok_or_else(|| {
            CliError::usage(format!("there is no source {name}")).hint(self.place("[source.NAME]"))
        })?;
        Ok(SourceSpec {
            name: name.clone(),
            address: source.address.clone(),
            password: source.password.clone(),
            options: source.options.clone(),
            was_named: true,
        })
    }

    fn place(&self, table: &str) -> String {
        match &self.path {
            Some(path) => format!(
                "Sources and sets are described in {} under {table}.",
                path.display()
            ),
            None => "There is no keepstone.toml; --config names one.".into(),
        }
    }
}
