//! The client: sends commands and says what went wrong in the words of the seam.
//!
//! Only this file and `replica` speak to a server. Every wait is bounded by the time-outs of the settings.
use std::time::{Duration, Instant};

use keepstone_engine::source::{SourceError, SourceErrorKind};
pub(super) use redis::Value;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisError};
use zeroize::Zeroizing;

use super::resp::{Batch, put_command};
use super::settings::RedisSettings;

/// What a server answered with an error: the code, such as `NOPERM`, and the rest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server answered {code} {text}")]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) text: String,
}

impl Refusal {
    /// The user may not do it, or the server does not know how.
    pub(super) fn is_not_allowed(&self) -> bool {
        self.code == "NOPERM"
            || self.text.starts_with("unknown command")
            || self.text.starts_with("unknown subcommand")
            || self.text.contains("Unknown subcommand")
    }

    /// The kind of failure that the answer stands for.
    pub(super) fn kind(&self) -> SourceErrorKind {
        match self.code.as_str() {
            "NOPERM" | "NOAUTH" | "WRONGPASS" | "DENIED" => SourceErrorKind::Denied,
            "OOM" => SourceErrorKind::NoSpace,
            "EXECABORT" if self.text.contains("OOM") => SourceErrorKind::NoSpace,
            "LOADING" | "MASTERDOWN" | "NOMASTERLINK" | "BUSY" => SourceErrorKind::Unreachable,
            "ERR" if self.text.contains("password") || self.text.contains("AUTH") => {
                SourceErrorKind::Denied
            }
            _ => SourceErrorKind::Other,
        }
    }

    /// The refusal as an error of an act.
    pub(super) fn of(self, act: impl Into<String>) -> SourceError {
        SourceError::new(self.kind(), act).because(self)
    }
}

/// One answer of a pipeline: a value or a refusal.
pub(super) type Answer = Result<Value, Refusal>;

/// A connection that was silent for longer may have been closed: no server closes one within a second.
const SILENCE: Duration = Duration::from_millis(500);

/// A connection to one server.
pub(super) struct Client {
    connection: redis::Connection,
    place: String,
    settings: RedisSettings,
    /// The current database; none as long as nobody chose one.
    db: Option<u32>,
    /// When the server last answered.
    heard: Instant,
}

impl Client {
    /// Connects and signs in.
    pub(super) fn connect(settings: &RedisSettings) -> Result<Self, SourceError> {
        let place = settings.host_and_port();
        let connection = open(settings).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("cannot connect to redis at {place}"),
            )
            .because(error)
        })?;
        let mut client = Self {
            connection,
            place,
            settings: settings.clone(),
            db: None,
            heard: Instant::now(),
        };
        client.set_timeout(settings.answer_timeout)?;
        if let Some(command) = sign_in_command(settings) {
            let act = format!("cannot sign in to redis at {}", client.place);
            client
                .send(&act, &command)
                .and_then(|()| client.receive(&act))?
                .map_err(|refusal| {
                    SourceError::new(SourceErrorKind::Denied, &*act).because(refusal)
                })?;
        }
        Ok(client)
    }

    fn set_timeout(&self, timeout: Duration) -> Result<(), SourceError> {
        let act = || format!("cannot set the time-out of redis at {}", self.place);
        let connection = &self.connection;
        connection
            .set_read_timeout(Some(timeout))
            .and_then(|()| connection.set_write_timeout(Some(timeout)))
            .map_err(|error| failure(act(), error))
    }

    /// Host and port for messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Sends one command and gives its answer, whatever it is. `act` completes "cannot …".
    pub(super) fn ask<A: AsRef<[u8]>>(
        &mut self,
        act: &str,
        arguments: &[A],
    ) -> Result<Answer, SourceError> {
        let act = format!("cannot {act} of redis at {}", self.place);
        let mut bytes = Vec::new();
        put_command(&mut bytes, arguments);
        self.send(&act, &bytes)?;
        self.receive(&act)
    }

    /// Sends one command that must not be refused.
    pub(super) fn call<A: AsRef<[u8]>>(
        &mut self,
        act: &str,
        arguments: &[A],
    ) -> Result<Value, SourceError> {
        self.ask(act, arguments)?
            .map_err(|refusal| refusal.of(format!("cannot {act} of redis at {}", self.place)))
    }

    /// Sends many commands at once and gives every answer. The answers should be small, or few.
    pub(super) fn pipeline(
        &mut self,
        act: &str,
        batch: &Batch,
    ) -> Result<Vec<Answer>, SourceError> {
        if batch.count == 0 {
            return Ok(Vec::new());
        }
        let act = format!("cannot {act} of redis at {}", self.place);
        self.send(&act, &batch.bytes)?;
        (0..batch.count).map(|_| self.receive(&act)).collect()
    }

    /// Makes a database the current one.
    pub(super) fn select(&mut self, db: u32) -> Result<(), SourceError> {
        self.call(
            &format!("select database {db}"),
            &["SELECT", &db.to_string()],
        )?;
        self.db = Some(db);
        Ok(())
    }

    /// Connects anew where the server has closed a connection that was silent for too long (`timeout`), and makes the
    /// same database the current one. Answers whether it did. Asked after work elsewhere, never between `WATCH` and
    /// `EXEC`: what was watched would be forgotten.
    pub(super) fn revive(&mut self) -> Result<bool, SourceError> {
        if self.heard.elapsed() < SILENCE {
            return Ok(false);
        }
        match self.ask("reach the server", &["PING"]) {
            // A refusal is an answer too.
            Ok(_) => return Ok(false),
            Err(error) if error.kind() != SourceErrorKind::Interrupted => return Err(error),
            Err(_) => {}
        }
        let db = self.db;
        *self = Self::connect(&self.settings)?;
        if let Some(db) = db {
            self.select(db)?;
        }
        Ok(true)
    }

    fn send(&mut self, act: &str, bytes: &[u8]) -> Result<(), SourceError> {
        self.connection
            .send_packed_command(bytes)
            .map_err(|error| failure(act.to_owned(), error))
    }

    fn receive(&mut self, act: &str) -> Result<Answer, SourceError> {
        let answer = self.connection.recv_response();
        self.heard = Instant::now();
        match answer {
            Ok(Value::ServerError(error)) => Ok(Err(Refusal {
                code: error.code().to_owned(),
                text: error.details().unwrap_or_default().to_owned(),
            })),
            Ok(value) => Ok(Ok(value)),
            Err(error) => Err(failure(act.to_owned(), error)),
        }
    }
}

fn open(settings: &RedisSettings) -> Result<redis::Connection, RedisError> {
    let address = match &settings.unix_socket {
        Some(path) => ConnectionAddr::Unix(path.clone()),
        None if settings.tls => ConnectionAddr::TcpTls {
            host: settings.host.clone(),
            port: settings.port,
            insecure: false,
            tls_params: None,
        },
        None => ConnectionAddr::Tcp(settings.host.clone(), settings.port),
    };
    let info: ConnectionInfo = address.into_connection_info()?;
    // The password is sent by ourselves, so that only wiped memory holds it.
    let speak = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info.set_redis_settings(speak);
    let client = if settings.tls {
        super::replica::choose_cryptography();
        redis::Client::build_with_tls(
            info,
            redis::TlsCertificates {
                client_tls: None,
                root_cert: settings.tls_roots_pem.clone(),
            },
        )?
    } else {
        redis::Client::open(info)?
    };
    client.get_connection_with_timeout(settings.connect_timeout)
}

/// The command that signs in, if there is a password.
pub(super) fn sign_in_command(settings: &RedisSettings) -> Option<Zeroizing<Vec<u8>>> {
    let password = settings.password.as_ref()?;
    let user = settings.username.as_deref();
    let user_bytes = user.map_or(0, str::len);
    // Large enough from the start: memory that is moved is not wiped.
    let mut command = Zeroizing::new(Vec::with_capacity(128 + user_bytes + password.len()));
    match user {
        Some(user) => put_command(&mut command, &["AUTH", user, password.as_str()]),
        None => put_command(&mut command, &["AUTH", password.as_str()]),
    }
    Some(command)
}

/// What went wrong on the way, as an error of an act.
fn failure(act: String, error: RedisError) -> SourceError {
    let kind = if error.is_timeout() || error.is_connection_refusal() {
        SourceErrorKind::Unreachable
    } else if error.is_connection_dropped() || error.is_io_error() {
        SourceErrorKind::Interrupted
    } else {
        SourceErrorKind::Other
    };
    if error.is_timeout() {
        return SourceError::new(kind, act).because("no answer came in time");
    }
    SourceError::new(kind, act).because(error)
}

/// The text of an answer; none if it has none.
pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The integer of an answer; none if it is none.
pub(super) fn integer_of(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => text_of(other)?.parse().ok(),
    }
}

/// The elements of an answer; none if it is no array.
pub(super) fn elements_of(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(elements) | Value::Set(elements) => Some(elements),
        _ => None,
    }
}

/// An answer that has another form than the command gives.
pub(super) fn unexpected(act: &str, place: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Other,
        format!("cannot {act} of redis at {place}"),
    )
    .because("the answer has an unexpected form")
}
