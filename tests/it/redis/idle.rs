//! Servers that close a connection on which nothing is said for a while.

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, ItemInfo, Items, OpenFacts, Source as _, SourceError, SourceErrorKind,
    Target as _,
};
use keepstone_sources::redis::{CaptureMethod, RedisRestoreOptions, RedisSource};
use keepstone_testkit::memory::{MemoryCapture, MemorySink};
use keepstone_testkit::servers::redis::RedisServer;
use keepstone_testkit::waiting::wait_until;
use redis::cmd;

use super::capture::capture;
use super::data::fill;
use super::restore::{keys, live, target};

/// Waits until the server has closed every connection but the one that asks.
fn wait_until_alone(server: &RedisServer) {
    wait_until("the server closes idle connections", || {
        let text: String = cmd("INFO")
            .arg("clients")
            .query(&mut server.connection())
            .unwrap();
        text.lines().any(|line| line == "connected_clients:1")
    });
}

/// A capture of which each stream takes long to be read: until the server has lost patience, at its begin and its end.
struct Slow<'a> {
    items: &'a MemoryCapture,
    server: &'a RedisServer,
    /// The server holds nothing any more at the end of each, as one that was started again without a save.
    forgets: bool,
}

impl Items for Slow<'_> {
    fn open_facts(&self) -> &OpenFacts {
        self.items.open_facts()
    }

    fn report(&self) -> &CaptureReport {
        self.items.report()
    }

    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.items.walk(visit)
    }

    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError> {
        self.items.get(path)
    }

    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.read_from(path, 0, take)
    }

    fn read_from(
        &self,
        path: &RepoPath,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        wait_until_alone(self.server);
        self.items.read_from(path, offset, take)?;
        wait_until_alone(self.server);
        if self.forgets {
            cmd("FLUSHALL").exec(&mut self.server.connection()).unwrap();
        }
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.items.cancelled()
    }
}

#[test]
fn a_dump_may_take_longer_than_a_connection_may_be_idle() {
    let server = RedisServer::with(&["--timeout", "1", "--repl-diskless-sync-delay", "3"]);
    fill(&mut server.connection());
    let captured = capture(server.settings()).unwrap();
    assert_eq!(captured.paths(), ["acl", "db/0", "db/3", "functions"]);

    let mut settings = server.settings();
    settings.method = CaptureMethod::Scan;
    let source = RedisSource::new(settings);
    let mut opened = source.open().unwrap();
    wait_until_alone(&server);
    let mut sink = MemorySink::new(None);
    opened.stream(&mut sink).unwrap();
    opened.close().unwrap();
    assert!(sink.items == captured.items, "the ways differ");
}

#[test]
fn a_restore_may_wait_for_its_repository_longer_than_a_connection_may_be_idle() {
    let server = RedisServer::with(&["--timeout", "1"]);
    fill(&mut server.connection());
    let captured = capture(server.settings()).unwrap();
    let slow = Slow {
        items: &captured,
        server: &server,
        forgets: false,
    };
    let some = RedisRestoreOptions {
        key_patterns: vec!["*small".to_owned(), "three".to_owned()],
        ..RedisRestoreOptions::default()
    };
    let whole = RedisRestoreOptions {
        functions: true,
        ..RedisRestoreOptions::default()
    };
    for options in [whole, some] {
        cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
        let is_whole = options.key_patterns.is_empty();
        let target = target(&server, options);
        let plan = target.plan(&slow).unwrap();
        target.stage(&plan, &slow).unwrap();
        let validation = target.validate(&plan, &slow).unwrap();
        assert_eq!(validation.differences, [""; 0]);
        target.switch(&plan).unwrap();
        assert_eq!(live(&server, 3), captured.content("db/3"));
        assert_eq!(live(&server, 0) == captured.content("db/0"), is_whole);
    }
}

#[test]
fn nothing_is_staged_into_a_server_that_has_forgotten_the_restore_meanwhile() {
    let server = RedisServer::with(&["--timeout", "1"]);
    fill(&mut server.connection());
    let captured = capture(server.settings()).unwrap();
    let forgetful = Slow {
        items: &captured,
        server: &server,
        forgets: true,
    };
    let some = RedisRestoreOptions {
        key_patterns: vec!["*small".to_owned(), "three".to_owned()],
        ..RedisRestoreOptions::default()
    };
    let with_functions = RedisRestoreOptions {
        functions: true,
        ..RedisRestoreOptions::default()
    };
    for options in [RedisRestoreOptions::default(), some, with_functions] {
        let target = target(&server, options);
        let plan = target.plan(&captured).unwrap();
        let error = target.stage(&plan, &forgetful).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Interrupted, "{error}");
        assert!(
            error.to_string().contains("gone from database 1"),
            "{error}"
        );
        assert_eq!((0..16).map(|db| keys(&server, db)).sum::<i64>(), 0);
    }
}
