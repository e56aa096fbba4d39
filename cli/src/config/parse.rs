//! The text of the file, checked as a whole: names, addresses, options, and that sets name known sources.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::{Config, RepositoryConfig, SetConfig, SourceConfig};
use crate::error::CliError;
use crate::keep::KeepRules;
use crate::password::PasswordFrom;
use crate::source_name::SourceName;
use crate::source_options::{
    CommandOptions, FilesTable, PostgresOptions, RedisOptions, SourceOptions, SqliteOptions,
};
use crate::source_spec::{self, Scheme, SourceAddress};
use crate::url;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    repository: RawRepository,
    // Taken before the rest: the kind of each decides what it may hold.
    source: Option<IgnoredAny>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    sources: Vec<Spanned<String>>,
    retention: Option<Spanned<KeepRules>>,
}

/// Parses the text of the file at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Config, CliError> {
    let place = Place { path, text };
    let root = DeTable::parse(text).map_err(|error| place.syntax_error(&error))?;
    let sources = place.sources(root.get_ref())?;
    let raw = RawConfig::deserialize(toml::de::Deserializer::from(root))
        .map_err(|error| place.syntax_error(&error))?;
    let mut sets = BTreeMap::new();
    for (name, set) in raw.set {
        let members = place.members(&set, &sources)?;
        if members.is_empty() {
            return Err(place.error(name.span(), "the set has no sources"));
        }
        let retention = set.retention.map(Spanned::into_inner);
        sets.insert(place.name(&name)?, SetConfig { members, retention });
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

    fn sources(&self, root: &DeTable<'_>) -> Result<BTreeMap<SourceName, SourceConfig>, CliError> {
        let mut sources = BTreeMap::new();
        let Some(all) = root.get("source") else {
            return Ok(sources);
        };
        let tables = all.get_ref().as_table();
        for (name, value) in tables.ok_or_else(|| self.error(all.span(), "source is no table"))? {
            let name = Spanned::new(name.span(), name.get_ref().to_string());
            let table = value.get_ref().as_table();
            let table = table.ok_or_else(|| self.error(value.span(), "the source is no table"))?;
            let source = self.source(&name, table.clone(), value.span())?;
            sources.insert(self.name(&name)?, source);
        }
        Ok(sources)
    }

    fn source(
        &self,
        name: &Spanned<String>,
        mut table: DeTable<'_>,
        span: Range<usize>,
    ) -> Result<SourceConfig, CliError> {
        let url = match self.take_text(&mut table, "url")? {
            Some(url) => url,
            // Arguments alone say everything of a command.
            None if table.contains_key("argv") => Spanned::new(span.clone(), "command:argv".into()),
            None => return Err(self.error(name.span(), "the source has no url")),
        };
        let (mut address, in_address) = source_spec::parse_address(url.get_ref())
            .map_err(|error| self.error(url.span(), error.message()))?;
        let scheme = address.scheme();
        let password = self.password(&mut table, in_address)?;
        let options = self.options(&mut address, table, span)?;
        if let SourceOptions::Postgres(PostgresOptions { databases, .. }) = &options
            && !databases.0.is_empty()
            && source_spec::names_database(&address)
        {
            return Err(self.error(url.span(), "the address and databases both name databases"));
        }
        if password.is_some() && !matches!(scheme, Scheme::Redis | Scheme::Postgres) {
            let kind = scheme.as_str();
            return Err(self.error(name.span(), format!("a {kind} source takes no password")));
        }
        Ok(SourceConfig {
            address,
            password,
            options,
        })
    }

    /// Everything in the table of a source that is neither address nor password.
    fn options(
        &self,
        address: &mut SourceAddress,
        table: DeTable<'_>,
        span: Range<usize>,
    ) -> Result<SourceOptions, CliError> {
        let scheme = address.scheme();
        let kind = scheme.as_str();
        let rest = ValueDeserializer::from(Spanned::new(span, DeValue::Table(table)));
        let options = match address {
            SourceAddress::Files(paths) => FilesTable::deserialize(rest).map(|mut table| {
                let more = std::mem::take(&mut table.paths).0;
                paths.extend(more.into_iter().map(|path| path.0));
                SourceOptions::Files(table.excludes())
            }),
            SourceAddress::Url(Scheme::Files, _) => Ok(SourceOptions::Default),
            SourceAddress::Url(Scheme::Command, url) => {
                CommandOptions::deserialize(rest).map(|options| {
                    if let Some(program) = options.argv.first() {
                        *url = format!("command:{program}");
                    }
                    SourceOptions::Command(options)
                })
            }
            SourceAddress::Url(Scheme::Sqlite, _) => {
                SqliteOptions::deserialize(rest).map(SourceOptions::Sqlite)
            }
            SourceAddress::Url(Scheme::Redis, _) => {
                RedisOptions::deserialize(rest).map(SourceOptions::Redis)
            }
            SourceAddress::Url(Scheme::Postgres, _) => {
                PostgresOptions::deserialize(rest).map(SourceOptions::Postgres)
            }
        };
        options.map_err(|error| {
            let problem = strip_values(error.message()).replace(
                "unknown field",
                &format!("unknown option of a {kind} source"),
            );
            self.error(error.span().unwrap_or(0..0), problem)
        })
    }

    fn password(
        &self,
        table: &mut DeTable<'_>,
        in_address: Option<PasswordFrom>,
    ) -> Result<Option<PasswordFrom>, CliError> {
        let file = self.take_text(table, "password_file")?;
        let command = self.take_text(table, "password_command")?;
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
        table: &mut DeTable<'_>,
        name: &str,
    ) -> Result<Option<Spanned<String>>, CliError> {
        let Some(value) = table.remove(name) else {
            return Ok(None);
        };
        let text = value.get_ref().as_str().map(str::to_owned);
        let text = text.ok_or_else(|| self.error(value.span(), format!("{name} is not a text")))?;
        Ok(Some(Spanned::new(value.span(), text)))
    }
}

/// Takes the value out of a parser's message: `invalid type: string "…", expected`. Names of keys stay.
fn strip_values(message: &str) -> String {
    let tells_a_value = ["invalid ", "unknown variant "]
        .iter()
        .any(|start| message.starts_with(start));
    if !tells_a_value {
        return message.to_owned();
    }
    // The value may hold anything: what is expected comes last, and what is quoted goes to the last quote.
    let (told, expected) = message.rsplit_once(", expected").unwrap_or((message, ""));
    let quotes = ['"', '`'];
    let told = match (told.find(quotes), told.rfind(quotes)) {
        (Some(first), Some(last)) if first < last => {
            let (head, rest) = told.split_at(first + 1);
            format!("{head}…{}", &rest[last - first - 1..])
        }
        _ => told.to_owned(),
    };
    format!("{told}, expected{expected}")
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
