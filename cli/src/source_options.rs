//! Options of a source under `[source.NAME]`: what can be told of it beside its address and password, typed.
//!
//! What is absent stays at the source's own default. Messages never repeat a value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::cmd::backup::ExcludeArgs;
use crate::size::Size;
use crate::source_spec::is_absolute;
use crate::time::parse_exact;

/// Most connections to one PostgreSQL server.
const CONNECTIONS_MAX: u8 = 64;

/// Options of one source. Those of files and commands are for a backup only and stand in no journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceOptions {
    /// All at their defaults.
    #[default]
    Default,
    /// Of files: what to leave out.
    #[serde(skip)]
    Files(ExcludeArgs),
    /// Of a command.
    #[serde(skip)]
    Command(CommandOptions),
    /// Of a SQLite database.
    Sqlite(SqliteOptions),
    /// Of a Redis server.
    Redis(RedisOptions),
    /// Of a PostgreSQL server.
    Postgres(PostgresOptions),
}

impl SourceOptions {
    /// What may be written into a journal: commands hold secrets, and files have no target.
    #[must_use]
    pub(crate) fn recordable(&self) -> Self {
        match self {
            Self::Files(_) | Self::Command(_) => Self::Default,
            other => other.clone(),
        }
    }
}

/// `[source.NAME]` with `files:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FilesTable {
    /// More roots.
    pub(crate) paths: Several<AbsolutePath>,
    exclude: Several<String>,
    iexclude: Several<String>,
    exclude_file: Several<AbsolutePath>,
    iexclude_file: Several<AbsolutePath>,
    exclude_caches: bool,
    exclude_if_present: Several<String>,
    exclude_larger_than: Option<Size>,
    one_file_system: bool,
}

impl FilesTable {
    /// The same as typed.
    pub(crate) fn excludes(self) -> ExcludeArgs {
        let paths = |paths: Several<AbsolutePath>| paths.0.into_iter().map(|path| path.0).collect();
        ExcludeArgs {
            exclude: self.exclude.0,
            iexclude: self.iexclude.0,
            exclude_file: paths(self.exclude_file),
            iexclude_file: paths(self.iexclude_file),
            exclude_caches: self.exclude_caches,
            exclude_if_present: self.exclude_if_present.0,
            exclude_larger_than: self.exclude_larger_than,
            one_file_system: self.one_file_system,
        }
    }
}

/// `[source.NAME]` with `command:`, or with `argv` alone.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CommandOptions {
    /// Program and arguments, passed as they are, instead of those in the address.
    pub(crate) argv: Vec<String>,
    /// Whether the address holds a text for a shell.
    pub(crate) shell: bool,
    /// How long it may take.
    pub(crate) timeout: Option<Seconds>,
    /// Variables that it gets.
    #[serde(deserialize_with = "variables")]
    pub(crate) environment: BTreeMap<String, String>,
}

/// Arguments and variables may hold passwords.
impl fmt::Debug for CommandOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandOptions").finish_non_exhaustive()
    }
}

/// `[source.NAME]` with `sqlite:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SqliteOptions {
    /// How long a lock is waited for.
    pub(crate) busy_timeout: Option<Seconds>,
    /// Whether rows are digested, or only counted.
    pub(crate) digest_rows: Option<bool>,
    /// Where a database without a write-ahead log is copied to.
    pub(crate) spool_dir: Option<AbsolutePath>,
}

/// `[source.NAME]` with `redis://`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedisOptions {
    /// How the server is read.
    pub(crate) mode: Option<RedisMode>,
    /// Save only keys that match.
    pub(crate) key_pattern: Option<String>,
    /// Certificates to trust.
    pub(crate) tls_ca_file: Option<AbsolutePath>,
    /// How long a connection may take to come about.
    pub(crate) connect_timeout: Option<Seconds>,
    /// How long one answer may take.
    pub(crate) answer_timeout: Option<Seconds>,
    /// Memory in which keys are sorted.
    pub(crate) sort_memory: Option<Size>,
    /// Where what is beyond goes to.
    pub(crate) spool_dir: Option<AbsolutePath>,
    /// Most bytes there.
    pub(crate) spool_max: Option<Size>,
}

/// How a Redis server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RedisMode {
    /// As a replica if the server allows it, otherwise key by key.
    Auto,
    /// As a replica or not at all.
    Replica,
    /// Key by key.
    Scan,
}

/// `[source.NAME]` with `postgres://`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PostgresOptions {
    /// Databases, where the address names none.
    pub(crate) databases: Several<String>,
    /// Whether the connection is encrypted.
    pub(crate) sslmode: Option<PostgresSslMode>,
    /// Certificates to trust.
    pub(crate) sslrootcert: Option<AbsolutePath>,
    /// Password file in PostgreSQL's own form.
    pub(crate) passfile: Option<AbsolutePath>,
    /// How long a connection may take to come about.
    pub(crate) connect_timeout: Option<Seconds>,
    /// How long the next byte of an answer may take.
    pub(crate) answer_timeout: Option<Seconds>,
    /// How long a lock of others is waited for.
    pub(crate) lock_timeout: Option<Seconds>,
    /// Connections that copy tables side by side.
    #[serde(deserialize_with = "connections")]
    pub(crate) connections: Option<u8>,
    /// The `pg_dump` to use.
    pub(crate) pg_dump: Option<AbsolutePath>,
}

/// Whether a connection to PostgreSQL is encrypted, in PostgreSQL's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PostgresSslMode {
    /// Never.
    Disable,
    /// If the server can.
    Prefer,
    /// Always.
    Require,
    /// Always, with a certificate that is trusted and names the host.
    VerifyFull,
}

/// A list; one thing alone counts as a list of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Several<T>(pub(crate) Vec<T>);

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(de::value::StrDeserializer::new(text)).map(|one| vec![one])
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    all.push(one);
                }
                Ok(all)
            }
        }

        deserializer
            .deserialize_any(OneOrMany(std::marker::PhantomData))
            .map(Self)
    }
}

/// A path that does not depend on where the program is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_absolute(Path::new(&text)) {
            Ok(Self(text.into()))
        } else {
            Err(de::Error::custom("a path in this file must be absolute"))
        }
    }
}

/// A length of time: a number of seconds, or a text such as `5min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Seconds(u64);

impl Seconds {
    /// The length.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = match NumberOrText::deserialize(deserializer) {
            Ok(NumberOrText::Number(seconds)) => Some(seconds),
            Ok(NumberOrText::Text(text)) => parse_exact(&text).ok().map(|time| time.as_secs()),
            Err(_) => None,
        };
        seconds
            .filter(|seconds| *seconds > 0)
            .map(Self)
            .ok_or_else(|| {
                de::Error::custom(
                    "write a number of seconds from 1 on, or a text such as \"90s\" or \"5min\"",
                )
            })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer) {
            Ok(NumberOrText::Number(bytes)) => Ok(Self(bytes)),
            Ok(NumberOrText::Text(text)) => text.parse().map_err(de::Error::custom),
            Err(_) => Err(de::Error::custom(crate::size::SizeError)),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u8>, D::Error> {
    let wrong = || de::Error::custom(format!("give a number from 1 to {CONNECTIONS_MAX}"));
    let count = u8::deserialize(deserializer).map_err(|_| wrong())?;
    let is_fine = (1..=CONNECTIONS_MAX).contains(&count);
    is_fine.then_some(Some(count)).ok_or_else(wrong)
}

fn variables<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let variables = BTreeMap::<String, String>::deserialize(deserializer)?;
    let is_name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
    if variables.keys().all(is_name) && variables.values().all(|value| !value.contains('\0')) {
        Ok(variables)
    } else {
        Err(de::Error::custom(
            "a variable has an unusable name or value",
        ))
    }
}
