//! The command line of a bench: one word, then `--name value` pairs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::disk;
use crate::error::{Act as _, BenchError, Result};

/// What was typed.
#[derive(Debug)]
pub struct Args {
    /// The first word.
    pub command: String,
    options: BTreeMap<String, String>,
}

impl Args {
    /// Takes the process's own arguments apart.
    pub fn from_process() -> Result<Self> {
        Self::parse(std::env::args().skip(1))
    }

    /// Takes words apart; `--flag` without a value is `true`.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words.peekable();
        let command = words.next().unwrap_or_default();
        let mut options = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(BenchError::new(format!("{word} is no option")));
            };
            let value = words
                .next_if(|next| !next.starts_with("--"))
                .unwrap_or_else(|| "true".to_owned());
            options.insert(name.to_owned(), value);
        }
        Ok(Self { command, options })
    }

    /// An option, or its default.
    pub fn get<T>(&mut self, name: &str, default: T) -> Result<T>
    where
        T: FromStr,
        T::Err: std::error::Error,
    {
        self.options.remove(name).map_or(Ok(default), |text| {
            text.parse().act(format!("read --{name} {text}"))
        })
    }

    /// A path, or its default.
    pub fn path(&mut self, name: &str, default: impl Into<PathBuf>) -> PathBuf {
        self.options
            .remove(name)
            .map_or_else(|| default.into(), PathBuf::from)
    }

    /// A program by its path, which must be there.
    pub fn program(&mut self, name: &str, default: &str) -> Result<PathBuf> {
        let path = self.path(name, default);
        path.canonicalize()
            .act(format!("find the program of --{name} {}", path.display()))
    }

    /// An empty folder below `--scratch` for a bench of this name.
    pub fn scratch(&mut self, name: &str) -> Result<PathBuf> {
        let folder = self.path("scratch", "target/bench-scratch").join(name);
        disk::fresh(&folder)?;
        // Tools change folders.
        Ok(folder.canonicalize()?)
    }

    /// Words between commas, or the default's.
    pub fn list(&mut self, name: &str, default: &str) -> Vec<String> {
        let text = self.options.remove(name);
        text.as_deref()
            .unwrap_or(default)
            .split(',')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Refuses what nobody asked for.
    pub fn finish(&self) -> Result<()> {
        match self.options.keys().next() {
            Some(name) => Err(BenchError::new(format!("--{name} means nothing here"))),
            None => Ok(()),
        }
    }
}
