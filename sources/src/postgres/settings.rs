//! Settings: where the server is, who we are there, and how long we wait.
//!
//! A URL never holds a password. Passwords come apart, from `PGPASSWORD`, or from a password file that only its
//! owner can read; they are zeroized and shown nowhere.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepstone_engine::path::{percent_decode, percent_encode};
use keepstone_engine::source::{SourceError, SourceErrorKind};
use zeroize::Zeroizing;

/// Port that a PostgreSQL server listens on unless told otherwise.
const PORT_DEFAULT: u16 = 5432;
/// Folders in which a server's socket is looked for when the URL names no host.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Which databases of the server are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    /// Every database that is no template and accepts connections.
    All,
    /// These, by name.
    Named(Vec<String>),
}

/// Whether the connection is encrypted. The words are those of PostgreSQL's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server can; its certificate is not looked at.
    Prefer,
    /// Always; the certificate is not looked at unless a root certificate is named.
    Require,
    /// Always, with a certificate that is trusted and names the host.
    VerifyFull,
}

impl SslMode {
    /// The word for it in a URL and in the environment of a child.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// How long we wait before we say that an answer never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, its encryption and its password.
    pub connect: Duration,
    /// For the next byte of an answer. Building indexes and checking constraints is not bound by it.
    pub answer: Duration,
    /// For a lock that somebody else holds, and for the sessions that a switch asks to leave.
    pub lock: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            answer: Duration::from_mins(5),
            lock: Duration::from_mins(1),
        }
    }
}

/// What is taken from the process around us. A value, so that tests need no environment.
#[derive(Default)]
pub struct PostgresEnvironment {
    /// `PGUSER`, or the name of the system user.
    pub user: Option<String>,
    /// `PGPASSWORD`.
    pub password: Option<Zeroizing<String>>,
    /// `PGPASSFILE`, or `.pgpass` in the home folder if it is there.
    pub passfile: Option<PathBuf>,
}

impl PostgresEnvironment {
    /// Reads the environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this source that reads it; `parse_url_in` takes it as a value"
    )]
    pub fn of_process() -> Self {
        let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home_file = || var("HOME").map(|home| Path::new(&home).join(".pgpass"));
        Self {
            user: ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(var),
            password: var("PGPASSWORD").map(Zeroizing::new),
            passfile: var("PGPASSFILE")
                .map(PathBuf::from)
                .or_else(|| home_file().filter(|path| path.exists())),
        }
    }
}

/// A PostgreSQL server and the databases on it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// Where it listens.
    pub host: Host,
    /// Port, which is also part of the name of a Unix socket.
    pub port: u16,
    /// Role to connect as.
    pub user: String,
    /// Databases meant by the URL.
    pub databases: Databases,
    /// Whether the connection is encrypted.
    pub ssl_mode: SslMode,
    /// Certificates to trust, as PEM, instead of those of the system.
    pub ssl_root_cert: Option<PathBuf>,
    /// Password. None: the password file is asked when the server wants one.
    pub password: Option<Zeroizing<String>>,
    /// Password file in PostgreSQL's own form.
    pub passfile: Option<PathBuf>,
    /// How long we wait.
    pub timeouts: Timeouts,
    /// Connections that copy tables side by side.
    pub connections: usize,
    /// The `pg_dump` to use. None: the one that fits the server is looked for.
    pub pg_dump: Option<PathBuf>,
}

impl PostgresSettings {
    /// Parses `postgres://[user@]host[:port]/[database][?name=value&…]` with the environment of this process.
    ///
    /// Without a database every database is meant; `databases=a,b` names several. Other options: `sslmode`,
    /// `sslrootcert`, `host` (folder of a Unix socket), `connect_timeout`, `answer_timeout`, `lock_timeout`
    /// (seconds), `connections`, `pg_dump`.
    pub fn parse_url(url: &str) -> Result<Self, SourceError> {
        Self::parse_url_in(url, PostgresEnvironment::of_process())
    }

    /// The same with a given environment.
    pub fn parse_url_in(url: &str, environment: PostgresEnvironment) -> Result<Self, SourceError> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| refused("a PostgreSQL URL starts with postgres:// or postgresql://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // The last `@`, so that an unescaped one in a password is still recognised as one and not shown.
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, host_port)) => (Some(user), host_port),
            None => (None, authority),
        };
        let (host, port) = parse_host_port(host_port)?;
        let mut settings = Self {
            host,
            port,
            user: String::new(),
            databases: parse_path(path)?,
            ssl_mode: SslMode::Prefer,
            ssl_root_cert: None,
            password: environment.password,
            passfile: environment.passfile,
            timeouts: Timeouts::default(),
            connections: 2,
            pg_dump: None,
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(password_in_url());
        }
        let mut user = user.map(|user| decode(user, "user")).transpose()?;
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if name == "user" {
                user = Some(decode(value, name)?);
            } else {
                settings.take_option(name, value)?;
            }
        }
        settings.user = user
            .filter(|user| !user.is_empty())
            .or(environment.user)
            .ok_or_else(|| refused("the PostgreSQL URL names no user, and no PGUSER is set"))?;
        Ok(settings)
    }

    fn take_option(&mut self, name: &str, value: &str) -> Result<(), SourceError> {
        let seconds = || {
            value
                .parse()
                .ok()
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs)
                .ok_or_else(|| {
                    refused(format!(
                        "{name} in the PostgreSQL URL is no number of seconds"
                    ))
                })
        };
        match name {
            "password" => return Err(password_in_url()),
            "sslmode" => self.ssl_mode = parse_ssl_mode(value)?,
            "sslrootcert" => self.ssl_root_cert = Some(decode(value, name)?.into()),
            "passfile" => self.passfile = Some(decode(value, name)?.into()),
            "pg_dump" => self.pg_dump = Some(decode(value, name)?.into()),
            "host" => self.host = host_of(decode(value, name)?),
            "port" => self.port = parse_port(value)?,
            "dbname" => self.databases = parse_path(value)?,
            "databases" => {
                let names = value.split(',').map(|part| decode(part, name));
                self.databases = Databases::Named(names.collect::<Result<_, _>>()?);
            }
            "connect_timeout" => self.timeouts.connect = seconds()?,
            "answer_timeout" => self.timeouts.answer = seconds()?,
            "lock_timeout" => self.timeouts.lock = seconds()?,
            "connections" => {
                self.connections = value
                    .parse()
                    .ok()
                    .filter(|count| (1..=64).contains(count))
                    .ok_or_else(|| refused("connections in the PostgreSQL URL is not 1 to 64"))?;
            }
            _ => {
                return Err(refused(format!(
                    "the PostgreSQL URL has an unknown option {name}"
                )));
            }
        }
        Ok(())
    }

    /// Address as recorded and shown.
    pub fn address(&self) -> String {
        let database = match &self.databases {
            Databases::Named(names) if names.len() == 1 => names
                .first()
                .map(|name| percent_encode(name))
                .unwrap_or_default(),
            _ => String::new(),
        };
        format!("postgres://{}/{database}", self.server())
    }

    /// Host and port for messages.
    pub(crate) fn server(&self) -> String {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{}", self.port),
            Host::Tcp(host) => format!("{host}:{}", self.port),
            Host::Unix(folder) => {
                format!(
                    "{}:{}",
                    percent_encode(&folder.to_string_lossy()),
                    self.port
                )
            }
        }
    }

    /// The password for one database: the given one, or that of the password file.
    pub(crate) fn password_for(
        &self,
        database: &str,
    ) -> Result<Option<Zeroizing<String>>, SourceError> {
        if let Some(password) = &self.password {
            return Ok(Some(password.clone()));
        }
        let Some(path) = &self.passfile else {
            return Ok(None);
        };
        super::passfile::lookup(path, self, database)
    }
}

impl fmt::Debug for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSettings")
            .field("address", &self.address())
            .field("user", &self.user)
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

fn refused(problem: impl Into<String>) -> SourceError {
    SourceError::new(SourceErrorKind::Settings, problem)
}

fn password_in_url() -> SourceError {
    refused(
        "the PostgreSQL URL holds a password, which every process of this machine could read: \
         put it in a password file, a password command, PGPASSWORD or ~/.pgpass",
    )
}

fn decode(text: &str, what: &str) -> Result<String, SourceError> {
    percent_decode(text.as_bytes())
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| {
            refused(format!(
                "{what} in the PostgreSQL URL is not percent-encoded UTF-8"
            ))
        })
}

fn parse_path(path: &str) -> Result<Databases, SourceError> {
    if path.is_empty() {
        return Ok(Databases::All);
    }
    Ok(Databases::Named(vec![decode(path, "database")?]))
}

fn parse_port(text: &str) -> Result<u16, SourceError> {
    text.parse()
        .map_err(|_| refused("the port in the PostgreSQL URL is no port number"))
}

fn parse_host_port(text: &str) -> Result<(Host, u16), SourceError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| refused("the address in the PostgreSQL URL lacks its `]`"))?;
            (host, port.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        Some(port) if !port.is_empty() => parse_port(port)?,
        _ => PORT_DEFAULT,
    };
    Ok((host_of(decode(host, "host")?), port))
}

fn host_of(host: String) -> Host {
    if host.starts_with('/') {
        return Host::Unix(host.into());
    }
    if !host.is_empty() {
        return Host::Tcp(host);
    }
    let folder = SOCKET_FOLDERS
        .map(Path::new)
        .into_iter()
        .find(|folder| folder.is_dir());
    folder.map_or_else(
        || Host::Tcp("localhost".into()),
        |folder| Host::Unix(folder.into()),
    )
}

fn parse_ssl_mode(value: &str) -> Result<SslMode, SourceError> {
    let modes = [
        SslMode::Disable,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyFull,
    ];
    modes
        .into_iter()
        .find(|mode| mode.as_str() == value)
        .ok_or_else(|| {
            refused(
                "sslmode in the PostgreSQL URL is none of disable, prefer, require, verify-full",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<PostgresSettings, SourceError> {
        let environment = PostgresEnvironment {
            user: Some("me".into()),
            ..PostgresEnvironment::default()
        };
        PostgresSettings::parse_url_in(url, environment)
    }

    #[test]
    fn urls_are_taken_apart() {
        let settings = parse("postgres://ann@db.example:6543/app").unwrap();
        assert_eq!(settings.host, Host::Tcp("db.example".into()));
        assert_eq!((settings.port, settings.user.as_str()), (6543, "ann"));
        assert_eq!(settings.databases, Databases::Named(vec!["app".into()]));
        assert_eq!(settings.address(), "postgres://db.example:6543/app");

        let settings = parse("postgresql://[::1]/a%2Fb%20c").unwrap();
        assert_eq!(settings.host, Host::Tcp("::1".into()));
        assert_eq!(settings.databases, Databases::Named(vec!["a/b c".into()]));
        assert_eq!(settings.address(), "postgres://[::1]:5432/a%2Fb%20c");
        assert_eq!(settings.user, "me");

        let settings = parse("postgres://%2Frun%2Fpg/?databases=a,b%2C&sslmode=require").unwrap();
        assert_eq!(settings.host, Host::Unix("/run/pg".into()));
        assert_eq!(
            settings.databases,
            Databases::Named(vec!["a".into(), "b,".into()])
        );
        assert_eq!(settings.ssl_mode, SslMode::Require);
        assert_eq!(parse("postgres://h").unwrap().databases, Databases::All);
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_repeated() {
        for url in [
            "postgres://ann:hunter2@h/db",
            "postgres://ann:hun@ter2@h/db",
            "postgres://h/db?password=hunter2",
        ] {
            let error = format!("{:?}", parse(url).unwrap_err());
            assert!(error.contains("holds a password"), "{error}");
            assert!(
                !error.contains("hunter2") && !error.contains("ter2"),
                "{error}"
            );
        }
    }

    #[test]
    fn bad_urls_are_refused() {
        for url in [
            "mysql://h",
            "postgres://h:x/db",
            "postgres://h/db?color=red",
            "postgres://h/?sslmode=maybe",
            "postgres://[::1/db",
            "postgres://h/%ff",
            "postgres://h/a?connections=0",
        ] {
            assert_eq!(
                parse(url).unwrap_err().kind(),
                SourceErrorKind::Settings,
                "{url}"
            );
        }
    }

    #[test]
    fn a_password_is_not_in_the_debug_form() {
        let mut settings = parse("postgres://h/db").unwrap();
        settings.password = Some(Zeroizing::new("hunter2".into()));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
