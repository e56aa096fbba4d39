//! backup(): the whole sequence on one screen.
//!
//! One session, one commit: session record, tombstones, packs that exist, all sources opened, all streamed side by side,
//! packs, index, and then one put-if-absent that makes it a snapshot. The order is the safety (`ARCHITECTURE.md`
//! § Sessions): the session record before the tombstones are read, the tombstones before the packs are listed.

mod builders;
mod cancel;
mod clean;
mod options;
mod parent;
mod sink;
mod stream;
mod told;
mod tree_builder;
pub mod writer;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::backend::ObjectKey;
use crate::crypto::random;
use crate::error::{Error, Result};
use crate::id::{ChunkId, SessionId, SnapshotId, WriterId};
use crate::limits;
use crate::progress::{Event, Observer};
use crate::repo::{Repo, Store, Usable};
use crate::snapshot::format::End;
use crate::snapshot::select::Listed;
use crate::snapshot::{Snapshot, SnapshotSource, SourceCounts, SourceDetails};
use crate::source::{Opened, SourceError};

pub use builders::{Builders, Ground};
pub use cancel::Cancel;
pub use options::{BackupOptions, Bases, SourceRun, WriterHistory};
use sink::{SourceSink, Stored};
pub(crate) use sink::{pass, unwrap_engine};
use writer::Writer;

/// What a run did.
#[derive(Debug)]
pub struct BackupReport {
    /// The snapshot; none after a dry run, or if nothing had changed and that was to be skipped.
    pub id: Option<SnapshotId>,
    /// What was recorded, or would have been.
    pub snapshot: Snapshot,
    /// Details of each source, by name.
    pub details: Vec<(String, SourceDetails)>,
    /// What the writer has to remember.
    pub history: WriterHistory,
}

/// The earlier capture of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceParent {
    pub(crate) snapshot: SnapshotId,
    pub(crate) root: ChunkId,
    pub(crate) details: Option<ChunkId>,
    /// When it was made.
    pub time_ns: i64,
    /// What it held.
    pub counts: SourceCounts,
}

/// Captures all sources and commits them together, or not at all.
pub fn backup(
    repo: &Repo,
    sources: &[SourceRun<'_>],
    options: &BackupOptions,
    clock: &(dyn Fn() -> i64 + Sync),
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<BackupReport> {
    let session = SessionId(random());
    let run = Run {
        repo,
        options,
        clock,
        observer,
        cancel,
        session,
    };
    if options.dry_run {
        return run.carry_out(sources);
    }
    repo.put_small(&ObjectKey::session(session), &options.session)?;
    let done = run.carry_out(sources);
    if !matches!(&done, Ok(BackupReport { id: Some(_), .. })) {
        // Nobody has to wait for this session. If this cannot be said, the fence will say it later.
        let reason = done
            .as_ref()
            .err()
            .map_or("nothing to commit".into(), ToString::to_string);
        let host = options.session.host.clone();
        let end = End::Aborted {
            time_ns: clock(),
            host,
            reason,
        };
        if let Err(error) = repo.put_end(session, &repo.seal_end(session, &end)) {
            tracing::debug!("session {session} could not be ended: {error}");
        }
    }
    done
}

struct Run<'a> {
    repo: &'a Repo,
    options: &'a BackupOptions,
    clock: &'a (dyn Fn() -> i64 + Sync),
    observer: &'a dyn Observer,
    cancel: &'a Cancel,
    session: SessionId,
}

/// One source's share of a run.
struct Captured {
    source: SnapshotSource,
    details: SourceDetails,
    stored: Option<Stored>,
    parent: Option<SourceParent>,
    /// Why there is nothing of it, if the others are to be let through.
    error: Option<Error>,
}

impl Run<'_> {
    fn carry_out(&self, sources: &[SourceRun<'_>]) -> Result<BackupReport> {
        let start_ns = (self.clock)();
        let store = load_for_writing(self.repo)?;
        // The commit asks the settled lists: that they cannot be read is to be said before anything is written.
        self.repo.settled()?;
        // Only parents are looked for: one record that does not open keeps nobody from saving.
        let snapshots = self.repo.readable_snapshots()?.snapshots;
        // A commit would make what is lost look like what nobody needs.
        if snapshots.is_empty() {
            self.repo.check_ends()?;
        }
        let parents = parents(sources, &snapshots, &self.options.session.host);
        self.tell_totals(&parents);
        let ground = Arc::new(Ground {
            store: Arc::new(store),
            writer: Writer::start(
                self.repo,
                self.session,
                self.options.parallel,
                if self.repo.backend().is_local() { 2 } else { 4 },
                self.options.dry_run,
            ),
            added: Mutex::new(HashMap::new()),
            rebase: self.options.rebase,
            start_s: start_ns / 1_000_000_000,
        });
        let mut captured = self.capture_all(sources, &parents, &ground)?;
        let ground = Arc::into_inner(ground).ok_or_else(|| Error::Refused {
            what: "a source kept its sink after its end".into(),
        })?;
        let unchanged = captured.iter().all(is_unchanged);
        let stored_bytes = ground.writer.finish()?;
        for capture in &mut captured {
            capture.source.counts.stored_bytes = capture.stored.as_ref().map_or(0, Stored::bytes);
        }
        let snapshot = self.snapshot(start_ns, &captured, stored_bytes);
        let skip = self.options.dry_run || (self.options.skip_if_unchanged && unchanged);
        let (id, history) = if skip {
            (None, self.options.history.clone())
        } else {
            (Some(self.session), self.commit(&snapshot)?)
        };
        let details = captured
            .into_iter()
            .map(|c| (c.source.name, c.details))
            .collect();
        Ok(BackupReport {
            id,
            snapshot,
            details,
            history,
        })
    }

    fn tell_totals(&self, parents: &[Option<SourceParent>]) {
        let counts = parents.iter().flatten().map(|parent| parent.counts);
        let (bytes, items) = counts.fold((0, 0), |(b, i), c| (b + c.bytes, i + c.files));
        if bytes > 0 {
            self.observer.event(Event::Total { bytes, items });
        }
    }

    /// Opens all, then streams all side by side; what was opened is closed on every way out.
    fn capture_all(
        &self,
        sources: &[SourceRun<'_>],
        parents: &[Option<SourceParent>],
        ground: &Arc<Ground>,
    ) -> Result<Vec<Captured>> {
        let mut opened = Vec::with_capacity(sources.len());
        for run in sources {
            self.cancel.check()?;
            let result = run.source.open();
            if result.is_ok() {
                self.observer
                    .event(Event::SourceOpened { source: &run.name });
            }
            let failed = result.is_err() && !self.options.partial;
            opened.push((result, (self.clock)()));
            if failed {
                break;
            }
        }
        if !self.options.partial
            && let Some(at) = opened.iter().position(|(result, _)| result.is_err())
        {
            let mut failure = None;
            for (number, (result, _)) in opened.into_iter().enumerate() {
                match result {
                    Ok(opened) => drop(opened.close()),
                    Err(error) if number == at => failure = Some(error),
                    Err(_) => {}
                }
            }
            let name = sources.get(at).map_or("", |run| run.name.as_str());
            return Err(match failure {
                Some(error) => unwrap_engine(name, error),
                None => Error::Cancelled,
            });
        }
        let results = self.stream_all(sources, opened, parents, ground);
        settle(results)
    }

    /// Each source on a thread of its own.
    fn stream_all<'s>(
        &self,
        sources: &'s [SourceRun<'_>],
        opened: Vec<OpenedAt<'s>>,
        parents: &[Option<SourceParent>],
        ground: &Arc<Ground>,
    ) -> Vec<Result<Captured>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = sources
                .iter()
                .zip(opened)
                .zip(parents)
                .map(|((run, (opened, opened_ns)), parent)| {
                    let ground = Arc::clone(ground);
                    let parent = parent.clone();
                    scope.spawn(move || self.capture(run, opened, opened_ns, parent, ground))
                })
                .collect();
            let died = || Error::Refused {
                what: "a capturing thread died".into(),
            };
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(died())))
                .collect()
        })
    }

    fn capture(
        &self,
        run: &SourceRun<'_>,
        opened: Result<Box<dyn Opened + '_>, SourceError>,
        opened_ns: i64,
        parent: Option<SourceParent>,
        ground: Arc<Ground>,
    ) -> Result<Captured> {
        let bases = if self.options.rebase {
            Bases::None
        } else {
            self.options.bases
        };
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => return self.failed(run, opened_ns, error),
        };
        let mut sink = SourceSink::new(
            &run.name,
            ground,
            parent.as_ref(),
            bases,
            self.observer,
            self.cancel,
        );
        let open = opened.facts();
        let streamed = opened.stream(&mut sink);
        let closed = opened.close();
        let report = match streamed.and_then(|report| closed.map(|()| report)) {
            Ok(report) => report,
            Err(error) => {
                sink.give_up()?;
                return self.failed(run, opened_ns, error);
            }
        };
        let mut details = SourceDetails { open, report };
        let skipped = details.report.skipped.len() as u64 + details.report.unnamed;
        details.report.shorten(limits::REPORT_BYTES);
        let json = serde_json::to_vec(&details).unwrap_or_default();
        let (root, details_node, mut counts, stored) = sink.finish(&json)?;
        counts.skipped = skipped;
        self.observer
            .event(Event::SourceFinished { source: &run.name });
        let source = SnapshotSource {
            root: Some(root),
            details: Some(details_node),
            counts,
            parent: parent.as_ref().map(|parent| parent.snapshot),
            ..self.source_record(run, opened_ns)
        };
        Ok(Captured {
            source,
            details,
            stored: Some(stored),
            parent,
            error: None,
        })
    }

    /// With `--partial` a source's own failure is recorded; otherwise, and for the engine's failures, it ends the run.
    fn failed(&self, run: &SourceRun<'_>, opened_ns: i64, error: SourceError) -> Result<Captured> {
        let error = unwrap_engine(&run.name, error);
        if !self.options.partial || !matches!(error, Error::Source { .. }) {
            self.cancel.set();
            return Err(error);
        }
        let failure = Some(chain(&error));
        let source = SnapshotSource {
            failure,
            ..self.source_record(run, opened_ns)
        };
        Ok(Captured {
            source,
            details: SourceDetails::default(),
            stored: None,
            parent: None,
            error: Some(error),
        })
    }

    fn source_record(&self, run: &SourceRun<'_>, opened_ns: i64) -> SnapshotSource {
        SnapshotSource {
            name: run.name.clone(),
            kind: run.source.kind().into(),
            address: run.source.address(),
            consistency: run.source.consistency(),
            failure: None,
            root: None,
            details: None,
            opened_ns,
            finished_ns: (self.clock)(),
            counts: SourceCounts::default(),
            parent: None,
        }
    }

    fn snapshot(&self, start_ns: i64, captured: &[Captured], stored_bytes: u64) -> Snapshot {
        let options = self.options;
        Snapshot {
            time_ns: options.time_ns.unwrap_or(start_ns),
            end_ns: (self.clock)(),
            zone: options.zone.clone(),
            host: options.session.host.clone(),
            user: options.user.clone(),
            program: options.session.program.clone(),
            writer: options.session.writer,
            counter: options.history.counter,
            previous: options.history.previous.clone(),
            description: options.description.clone(),
            label: options.label.clone(),
            tags: options.tags.clone(),
            set: options.set.clone(),
            sources: captured
                .iter()
                .map(|capture| capture.source.clone())
                .collect(),
            stored_bytes,
            original: None,
        }
    }

    fn commit(&self, snapshot: &Snapshot) -> Result<WriterHistory> {
        self.cancel.check()?;
        commit(self.repo, self.session, snapshot)
    }
}

/// A source that was opened, or why it could not be, and when: nanoseconds since 1970, UTC.
type OpenedAt<'s> = (Result<Box<dyn Opened + 's>, SourceError>, i64);

/// All captures, or what says most about why there are none.
fn settle(results: Vec<Result<Captured>>) -> Result<Vec<Captured>> {
    // A source's own failure says more than that the others were stopped by it.
    let mut first = None;
    let mut captured = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(capture) => captured.push(capture),
            Err(Error::Cancelled) => drop(first.get_or_insert(Error::Cancelled)),
            Err(error) if matches!(first, None | Some(Error::Cancelled)) => first = Some(error),
            Err(_) => {}
        }
    }
    match first {
        Some(error) => Err(error),
        // Nothing is left to commit.
        None if captured.iter().all(|capture| capture.error.is_some()) => Err(captured
            .into_iter()
            .find_map(|capture| capture.error)
            .unwrap_or(Error::Cancelled)),
        None => Ok(captured),
    }
}

/// Makes a session a snapshot: one put-if-absent, and a look at the settled lists.
pub(crate) fn commit(
    repo: &Repo,
    session: SessionId,
    snapshot: &Snapshot,
) -> Result<WriterHistory> {
    let bytes = repo.seal_end(session, &End::Committed(snapshot.clone()));
    if !repo.put_end(session, &bytes)? || repo.settled()?.aborted.contains(&session) {
        return Err(Error::Fenced { session });
    }
    Ok(WriterHistory {
        counter: snapshot.counter + 1,
        previous: Some(blake3::hash(&bytes).to_hex().to_string()),
        last: Some(session),
    })
}

/// The writer's steps 2 and 3: tombstones first, packs that exist second, then the index.
pub(crate) fn load_for_writing(repo: &Repo) -> Result<Store> {
    let condemned: BTreeSet<String> = repo
        .tombstones()?
        .into_values()
        .flat_map(|tombstone| tombstone.packs)
        .collect();
    Store::load(repo, &Usable::Except(condemned), true)
}

/// For each source its newest good capture: of this host if there is one, else of any.
fn parents(
    sources: &[SourceRun<'_>],
    snapshots: &[Listed],
    host: &str,
) -> Vec<Option<SourceParent>> {
    let of = |run: &SourceRun<'_>, same_host: bool| {
        snapshots
            .iter()
            .rev()
            .filter(|listed| !same_host || listed.snapshot.host == host)
            .find_map(|listed| {
                let source = listed.snapshot.source(&run.name)?;
                (source.kind == run.source.kind()).then_some(())?;
                Some(SourceParent {
                    snapshot: listed.id,
                    root: source.root?,
                    details: source.details,
                    time_ns: listed.snapshot.time_ns,
                    counts: source.counts,
                })
            })
    };
    sources
        .iter()
        .map(|run| of(run, true).or_else(|| of(run, false)))
        .collect()
}

fn is_unchanged(capture: &Captured) -> bool {
    capture
        .parent
        .as_ref()
        .is_some_and(|parent| Some(parent.root) == capture.source.root)
}

/// The whole chain of an error in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        below = cause.source();
    }
    text
}

/// A fresh writer identity.
pub fn new_writer_id() -> WriterId {
    WriterId(random())
}
