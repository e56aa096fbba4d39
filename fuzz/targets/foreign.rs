//! Bytes of others: what databases, their files and their tools say, patterns, and what people type.

use keepstone_engine::restore::JournalEntry;
use keepstone_sources::command::CommandSettings;
use keepstone_sources::postgres::{
    PostgresEnvironment, PostgresSettings, look_into_message, parse_large_object_line, statements,
};
use keepstone_sources::redis::{RedisSettings, glob};
use keepstone_sources::sqlite::{Header, IndexHeader};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The first hundred bytes of a SQLite database.
pub fn sqlite_header(data: &[u8]) -> bool {
    Header::parse(data).is_some()
}

pub fn sqlite_header_seeds() -> Vec<Vec<u8>> {
    let mut header = b"SQLite format 3\0\x10\x00\x02\x02\0\x40\x20\x20".to_vec();
    header.resize(100, 0);
    header[31] = 7;
    header[59] = 1;
    vec![header]
}

/// The index of a write-ahead log.
pub fn sqlite_log_index(data: &[u8]) -> bool {
    IndexHeader::parse(data).is_some()
}

pub fn sqlite_log_index_seeds() -> Vec<Vec<u8>> {
    let mut words = [3_007_000_u32, 0, 1, 0, 3, 9, 0, 0, 0, 0, 0, 0];
    let mut bytes = words.map(u32::to_ne_bytes).concat();
    bytes[12] = 1;
    bytes[15] = 2;
    words[3] = u32::from_ne_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    let (mut one, mut two) = (0_u32, 0_u32);
    for pair in words[..10].chunks(2) {
        one = one.wrapping_add(pair[0]).wrapping_add(two);
        two = two.wrapping_add(pair[1]).wrapping_add(one);
    }
    bytes[40..44].copy_from_slice(&one.to_ne_bytes());
    bytes[44..48].copy_from_slice(&two.to_ne_bytes());
    vec![bytes.repeat(2)]
}

/// A script of `pg_dump`: what it falls into, put together again, falls into the same.
pub fn postgres_script(data: &[u8]) -> bool {
    let Ok(found) = statements(data) else {
        return false;
    };
    for statement in &found {
        assert!(statement.ends_with(b";") && !statement.starts_with(b"\\"));
    }
    let again = found.join(&b"\n"[..]);
    assert_eq!(statements(&again).ok().as_ref(), Some(&found));
    true
}

pub fn postgres_script_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "-- a; comment\nSELECT ';', \"a;\"\"b\", E'\\';', $$;$$, $x$;$$;$x$;\n/* ; /* ; */ */\n",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;\nSELECT 1;",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);\n",
        "\\restrict x\nSELECT U&'d';",
    ])
}

/// A line of captured large objects.
pub fn postgres_large_object(data: &[u8]) -> bool {
    parse_large_object_line(data).is_ok()
}

pub fn postgres_large_object_seeds() -> Vec<Vec<u8>> {
    texts(&["16385\t0\t\\\\x00ff\n", "1\t2048\t\\\\x\n"])
}

/// A message of a server.
pub fn postgres_message(data: &[u8]) -> bool {
    look_into_message(data)
}

pub fn postgres_message_seeds() -> Vec<Vec<u8>> {
    [
        &b"D\0\0\0\x10\0\x02\0\0\0\x02ab\xff\xff\xff\xff"[..],
        b"E\0\0\0\x18SERROR\0C42501\0Mno\0D\0\0",
        b"C\0\0\0\x0bCOPY 3\0",
        b"S\0\0\0\x16server_version\x0015\0",
        b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
        b"T\0\0\0\x1b\0\x01ab\0\0\0\0\x01\0\x01\0\0\0\x19\xff\xff\0\0\0\0\0\0",
        b"Z\0\0\0\x05I",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// Addresses of servers: what is shown of one is one, and shows the same again.
pub fn postgres_address(data: &[u8]) -> bool {
    let parse = |text: &str| {
        let environment = PostgresEnvironment {
            user: Some("somebody".to_owned()),
            ..PostgresEnvironment::default()
        };
        PostgresSettings::parse_url_in(text, environment).ok()
    };
    shows_itself(data, |text| Some(parse(text)?.address()))
}

pub fn postgres_address_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "postgres://u@h:5433/app?sslmode=require&connections=4",
        "postgresql://[::1]/a%2Fb",
        "postgres://%2Frun%2Fpostgresql/app",
        "postgres:///?host=/tmp&databases=a,b%2C&lock_timeout=5",
    ])
}

/// The same for Redis.
pub fn redis_address(data: &[u8]) -> bool {
    shows_itself(data, |text| {
        Some(RedisSettings::parse_url(text).ok()?.address())
    })
}

/// Whether this is an address; `show` parses one and shows it.
fn shows_itself(data: &[u8], show: impl Fn(&str) -> Option<String>) -> bool {
    let Some(shown) = std::str::from_utf8(data).ok().and_then(&show) else {
        return false;
    };
    assert_eq!(show(&shown).as_deref(), Some(shown.as_str()));
    true
}

pub fn redis_address_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "redis://u@h:1/3",
        "rediss://[::1]:7/0",
        "redis://default:@h",
        "redis+unix:///run/r.sock?db=2",
    ])
}

/// Key patterns: a name with every byte escaped matches itself and nothing longer.
pub fn redis_pattern(data: &[u8]) -> bool {
    let (pattern, name) = data.split_at(data.len() / 2);
    let escaped: Vec<u8> = name.iter().flat_map(|byte| [b'\\', *byte]).collect();
    assert!(glob::matches(&escaped, name));
    assert!(!glob::matches(&escaped, &[name, b"x"].concat()));
    glob::matches(pattern, name)
}

pub fn redis_pattern_seeds() -> Vec<Vec<u8>> {
    texts(&["user:*user:1", "h[^a-c]?\\h[e]??", "*a*b*c*xaxbxcx"])
}

/// Command lines.
pub fn command_line(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    CommandSettings::parse_url(&text).is_ok()
}

pub fn command_line_seeds() -> Vec<Vec<u8>> {
    texts(&["command:a 'b c' \"d\\\"e\" f\\ g", "command:x ''"])
}

/// What a restore has written of itself.
pub fn restore_journal(data: &[u8]) -> bool {
    let Ok(entry) = JournalEntry::from_json(data) else {
        return false;
    };
    let json = entry.to_json();
    let again = JournalEntry::from_json(&json).expect("what was written can be read");
    assert_eq!(
        (again.id, again.phase, &again.plan.keeps),
        (entry.id, entry.phase, &entry.plan.keeps)
    );
    assert_eq!(again.to_json().len(), json.len());
    true
}

pub fn restore_journal_seeds() -> Vec<Vec<u8>> {
    let id = |digit: &str, length: usize| digit.repeat(length);
    ["staging", "switched"]
        .map(|phase| {
            format!(
                r#"{{"id":"{}","repository":"{}","snapshot":"{}","source":"a","kind":"redis","address":"redis://h",
                "target":{{"url":"redis://h"}},"plan":{{"creates":[],"replaces":["x"],"keeps":["y"],"warnings":[],
                "size_bytes":7,"state":{{"n":[1,null,true]}}}},"phase":"{phase}","time_ns":-5}}"#,
                id("0a", 16),
                id("1b", 16),
                id("2c", 16)
            )
            .into_bytes()
        })
        .to_vec()
}
