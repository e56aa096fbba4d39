//! From an address and a secret to an opened repository, and what this machine remembers of it.

use std::fs::File;
use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::address::RepositoryAddress;
use keepstone_engine::backend::credentials::Credentials;
use keepstone_engine::backend::foreign::{self, Occupant};
use keepstone_engine::backend::{self, Backend, BackendErrorKind, ByteRange, ObjectKey};
use keepstone_engine::backup::WriterHistory;
use keepstone_engine::crypto::{KdfParameters, Secret, SlotInfo};
use keepstone_engine::id::WriterId;
use keepstone_engine::repo::{self, InitOptions, Repo};
use keepstone_engine::session::SessionRecord;
use keepstone_engine::snapshot::select::{Filter, Listed};

use crate::args::FilterArgs;
use crate::cache::CacheUse;
use crate::context::{Context, UnlockWith};
use crate::error::CliError;
use crate::state::PrivateFolder;
use crate::ui::Ui;
use crate::ui::format::printable;

/// What this program calls itself in records.
pub(crate) const PROGRAM: &str = concat!("keepstone ", env!("CARGO_PKG_VERSION"));

impl UnlockWith {
    /// The secret and how a new slot would stretch it.
    pub(crate) fn into_parts(self) -> (Secret, KdfParameters) {
        let (secret, kdf) = match self {
            Self::Password(secret) => (secret, KdfParameters::PASSWORD),
            Self::Key(secret) => (secret, KdfParameters::Raw),
        };
        (secret, kdf)
    }
}

impl Context {
    fn address(&self) -> Result<RepositoryAddress, CliError> {
        Ok(self.settings.repository()?.parse()?)
    }

    fn credentials(&self) -> Credentials {
        Credentials::from_lookup(&|name| self.environment.text(name).ok().flatten())
    }

    /// Makes a repository where there is nothing yet.
    pub(crate) fn init_repo(&self, label: &str) -> Result<Repo, CliError> {
        let (address, credentials) = (self.address()?, self.credentials());
        let failed = |act, source| -> CliError {
            Error::Backend {
                act,
                object: address.to_string(),
                source,
            }
            .into()
        };
        let survey = foreign::survey(&address, &credentials);
        match survey.map_err(|error| failed("look at", error))? {
            Occupant::Nothing => {}
            Occupant::Keepstone => return Err(Self::occupied(&address, "a repository")),
            Occupant::Foreign(program) => {
                let (address, program) = (address.to_string(), program.to_string());
                return Err(Error::ForeignRepository { address, program }.into());
            }
            Occupant::Unknown(name) => return Err(Self::occupied(&address, &name)),
        }
        let (secret, kdf) = self.unlock_new()?.into_parts();
        // Before there is a folder.
        refuse_weak_key(&secret, kdf)?;
        let backend = backend::create_backend(&address, &credentials)
            .map_err(|error| failed("make", error))?;
        if backend.must_be_probed() {
            self.probe(backend.as_ref())?;
        }
        let info = self.slot_info(label);
        let repo = repo::init(backend, InitOptions { secret, kdf, info })?;
        self.pin_anew(&repo);
        Ok(repo)
    }

    fn occupied(address: &RepositoryAddress, what: &str) -> CliError {
        Error::Occupied {
            address: address.to_string(),
            what: what.into(),
        }
        .into()
    }

    /// A store that accepts the same name twice cannot hold a repository of several writers.
    fn probe(&self, backend: &dyn Backend) -> Result<(), CliError> {
        use keepstone_engine::backend::probe::{PutIfAbsent, put_if_absent};
        let mut name = || keepstone_engine::id::SessionId::from_bytes(random());
        let found = put_if_absent(backend, &mut name).map_err(|source| Error::Backend {
            act: "probe",
            object: backend.address(),
            source,
        })?;
        match found {
            PutIfAbsent::Refused => {
                self.ui.status(
                    "the store refuses to write a name twice: several hosts may back up at once",
                );
                Ok(())
            }
            other => Err(Error::Refused {
                what: format!(
                    "the store at {} cannot hold a repository: {other:?}",
                    backend.address()
                ),
            }
            .into()),
        }
    }

    /// What is said of a key slot.
    pub(crate) fn slot_info(&self, label: &str) -> SlotInfo {
        let host = if label.is_empty() {
            self.host()
        } else {
            label.into()
        };
        SlotInfo {
            created_ns: self.clock.now_ns(),
            host,
            user: self.user(),
        }
    }

    /// Opens the repository with what the settings say.
    pub(crate) fn open_repo(&self) -> Result<Repo, CliError> {
        self.open_repo_with(CacheUse::Kept)
    }

    /// Opens the repository, with what the verb wants of the cache.
    pub(crate) fn open_repo_with(&self, cache: CacheUse) -> Result<Repo, CliError> {
        self.open_repo_and_secret(cache).map(|(repo, _)| repo)
    }

    /// Opens the repository, and hands back what opened it: whoever asked again could be told something else.
    pub(crate) fn open_repo_and_secret(&self, cache: CacheUse) -> Result<(Repo, Secret), CliError> {
        let backend = self.open_backend()?;
        // Before the password is asked for: there may be nothing to open.
        let config = repo::config_of(backend.as_ref())?;
        let (secret, _) = self.unlock()?.into_parts();
        let backend = self.cached(backend, config.id, cache)?;
        let repo = repo::open(backend, &secret)?;
        self.check_pin(&repo)?;
        Ok((repo, secret))
    }

    fn open_backend(&self) -> Result<Arc<dyn Backend>, CliError> {
        let (address, credentials) = (self.address()?, self.credentials());
        let opened = backend::open_backend(&address, &credentials);
        let backend = match opened {
            Ok(backend) => backend,
            Err(error) if error.kind() == BackendErrorKind::NotFound => {
                return Err(Error::NoRepository {
                    address: address.to_string(),
                }
                .into());
            }
            Err(source) => {
                let object = address.to_string();
                return Err(Error::Backend {
                    act: "open",
                    object,
                    source,
                }
                .into());
            }
        };
        // Others call a file `config` too.
        let config = repo::config_of(backend.as_ref());
        if let Err(Error::NoRepository { .. } | Error::Corrupt { .. }) = config
            && let Ok(Occupant::Foreign(program)) = foreign::survey(&address, &credentials)
        {
            let (address, program) = (address.to_string(), program.to_string());
            return Err(Error::ForeignRepository { address, program }.into());
        }
        Ok(backend)
    }

    /// The folder of what is remembered of one repository.
    pub(crate) fn repo_state(&self, repo: &Repo) -> Result<PrivateFolder, CliError> {
        self.state()?
            .folder("repositories")?
            .folder(&repo.id().to_string())
    }

    /// The writer that this state folder stands for.
    pub(crate) fn writer_id(&self) -> Result<WriterId, CliError> {
        self.state()?.writer_id()
    }

    /// Who writes: for the session record.
    pub(crate) fn session_record(&self, host: &str) -> Result<SessionRecord, CliError> {
        Ok(SessionRecord {
            host: host.into(),
            boot: boot_id(),
            pid: std::process::id(),
            process_start: process_start(std::process::id()).unwrap_or(0),
            pid_namespace: pid_namespace(),
            writer: self.state()?.writer_id()?,
            start_ns: self.clock.now_ns(),
            program: PROGRAM.into(),
        })
    }

    /// The user that runs this.
    pub(crate) fn user(&self) -> String {
        ["USER", "LOGNAME"]
            .into_iter()
            .find_map(|name| self.environment.text(name).ok().flatten())
            .unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string())
    }
}

/// One writer's memory of one repository, locked against a second run.
pub(crate) struct WriterState {
    folder: PrivateFolder,
    _lock: File,
}

impl WriterState {
    /// Takes the lock; a second run of the same writer would tell the same history twice.
    pub(crate) fn lock(folder: PrivateFolder) -> Result<Self, CliError> {
        let path = folder.path().join("lock");
        let failed = |source| CliError::File {
            act: "lock",
            path: path.clone(),
            source,
        };
        let lock = File::create(&path).map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(
            |_| CliError::Busy("another backup from this machine writes to the repository".into()),
        )?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// What this writer committed before: as remembered, or as listed, where the memory lags behind because the state folder
    /// was full or the run was killed after its commit.
    pub(crate) fn history<'a>(
        &self,
        repo: &Repo,
        writer: WriterId,
        listed: impl Iterator<Item = &'a Listed>,
    ) -> Result<WriterHistory, CliError> {
        let remembered = self.remembered()?;
        let ours = listed.filter(|listed| listed.snapshot.writer == writer);
        let newest = ours.max_by_key(|listed| listed.snapshot.counter);
        let Some(newest) = newest.filter(|l| l.snapshot.counter >= remembered.counter) else {
            return Ok(remembered);
        };
        let key = ObjectKey::end(newest.id);
        let end = repo.backend().get(&key, ByteRange::All);
        let end = end.map_err(|source| Error::Backend {
            act: "read",
            object: key.to_string(),
            source,
        })?;
        Ok(WriterHistory {
            counter: newest.snapshot.counter.saturating_add(1),
            previous: Some(blake3::hash(&end).to_hex().to_string()),
            last: Some(newest.id),
        })
    }

    fn remembered(&self) -> Result<WriterHistory, CliError> {
        let path = self.folder.path().join("history");
        match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| CliError::File {
                act: "read",
                path,
                source: error.into(),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(WriterHistory::default())
            }
            Err(source) => Err(CliError::File {
                act: "read",
                path,
                source,
            }),
        }
    }

    /// Remembers what was committed. That it cannot is no failure of what was committed: the next run finds it listed.
    pub(crate) fn remember_or_warn(&self, history: &WriterHistory, ui: &Ui) {
        if let Err(error) = self.remember(history) {
            ui.warning(&printable(&format!(
                "the snapshot is saved, but this machine cannot remember it: {}",
                error.message()
            )));
        }
    }

    /// Remembers what was committed.
    fn remember(&self, history: &WriterHistory) -> Result<(), CliError> {
        let json = serde_json::to_vec(history).unwrap_or_default();
        self.folder
            .replace("history", &json)
            .map_err(|source| CliError::File {
                act: "write",
                path: self.folder.path().join("history"),
                source,
            })
    }
}

/// Refuses a raw key that can be guessed, for a new slot.
pub(crate) fn refuse_weak_key(secret: &Secret, kdf: KdfParameters) -> Result<(), CliError> {
    let refused = repo::keys::refuse_weak(secret, kdf);
    refused.map_err(|error| {
        CliError::from(error)
            .hint("Name a file of 32 random bytes, or to key add and key passwd one that does not exist: a good key is made in it.")
    })
}

/// The engine's filter for what was typed.
pub(crate) fn filter_of(args: &FilterArgs) -> Filter {
    Filter {
        hosts: args.host.clone(),
        tags: args
            .tag
            .iter()
            .map(|list| list.0.iter().cloned().collect())
            .collect(),
        sources: args.source.iter().map(ToString::to_string).collect(),
    }
}

/// Name of this boot; empty where the system does not tell.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().into()
}

/// Start time of a process in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
pub(crate) fn process_start(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold anything; the fields behind it count from its last parenthesis.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// Whether the process that began then lives. One that hides from us does.
pub(crate) fn process_alive(pid: u32, start: u64) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    if let Some(found) = process_start(pid) {
        return found == start;
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Names the namespace in which this process has its number; empty where the system does not say.
pub(crate) fn pid_namespace() -> String {
    let name = std::fs::read_link("/proc/self/ns/pid");
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Threads for work that is worth all of them.
pub(crate) fn parallel() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Names only have to be different here; without randomness nothing else works either.
    let _unlikely = getrandom::fill(&mut bytes);
    bytes
}
