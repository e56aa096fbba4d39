//! Capture: folders and files as items, in the order of their paths.
//!
//! One thread walks, a few gather facts and read small files ahead, and the thread of the caller emits. Each
//! batch has a place in a queue before it is gathered, so that the order never depends on who is quick.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Attributes, CaptureReport, CollectionFacts, Meta, NodeKind, OpenFacts, Opened, Profile, Sink,
    Skipped, SourceError, SourceErrorKind, StreamFacts, StreamSpec,
};

use super::client::{self, Accounts, FileKind, Folder, Powers, Stat};
use super::excludes::Rules;
use super::fitting::fit;
use super::gather::{Ahead, Found, FoundFile, Gatherer, length_to_read};
use super::walk::{Batch, Stop, Walk, lost};

/// Batches on their way between the walk and the one who emits.
const BATCHES: usize = 16;
/// Piece in which large files are read.
const PIECE_BYTES: usize = 1024 * 1024;
/// Most problems that a report names one by one.
const SKIPPED_MAX: usize = 10_000;
/// What a hole reads as.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// A capture whose roots were found.
#[derive(Debug)]
pub(super) struct FilesOpened {
    pub roots: Vec<RepoPath>,
    /// Roots that lie in those.
    pub inner: Vec<RepoPath>,
    pub rules: Rules,
    pub facts: OpenFacts,
    pub warnings: Vec<String>,
    pub base: Arc<Folder>,
    pub threads: usize,
}

type Answer = Receiver<Vec<Found>>;
type Work = (Batch, Sender<Vec<Found>>);

/// Where the walk puts batches: for those who gather, and the place of each answer for the one who emits.
struct Queue {
    work: Sender<Work>,
    line: Sender<Answer>,
}

impl Opened for FilesOpened {
    fn facts(&self) -> OpenFacts {
        self.facts.clone()
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        let accounts = Accounts::of_this_machine();
        let powers = Powers::of_this_process();
        let roots: [&[RepoPath]; 2] = [&self.roots, &self.inner];
        let gatherer = Gatherer::new(&accounts, &powers, self.rules.larger_than_bytes, roots);
        let emitter = Emitter::new(self, sink, &gatherer, &powers);
        let (work, batches) = bounded::<Work>(BATCHES);
        let (line, answers) = bounded::<Answer>(BATCHES);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                let batches = batches.clone();
                let gatherer = &gatherer;
                scope.spawn(move || gather(&batches, gatherer));
            }
            drop(batches);
            let this = &*self;
            let powers = &powers;
            let walk = scope.spawn(move || this.walk(powers, &Queue { work, line }));
            // Both ends of the queue go with the emitter, so that all threads end when it fails.
            let emitted = emitter.run(answers);
            match walk.join() {
                Ok(walked) => emitted.and_then(|report| walked.map(|()| report)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

impl FilesOpened {
    fn walk(&self, powers: &Powers, queue: &Queue) -> Result<(), SourceError> {
        let mut send = |batch| {
            let (reply, answer) = bounded(1);
            queue.line.send(answer).map_err(|_| Stop::Closed)?;
            queue.work.send((batch, reply)).map_err(|_| Stop::Closed)
        };
        let base = Arc::clone(&self.base);
        let walk = Walk::new((&self.rules, powers), base, &self.inner, &mut send);
        match walk.run(&self.roots) {
            Ok(()) | Err(Stop::Closed) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

fn gather(batches: &Receiver<Work>, gatherer: &Gatherer<'_>) {
    for (batch, reply) in batches {
        if reply.send(gatherer.gather(batch)).is_err() {
            return; // The one who emits has failed and left.
        }
    }
}

/// The thread that emits.
struct Emitter<'a> {
    sink: &'a mut dyn Sink,
    gatherer: &'a Gatherer<'a>,
    powers: &'a Powers,
    report: CaptureReport,
    roots: &'a [RepoPath],
    first_names: FirstNames,
    piece: Vec<u8>,
}

impl<'a> Emitter<'a> {
    fn new(
        opened: &'a FilesOpened,
        sink: &'a mut dyn Sink,
        gatherer: &'a Gatherer<'a>,
        powers: &'a Powers,
    ) -> Self {
        let collections = opened.roots.iter().map(|root| CollectionFacts {
            name: format!("/{root}"),
            records: 0,
            bytes: 0,
            digest: None,
        });
        Self {
            sink,
            gatherer,
            powers,
            report: CaptureReport {
                collections: collections.collect(),
                warnings: opened.warnings.clone(),
                ..CaptureReport::default()
            },
            roots: &opened.roots,
            first_names: FirstNames::default(),
            piece: Vec::new(),
        }
    }

    fn run(mut self, answers: Receiver<Answer>) -> Result<CaptureReport, SourceError> {
        for answer in answers {
            let found = answer.recv().map_err(|_| {
                SourceError::new(SourceErrorKind::Other, "cannot read files: a reader died")
            })?;
            for found in found {
                self.emit(found)?;
            }
            self.check_cancelled()?;
        }
        Ok(self.report)
    }

    fn check_cancelled(&self) -> Result<(), SourceError> {
        if self.sink.cancelled() {
            return Err(SourceError::new(
                SourceErrorKind::Cancelled,
                "reading files was interrupted",
            ));
        }
        Ok(())
    }

    fn emit(&mut self, found: Found) -> Result<(), SourceError> {
        match found {
            Found::Entry(path, kind, meta, attributes) => {
                self.count(&path, 0);
                let meta = self.fitting(&path, meta);
                self.sink.entry(&path, kind, meta, attributes)
            }
            Found::File(file) => self.emit_file(file),
            Found::Lost(path, reason) => {
                self.skip(&path, reason);
                Ok(())
            }
        }
    }

    fn emit_file(&mut self, file: FoundFile) -> Result<(), SourceError> {
        let FoundFile {
            path,
            meta,
            stat,
            content,
        } = file;
        let meta = self.fitting(&path, meta);
        if let Some(first) = self.first_names.of(&stat) {
            let kind = NodeKind::HardLink(first.clone());
            self.count(&path, 0);
            return self.sink.entry(&path, kind, meta, Attributes::new());
        }
        let reused = self.sink.reuse(&path, &meta)?;
        self.gatherer.read_ahead(!reused);
        let spec = StreamSpec {
            path: path.clone(),
            profile: Profile::Bytes,
            meta,
            size_hint_bytes: Some(stat.size_bytes),
        };
        let kept = match content {
            Ahead::Read(bytes, changed) => {
                if !reused {
                    self.emit_content(spec, &bytes, changed)?;
                }
                self.gatherer.make_room(&stat);
                true
            }
            Ahead::Unread(_) if reused => true,
            Ahead::Unread(folder) => self.emit_large(spec, &folder, &stat)?,
        };
        if kept {
            self.count(&path, stat.size_bytes);
            self.first_names.keep(stat, path);
        }
        Ok(())
    }

    fn emit_content(
        &mut self,
        spec: StreamSpec,
        bytes: &[u8],
        changed: bool,
    ) -> Result<(), SourceError> {
        let path = spec.path.clone();
        self.sink.begin(spec)?;
        if !bytes.is_empty() {
            self.sink.write(bytes)?;
        }
        self.end(&path, changed)
    }

    /// Reads a file piece by piece. Answers whether it was kept.
    fn emit_large(
        &mut self,
        spec: StreamSpec,
        folder: &Folder,
        stat: &Stat,
    ) -> Result<bool, SourceError> {
        let path = spec.path.clone();
        let name = path.name().unwrap_or_default();
        let file = match folder.open_file(name, stat, self.powers) {
            Ok(file) => file,
            Err(error) => {
                self.skip(&path, lost(&error));
                return Ok(false);
            }
        };
        file.will_read_all();
        let sparse = spec.meta.sparse;
        self.sink.begin(spec)?;
        let read = if sparse {
            self.emit_sparse(&file, length_to_read(stat))
        } else {
            self.emit_run(&file, length_to_read(stat))
        };
        let after = match read {
            Ok(()) => file.stat(),
            Err(Failure::Sink(error)) => return Err(error),
            Err(Failure::File(error)) => Err(error),
        };
        match after {
            Ok(after) if after.kind == FileKind::File => {
                self.end(&path, !stat.same_content(&after))?;
                Ok(true)
            }
            after => {
                let reason = after.map_or_else(|error| lost(&error), |_| CHANGED.into());
                self.skip(&path, reason);
                self.sink.abandon()?;
                Ok(false)
            }
        }
    }

    fn emit_run(&mut self, file: &client::File, length: u64) -> Result<(), Failure> {
        let mut left = length;
        self.piece.clear();
        self.piece.reserve_exact(PIECE_BYTES);
        while left > 0 {
            self.piece.clear();
            if file.read_more(&mut self.piece)? == 0 {
                return Ok(()); // Shorter than it was: the stamps will say so.
            }
            self.piece
                .truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left = left.saturating_sub(self.piece.len() as u64);
            self.sink.write(&self.piece)?;
            self.check_cancelled()?;
        }
        Ok(())
    }

    fn emit_sparse(&mut self, file: &client::File, length: u64) -> Result<(), Failure> {
        let mut at = 0;
        while at < length {
            let (start, end) = file.next_data(at)?.unwrap_or((length, length));
            self.emit_zeros(start.min(length) - at)?;
            if start < length {
                self.emit_run(file, end.min(length) - start)?;
            }
            at = end;
        }
        Ok(())
    }

    fn emit_zeros(&mut self, length: u64) -> Result<(), Failure> {
        let mut left = length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..wanted).unwrap_or(&ZEROS);
            self.sink.write(zeros)?;
            left -= zeros.len() as u64;
            self.check_cancelled()?;
        }
        Ok(())
    }

    fn end(&mut self, path: &RepoPath, changed: bool) -> Result<(), SourceError> {
        if changed {
            self.skip(path, CHANGED.into());
        }
        self.sink.finish(StreamFacts::default())
    }

    /// Without extended attributes that are too many to be kept.
    fn fitting(&mut self, path: &RepoPath, mut meta: Meta) -> Meta {
        if let Some(reason) = fit(&mut meta) {
            self.skip(path, reason.into());
        }
        meta
    }

    fn skip(&mut self, path: &RepoPath, reason: String) {
        if self.report.skipped.len() == SKIPPED_MAX {
            self.report.unnamed += 1;
            return;
        }
        let path = format!("/{path}");
        self.report.skipped.push(Skipped { path, reason });
    }

    fn count(&mut self, path: &RepoPath, bytes: u64) {
        let root = self.roots.iter().position(|root| path.starts_with(root));
        if let Some(facts) = root.and_then(|root| self.report.collections.get_mut(root)) {
            facts.records += 1;
            facts.bytes += bytes;
        }
    }
}

/// First names of files that have several, by file system and inode, with the facts that the file had then.
#[derive(Debug, Default)]
struct FirstNames(HashMap<(u64, u64), (RepoPath, Stat)>);

impl FirstNames {
    /// The name under which the same file was kept. An inode that became free may by now be another file's, or its
    /// content another: that one gets its own first name.
    fn of(&self, stat: &Stat) -> Option<&RepoPath> {
        let (path, seen) = self.0.get(&(stat.device, stat.inode))?;
        (stat.links > 1 && seen.same_content(stat)).then_some(path)
    }

    fn keep(&mut self, stat: Stat, path: RepoPath) {
        if stat.links > 1 {
            self.0.insert((stat.device, stat.inode), (path, stat));
        }
    }
}

const CHANGED: &str = "changed while being read";

/// A sink that fails ends the capture; a file that fails is named and left out.
enum Failure {
    Sink(SourceError),
    File(io::Error),
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Sink(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_that_is_used_again_is_another_file() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a"), "content").unwrap();
        std::fs::hard_link(place.path().join("a"), place.path().join("b")).unwrap();
        let folder = Folder::open_trusted(place.path()).unwrap();
        let stat = folder.stat(b"a").unwrap();
        let path = |text| RepoPath::parse(text).unwrap();
        let mut names = FirstNames::default();
        names.keep(stat, path("a"));
        assert_eq!(names.of(&folder.stat(b"b").unwrap()), Some(&path("a")));

        let mut other = stat;
        other.ctime_ns += 1;
        assert_eq!(names.of(&other), None);
        names.keep(other, path("c"));
        assert_eq!(names.of(&other), Some(&path("c")));
        other.links = 1;
        assert_eq!(names.of(&other), None);
    }
}
