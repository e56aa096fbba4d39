//! What is to be saved, as typed or configured: paths, `sqlite:/x.db`, `NAME=redis://host`.
//!
//! Pure: nothing is looked up or connected to. The sources themselves parse what follows the scheme.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use keepstone_engine::path::percent_decode;

use crate::error::CliError;
use crate::password::PasswordFrom;
use crate::source_name::SourceName;
use crate::source_options::SourceOptions;
use crate::url;

/// Advice for a password in an address.
pub(crate) const PASSWORD_ADVICE: &str = "Everyone on this machine can read a command line. Name a file or a command \
    instead (?password_file=/path in the address; password_file or password_command under [source.NAME] in \
    keepstone.toml), or use PGPASSWORD, ~/.pgpass or REDISCLI_AUTH.";

/// The systems that can be saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// Files and folders.
    Files,
    /// What a command prints.
    Command,
    /// An SQLite database file.
    Sqlite,
    /// A Redis server.
    Redis,
    /// A PostgreSQL server.
    Postgres,
}

impl Scheme {
    /// The scheme of an address, if it is one of ours: a bare argument is an address only then.
    pub(crate) fn of(address: &str) -> Option<Self> {
        match address.split_once(':')?.0 {
            "files" => Some(Self::Files),
            "command" => Some(Self::Command),
            "sqlite" => Some(Self::Sqlite),
            "redis" | "rediss" | "redis+unix" => Some(Self::Redis),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }

    /// The word for it in names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Command => "command",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }
}

/// Where a source lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceAddress {
    /// Files and folders, absolute.
    Files(Vec<PathBuf>),
    /// Anything else: the whole address, without a secret, as its source parses it.
    Url(Scheme, String),
}

impl SourceAddress {
    /// What kind of system it is.
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Files(_) => Scheme::Files,
            Self::Url(scheme, _) => *scheme,
        }
    }
}

/// One source of a backup, or one target of a restore.
#[derive(Debug, Clone)]
pub(crate) struct SourceSpec {
    /// Its name in the snapshot.
    pub(crate) name: SourceName,
    /// Where it lies.
    pub(crate) address: SourceAddress,
    /// Where its password comes from, if it was said.
    pub(crate) password: Option<PasswordFrom>,
    /// What else was said of it, in keepstone.toml.
    pub(crate) options: SourceOptions,
    /// Whether the name was given, and not made from the address.
    pub(crate) was_named: bool,
}

/// Parses one argument. A relative path is taken from `folder`; one that exists is meant, even if it looks like
/// `NAME=/path`.
pub(crate) fn parse_argument(
    argument: &OsStr,
    folder: &Path,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<SourceSpec, CliError> {
    let Some(text) = argument.to_str() else {
        return Ok(unnamed_path(folder.join(argument)));
    };
    if text.is_empty() {
        return Err(CliError::usage("a source is empty"));
    }
    if let Some((name, address)) = named(text) {
        return parse_named(name, address);
    }
    if let Some((name, path)) = named_path(text)
        && !exists(&folder.join(text))
    {
        return Ok(SourceSpec {
            name,
            was_named: true,
            ..unnamed_path(path.into())
        });
    }
    if Scheme::of(text).is_some() {
        let (address, password) = parse_address(text)?;
        return Ok(SourceSpec {
            name: default_name(&address),
            address,
            password,
            options: SourceOptions::Default,
            was_named: false,
        });
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let scheme = scheme.rsplit('=').next().unwrap_or(scheme);
        return Err(
            CliError::usage(format!("{scheme} is not a kind of source"))
                .hint("The kinds are files, command, sqlite, redis and postgres. A path that looks like an address is written ./so."),
        );
    }
    Ok(unnamed_path(folder.join(text)))
}

/// Parses `NAME=URL`, where nothing else will do.
pub(crate) fn parse_target(text: &str) -> Result<SourceSpec, CliError> {
    match named(text) {
        Some((name, address)) => parse_named(name, address),
        None => Err(CliError::usage(format!(
            "{} is not of the form NAME=URL",
            url::redacted(text)
        ))),
    }
}

/// Joins bare paths into one source, and refuses a name that stands twice.
pub(crate) fn gather(specs: Vec<SourceSpec>) -> Result<Vec<SourceSpec>, CliError> {
    let mut gathered: Vec<SourceSpec> = Vec::new();
    for spec in specs {
        let bare_paths = gathered.iter_mut().find_map(|earlier| {
            let both_bare = !earlier.was_named && !spec.was_named;
            match (&mut earlier.address, &spec.address) {
                (SourceAddress::Files(paths), SourceAddress::Files(more)) if both_bare => {
                    Some((paths, more))
                }
                _ => None,
            }
        });
        match bare_paths {
            Some((paths, more)) => paths.extend(more.iter().cloned()),
            None => gathered.push(spec),
        }
    }
    let mut names = BTreeSet::new();
    for spec in &gathered {
        if !names.insert(&spec.name) {
            return Err(
                CliError::usage(format!("two sources have the name {}", spec.name))
                    .hint("Give one another name: NAME=URL."),
            );
        }
    }
    Ok(gathered)
}

/// Takes an address apart from its password's place, and refuses a password in it.
pub(crate) fn parse_address(text: &str) -> Result<(SourceAddress, Option<PasswordFrom>), CliError> {
    let scheme = Scheme::of(text).ok_or_else(|| {
        CliError::usage(format!(
            "{} is not an address of a source",
            url::redacted(text)
        ))
        .hint("Addresses begin with files:, command:, sqlite:, redis:// or postgres://.")
    })?;
    if url::holds_secret(text) {
        return Err(CliError::usage(format!(
            "the address {} holds a password",
            url::redacted(text)
        ))
        .hint(PASSWORD_ADVICE));
    }
    match scheme {
        Scheme::Files => {
            let path = after_scheme(text);
            if !path.starts_with('/') {
                return Err(CliError::usage(
                    "files: takes an absolute path, as in files:/etc",
                ));
            }
            Ok((SourceAddress::Files(vec![path.into()]), None))
        }
        Scheme::Redis | Scheme::Postgres => {
            let (text, password) = take_password(text)?;
            Ok((SourceAddress::Url(scheme, text), password))
        }
        Scheme::Command | Scheme::Sqlite => {
            if after_scheme(text).trim().is_empty() {
                return Err(CliError::usage(format!("{text} names nothing")));
            }
            Ok((SourceAddress::Url(scheme, text.to_owned()), None))
        }
    }
}

/// `NAME=URL`: only where a known scheme follows, so that `a=b` stays a path.
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, address) = text.split_once('=')?;
    let is_path = name.contains('/') || Scheme::of(name).is_some();
    (!is_path && Scheme::of(address).is_some()).then_some((name, address))
}

/// `NAME=/absolute/path`.
fn named_path(text: &str) -> Option<(SourceName, &str)> {
    let (name, path) = text.split_once('=')?;
    let name = name.parse().ok()?;
    path.starts_with('/').then_some((name, path))
}

fn parse_named(name: &str, address: &str) -> Result<SourceSpec, CliError> {
    let name = name
        .parse()
        .map_err(|error| CliError::usage(format!("{name} cannot name a source: {error}")))?;
    let (address, password) = parse_address(address)?;
    Ok(SourceSpec {
        name,
        address,
        password,
        options: SourceOptions::Default,
        was_named: true,
    })
}

fn unnamed_path(path: PathBuf) -> SourceSpec {
    SourceSpec {
        name: SourceName::from_parts(Scheme::Files.as_str(), ""),
        address: SourceAddress::Files(vec![path]),
        password: None,
        options: SourceOptions::Default,
        was_named: false,
    }
}

fn after_scheme(address: &str) -> &str {
    address.split_once(':').map_or("", |(_, rest)| rest)
}

/// Moves `password_file` and `password_command` out of the query: no source knows them.
fn take_password(address: &str) -> Result<(String, Option<PasswordFrom>), CliError> {
    let Some((rest, query)) = address.split_once('?') else {
        return Ok((address.to_owned(), None));
    };
    let mut password = None;
    let mut others = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let from = match name {
            "password_file" => PasswordFrom::File(decode(name, value)?.into()),
            "password_command" => PasswordFrom::Command(decode(name, value)?),
            _ => {
                others.push(pair);
                continue;
            }
        };
        if password.replace(from).is_some() {
            return Err(CliError::usage(format!(
                "the address {} says twice where its password is",
                url::redacted(address)
            )));
        }
    }
    let address = if others.is_empty() {
        rest.to_owned()
    } else {
        format!("{rest}?{}", others.join("&"))
    };
    Ok((address, password))
}

fn decode(name: &str, value: &str) -> Result<String, CliError> {
    percent_decode(value.as_bytes())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| CliError::usage(format!("{name} is empty or not percent-encoded UTF-8")))
}

/// Scheme and database; stays the same when a server moves.
fn default_name(address: &SourceAddress) -> SourceName {
    let database = match address {
        SourceAddress::Files(_) => "",
        SourceAddress::Url(Scheme::Command, text) => {
            let program = after_scheme(text).split_whitespace().next().unwrap_or("");
            last_component(program)
        }
        SourceAddress::Url(Scheme::Sqlite, text) => last_component(without_query(text)),
        SourceAddress::Url(_, text) if text.starts_with("redis+unix:") => {
            last_component(without_query(text))
        }
        SourceAddress::Url(_, text) => database_of(text),
    };
    SourceName::from_parts(address.scheme().as_str(), database)
}

/// Whether the address names a database of its server.
pub(crate) fn names_database(address: &SourceAddress) -> bool {
    matches!(address, SourceAddress::Url(_, text) if !database_of(text).is_empty())
}

fn database_of(address: &str) -> &str {
    let rest = without_query(address)
        .split_once("://")
        .map_or("", |(_, rest)| rest);
    rest.split_once('/').map_or("", |(_, database)| database)
}

fn without_query(address: &str) -> &str {
    address.split_once('?').map_or(address, |(rest, _)| rest)
}

fn last_component(path: &str) -> &str {
    path.rsplit(['/', ':']).next().unwrap_or(path)
}

/// Whether a path is written absolutely.
pub(crate) fn is_absolute(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourceSpec, CliError> {
        let exists = |path: &Path| path == Path::new("/home/me/there=/etc");
        parse_argument(OsStr::new(text), Path::new("/home/me"), &exists)
    }

    fn check(text: &str, name: &str, address: &SourceAddress) {
        let spec = parse(text).unwrap();
        assert_eq!(spec.name.as_str(), name, "{text}");
        assert_eq!(&spec.address, address, "{text}");
    }

    fn files(path: &str) -> SourceAddress {
        SourceAddress::Files(vec![path.into()])
    }

    fn url(scheme: Scheme, text: &str) -> SourceAddress {
        SourceAddress::Url(scheme, text.into())
    }

    #[test]
    fn a_bare_argument_is_a_path_unless_it_has_a_known_scheme() {
        check("/etc", "files", &files("/etc"));
        check("docs", "files", &files("/home/me/docs"));
        check("./redis:x", "files", &files("/home/me/./redis:x"));
        check("a:b", "files", &files("/home/me/a:b"));
        check("a=b", "files", &files("/home/me/a=b"));
        check("./a=sqlite:b", "files", &files("/home/me/./a=sqlite:b"));
        check("files:/etc", "files", &files("/etc"));
        check("x=/etc", "x", &files("/etc"));
        check("there=/etc", "files", &files("/home/me/there=/etc"));
        check("./x=/etc", "files", &files("/home/me/./x=/etc"));
        check("X=/etc", "files", &files("/home/me/X=/etc"));
        check("etc=files:/etc", "etc", &files("/etc"));
    }

    #[test]
    fn names_come_from_scheme_and_database() {
        let sqlite = url(Scheme::Sqlite, "sqlite:/var/lib/App.db");
        check("sqlite:/var/lib/App.db", "sqlite-app.db", &sqlite);
        check("x=sqlite:/var/lib/App.db", "x", &sqlite);
        for (text, name) in [
            ("redis://h:6379", "redis"),
            ("redis://h:6379/3", "redis-3"),
            ("redis+unix:///run/cache.sock?db=3", "redis-cache.sock"),
            ("postgres://u@h/app?sslmode=require", "postgres-app"),
            ("postgresql://h", "postgres"),
            ("command:/usr/bin/mysqldump --all", "command-mysqldump"),
        ] {
            assert_eq!(parse(text).unwrap().name.as_str(), name, "{text}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for text in [
            "postgres://u:hunter2@h/db",
            "x=redis://:hunter2@h",
            "command:pg_dump postgres://u:hunter2@h/db",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains("holds a password"), "{text}");
            assert!(!error.message().contains("hunter2"), "{text}");
            assert_eq!(error.advice().as_deref(), Some(PASSWORD_ADVICE));
        }
        let error = parse("mysql://u:hunter2@h/db").unwrap_err();
        assert_eq!(error.message(), "mysql is not a kind of source");
    }

    #[test]
    fn the_place_of_a_password_leaves_the_address() {
        let spec = parse("postgres://h/db?sslmode=require&password_file=/run/my%20pw").unwrap();
        assert_eq!(
            spec.address,
            url(Scheme::Postgres, "postgres://h/db?sslmode=require")
        );
        assert_eq!(
            format!("{:?}", spec.password),
            r#"Some(File("/run/my pw"))"#
        );
        assert!(parse("redis://h?password_file=/a&password_command=b").is_err());
    }

    #[test]
    fn bare_paths_are_one_source_and_names_are_unique() {
        let specs = |texts: &[&str]| gather(texts.iter().map(|t| parse(t).unwrap()).collect());
        let gathered = specs(&["/etc", "redis://h", "/srv", "m=files:/models"]).unwrap();
        let names: Vec<_> = gathered.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["files", "redis", "m"]);
        assert_eq!(
            gathered[0].address,
            SourceAddress::Files(vec!["/etc".into(), "/srv".into()])
        );
        let error = specs(&["redis://a", "redis://b"]).unwrap_err();
        assert_eq!(error.message(), "two sources have the name redis");
    }

    #[test]
    fn addresses_that_name_nothing_are_refused() {
        for text in ["", "command:", "sqlite:", "files:etc", "Big=redis://h"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_target("redis://h").is_err());
        assert!(parse_target("cache=redis://h").is_ok());
    }
}
