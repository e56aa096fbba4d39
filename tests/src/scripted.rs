//! A source that emits what it is told: streams from a map. And short ways to make a repository, save and read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use keepstone_engine::Result;
use keepstone_engine::backend::Backend;
use keepstone_engine::backup::{
    BackupOptions, BackupReport, Bases, Cancel, SourceRun, WriterHistory, backup,
};
use keepstone_engine::crypto::{KdfParameters, Secret, SlotInfo};
use keepstone_engine::id::{SnapshotId, WriterId};
use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::prune::{PruneOptions, PruneReport, prune};
use keepstone_engine::repo::{InitOptions, Repo, Store, Usable, init, open};
use keepstone_engine::restore::{CapturedItems, source_failed};
use keepstone_engine::session::SessionRecord;
use keepstone_engine::session::fence::FenceView;
use keepstone_engine::snapshot::select::Listed;
use keepstone_engine::source::{
    Attributes, CaptureReport, Consistency, Items as _, Meta, NodeKind, OpenFacts, Opened, Profile,
    Sink, Source, SourceError, StreamFacts, StreamSpec,
};

/// Streams by path.
pub type Streams = BTreeMap<String, Vec<u8>>;

/// Emits these folders and streams, each with these facts beside it, and a report.
#[derive(Debug, Clone, Default)]
pub struct ScriptedSource {
    /// Folders that are emitted first, in this order.
    pub folders: Vec<RepoPath>,
    /// What is emitted, in the order of paths.
    pub streams: Streams,
    /// Whether each stream is one record.
    pub records: bool,
    /// Facts of every stream.
    pub meta: Meta,
    /// What is said in the end.
    pub report: CaptureReport,
}

impl Source for ScriptedSource {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn address(&self) -> String {
        "scripted:".into()
    }

    fn consistency(&self) -> Consistency {
        Consistency::PointInTime
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        Ok(Box::new(OpenedScript(self)))
    }
}

struct OpenedScript<'a>(&'a ScriptedSource);

impl Opened for OpenedScript<'_> {
    fn facts(&self) -> OpenFacts {
        OpenFacts::default()
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        for path in &self.0.folders {
            let (meta, attributes) = (self.0.meta.clone(), Attributes::new());
            sink.entry(path, NodeKind::Dir, meta, attributes)?;
        }
        for (path, bytes) in &self.0.streams {
            sink.begin(StreamSpec {
                path: RepoPath::parse(path).expect("a path"),
                profile: if self.0.records {
                    Profile::Records
                } else {
                    Profile::Bytes
                },
                meta: self.0.meta.clone(),
                size_hint_bytes: None,
            })?;
            if self.0.records {
                sink.record(b"key", bytes)?;
            } else {
                for piece in bytes.chunks(100_003) {
                    sink.write(piece)?;
                }
            }
            sink.finish(StreamFacts::default())?;
        }
        Ok(self.0.report.clone())
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// The password of every repository made here, long enough for a raw key.
pub fn secret() -> Secret {
    Secret::new(b"of the tests, and long enough to be a raw key".to_vec())
}

/// Makes a repository.
pub fn new_repo(backend: Arc<dyn Backend>) -> Result<Repo> {
    let options = InitOptions {
        secret: secret(),
        kdf: KdfParameters::Raw,
        info: SlotInfo::default(),
    };
    init(backend, options)
}

/// Opens one that `new_repo` has made.
pub fn open_repo(backend: Arc<dyn Backend>) -> Result<Repo> {
    open(backend, &secret())
}

fn writer_of(host: &str) -> WriterId {
    let hash = blake3::hash(host.as_bytes());
    WriterId::from_bytes(*hash.as_bytes().first_chunk().unwrap())
}

/// Who writes, for a host label.
pub fn session_record(host: &str) -> SessionRecord {
    SessionRecord {
        host: host.into(),
        boot: format!("boot of {host}"),
        pid: 1,
        process_start: 1,
        pid_namespace: String::new(),
        writer: writer_of(host),
        start_ns: 0,
        program: "test".into(),
    }
}

/// Options of a plain run at a time.
pub fn options(host: &str, time_ns: i64) -> BackupOptions {
    BackupOptions {
        session: session_record(host),
        user: String::new(),
        zone: None,
        description: String::new(),
        label: String::new(),
        tags: vec![],
        set: None,
        partial: false,
        bases: Bases::AtHand,
        rebase: false,
        parallel: 2,
        time_ns: Some(time_ns),
        skip_if_unchanged: false,
        dry_run: false,
        history: WriterHistory::default(),
    }
}

/// Saves streams as one snapshot.
pub fn save(repo: &Repo, streams: &Streams, time_ns: i64) -> Result<SnapshotId> {
    save_as(repo, streams, &options("host", time_ns)).map(|report| report.id.expect("committed"))
}

/// Saves streams with these options.
pub fn save_as(repo: &Repo, streams: &Streams, options: &BackupOptions) -> Result<BackupReport> {
    let source = ScriptedSource {
        streams: streams.clone(),
        ..ScriptedSource::default()
    };
    save_source(repo, &source, options)
}

/// Saves what a source says with these options.
pub fn save_source(
    repo: &Repo,
    source: &ScriptedSource,
    options: &BackupOptions,
) -> Result<BackupReport> {
    let run = SourceRun {
        name: "script".into(),
        source,
    };
    let time_ns = options.time_ns.unwrap_or(0);
    backup(
        repo,
        &[run],
        options,
        &|| time_ns,
        &NoObserver,
        &Cancel::default(),
    )
}

/// Reads a snapshot back, every stream of it.
pub fn read_back(repo: &Repo, id: SnapshotId) -> Result<Streams> {
    let listed = repo.snapshots()?.into_iter().find(|listed| listed.id == id);
    read_listed(
        repo,
        &listed.unwrap_or_else(|| panic!("snapshot {id} is not listed")),
    )
}

/// Reads a listed snapshot back, every stream of it.
pub fn read_listed(repo: &Repo, listed: &Listed) -> Result<Streams> {
    read_while(repo, listed, || ())
}

/// Reads a listed snapshot back while something happens: after its streams were listed, and before they are read.
pub fn read_while(repo: &Repo, listed: &Listed, happens: impl FnOnce()) -> Result<Streams> {
    let store = Arc::new(Store::load(repo, &Usable::Indexed, true)?);
    let source = &listed.snapshot.sources[0];
    let items = CapturedItems::open(&store, source, 2, &Cancel::default())?;
    let mut paths = Vec::new();
    let failed = |error| source_failed("script", error);
    items
        .walk(&mut |info| {
            if info.kind == NodeKind::File {
                paths.push(info.path);
            }
            Ok(())
        })
        .map_err(failed)?;
    happens();
    let mut streams = Streams::new();
    for path in paths {
        let mut bytes = Vec::new();
        items
            .read(&path, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })
            .map_err(failed)?;
        streams.insert(path.to_string(), bytes);
    }
    Ok(streams)
}

/// Prunes as a host on which no process of a session lives, at a time.
pub fn prune_at(repo: &Repo, now_ns: i64) -> Result<PruneReport> {
    let alive = |_: u32, _: u64| false;
    let fence = FenceView {
        host: "host",
        writer: writer_of("host"),
        boot: "boot of host",
        pid_namespace: "",
        process_alive: &alive,
        now_ns,
        fence_after_ns: 24 * 3600 * 1_000_000_000,
    };
    prune(
        repo,
        &PruneOptions {
            dry_run: false,
            fence,
        },
        &NoObserver,
        &Cancel::default(),
    )
}

/// A seeded source of numbers: SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).expect("below a usize")
    }
}

/// Bytes that nothing makes smaller.
pub fn noise(dice: &mut Dice, len: usize) -> Vec<u8> {
    (0..len).map(|_| dice.roll().to_le_bytes()[0]).collect()
}

/// A table of lines, as a dump would have it.
pub fn table(dice: &mut Dice, rows: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for row in 0..rows {
        out.extend_from_slice(line(dice, row).as_bytes());
    }
    out
}

fn line(dice: &mut Dice, row: usize) -> String {
    let words: Vec<_> = (0..12)
        .map(|_| format!("w{:04}", dice.below(5000)))
        .collect();
    format!("{row:08}\t{}\n", words.join(" "))
}

/// The same table an hour later: some lines changed, some added.
pub fn an_hour_later(dice: &mut Dice, before: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = before
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for _ in 0..lines.len() / 50 {
        let at = dice.below(lines.len());
        lines[at] = line(dice, at).into_bytes();
    }
    for _ in 0..lines.len() / 100 {
        let at = lines.len();
        lines.push(line(dice, at).into_bytes());
    }
    lines.concat()
}
