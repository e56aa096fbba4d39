//! One session's writes: boxes are sealed by workers, gathered into packs, put by uploaders, named by an index segment.
//!
//! Bounded in bytes: a few segments wait for a worker, a few packs for an uploader; whoever makes more waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::backend::{BackendErrorKind, ObjectKey, PackClass};
use crate::crypto::{BoxHeader, BoxKind, SessionKey, random, seal_box};
use crate::error::{Error, Result};
use crate::id::{ChunkId, ObjectId, SessionId};
use crate::index::{self, IndexedPack};
use crate::pack::{FinishedPack, PackWriter};
use crate::repo::{Repo, is_unanswered, lock};
use crate::segment::SegmentId;

/// Bytes of packs after which what was put so far is named by an index segment, so that an interrupted run has not worked
/// in vain.
const CHECKPOINT_BYTES: u64 = 512 * 1024 * 1024;
/// Tries of one pack, each under a new name.
const PUT_TRIES: u32 = 5;

/// Writes of one session.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    workers: Vec<JoinHandle<()>>,
    uploaders: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    repo: Repo,
    key: SessionKey,
    counter: AtomicU64,
    data: Mutex<PackWriter>,
    meta: Mutex<PackWriter>,
    uploads: Mutex<Option<Sender<FinishedPack>>>,
    put: Mutex<Put>,
    failure: Mutex<Option<Error>>,
    stop: AtomicBool,
    discard: bool,
}

/// Packs whose PUT was answered.
#[derive(Debug, Default)]
struct Put {
    packs: Vec<IndexedPack>,
    bytes_since_index: u64,
    stored_bytes: u64,
}

/// Plaintext to be sealed.
#[derive(Debug)]
struct Job {
    kind: BoxKind,
    counter: u64,
    level: i32,
    raw: Vec<u8>,
    chunks: Vec<ChunkId>,
    stored: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the workers of a session. `parallel`: how many workers; `uploads`: packs put at once.
    /// `discard`: everything is done but the putting, for a dry run.
    pub fn start(
        repo: &Repo,
        session: SessionId,
        parallel: usize,
        uploads: usize,
        discard: bool,
    ) -> Self {
        let key = SessionKey::generate(repo.root(), repo.id(), session);
        let (upload_sender, upload_receiver) = bounded::<FinishedPack>(0);
        let shared = Arc::new(Shared {
            repo: repo.clone(),
            counter: AtomicU64::new(1),
            data: Mutex::new(PackWriter::new(PackClass::Data, &key)),
            meta: Mutex::new(PackWriter::new(PackClass::Meta, &key)),
            key,
            uploads: Mutex::new(Some(upload_sender)),
            put: Mutex::default(),
            failure: Mutex::default(),
            stop: AtomicBool::new(false),
            discard,
        });
        let (sender, receiver) = bounded::<Job>(parallel.max(1));
        let workers = (0..parallel.max(1)).map(|_| {
            let (shared, receiver) = (Arc::clone(&shared), receiver.clone());
            std::thread::spawn(move || seal_jobs(&shared, &receiver))
        });
        let uploaders = (0..uploads.max(1)).map(|_| {
            let (shared, receiver) = (Arc::clone(&shared), upload_receiver.clone());
            std::thread::spawn(move || upload_packs(&shared, &receiver))
        });
        let (workers, uploaders) = (workers.collect(), uploaders.collect());
        Self {
            shared,
            jobs: Some(sender),
            workers,
            uploaders,
        }
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.shared.key.session()
    }

    /// Names the next segment.
    pub fn next_segment(&self) -> SegmentId {
        SegmentId {
            session: self.session(),
            counter: self.shared.next_counter(),
        }
    }

    /// Hands plaintext over to be sealed under the counter of its segment. Waits while the workers are busy.
    /// `stored` is raised by the bytes that it takes in the pack.
    pub fn seal_segment(
        &self,
        kind: BoxKind,
        segment: SegmentId,
        level: i32,
        raw: Vec<u8>,
        stored: &Arc<AtomicU64>,
    ) -> Result<()> {
        let stored = Arc::clone(stored);
        self.send(Job {
            kind,
            counter: segment.counter,
            level,
            raw,
            chunks: vec![],
            stored,
        })
    }

    /// Hands an encoded block of records over to be sealed.
    pub fn seal_records(
        &self,
        raw: Vec<u8>,
        chunks: Vec<ChunkId>,
        stored: &Arc<AtomicU64>,
    ) -> Result<()> {
        let (kind, level) = (BoxKind::Records, crate::compress::LEVEL_META);
        let (counter, stored) = (self.shared.next_counter(), Arc::clone(stored));
        self.send(Job {
            kind,
            counter,
            level,
            raw,
            chunks,
            stored,
        })
    }

    /// Puts a box that is sealed already into a pack of this session: prune moves segments without opening them.
    pub fn move_box(&self, header: BoxHeader, stored: Vec<u8>, wrapped: &[u8; 48]) -> Result<()> {
        self.shared.check()?;
        self.shared.add(header, stored, wrapped, vec![]);
        self.shared.check()
    }

    fn send(&self, job: Job) -> Result<()> {
        self.shared.check()?;
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        if sent {
            self.shared.check()
        } else {
            Err(self.shared.take_failure())
        }
    }

    /// Puts what is left and names it in an index segment. Answers the bytes stored, all packs and index segments together.
    pub fn finish(mut self) -> Result<u64> {
        self.stop_workers();
        self.shared.flush();
        self.stop_uploaders();
        self.shared.check()?;
        self.shared.write_index()?;
        Ok(lock(&self.shared.put).stored_bytes)
    }

    fn stop_workers(&mut self) {
        self.jobs = None;
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                self.shared.fail(Error::Refused {
                    what: "a sealing thread died".into(),
                });
            }
        }
    }

    fn stop_uploaders(&mut self) {
        *lock(&self.shared.uploads) = None;
        for uploader in self.uploaders.drain(..) {
            if uploader.join().is_err() {
                self.shared.fail(Error::Refused {
                    what: "an uploading thread died".into(),
                });
            }
        }
    }
}

impl Drop for Writer {
    /// A writer that is dropped unfinished stops its threads; nothing names what it had put.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.stop_workers();
        self.stop_uploaders();
    }
}

impl Shared {
    fn next_counter(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            Err(self.take_failure())
        } else {
            Ok(())
        }
    }

    /// The first failure once; afterwards only that it was stopped.
    fn take_failure(&self) -> Error {
        lock(&self.failure).take().unwrap_or(Error::Cancelled)
    }

    fn add(&self, header: BoxHeader, stored: Vec<u8>, wrapped: &[u8; 48], chunks: Vec<ChunkId>) {
        let (class, pack) = match header.kind {
            BoxKind::Data => (PackClass::Data, &self.data),
            _ => (PackClass::Meta, &self.meta),
        };
        let mut writer = lock(pack);
        writer.add(header, stored, wrapped, chunks);
        let full = writer.is_full();
        let full = full.then(|| std::mem::replace(&mut *writer, PackWriter::new(class, &self.key)));
        drop(writer);
        if let Some(full) = full {
            self.upload(full);
        }
    }

    fn flush(&self) {
        for (class, pack) in [(PackClass::Data, &self.data), (PackClass::Meta, &self.meta)] {
            let rest = std::mem::replace(&mut *lock(pack), PackWriter::new(class, &self.key));
            if !rest.is_empty() {
                self.upload(rest);
            }
        }
    }

    fn upload(&self, pack: PackWriter) {
        let finished = pack.finish(&self.key, self.repo.id(), self.next_counter());
        let sender = lock(&self.uploads).clone();
        if let Some(sender) = sender
            && sender.send(finished).is_err()
        {
            tracing::debug!("the run was stopped; its failure is kept already");
        }
    }

    fn put(&self, mut pack: FinishedPack) -> Result<()> {
        if !self.discard {
            self.put_bytes(&mut pack)?;
        }
        let FinishedPack {
            name,
            size_bytes,
            keys,
            footer,
            pieces,
        } = pack;
        drop(pieces);
        let mut put = lock(&self.put);
        put.packs.push(IndexedPack {
            name,
            size_bytes,
            keys,
            footer,
        });
        put.bytes_since_index += size_bytes;
        put.stored_bytes += size_bytes;
        let checkpoint = put.bytes_since_index >= CHECKPOINT_BYTES;
        drop(put);
        if checkpoint {
            self.write_index()
        } else {
            Ok(())
        }
    }

    fn put_bytes(&self, pack: &mut FinishedPack) -> Result<()> {
        let mut tries = 0;
        loop {
            let key = ObjectKey::pack(pack.name);
            let pieces: Vec<&[u8]> = pack.pieces.iter().map(Vec::as_slice).collect();
            match self.repo.backend().put_new(&key, &pieces) {
                Ok(()) => return Ok(()),
                Err(error) if tries + 1 < PUT_TRIES && may_try_again(&error) => {
                    // The first PUT may still be applied: its name must never be relied on, nor used again.
                    tries += 1;
                    pack.name.random = ObjectId(random());
                    std::thread::park_timeout(Duration::from_millis(200 << tries));
                }
                Err(error) => return Err(Error::backend("write", &key)(error)),
            }
            self.check()?;
        }
    }

    /// Names every pack whose PUT was answered and that no index segment of this session names yet.
    fn write_index(&self) -> Result<()> {
        let packs = {
            let mut put = lock(&self.put);
            put.bytes_since_index = 0;
            std::mem::take(&mut put.packs)
        };
        if packs.is_empty() || self.discard {
            return Ok(());
        }
        let bytes = index::format::seal(&self.key, self.repo.id(), self.next_counter(), &packs);
        let mut tries = 0;
        loop {
            let key = ObjectKey::index(ObjectId(random()));
            match self.repo.backend().put_new(&key, &[&bytes]) {
                Ok(()) => break,
                Err(error) if tries + 1 < PUT_TRIES && may_try_again(&error) => {
                    tries += 1;
                    std::thread::park_timeout(Duration::from_millis(200 << tries));
                }
                Err(error) => return Err(Error::backend("write", &key)(error)),
            }
        }
        lock(&self.put).stored_bytes += bytes.len() as u64;
        Ok(())
    }
}

fn may_try_again(error: &crate::backend::BackendError) -> bool {
    is_unanswered(error) || error.kind() == BackendErrorKind::AlreadyExists
}

fn seal_jobs(shared: &Shared, jobs: &Receiver<Job>) {
    for job in jobs {
        if shared.stop.load(Ordering::Relaxed) {
            continue;
        }
        let Job {
            kind,
            counter,
            level,
            raw,
            chunks,
            stored,
        } = job;
        let (header, bytes) = seal_box(&shared.key, shared.repo.id(), kind, counter, level, &raw);
        drop(raw);
        stored.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        shared.add(header, bytes, shared.key.wrapped(), chunks);
    }
}

fn upload_packs(shared: &Shared, packs: &Receiver<FinishedPack>) {
    for pack in packs {
        if shared.stop.load(Ordering::Relaxed) {
            continue;
        }
        if let Err(error) = shared.put(pack) {
            shared.fail(error);
        }
    }
}
