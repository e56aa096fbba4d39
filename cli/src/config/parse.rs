//! The text of the file, checked as a whole: names, addresses, options, and that sets name known sources.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Spanned, Value};

use super::{Config, OptionValue, RepositoryConfig, SourceConfig};
use crate::error::CliError;
use crate::keep::KeepRules;
use crate::password::PasswordFrom;
use crate::source_name::SourceName;
use crate::source_spec::{self, Scheme, SourceAddress};
use crate::url;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct RawConfig {
    repository: RawRepository,
    source: BTreeMap<Spanned<String>, RawSource>,
    set: BTreeMap<Spanned<String>, RawSet>,
    retention: Option<KeepRules>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRepository {
    url: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    password_command: Option<Spanned<String>>,
    key_file: Option<Spanned<PathBuf>>,
    cache_dir: Option<Spanned<PathBuf>>,
    state_dir: Option<Spanned<PathBuf>>,
    host: Option<String>,
}

type RawSource = BTreeMap<Spanned<String>, Spanned<Value>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    sources: Vec<Spanned<String>>,
}

/// Parses the text of the file at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, CliError> {
    let place = Place { path, text };
    let raw: RawConfig = toml::from_str(text).map_err(|error| place.syntax_error(&error))?;
    let mut sources = BTreeMap::new();
    for (name, options) in raw.source {
        let source = place.source(&name, options)?;
        sources.insert(place.name(&name)?, source);
    }
    let mut sets = BTreeMap::new();
    for (name, set) in raw.set {
        let members = place.members(&set, &sources)?;
        if members.is_empty() {
            return Err(place.error(name.span(), "the set has no sources"));
        }
        sets.insert(place.name(&name)?, members);
    }
    Ok(Config {
        path: Some(path.to_owned()),
        repository: place.repository(raw.repository)?,
        sources,
        sets,
        retention: raw.retention,
    })
}

/// Makes errors that know their line.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn error(&self, span: Range<usize>, problem: impl Into<String>) -> CliError {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = 1 + before
            .split(|byte| *byte == b'\n')
            .count()
            .saturating_sub(1);
        CliError::Config {
            path: self.path.to_owned(),
            line: Some(line),
            problem: problem.into(),
            hint: None,
        }
    }

    /// Without the excerpt that the parser would add: the line may hold a password.
    fn syntax_error(&self, error: &toml::de::Error) -> CliError {
        let problem = strip_values(error.message());
        self.error(error.span().unwrap_or(0..0), problem)
    }

    fn name(&self, name: &Spanned<String>) -> Result<SourceName, CliError> {
        name.get_ref().parse().map_err(|error| {
            self.error(
                name.span(),
                format!("{} cannot be a name: {error}", name.get_ref()),
            )
        })
    }

    fn absolute(&self, path: Option<Spanned<PathBuf>>) -> Result<Option<PathBuf>, CliError> {
        let Some(path) = path else { return Ok(None) };
        if source_spec::is_absolute(path.get_ref()) {
            Ok(Some(path.into_inner()))
        } else {
            Err(self.error(path.span(), "a path in this file must be absolute"))
        }
    }

    fn repository(&self, raw: RawRepository) -> Result<RepositoryConfig, CliError> {
        if let Some(url) = &raw.url
            && url::holds_secret(url.get_ref())
        {
            return Err(self.error(url.span(), "the address of the repository holds a password"));
        }
        let ways = [
            raw.password_file.as_ref().map(Spanned::span),
            raw.password_command.as_ref().map(Spanned::span),
            raw.key_file.as_ref().map(Spanned::span),
        ];
        if let Some(span) = ways.into_iter().flatten().nth(1) {
            return Err(self.error(
                span,
                "give one of password_file, password_command and key_file",
            ));
        }
        let password_file = self.absolute(raw.password_file)?.map(PasswordFrom::File);
        let password_command = raw
            .password_command
            .map(|command| PasswordFrom::Command(command.into_inner()));
        Ok(RepositoryConfig {
            address: raw.url.map(Spanned::into_inner),
            password: password_file.or(password_command),
            key_file: self.absolute(raw.key_file)?,
            cache_dir: self.absolute(raw.cache_dir)?,
            state_dir: self.absolute(raw.state_dir)?,
            host: raw.host,
        })
    }

    fn members(
        &self,
        set: &RawSet,
        known: &BTreeMap<SourceName, SourceConfig>,
    ) -> Result<Vec<SourceName>, CliError> {
        let mut members = Vec::new();
        for name in &set.sources {
            let member = self.name(name)?;
            if !known.contains_key(&member) {
                return Err(self.error(name.span(), format!("there is no [source.{member}]")));
            }
            if members.contains(&member) {
                return Err(self.error(name.span(), format!("{member} stands twice in the set")));
            }
            members.push(member);
        }
        Ok(members)
    }

    fn source(
        &self,
        name: &Spanned<String>,
        mut options: RawSource,
    ) -> Result<SourceConfig, CliError> {
        let url = self
            .take_text(&mut options, "url")?
            .ok_or_else(|| self.error(name.span(), "the source has no url"))?;
        let (mut address, in_address) = source_spec::parse_address(url.get_ref())
            .map_err(|error| self.error(url.span(), error.message()))?;
        let scheme = address.scheme();
        let password = self.password(&mut options, in_address)?;
        let mut known = BTreeMap::new();
        for (key, value) in options {
            if !known_options(scheme).contains(&key.get_ref().as_str()) {
                let kind = scheme.as_str();
                return Err(self.error(
                    key.span(),
                    format!("{} is no option of a {kind} source", key.get_ref()),
                ));
            }
            known.insert(key.get_ref().clone(), self.option_value(&key, value)?);
        }
        if let (SourceAddress::Files(paths), Some(more)) = (&mut address, known.remove("paths")) {
            paths.extend(more.into_list().into_iter().map(PathBuf::from));
        }
        Ok(SourceConfig {
            address,
            password,
            options: known,
        })
    }

    fn password(
        &self,
        options: &mut RawSource,
        in_address: Option<PasswordFrom>,
    ) -> Result<Option<PasswordFrom>, CliError> {
        let file = self.take_text(options, "password_file")?;
        let command = self.take_text(options, "password_command")?;
        let span = file.as_ref().or(command.as_ref()).map(Spanned::span);
        let file =
            self.absolute(file.map(|file| Spanned::new(file.span(), file.into_inner().into())))?;
        let ways = [
            in_address,
            file.map(PasswordFrom::File),
            command.map(|command| PasswordFrom::Command(command.into_inner())),
        ];
        let mut ways = ways.into_iter().flatten();
        let first = ways.next();
        match (ways.next(), span) {
            (Some(_), Some(span)) => Err(self.error(span, "the password comes from two places")),
            _ => Ok(first),
        }
    }

    fn take_text(
        &self,
        options: &mut RawSource,
        name: &str,
    ) -> Result<Option<Spanned<String>>, CliError> {
        let key = options.keys().find(|key| key.get_ref() == name).cloned();
        let Some(value) = key.and_then(|key| options.remove(&key)) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            Value::String(text) => Ok(Some(Spanned::new(span, text))),
            _ => Err(self.error(span, format!("{name} is not a text"))),
        }
    }

    fn option_value(
        &self,
        key: &Spanned<String>,
        value: Spanned<Value>,
    ) -> Result<OptionValue, CliError> {
        let span = value.span();
        let unusable = || {
            self.error(
                span.clone(),
                format!(
                    "{} is neither a text, a number, a switch nor a list of texts",
                    key.get_ref()
                ),
            )
        };
        match value.into_inner() {
            Value::Boolean(switch) => Ok(OptionValue::Switch(switch)),
            Value::String(text) => Ok(OptionValue::Text(text)),
            Value::Integer(number) => Ok(OptionValue::Text(number.to_string())),
            Value::Array(items) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(unusable()),
                })
                .collect::<Result<_, _>>()
                .map(OptionValue::List),
            _ => Err(unusable()),
        }
    }
}

impl OptionValue {
    /// One text counts as a list of one.
    fn into_list(self) -> Vec<String> {
        match self {
            Self::List(list) => list,
            Self::Text(text) => vec![text],
            Self::Switch(_) => Vec::new(),
        }
    }
}

/// What a source of a kind can be told beside address and password.
fn known_options(scheme: Scheme) -> &'static [&'static str] {
    match scheme {
        Scheme::Files => &[
            "paths",
            "exclude",
            "iexclude",
            "exclude_file",
            "exclude_caches",
            "exclude_if_present",
            "exclude_larger_than",
            "one_file_system",
        ],
        Scheme::Postgres => &[
            "databases",
            "sslmode",
            "sslrootcert",
            "connect_timeout",
            "answer_timeout",
            "lock_timeout",
            "connections",
            "pg_dump",
        ],
        Scheme::Command | Scheme::Sqlite | Scheme::Redis => &[],
    }
}

/// Takes quoted values out of a parser's message: `invalid type: string "secret", expected …`.
fn strip_values(message: &str) -> String {
    message
        .split('"')
        .enumerate()
        .map(|(index, part)| if index % 2 == 0 { part } else { "…" })
        .collect()
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
