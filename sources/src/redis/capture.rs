//! The source: opens a server at one instant, collects its keys, and emits them in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Attributes, CaptureReport, CollectionFacts, Consistency, Meta, OpenFacts, Opened, Profile,
    RecordDigest, Sink, Source, SourceError, SourceErrorKind, StreamFacts, StreamSpec,
};

use super::client::{Client, elements_of, text_of};
use super::collect::{Collected, Collector, split_sort_key, spool_failed};
use super::format::{encode_record, outline_of};
use super::record::{Record, Value};
use super::replica::{Breaker, NoReplica, Replica, request_dump};
use super::server::{self, ServerFacts};
use super::settings::{CaptureMethod, RedisSettings};

/// Attribute of a database: elements of all its keys, for an estimate of the memory they take.
pub(super) const ELEMENTS: &str = "elements";
/// Attribute of a database: hashes with fields that expire, which not every server can restore.
pub(super) const EXPIRING_HASHES: &str = "expiring_hashes";
/// Attribute of a capture: the server's clock when it was opened, in milliseconds since 1970.
pub(super) const OPENED_MS: &str = "opened_ms";

/// Attribute of a capture: the pattern of the only keys that were wanted; none if all were.
pub(super) const KEY_PATTERN: &str = "key_pattern";

/// How often a wait looks whether the user asked to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// A Redis server to protect.
#[derive(Debug)]
pub struct RedisSource {
    settings: RedisSettings,
    fuzzy: AtomicBool,
}

impl RedisSource {
    /// Connects only when it is opened.
    pub fn new(settings: RedisSettings) -> Self {
        Self {
            fuzzy: AtomicBool::new(settings.method == CaptureMethod::Scan),
            settings,
        }
    }
}

impl Source for RedisSource {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    /// One instant of the server; fuzzy once the source was opened and had to read key by key.
    fn consistency(&self) -> Consistency {
        if self.fuzzy.load(Ordering::Relaxed) {
            Consistency::Fuzzy
        } else {
            Consistency::PointInTime
        }
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        let mut client = Client::connect(&self.settings)?;
        let facts = ServerFacts::read(&mut client)?;
        let opened_ms = server::time_ms(&mut client).unwrap_or_default();
        // Asked now: until the dump is there a server with a `timeout` has closed the connection.
        let users = read_users(&mut client)?;
        drop(client);
        let mut warnings = Vec::new();
        if facts.as_ref().is_some_and(|facts| facts.cluster) {
            warnings.push(
                "the server is a node of a cluster: only the keys of this node were captured"
                    .to_owned(),
            );
        }
        let method = self.start(facts.as_ref(), &mut warnings)?;
        Ok(Box::new(OpenedRedis {
            settings: self.settings.clone(),
            users,
            facts,
            opened_ms,
            warnings,
            method,
        }))
    }
}

impl RedisSource {
    fn start(
        &self,
        facts: Option<&ServerFacts>,
        warnings: &mut Vec<String>,
    ) -> Result<Method, SourceError> {
        let scan = |fuzzy: &AtomicBool| {
            fuzzy.store(true, Ordering::Relaxed);
            Ok(Method::Scan)
        };
        if self.settings.method == CaptureMethod::Scan {
            return scan(&self.fuzzy);
        }
        let functions = facts.is_some_and(ServerFacts::is_seven);
        match request_dump(&self.settings) {
            Ok(replica) => Ingest::start(&self.settings, replica, functions).map(Method::Replica),
            Err(NoReplica::NotAllowed(refusal)) if self.settings.method == CaptureMethod::Auto => {
                warnings.push(format!(
                    "the server does not let this user replicate ({refusal}): keys were read one \
                     after another while it ran, so they show no single instant"
                ));
                scan(&self.fuzzy)
            }
            Err(NoReplica::NotAllowed(refusal)) => {
                let place = self.settings.host_and_port();
                let act = format!("cannot replicate redis at {place}");
                Err(SourceError::new(SourceErrorKind::Denied, act).because(refusal))
            }
            Err(NoReplica::Failed(error)) => Err(error),
        }
    }
}

enum Method {
    Replica(Ingest),
    Scan,
}

struct OpenedRedis {
    settings: RedisSettings,
    /// Access rules by name of the user; none if they may not be listed.
    users: Option<Users>,
    facts: Option<ServerFacts>,
    opened_ms: u64,
    warnings: Vec<String>,
    method: Method,
}

impl Opened for OpenedRedis {
    fn facts(&self) -> OpenFacts {
        let mut attributes = Attributes::new();
        let method = match self.method {
            Method::Replica(_) => "replication",
            Method::Scan => "scan",
        };
        attributes.insert("method".to_owned(), method.into());
        attributes.insert(OPENED_MS.to_owned(), self.opened_ms.into());
        if let Some(pattern) = &self.settings.key_pattern {
            attributes.insert(KEY_PATTERN.to_owned(), pattern.as_str().into());
        }
        OpenFacts {
            version: self.facts.as_ref().and_then(ServerFacts::version_text),
            attributes,
        }
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        let mut collected = match &mut self.method {
            Method::Replica(ingest) => ingest.wait(&*sink)?,
            Method::Scan => Collector::new(&self.settings, self.opened_ms).scan(
                // A new one: other sources may have been read since this one was opened.
                &mut Client::connect(&self.settings)?,
                self.facts.as_ref(),
                &|| sink.cancelled(),
            )?,
        };
        let mut report = CaptureReport {
            warnings: std::mem::take(&mut self.warnings),
            ..CaptureReport::default()
        };
        report.warnings.append(&mut collected.warnings);
        report.warnings.extend(collected.left_out.iter().map(|db| {
            format!("database {db} holds what a restore has staged or kept: it was left out")
        }));
        self.emit_acl(sink, &mut report)?;
        self.emit_databases(&mut collected, sink, &mut report)?;
        if let Some(functions) = &collected.functions {
            emit_strings(sink, "functions", functions)?;
        }
        Ok(report)
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        // Dropping the ingest breaks the connection off: the server then stops sending.
        Ok(())
    }
}

impl OpenedRedis {
    fn emit_databases(
        &self,
        collected: &mut Collected,
        sink: &mut dyn Sink,
        report: &mut CaptureReport,
    ) -> Result<(), SourceError> {
        let mut current: Option<Emission> = None;
        loop {
            let next = collected.sorted.next_entry();
            let Some((sort_key, bytes)) =
                next.map_err(|error| spool_failed(&self.settings, error))?
            else {
                break;
            };
            let (db, key) = split_sort_key(sort_key);
            if collected.left_out.contains(&db) {
                continue;
            }
            if let Some(emission) = current.take_if(|emission| emission.db != db) {
                emission.finish(sink, report)?;
            }
            let emission = match &mut current {
                Some(emission) => emission,
                none => none.insert(Emission::begin(db, sink)?),
            };
            emission.record(key, bytes, sink)?;
        }
        if let Some(emission) = current {
            emission.finish(sink, report)?;
        }
        // A database that was asked for and is empty is captured as empty.
        let db = self.settings.db.unwrap_or_default();
        if report.collections.is_empty() && !collected.left_out.contains(&db) {
            Emission::begin(db, sink)?.finish(sink, report)?;
        }
        Ok(())
    }

    fn emit_acl(&self, sink: &mut dyn Sink, report: &mut CaptureReport) -> Result<(), SourceError> {
        let Some(users) = &self.users else {
            let text = "the user may not list the access rules: they were not captured";
            report.warnings.push(text.to_owned());
            return Ok(());
        };
        emit_strings(sink, "acl", users)
    }
}

/// Access rules, each under the name of its user.
type Users = BTreeMap<Vec<u8>, Vec<u8>>;

/// The access rules; none if they may not be listed.
fn read_users(client: &mut Client) -> Result<Option<Users>, SourceError> {
    let answer = client.ask("list the users", &["ACL", "LIST"])?;
    let Some(lines) = answer.ok().and_then(elements_of) else {
        return Ok(None);
    };
    let users = lines.iter().filter_map(text_of).map(|line| {
        let name = line.split(' ').nth(1).unwrap_or_default();
        (name.as_bytes().to_vec(), line.clone().into_bytes())
    });
    Ok(Some(users.collect()))
}

/// A database that is being emitted.
struct Emission {
    db: u32,
    digest: RecordDigest,
    bytes: u64,
    elements: u64,
    expiring_hashes: u64,
}

impl Emission {
    fn begin(db: u32, sink: &mut dyn Sink) -> Result<Self, SourceError> {
        sink.begin(spec(database_path(db)?))?;
        Ok(Self {
            db,
            digest: RecordDigest::new(),
            bytes: 0,
            elements: 0,
            expiring_hashes: 0,
        })
    }

    fn record(&mut self, key: &[u8], bytes: &[u8], sink: &mut dyn Sink) -> Result<(), SourceError> {
        self.digest.add(bytes);
        self.bytes += count(bytes.len());
        let outline = outline_of(bytes).map_err(|error| {
            SourceError::new(SourceErrorKind::Corrupt, "cannot read back a sorted key")
                .because(error)
        })?;
        self.elements += count(outline.elements);
        self.expiring_hashes += u64::from(outline.fields_expire);
        sink.record(key, bytes)
    }

    fn finish(self, sink: &mut dyn Sink, report: &mut CaptureReport) -> Result<(), SourceError> {
        let digest = Some(self.digest.finish());
        report.collections.push(CollectionFacts {
            name: format!("db{}", self.db),
            records: self.digest.count(),
            bytes: self.bytes,
            digest,
        });
        let mut attributes = Attributes::new();
        attributes.insert(ELEMENTS.to_owned(), self.elements.into());
        attributes.insert(EXPIRING_HASHES.to_owned(), self.expiring_hashes.into());
        sink.finish(StreamFacts {
            records: Some(self.digest.count()),
            digest,
            attributes,
        })
    }
}

/// A dump that is being collected on a thread of its own, so that the server can let go of it soon.
struct Ingest {
    breaker: Arc<Breaker>,
    outcome: Receiver<Result<Collected, SourceError>>,
    thread: Option<JoinHandle<()>>,
}

impl Ingest {
    fn start(
        settings: &RedisSettings,
        mut replica: Replica,
        functions: bool,
    ) -> Result<Self, SourceError> {
        let breaker = Arc::clone(&replica.breaker);
        let (sender, outcome) = crossbeam_channel::bounded(1);
        let collector = Collector::new(settings, 0);
        let thread = std::thread::Builder::new()
            .name("redis-dump".to_owned())
            .spawn(move || {
                // Nobody waits any more if the capture was given up.
                let _ = sender.send(collector.dump(&mut replica, functions));
            })
            .map_err(|error| {
                SourceError::new(SourceErrorKind::Other, "cannot start a thread").because(error)
            })?;
        Ok(Self {
            breaker,
            outcome,
            thread: Some(thread),
        })
    }

    fn wait(&mut self, sink: &dyn Sink) -> Result<Collected, SourceError> {
        loop {
            match self.outcome.recv_timeout(GLANCE) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) if sink.cancelled() => return Err(cancelled()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SourceError::new(
                        SourceErrorKind::Other,
                        "cannot read the dump of redis a second time",
                    ));
                }
            }
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.breaker.break_off();
        if let Some(thread) = self.thread.take() {
            // It has nothing more to say.
            let _ = thread.join();
        }
    }
}

/// The user asked to stop.
pub(super) fn cancelled() -> SourceError {
    SourceError::new(SourceErrorKind::Cancelled, "the capture was stopped")
}

/// Name of the stream of a database.
pub(super) fn database_path(db: u32) -> Result<RepoPath, SourceError> {
    path(&["db", &db.to_string()])
}

/// Name of a stream.
pub(super) fn path(names: &[&str]) -> Result<RepoPath, SourceError> {
    RepoPath::of_names(names).map_err(|error| {
        SourceError::new(SourceErrorKind::Other, "cannot name a stream").because(error)
    })
}

fn spec(path: RepoPath) -> StreamSpec {
    StreamSpec {
        path,
        profile: Profile::Records,
        meta: Meta::default(),
        size_hint_bytes: None,
    }
}

fn emit_strings(
    sink: &mut dyn Sink,
    name: &str,
    strings: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), SourceError> {
    sink.begin(spec(path(&[name])?))?;
    let mut digest = RecordDigest::new();
    for (key, string) in strings {
        let record = Record {
            key: key.clone(),
            expires_ms: None,
            value: Value::String(string.clone()),
        };
        let mut bytes = Vec::new();
        encode_record(&record, &mut bytes);
        digest.add(&bytes);
        sink.record(key, &bytes)?;
    }
    sink.finish(StreamFacts {
        records: Some(digest.count()),
        digest: Some(digest.finish()),
        attributes: Attributes::new(),
    })
}

fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
