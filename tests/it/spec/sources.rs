//! Canonical forms of the sources: the streams and digests of real captures are those of the document.

use keepstone_engine::source::{RecordDigest, Source};
use keepstone_sources::command::{CommandSettings, CommandSource};
use keepstone_sources::files::{FilesSettings, FilesSource};
use keepstone_sources::postgres::PostgresSource;
use keepstone_sources::redis::format::{decode_record, encode_record};
use keepstone_sources::redis::record::{
    Consumer, Entries, Group, Pending, Record, Stream, StreamDetail, StreamId, Strings, Value,
};
use keepstone_sources::sqlite::{SqliteSettings, SqliteSource};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::postgres::PostgresServer;
use rusqlite::Connection;

use super::document::{Check, Example, hold};

pub(super) const CHECKS: &[Check] = &[
    ("files-ancestor", files_ancestor),
    ("command", command),
    ("sqlite-row", sqlite_row),
    ("sqlite-schema", sqlite_schema),
    ("redis-records", redis_records),
    ("postgres-rows", postgres_rows),
    ("postgres-large-object", postgres_large_object),
];

#[test]
fn canonical_forms_are_as_written() {
    hold(CHECKS);
}

fn capture(source: &dyn Source) -> MemoryCapture {
    MemoryCapture::of(source).unwrap()
}

fn digest_of<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> RecordDigest {
    let mut digest = RecordDigest::new();
    records.into_iter().for_each(|record| digest.add(record));
    digest
}

fn files_ancestor(example: &Example) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), b"Keepstone keeps.").unwrap();
    let captured = capture(&FilesSource::new(FilesSettings::new([&root])));
    let attributes_of = |path: &std::path::Path| {
        let path = path.to_str().unwrap().trim_start_matches('/').to_owned();
        let found = captured
            .items
            .iter()
            .find(|(name, _)| name.to_string() == path);
        serde_json::to_vec(&found.unwrap().1.0.facts.attributes).unwrap()
    };
    assert_eq!(attributes_of(root.parent().unwrap()), example.bytes());
    assert_eq!(attributes_of(&root), b"{}");
    let file = root.join("file");
    let path = file.to_str().unwrap().trim_start_matches('/');
    assert_eq!(captured.content(path), b"Keepstone keeps.");
}

fn command(example: &Example) {
    let url = r#"command:printf %s "Keepstone keeps.""#;
    let settings = CommandSettings::parse_url(url).unwrap();
    let captured = capture(&CommandSource::new(settings));
    assert_eq!(captured.paths(), ["output"]);
    assert_eq!(captured.content("output"), example.bytes());
}

/// The database of the document's example.
fn sqlite() -> MemoryCapture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("app.db");
    let sql = "CREATE TABLE t(a, b, c, d, e); INSERT INTO t VALUES(NULL, -2, 0.5, 'ü', x'00ff')";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let captured = capture(&SqliteSource::new(SqliteSettings::new(&path).unwrap()));
    assert_eq!(captured.paths(), ["app.db"]);
    assert!(captured.content("app.db").starts_with(b"SQLite format 3\0"));
    captured
}

fn sqlite_row(example: &Example) {
    let captured = sqlite();
    let [table] = captured.report.collections.as_slice() else {
        panic!("one table")
    };
    let row = example.bytes();
    assert_eq!((table.name.as_str(), table.records), ("t", 1));
    assert_eq!(table.bytes, row.len() as u64);
    assert_eq!(table.digest, Some(digest_of([row.as_slice()]).finish()));
}

fn sqlite_schema(example: &Example) {
    let attributes = sqlite().open_facts.attributes;
    let digest = digest_of([example.bytes().as_slice()]).finish();
    assert_eq!(attributes["schema_digest"], digest.to_string());
    assert_eq!(attributes["schema_objects"], 1);
}

const FAR_MS: u64 = 4_102_444_800_123;

fn redis_records(example: &Example) {
    let record = |key: &str, value| Record {
        key: key.into(),
        expires_ms: None,
        value,
    };
    let strings = |all: &[&str]| all.iter().collect::<Strings>();
    let fields = strings(&["a", "1", "b", "2"]);
    let records = [
        Record {
            expires_ms: Some(FAR_MS),
            ..record("s", Value::String(b"12".to_vec()))
        },
        record("l", Value::List(strings(&["b", "a"]))),
        record("t", Value::set(&strings(&["b", "a"])).unwrap()),
        record(
            "z",
            Value::sorted_set(&strings(&["a", "b"]), &[2.0, -1.5]).unwrap(),
        ),
        record("h", Value::hash(&fields, &[]).unwrap()),
        record("e", Value::hash(&fields, &[FAR_MS, 0]).unwrap()),
        record("x", Value::Stream(Box::new(stream()))),
    ];
    assert_eq!(example.lines.len(), records.len());
    for (line, record) in example.lines.iter().zip(&records) {
        assert_eq!(&decode_record(&line.bytes).unwrap(), record);
        let mut again = Vec::new();
        encode_record(record, &mut again);
        assert_eq!(again, line.bytes, "{}", line.remark);
    }
}

fn stream() -> Stream {
    let id = |ms, seq| StreamId { ms, seq };
    let far_ms = i64::try_from(FAR_MS).unwrap();
    let mut entries = Entries::default();
    for (at, value) in [(id(1, 1), b"v"), (id(2, 0), b"w")] {
        entries.push_string(b"f");
        entries.push_string(value);
        entries.close(at);
    }
    let consumer = Consumer {
        name: b"c".to_vec(),
        seen_ms: far_ms,
        active_ms: -1,
        pending: vec![Pending {
            id: id(1, 1),
            delivered_ms: far_ms,
            deliveries: 3,
        }],
    };
    Stream {
        detail: StreamDetail::Activity,
        entries,
        last_id: id(2, 0),
        max_deleted_id: id(0, 0),
        entries_added: 2,
        groups: vec![Group {
            name: b"g".to_vec(),
            last_id: id(1, 1),
            entries_read: 1,
            consumers: vec![consumer],
        }],
    }
}

/// The database of the document's examples.
fn postgres() -> MemoryCapture {
    let server = PostgresServer::start();
    server.execute("postgres", "CREATE DATABASE app");
    server.execute(
        "app",
        r"CREATE TABLE t(id int PRIMARY KEY, note text, at timestamptz, data bytea, part float8);
          INSERT INTO t VALUES
            (2, NULL, 'infinity', '', 'NaN'),
            (1, E'tab \t, line \n, backslash \\', '2026-01-01 13:00+01', '\x00ff', 0.1);
          SELECT lo_from_bytea(4711, 'Keep')",
    );
    capture(&PostgresSource::new(server.settings("app")))
}

fn postgres_stream(path: &str, example: &Example, records: u64) {
    let captured = postgres();
    assert_eq!(
        String::from_utf8_lossy(captured.content(path)),
        String::from_utf8_lossy(&example.bytes())
    );
    let bytes = example.bytes();
    let digest = digest_of(bytes.split_inclusive(|byte| *byte == b'\n'));
    let item = captured
        .items
        .iter()
        .find(|(name, _)| name.to_string() == path);
    let facts = &item.unwrap().1.0.facts;
    assert_eq!(facts.records, Some(records));
    assert_eq!(facts.digest, Some(digest.finish()));
}

fn postgres_rows(example: &Example) {
    postgres_stream("app/table/public/t", example, 2);
}

fn postgres_large_object(example: &Example) {
    postgres_stream("app/large-objects", example, 1);
}
