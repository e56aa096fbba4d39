//! Settings: where the server is, as whom to speak to it, what to capture, how long to wait.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keepstone_engine::source::{SourceError, SourceErrorKind};
use zeroize::Zeroizing;

/// Port of a server that names none.
const PORT: u16 = 6379;

/// Everything that is needed to reach one server and to capture it.
#[derive(Clone)]
pub struct RedisSettings {
    /// Name or address of the host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// A socket of this machine instead of host and port.
    pub unix_socket: Option<PathBuf>,
    /// Speak TLS.
    pub tls: bool,
    /// Certificates to trust, as PEM, instead of those of the system.
    pub tls_roots_pem: Option<Vec<u8>>,
    /// The one database to capture or to restore into.
    pub db: Option<u32>,
    /// User name; none: the default user.
    pub username: Option<String>,
    /// Password; never part of an address.
    pub password: Option<Zeroizing<String>>,
    /// Capture only keys that match this pattern, in the server's own syntax.
    pub key_pattern: Option<String>,
    /// How to read.
    pub method: CaptureMethod,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one answer, or the next bytes of one, may take.
    pub answer_timeout: Duration,
    /// Memory in which keys are sorted; what is beyond goes to the spool.
    pub sort_bytes_max: usize,
    /// Folder of the spool: an unnamed file with sealed content.
    pub spool_folder: PathBuf,
    /// Most bytes of the spool.
    pub spool_bytes_max: u64,
}

/// How a server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaptureMethod {
    /// As a replica; key by key where the server does not allow that.
    #[default]
    Auto,
    /// As a replica, or not at all.
    Replication,
    /// Key by key.
    Scan,
}

impl RedisSettings {
    /// Settings for a host and a port, everything else at its default.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            unix_socket: None,
            tls: false,
            tls_roots_pem: None,
            db: None,
            username: None,
            password: None,
            key_pattern: None,
            method: CaptureMethod::Auto,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_mins(1),
            sort_bytes_max: 32 << 20,
            spool_folder: tempfile::env::temp_dir(),
            spool_bytes_max: 256 << 30,
        }
    }

    /// Parses `redis://[user@]host[:port][/db]`, the same with `rediss` for TLS, or
    /// `redis+unix:///path/of/the.sock[?db=N]`. A password in it is refused.
    pub fn parse_url(url: &str) -> Result<Self, SourceError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            bad("a redis address begins with redis://, rediss:// or redis+unix://")
        })?;
        match scheme {
            "redis" => parse_network(rest, false),
            "rediss" => parse_network(rest, true),
            "redis+unix" => parse_socket(rest),
            _ => Err(bad(
                "a redis address begins with redis://, rediss:// or redis+unix://",
            )),
        }
    }

    /// Address as recorded and shown: no user, no password.
    pub fn address(&self) -> String {
        let db = self.db.map(|db| format!("/{db}")).unwrap_or_default();
        if let Some(path) = &self.unix_socket {
            return format!("redis+unix://{}", path.display());
        }
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://{}{db}", self.host_and_port())
    }

    /// Host and port for messages.
    pub(super) fn host_and_port(&self) -> String {
        match &self.unix_socket {
            Some(path) => path.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No password, and no field that might come to hold one.
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("username", &self.username)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

fn bad(problem: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Settings, problem)
}

/// `rest` is never part of a message: it may hold what should not be shown.
fn parse_network(rest: &str, tls: bool) -> Result<RedisSettings, SourceError> {
    // The last @: a password that was put here may hold one.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, rest),
    };
    // Behind a colon nothing is as good as no password.
    let (user, password) = match user.and_then(|user| user.split_once(':')) {
        Some((user, password)) => (Some(user), password),
        None => (user, ""),
    };
    if !password.is_empty() {
        return Err(bad(
            "a password in a redis address is refused, since addresses are seen by others: \
             give it by password_file, password_command or the environment",
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(bad(
            "a redis address has no query: set options by their own settings",
        ));
    }
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = parse_place(place)?;
    if host.is_empty() {
        return Err(bad("a redis address names a host"));
    }
    let mut settings = RedisSettings::new(host, port);
    settings.tls = tls;
    settings.username = user
        .filter(|user| !user.is_empty())
        .map(|user| {
            percent_decode(user).ok_or_else(|| bad("the user in the redis address is not readable"))
        })
        .transpose()?;
    settings.db = match path.trim_end_matches('/') {
        "" => None,
        db => Some(parse_db(db)?),
    };
    Ok(settings)
}

fn parse_place(place: &str) -> Result<(&str, u16), SourceError> {
    const PROBLEM: &str = "the port in the redis address is no number up to 65535";
    let port = |text: &str| text.parse().map_err(|_| bad(PROBLEM));
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| bad("a bracket in the redis address is not closed"))?;
        return match rest.strip_prefix(':') {
            Some(text) => Ok((host, port(text)?)),
            None if rest.is_empty() => Ok((host, PORT)),
            None => Err(bad("something follows the host in the redis address")),
        };
    }
    match place.split_once(':') {
        Some((host, text)) => Ok((host, port(text)?)),
        None => Ok((place, PORT)),
    }
}

fn parse_socket(rest: &str) -> Result<RedisSettings, SourceError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err(bad("a redis+unix address names the whole path of a socket"));
    }
    let mut settings = RedisSettings::new("localhost", PORT);
    settings.unix_socket = Some(PathBuf::from(path));
    settings.db = match query.split_once('=') {
        None if query.is_empty() => None,
        Some(("db", db)) => Some(parse_db(db)?),
        _ => return Err(bad("a redis+unix address has no other query than db=N")),
    };
    Ok(settings)
}

fn parse_db(text: &str) -> Result<u32, SourceError> {
    text.parse()
        .map_err(|_| bad("the database in the redis address is no number"))
}

fn percent_decode(text: &str) -> Option<String> {
    keepstone_engine::path::percent_decode(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, u16, bool, Option<u32>, Option<String>, String) {
        let settings = RedisSettings::parse_url(url).unwrap();
        let address = settings.address();
        let RedisSettings {
            host,
            port,
            tls,
            db,
            username,
            ..
        } = settings;
        (host, port, tls, db, username, address)
    }

    #[test]
    fn addresses_are_taken_apart_and_recorded_without_the_user() {
        let host = |host: &str| host.to_owned();
        let cases = [
            (
                "redis://h",
                (host("h"), 6379, false, None, None, "redis://h:6379"),
            ),
            (
                "redis://h:1/",
                (host("h"), 1, false, None, None, "redis://h:1"),
            ),
            (
                "rediss://u@h:1/3",
                (
                    host("h"),
                    1,
                    true,
                    Some(3),
                    Some("u".into()),
                    "rediss://h:1/3",
                ),
            ),
            (
                "redis://a%40b@h",
                (
                    host("h"),
                    6379,
                    false,
                    None,
                    Some("a@b".into()),
                    "redis://h:6379",
                ),
            ),
            (
                "redis://[::1]:7/0",
                (host("::1"), 7, false, Some(0), None, "redis://[::1]:7/0"),
            ),
            (
                "redis://default:@h",
                (
                    host("h"),
                    6379,
                    false,
                    None,
                    Some("default".into()),
                    "redis://h:6379",
                ),
            ),
        ];
        for (url, (host, port, tls, db, user, address)) in cases {
            assert_eq!(
                parsed(url),
                (host, port, tls, db, user, address.to_owned()),
                "{url}"
            );
        }
        let socket = RedisSettings::parse_url("redis+unix:///run/r.sock?db=2").unwrap();
        assert_eq!(socket.unix_socket, Some(PathBuf::from("/run/r.sock")));
        assert_eq!(
            (socket.db, socket.address()),
            (Some(2), "redis+unix:///run/r.sock".into())
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_being_shown() {
        for url in [
            "redis://user:hunter2@h",
            "redis://:hunter2@h",
            "redis://u:hunter2@x@h",
            "redis://h:hunter2",
            "redis://h/hunter2",
            "redis://h?password=hunter2",
            "redis://",
            "redis://:1",
            "redis+unix:hunter2",
            "http://hunter2",
            "redis://[::1",
        ] {
            let error = RedisSettings::parse_url(url).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Settings, "{url}");
            assert!(!format!("{error:?}").contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn debug_output_holds_no_password() {
        let mut settings = RedisSettings::new("h", 1);
        settings.password = Some(Zeroizing::new("hunter2".to_owned()));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
