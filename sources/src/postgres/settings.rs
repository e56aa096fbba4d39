//! Settings: where the server is, who we are there, and how long we wait.
//!
//! A URL never holds a password. Passwords come apart, from `PGPASSWORD`, or from a password file that only its
//! owner can read; they are zeroized and shown nowhere.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keepstone_engine::path::percent_encode;
use keepstone_engine::source::SourceError;
use zeroize::Zeroizing;

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
            user: var("PGUSER")
                .or_else(system_user)
                .or_else(|| ["USER", "LOGNAME"].into_iter().find_map(var)),
            password: var("PGPASSWORD").map(Zeroizing::new),
            passfile: var("PGPASSFILE")
                .map(PathBuf::from)
                .or_else(|| home_file().filter(|path| path.exists())),
        }
    }
}

/// Name of the user that this process runs as, which is whom libpq connects as (libpq-connect, `user`). Services and scheduled
/// commands have no variable that says it.
fn system_user() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    // passwd(5): name, password, number.
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
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
            // The zone of an address follows a `%` (RFC 6874).
            Host::Tcp(host) if host.contains(':') => {
                format!("[{}]:{}", host.replace('%', "%25"), self.port)
            }
            Host::Tcp(host) => format!("{}:{}", host.replace('%', "%25"), self.port),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_who_this_is() {
        let name = std::process::Command::new("id")
            .arg("-un")
            .output()
            .unwrap();
        let name = String::from_utf8(name.stdout).unwrap();
        assert_eq!(system_user().as_deref(), Some(name.trim()));
    }
}
