//! Settings from a URL. A password in it is refused, and never repeated.

use std::path::Path;
use std::time::Duration;

use keepstone_engine::path::percent_decode;
use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::settings::{Databases, Host, PostgresEnvironment, PostgresSettings, SslMode, Timeouts};

/// Port that a PostgreSQL server listens on unless told otherwise.
const PORT_DEFAULT: u16 = 5432;
/// Folders in which a server's socket is looked for when the URL names no host.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

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
            .ok_or_else(|| {
                refused("the PostgreSQL URL names no user: write postgres://USER@…, or set PGUSER")
            })?;
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
            "host" => self.host = host_of(decode(value, name)?)?,
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
    Ok((host_of(decode(host, "host")?)?, port))
}

fn host_of(host: String) -> Result<Host, SourceError> {
    if host.starts_with('/') {
        return Ok(Host::Unix(host.into()));
    }
    if host.contains(|c: char| "/?#@[]".contains(c) || c.is_whitespace() || c.is_control()) {
        return Err(refused(
            "the host in the PostgreSQL URL is no name of a host",
        ));
    }
    if !host.is_empty() {
        return Ok(Host::Tcp(host));
    }
    let folder = SOCKET_FOLDERS
        .map(Path::new)
        .into_iter()
        .find(|folder| folder.is_dir());
    Ok(folder.map_or_else(
        || Host::Tcp("localhost".into()),
        |folder| Host::Unix(folder.into()),
    ))
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
    use zeroize::Zeroizing;

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
            "postgres://h%2Fa/b",
            "postgres://h%20a/b",
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
