//! Capture: complete, canonical, the same by either way, and never good when cut short.

use std::time::Duration;

use keepstone_engine::source::{Consistency, Source as _, SourceError, SourceErrorKind};
use keepstone_sources::redis::format::{RecordReader, decode_record};
use keepstone_sources::redis::record::{Record, Value};
use keepstone_sources::redis::{CaptureMethod, RedisSettings, RedisSource};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::proxy::{Fault, Proxy};
use keepstone_testkit::servers::redis::{RedisServer, free_port};
use redis::cmd;

use super::data::{FAR_MS, fill};

/// Captures with settings.
pub fn capture(settings: RedisSettings) -> Result<MemoryCapture, SourceError> {
    MemoryCapture::of(&RedisSource::new(settings))
}

/// The records of a database.
pub fn records(capture: &MemoryCapture, db: u32) -> Vec<Record> {
    let mut reader = RecordReader::new();
    reader.feed(capture.content(&format!("db/{db}")));
    let mut records = Vec::new();
    while let Some((record, _)) = reader.next_record().unwrap() {
        records.push(record);
    }
    reader.finish().unwrap();
    records
}

fn by_scan(server: &RedisServer) -> RedisSettings {
    let mut settings = server.settings();
    settings.method = CaptureMethod::Scan;
    settings
}

fn contents(capture: &MemoryCapture) -> Vec<(String, Vec<u8>)> {
    let item = |path: String| {
        let content = capture.content(&path).to_vec();
        (path, content)
    };
    capture.paths().into_iter().map(item).collect()
}

#[test]
fn every_type_is_captured_with_its_expiry() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    let capture = capture(server.settings()).unwrap();
    assert_eq!(capture.paths(), ["acl", "db/0", "db/3", "functions"]);
    let records = records(&capture, 0);
    let find = |key: &str| {
        let found = records.iter().find(|record| record.key == key.as_bytes());
        found.unwrap_or_else(|| panic!("no key {key}"))
    };
    assert_eq!(
        find("string:int64").value,
        Value::String(b"9007199254740993".to_vec())
    );
    assert_eq!(find("expires:later").expires_ms, Some(FAR_MS));
    assert_eq!(find("set:words").expires_ms, Some(FAR_MS + 1));
    assert_eq!(find("list:nodes").value.elements(), 3_000);
    let Value::Set(members) = &find("set:int16").value else {
        panic!("no set")
    };
    assert_eq!(
        members.iter().collect::<Vec<_>>(),
        [b"-2".as_slice(), b"1", b"300"]
    );
    let Value::SortedSet { members, scores } = &find("zset:small").value else {
        panic!("no sorted set")
    };
    let names: Vec<_> = members.iter().map(String::from_utf8_lossy).collect();
    assert_eq!(
        names,
        [
            "low", "zero", "least", "tenth", "A", "a", "pi", "huge", "high"
        ]
    );
    assert_eq!(scores[2].to_bits(), 1);
    let Value::Stream(stream) = &find("stream:large").value else {
        panic!("no stream")
    };
    assert_eq!(stream.entries.len(), 997);
    assert_eq!(stream.entries_added, 1_000);
    let groups: Vec<_> = stream
        .groups
        .iter()
        .map(|group| group.name.as_slice())
        .collect();
    assert_eq!(groups, [b"audit".as_slice(), b"workers"]);
    let consumers = &stream.groups[1].consumers;
    let pending: Vec<_> = consumers.iter().map(|one| one.pending.len()).collect();
    assert_eq!(pending, [30, 24, 0]);
    let size: i64 = cmd("DBSIZE").query(&mut server.connection()).unwrap();
    assert_eq!(records.len(), usize::try_from(size).unwrap());
    let facts = &capture.report.collections[0];
    assert_eq!(
        (facts.name.as_str(), facts.records),
        ("db0", records.len() as u64)
    );
}

#[test]
fn a_restart_changes_nothing() {
    let mut server = RedisServer::start();
    fill(&mut server.connection());
    let before = capture(server.settings()).unwrap();
    server.restart();
    let after = capture(server.settings()).unwrap();
    assert!(
        contents(&before) == contents(&after),
        "equal data gave other bytes"
    );
    assert_eq!(before.report, after.report);
}

#[test]
fn both_ways_and_both_framings_give_the_same_bytes() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    cmd("FUNCTION")
        .arg("LOAD")
        .arg("#!lua name=zlib\nredis.register_function('f', function() return 1 end)")
        .exec(&mut server.connection())
        .unwrap();
    cmd("FUNCTION")
        .arg("LOAD")
        .arg("#!lua name=alib\nredis.register_function('g', function() return 2 end)")
        .exec(&mut server.connection())
        .unwrap();
    let marked = capture(server.settings()).unwrap();
    cmd("CONFIG")
        .arg("SET")
        .arg("repl-diskless-sync")
        .arg("no")
        .exec(&mut server.connection())
        .unwrap();
    let lengthy = capture(server.settings()).unwrap();
    let scanned = capture(by_scan(&server)).unwrap();
    assert!(
        contents(&marked) == contents(&lengthy),
        "the framings differ"
    );
    assert!(contents(&marked) == contents(&scanned), "the ways differ");
    assert_eq!(marked.report, lengthy.report);
    let functions = marked.content("functions");
    let mut reader = RecordReader::new();
    reader.feed(functions);
    let (record, _) = reader.next_record().unwrap().unwrap();
    assert_eq!(record.key, b"alib");
}

#[test]
fn a_spool_changes_nothing() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    let mut settings = server.settings();
    let in_memory = capture(settings.clone()).unwrap();
    settings.sort_bytes_max = 20_000;
    let folder = tempfile::tempdir().unwrap();
    settings.spool_folder = folder.path().to_path_buf();
    let spooled = capture(settings.clone()).unwrap();
    assert!(
        contents(&in_memory) == contents(&spooled),
        "the spool changed something"
    );
    settings.spool_bytes_max = 100_000;
    let error = capture(settings).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace, "{error:?}");
}

#[test]
fn what_has_expired_is_not_captured_and_idle_times_are_not_seen() {
    let server = RedisServer::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut connection = server.connection();
    // Expired keys stay in memory until somebody looks.
    cmd("DEBUG")
        .arg("SET-ACTIVE-EXPIRE")
        .arg(0)
        .query::<redis::Value>(&mut connection)
        .ok();
    fill(&mut connection);
    let before = capture(server.settings()).unwrap();
    cmd("SET")
        .arg("gone")
        .arg("x")
        .arg("PXAT")
        .arg(1_000_000_000_000_u64)
        .exec(&mut connection)
        .unwrap();
    let after = capture(server.settings()).unwrap();
    assert!(contents(&before) == contents(&after));
}

#[test]
fn a_database_or_a_pattern_can_be_chosen() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    for method in [CaptureMethod::Replication, CaptureMethod::Scan] {
        let mut settings = server.settings();
        settings.method = method;
        settings.db = Some(3);
        let one = capture(settings.clone()).unwrap();
        assert_eq!(one.paths(), ["acl", "db/3", "functions"]);
        settings.db = Some(9);
        let none = capture(settings.clone()).unwrap();
        assert_eq!(none.paths(), ["acl", "db/9", "functions"]);
        assert!(none.content("db/9").is_empty());
        settings.db = None;
        settings.key_pattern = Some("set:int*".to_owned());
        let some = capture(settings).unwrap();
        let keys: Vec<_> = records(&some, 0)
            .into_iter()
            .map(|record| record.key)
            .collect();
        assert_eq!(keys, [b"set:int16", b"set:int32", b"set:int64"]);
        assert_eq!(some.paths(), ["acl", "db/0", "functions"]);
    }
}

#[test]
fn an_empty_server_is_captured_as_empty() {
    let server = RedisServer::start();
    let capture = capture(server.settings()).unwrap();
    assert_eq!(capture.paths(), ["acl", "db/0", "functions"]);
    assert!(capture.content("db/0").is_empty());
}

#[test]
fn a_user_who_may_not_replicate_is_read_key_by_key_and_told_so() {
    let server = RedisServer::start();
    let mut connection = server.connection();
    fill(&mut connection);
    for rule in [
        "ACL SETUSER reader on >secret ~* +@read +@connection +info +scan +dump +time +multi +exec +function|list",
        "ACL SETUSER replica on >secret ~* +@read +@connection +info +psync +replconf +time",
    ] {
        let mut command = cmd("ACL");
        rule.split(' ').skip(1).for_each(|word| {
            command.arg(word);
        });
        command.exec(&mut connection).unwrap();
    }
    let mut settings = server.settings();
    settings.password = Some("secret".to_owned().into());
    settings.username = Some("reader".to_owned());
    let source = RedisSource::new(settings.clone());
    assert_eq!(source.consistency(), Consistency::PointInTime);
    let scanned = MemoryCapture::of(&source).unwrap();
    assert_eq!(source.consistency(), Consistency::Fuzzy);
    let told = |text: &str| {
        scanned
            .report
            .warnings
            .iter()
            .any(|warning| warning.contains(text))
    };
    assert!(
        told("replicate") && told("access rules"),
        "{:?}",
        scanned.report.warnings
    );
    let full = capture(server.settings()).unwrap();
    assert!(full.content("db/0") == scanned.content("db/0"));

    settings.method = CaptureMethod::Replication;
    let error = capture(settings.clone()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Denied);

    // One who may PSYNC but not SYNC replicates all the same.
    settings.username = Some("replica".to_owned());
    let replicated = capture(settings).unwrap();
    assert!(full.content("db/0") == replicated.content("db/0"));
}

#[test]
fn a_wrong_password_a_closed_port_and_a_missing_one_are_told_apart() {
    let server = RedisServer::with(&["--requirepass", "right"]);
    let mut settings = server.settings();
    let error = capture(settings.clone()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Denied, "{error:?}");
    settings.password = Some("hunter2".to_owned().into());
    let error = capture(settings.clone()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Denied, "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
    settings.password = Some("right".to_owned().into());
    capture(settings.clone()).unwrap();
    settings.port = free_port();
    let error = capture(settings).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
}

#[test]
fn a_dump_that_is_cut_at_any_place_is_never_good() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    for diskless in ["yes", "no"] {
        cmd("CONFIG")
            .arg("SET")
            .arg("repl-diskless-sync")
            .arg(diskless)
            .exec(&mut server.connection())
            .unwrap();
        // The first connection's answers are shorter than the first cut.
        for cut in [10_000, 50_000, 100_000, 200_000] {
            let proxy = Proxy::before(server.port(), Fault::Cut(cut));
            let mut settings = server.settings();
            settings.port = proxy.port();
            let error = capture(settings).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error:?}");
        }
    }
}

#[test]
fn an_answer_that_never_comes_fails_in_time() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    for stall in [0, 3, 100, 10_000, 100_000] {
        for method in [CaptureMethod::Auto, CaptureMethod::Scan] {
            let proxy = Proxy::before(server.port(), Fault::Stall(stall));
            let mut settings = server.settings();
            settings.port = proxy.port();
            settings.method = method;
            settings.answer_timeout = Duration::from_millis(200);
            let error = capture(settings).unwrap_err();
            assert_eq!(error.kind(), SourceErrorKind::Unreachable, "{error:?}");
        }
    }
}

#[test]
fn a_module_value_is_refused_by_name() {
    // No module is at hand: a server is played that sends a dump with one.
    let dump = b"REDIS0010\xfe\x00\x07\x03doc\x81\x44\x43\x42\x41\x40\x3f\x3e\x3d\x00\xff";
    let mut reader = keepstone_sources::redis::rdb::RdbReader::new(dump.as_slice()).unwrap();
    let error = reader.next_event().unwrap_err();
    assert_eq!(reader.position(), (0, b"doc".as_slice()));
    assert!(error.to_string().contains("module type"), "{error}");
}

#[test]
fn records_of_a_capture_encode_to_what_they_were_decoded_from() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    let capture = capture(server.settings()).unwrap();
    for record in records(&capture, 0) {
        let mut bytes = Vec::new();
        keepstone_sources::redis::format::encode_record(&record, &mut bytes);
        assert_eq!(decode_record(&bytes).unwrap(), record);
        for detail in [
            keepstone_sources::redis::record::StreamDetail::Activity,
            keepstone_sources::redis::record::StreamDetail::Offsets,
        ] {
            let payload = keepstone_sources::redis::rdb::payload_of(&record.value, detail);
            let read = keepstone_sources::redis::rdb::open_payload(&payload).unwrap();
            assert_eq!(read, record.value, "{}", record.key.escape_ascii());
        }
    }
}
