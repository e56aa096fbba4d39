//! Export: files that the stock `redis-cli --pipe` loads into another server.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use keepstone_engine::source::{Export as _, ExportSink};
use keepstone_sources::redis::RedisExport;
use keepstone_sources::redis::record::{Record, Value};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::servers::redis::RedisServer;
use redis::cmd;

use super::capture::{capture, records};
use super::data::fill;

struct Folder {
    path: PathBuf,
    names: Vec<String>,
    current: Option<File>,
}

impl ExportSink for Folder {
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write> {
        self.names.push(name.to_owned());
        Ok(self.current.insert(File::create(self.path.join(name))?))
    }
}

fn export(captured: &MemoryCapture, path: PathBuf) -> Vec<String> {
    let mut folder = Folder {
        path,
        names: Vec::new(),
        current: None,
    };
    RedisExport::new().export(captured, &mut folder).unwrap();
    folder.names
}

fn load(server: &RedisServer, file: PathBuf) {
    let output = Command::new("redis-cli")
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::from(File::open(&file).unwrap()))
        .output()
        .expect("redis-cli runs: install the package redis-tools");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("errors: 0"),
        "{}: {text}",
        file.display()
    );
}

/// What commands cannot say: when consumers were last seen, and pending entries whose message is gone.
fn sayable(mut record: Record) -> Record {
    if let Value::Stream(stream) = &mut record.value {
        let ids: Vec<_> = stream.entries.iter().map(|(id, _)| id).collect();
        for consumer in stream
            .groups
            .iter_mut()
            .flat_map(|group| &mut group.consumers)
        {
            consumer.seen_ms = 0;
            consumer.active_ms = 0;
            consumer.pending.retain(|pending| ids.contains(&pending.id));
        }
    }
    record
}

#[test]
fn stock_redis_cli_loads_an_export_and_gets_the_same_data() {
    let server = RedisServer::start();
    fill(&mut server.connection());
    cmd("FUNCTION")
        .arg("LOAD")
        .arg("#!lua name=l\nredis.register_function('l', function() return 1 end)")
        .exec(&mut server.connection())
        .unwrap();
    let captured = capture(server.settings()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let names = export(&captured, folder.path().to_path_buf());
    assert_eq!(names, ["db0.resp", "db3.resp", "functions.resp"]);
    let other = RedisServer::start();
    for name in names {
        load(&other, folder.path().join(name));
    }
    let loaded = capture(other.settings()).unwrap();
    assert_eq!(loaded.paths(), captured.paths());
    for db in [0, 3] {
        let mut expected = records(&captured, db);
        let found = records(&loaded, db);
        let streams = expected
            .iter()
            .filter(|r| matches!(r.value, Value::Stream(_)))
            .count();
        assert_eq!(streams, if db == 0 { 4 } else { 0 });
        for (expected, found) in expected.drain(..).zip(found) {
            assert_eq!(sayable(expected), sayable(found));
        }
        assert_eq!(records(&captured, db).len(), records(&loaded, db).len());
    }
    assert_eq!(loaded.content("functions"), captured.content("functions"));
}

#[test]
fn an_export_of_nothing_is_a_file_that_selects() {
    let server = RedisServer::start();
    let captured = capture(server.settings()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(export(&captured, folder.path().to_path_buf()), ["db0.resp"]);
    let text = std::fs::read_to_string(folder.path().join("db0.resp")).unwrap();
    assert_eq!(text, "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
    load(&server, folder.path().join("db0.resp"));
}
