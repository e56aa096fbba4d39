//! Names of sources and sets: short, safe in paths, the same in every shell.

use std::fmt;
use std::str::FromStr;

/// Longest name.
const LENGTH_MAX: usize = 64;

/// A name of `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceName(String);

/// The text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name is up to {LENGTH_MAX} of a-z, 0-9, dot, dash and underscore, and starts with a letter or digit"
)]
pub(crate) struct NameError;

impl SourceName {
    #[cfg(test)]
    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a name of anything: what a name cannot hold becomes a dash.
    pub(crate) fn from_parts(scheme: &str, database: &str) -> Self {
        let mut name = scheme.to_owned();
        if !database.is_empty() {
            name.push('-');
            name.extend(database.chars().map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
                _ => '-',
            }));
        }
        name.truncate(LENGTH_MAX);
        Self(name)
    }
}

impl FromStr for SourceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_start = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = text.len() <= LENGTH_MAX
            && text.bytes().next().is_some_and(is_start)
            && text
                .bytes()
                .all(|byte| is_start(byte) || b"._-".contains(&byte));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError)
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_safe() {
        for good in ["a", "pg-app", "9.lives_", &"x".repeat(64)] {
            assert!(good.parse::<SourceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "A", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<SourceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_made_name_is_a_name() {
        for database in ["App DB", "späti", &"y".repeat(90), ""] {
            let name = SourceName::from_parts("postgres", database);
            assert_eq!(name.as_str().parse::<SourceName>(), Ok(name.clone()));
        }
        assert_eq!(
            SourceName::from_parts("sqlite", "App.db").as_str(),
            "sqlite-app.db"
        );
    }
}
