//! What a server says of itself: version, role, memory, databases.

use std::collections::BTreeMap;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::{Client, Value, elements_of, integer_of, text_of, unexpected};
use super::rdb::version;
use super::record::StreamDetail;

/// Databases of a server that does not say how many it has.
const DATABASES: u32 = 16;

/// Facts out of `INFO`. What was not said is at its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ServerFacts {
    /// Version in words, such as `7.0.15`.
    pub(super) version: Option<String>,
    /// Valkey, and its own version.
    pub(super) valkey: Option<String>,
    pub(super) cluster: bool,
    pub(super) replica: bool,
    pub(super) used_memory: u64,
    /// 0: no bound.
    pub(super) maxmemory: u64,
    pub(super) maxmemory_policy: String,
    pub(super) system_memory: u64,
    /// Keys in each database that has any.
    pub(super) keys: BTreeMap<u32, u64>,
}

impl ServerFacts {
    /// Asks the server; none if it may not say.
    pub(super) fn read(client: &mut Client) -> Result<Option<Self>, SourceError> {
        let answer = client.ask("read the state", &["INFO", "all"])?;
        match answer {
            Ok(value) => {
                let text =
                    text_of(&value).ok_or_else(|| unexpected("read the state", client.place()))?;
                Ok(Some(Self::parse(&text)))
            }
            Err(refusal) if refusal.is_not_allowed() => Ok(None),
            Err(refusal) => Err(refusal.of(format!(
                "cannot read the state of redis at {}",
                client.place()
            ))),
        }
    }

    fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let number = || value.parse().unwrap_or(0);
            match name {
                "redis_version" => facts.version = Some(value.to_owned()),
                "valkey_version" => facts.valkey = Some(value.to_owned()),
                "cluster_enabled" => facts.cluster = value == "1",
                "role" => facts.replica = value != "master",
                "used_memory" => facts.used_memory = number(),
                "maxmemory" => facts.maxmemory = number(),
                "maxmemory_policy" => value.clone_into(&mut facts.maxmemory_policy),
                "total_system_memory" => facts.system_memory = number(),
                _ => facts.keys.extend(parse_keyspace(name, value)),
            }
        }
        facts
    }

    /// Name and version for people.
    pub(super) fn version_text(&self) -> Option<String> {
        match &self.valkey {
            Some(version) => Some(format!("valkey {version}")),
            None => self.version.clone(),
        }
    }

    /// Newest dump version that the server reads; Valkey goes by the Redis that it forked from.
    pub(super) fn rdb_version(&self) -> u16 {
        let text = self.version.as_deref().unwrap_or_default();
        let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0_u32));
        match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
            (7, 4..) | (8.., _) if self.valkey.is_none() => version::FIELD_EXPIRY,
            (7, 2..) | (8.., _) => version::ACTIVITY,
            (7, _) => version::OFFSETS,
            _ => version::STREAMS,
        }
    }

    /// How much the server knows of its streams.
    pub(super) fn stream_detail(&self) -> StreamDetail {
        match self.rdb_version() {
            version::ACTIVITY.. => StreamDetail::Activity,
            version::OFFSETS => StreamDetail::Offsets,
            _ => StreamDetail::Basic,
        }
    }

    /// Functions, and absolute expiries on demand, came with 7.0.
    pub(super) fn is_seven(&self) -> bool {
        self.rdb_version() >= version::OFFSETS
    }
}

/// Refuses an act for which the server has no room below `maxmemory`: it would evict live keys instead. The plan saw an
/// earlier moment.
pub(super) fn check_room(client: &mut Client, act: &str, wanted: u64) -> Result<(), SourceError> {
    let answer = client.ask("read the state", &["INFO", "memory"])?;
    // Whoever may not ask has to do without.
    let Some(text) = answer.ok().as_ref().and_then(text_of) else {
        return Ok(());
    };
    let facts = ServerFacts::parse(&text);
    let room = facts.maxmemory.saturating_sub(facts.used_memory);
    if facts.maxmemory > 0 && room < wanted {
        let text = format!(
            "cannot {act} of redis at {}: only {room} bytes are left below maxmemory and {wanted} are needed",
            client.place()
        );
        return Err(SourceError::new(SourceErrorKind::NoSpace, text));
    }
    Ok(())
}

/// `db0` and `keys=1,expires=0,avg_ttl=0`.
fn parse_keyspace(name: &str, value: &str) -> Option<(u32, u64)> {
    let db = name.strip_prefix("db")?.parse().ok()?;
    let keys = value
        .split(',')
        .find_map(|part| part.strip_prefix("keys="))?;
    Some((db, keys.parse().ok()?))
}

/// How many databases there are.
pub(super) fn database_count(client: &mut Client) -> Result<u32, SourceError> {
    let answer = client.ask("count the databases", &["CONFIG", "GET", "databases"])?;
    let count = answer
        .ok()
        .and_then(elements_of)
        .and_then(|pair| u32::try_from(integer_of(pair.get(1)?)?).ok());
    Ok(count.unwrap_or(DATABASES))
}

/// The server's clock, in milliseconds since 1970.
pub(super) fn time_ms(client: &mut Client) -> Result<u64, SourceError> {
    let act = "read the clock";
    let value = client.call(act, &["TIME"])?;
    parse_time(value).ok_or_else(|| unexpected(act, client.place()))
}

/// Seconds and microseconds, as `TIME` answers.
pub(super) fn parse_time(value: Value) -> Option<u64> {
    let parts = elements_of(value)?;
    let part = |at: usize| u64::try_from(integer_of(parts.get(at)?)?).ok();
    Some(part(0)? * 1000 + part(1)? / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_parsed() {
        let text = "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\n\r\nrole:slave\r\n\
                    used_memory:100\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
                    cluster_enabled:1\r\ndb0:keys=12,expires=1,avg_ttl=0\r\ndb15:keys=1,expires=0\r\n";
        let facts = ServerFacts::parse(text);
        assert_eq!(facts.version_text().as_deref(), Some("valkey 8.0.1"));
        assert!(facts.cluster && facts.replica);
        assert_eq!(facts.keys, BTreeMap::from([(0, 12), (15, 1)]));
        assert_eq!(facts.stream_detail(), StreamDetail::Activity);
    }

    #[test]
    fn versions_say_what_can_be_restored() {
        for (text, expected) in [
            ("5.0.1", 9),
            ("6.2.7", 9),
            ("7.0.15", 10),
            ("7.2.0", 11),
            ("7.4.1", 12),
            ("8.0.0", 12),
        ] {
            let facts = ServerFacts {
                version: Some(text.to_owned()),
                ..ServerFacts::default()
            };
            assert_eq!(facts.rdb_version(), expected, "{text}");
        }
    }
}
