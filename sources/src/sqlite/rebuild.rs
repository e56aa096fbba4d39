//! A database rebuilt beside the live one, and its export.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CollectionFacts, Export, ExportSink, ItemInfo, Items, NodeKind, Phase, RestorePlan,
    SourceError, SourceErrorKind, Target, Validation,
};
use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, Gid, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::capture::{Tables, read_tables};
use super::client::{Checked, Client};
use super::header::{HEADER_BYTES, Header};
use super::image::read_header;
use super::lock::{self, FileId};
use super::switch::{Files, StepHook, Steps, Switch};
use super::{BUSY_TIMEOUT, KIND, beside, facts, io_failure};

/// Mode of a new file whose mode was not recorded, and of every file while it is being written.
const PRIVATE_MODE: u32 = 0o600;

/// How a database is put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteTargetOptions {
    /// Overwrites the content in place, in one transaction of SQLite, where other processes have the database open;
    /// and replaces a file that is no database.
    pub force: bool,
    /// How long a lock is waited for.
    pub busy_timeout: Duration,
}

impl Default for SqliteTargetOptions {
    fn default() -> Self {
        Self {
            force: false,
            busy_timeout: BUSY_TIMEOUT,
        }
    }
}

/// A database file to rebuild into, there or not yet there.
#[derive(Debug)]
pub struct SqliteTarget {
    path: PathBuf,
    options: SqliteTargetOptions,
    steps: Steps,
}

/// What a fresh process needs to go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    id: String,
    live: PathBuf,
    stream: String,
    replaces: bool,
    mode: u32,
    force: bool,
    busy_timeout_ms: u64,
}

impl SqliteTarget {
    /// A target at this path.
    pub fn new(path: impl Into<PathBuf>, options: SqliteTargetOptions) -> Self {
        Self {
            path: path.into(),
            options,
            steps: Steps::default(),
        }
    }

    /// Calls a hook after every step that changes the file system, by name: tests stop there.
    #[must_use]
    pub fn on_step(mut self, hook: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        let hook: StepHook = Arc::new(hook);
        self.steps = Steps::calling(hook);
        self
    }

    fn switch_of(&self, state: &State) -> Switch {
        Switch {
            files: Files::new(&state.live, &state.id),
            replaces: state.replaces,
            force: state.force,
            busy: Duration::from_millis(state.busy_timeout_ms),
            steps: self.steps.clone(),
        }
    }
}

impl Target for SqliteTarget {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn address(&self) -> String {
        format!("{KIND}:{}", self.path.display())
    }

    fn plan(&self, items: &dyn Items) -> Result<RestorePlan, SourceError> {
        let item = only_stream(items)?;
        let live = resolve(&self.path)?;
        let old = self.look_at_old(&live)?;
        let folder = live.parent().unwrap_or(Path::new("/"));
        check_folder(folder, item.size_bytes)?;
        let state = State {
            id: new_id(&live)?,
            stream: item.path.to_string(),
            replaces: old.exists,
            mode: old.mode.unwrap_or_else(|| recorded_mode(items)),
            force: self.options.force,
            busy_timeout_ms: u64::try_from(self.options.busy_timeout.as_millis())
                .unwrap_or(u64::MAX),
            live,
        };
        let files = Files::new(&state.live, &state.id);
        let shown = |path: &Path| path.display().to_string();
        Ok(RestorePlan {
            creates: vec![shown(&files.new)],
            replaces: old.exists.then(|| shown(&files.live)).into_iter().collect(),
            keeps: old.exists.then(|| shown(&files.old)).into_iter().collect(),
            warnings: old.warnings,
            size_bytes: item.size_bytes,
            state: serde_json::to_value(state).map_err(|e| {
                SourceError::new(SourceErrorKind::Other, "cannot write down the plan").because(e)
            })?,
        })
    }

    fn stage(&self, plan: &RestorePlan, items: &dyn Items) -> Result<(), SourceError> {
        let state = State::of(plan)?;
        let switch = self.switch_of(&state);
        if !state.force {
            switch.wait_until_closed()?;
        }
        let new = &switch.files.new;
        switch.files.remove_new()?;
        let fail = |e| io_failure("cannot write", new, e);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_MODE)
            .open(new)
            .map_err(fail)?;
        self.steps.done("created");
        let path = RepoPath::parse(&state.stream).map_err(|e| not_understood().because(e))?;
        let item = items.get(&path)?.ok_or_else(not_understood)?;
        write_stream(&mut file, &item, items, new)?;
        self.steps.done("written");
        take_owner_and_mode(&file, &state).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        switch.files.sync_folder()?;
        self.steps.done("staged");
        Ok(())
    }

    fn validate(&self, plan: &RestorePlan, items: &dyn Items) -> Result<Validation, SourceError> {
        let state = State::of(plan)?;
        let new = Files::new(&state.live, &state.id).new;
        let client = Client::open_immutable(&new)?;
        let digests = items
            .report()
            .collections
            .iter()
            .any(|c| c.digest.is_some());
        let (client, worked) =
            client.work_beside(|client| compare(client, items, digests), || Ok(()), &|| {
                items.cancelled()
            });
        client.close()?;
        worked.map(|((), validation)| validation)
    }

    fn switch(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        self.switch_of(&State::of(plan)?).switch()
    }

    fn rollback(&self, plan: &RestorePlan, phase: Phase) -> Result<(), SourceError> {
        self.switch_of(&State::of(plan)?).rollback(phase)
    }

    fn discard(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        self.switch_of(&State::of(plan)?).discard()
    }
}

impl State {
    fn of(plan: &RestorePlan) -> Result<Self, SourceError> {
        serde_json::from_value(plan.state.clone()).map_err(|e| not_understood().because(e))
    }
}

fn not_understood() -> SourceError {
    SourceError::new(
        SourceErrorKind::Corrupt,
        "the plan of the restore is not understood",
    )
}

/// What lies at the target already.
#[derive(Debug, Default)]
struct Old {
    exists: bool,
    mode: Option<u32>,
    warnings: Vec<String>,
}

impl SqliteTarget {
    fn look_at_old(&self, live: &Path) -> Result<Old, SourceError> {
        let meta = match fs::symlink_metadata(live) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Old::default()),
            Err(error) => return Err(io_failure("cannot look at", live, error)),
        };
        let shown = live.display();
        let occupied = |problem: &str| {
            let act = format!("{shown} {problem}");
            SourceError::new(SourceErrorKind::Occupied, act)
        };
        if !meta.is_file() {
            return Err(occupied("is not a file"));
        }
        if !self.options.force && !may_be_database(live)? {
            return Err(occupied(
                "is not a SQLite database; force replaces it all the same",
            ));
        }
        let mut warnings = Vec::new();
        if let Some(users) = FileId::of(live).ok().flatten().map(lock::holders)
            && !users.is_empty()
        {
            let users = users.join(", ");
            warnings.push(if self.options.force {
                format!("{users} has {shown} open: it is overwritten in place, in one transaction")
            } else {
                format!("{users} has {shown} open and must be stopped before")
            });
        }
        let is_ours = rustix::process::geteuid().as_raw() == meta.uid();
        if !is_ours && !rustix::process::geteuid().is_root() {
            warnings.push(format!("{shown} will belong to the user who restores it"));
        }
        if meta.nlink() > 1 {
            warnings.push(format!(
                "{shown} has further names, which will keep the old content"
            ));
        }
        Ok(Old {
            exists: true,
            mode: Some(meta.mode() & 0o777),
            warnings,
        })
    }
}

/// Whether a file is a database, or empty, which is one too.
fn may_be_database(path: &Path) -> Result<bool, SourceError> {
    match read_header(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == SourceErrorKind::Corrupt => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file that the name means: links followed, absolute.
fn resolve(path: &Path) -> Result<PathBuf, SourceError> {
    let fail = |e| io_failure("cannot find the place of", path, e);
    if path.to_str().is_none() {
        return Err(super::unusable("its path is not UTF-8"));
    }
    match path.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| fail(error))?;
            let folder = match path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            Ok(folder.canonicalize().map_err(fail)?.join(name))
        }
        Err(error) => Err(fail(error)),
    }
}

fn check_folder(folder: &Path, size_bytes: u64) -> Result<(), SourceError> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, folder, access, AtFlags::EACCESS)
        .map_err(|e| io_failure("cannot write to the folder", folder, e.into()))?;
    let room = rustix::fs::statvfs(folder)
        .map_err(|e| io_failure("cannot look at the folder", folder, e.into()))?;
    let free_bytes = room.f_bavail.saturating_mul(room.f_frsize);
    let needed_bytes = size_bytes.saturating_mul(2);
    if free_bytes < needed_bytes {
        return Err(SourceError::new(
            SourceErrorKind::NoSpace,
            format!(
                "{} has {free_bytes} bytes free; the restore asks for {needed_bytes}, twice the database",
                folder.display()
            ),
        ));
    }
    Ok(())
}

fn new_id(live: &Path) -> Result<String, SourceError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|e| io_failure("cannot name a file beside", live, io::Error::other(e)))?;
    Ok(format!("{:08x}", u32::from_le_bytes(bytes)))
}

fn recorded_mode(items: &dyn Items) -> u32 {
    let recorded = items.open_facts().attributes.get(facts::FILE_MODE);
    recorded
        .and_then(serde_json::Value::as_u64)
        .and_then(|mode| u32::try_from(mode & 0o777).ok())
        .unwrap_or(PRIVATE_MODE)
}

/// Writes the capture and proves that it is a whole database.
fn write_stream(
    file: &mut File,
    item: &ItemInfo,
    items: &dyn Items,
    shown: &Path,
) -> Result<(), SourceError> {
    let fail = |e| io_failure("cannot write", shown, e);
    if item.size_bytes > 0 {
        // A full disk is better noticed now than in the end. Not every file system can.
        let reserved = rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, item.size_bytes);
        if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = reserved {
            return Err(fail(error.into()));
        }
    }
    let mut head = Vec::with_capacity(HEADER_BYTES);
    let mut written = 0;
    items.read(&item.path, &mut |bytes| {
        if items.cancelled() {
            return Err(SourceError::new(
                SourceErrorKind::Cancelled,
                "the restore was stopped on request",
            ));
        }
        head.extend(bytes.iter().take(HEADER_BYTES.saturating_sub(head.len())));
        written += bytes.len() as u64;
        file.write_all(bytes).map_err(fail)
    })?;
    file.set_len(written).map_err(fail)?;
    let expected = match Header::parse(&head) {
        Some(header) => header.pages_in(written) * u64::from(header.page_size),
        None if written == 0 => 0,
        None => return Err(broken(item, "is not a SQLite database")),
    };
    if written != item.size_bytes || written != expected {
        return Err(broken(item, "is not whole"));
    }
    Ok(())
}

fn broken(item: &ItemInfo, problem: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Corrupt,
        format!("the capture {} {problem}", item.path),
    )
}

/// Gives the file to the owner of the one it replaces, then its mode. What cannot be given away is not opened either.
fn take_owner_and_mode(file: &File, state: &State) -> io::Result<()> {
    let mut mode = state.mode;
    if let Ok(old) = fs::metadata(&state.live) {
        let new = file.metadata()?;
        let group = Some(Gid::from_raw(old.gid()));
        if new.gid() != old.gid() && rustix::fs::fchown(file, None, group).is_err() {
            mode &= !0o070;
        }
        if new.uid() != old.uid() {
            // Refused to all but root; the plan warned.
            let _kept = rustix::fs::fchown(file, Some(Uid::from_raw(old.uid())), None);
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Compares a staged database with what was recorded of the captured one.
fn compare(client: &Client, items: &dyn Items, digests: bool) -> Result<Validation, SourceError> {
    let Checked { problems, notes } = client.check()?;
    let mut validation = Validation {
        differences: problems,
        notes,
        ..Validation::default()
    };
    if !validation.differences.is_empty() {
        return Ok(validation);
    }
    let recorded = items.open_facts().attributes.get(facts::SCHEMA_DIGEST);
    let found = client.schema_digest()?.finish().to_string();
    if recorded.is_some_and(|recorded| recorded.as_str() != Some(&found)) {
        validation.differences.push("the schema differs".into());
    }
    let Tables {
        collections,
        warnings,
    } = read_tables(client, digests)?;
    validation.notes.extend(warnings);
    compare_tables(&items.report().collections, &collections, &mut validation);
    Ok(validation)
}

fn compare_tables(
    recorded: &[CollectionFacts],
    found: &[CollectionFacts],
    validation: &mut Validation,
) {
    for table in recorded {
        let name = &table.name;
        let Some(other) = found.iter().find(|other| other.name == *name) else {
            validation
                .differences
                .push(format!("table {name} is missing"));
            continue;
        };
        validation.records += other.records;
        if other.records != table.records {
            validation.differences.push(format!(
                "table {name} has {} rows where {} were captured",
                other.records, table.records
            ));
        } else if table.digest.is_some() && other.digest != table.digest {
            validation
                .differences
                .push(format!("the rows of table {name} differ"));
        }
    }
    let is_new = |other: &&CollectionFacts| recorded.iter().all(|table| table.name != other.name);
    for other in found.iter().filter(is_new) {
        validation.notes.push(format!(
            "table {} was not counted when it was captured",
            other.name
        ));
    }
}

/// Writes the database as a file.
#[derive(Debug, Default)]
pub struct SqliteExport;

impl SqliteExport {
    /// The export; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl Export for SqliteExport {
    fn export(&self, items: &dyn Items, out: &mut dyn ExportSink) -> Result<(), SourceError> {
        let item = only_stream(items)?;
        let name = item.path.name().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let fail = |e| io_failure("cannot write", Path::new(&name), e);
        let file = out.file(&name).map_err(fail)?;
        items.read(&item.path, &mut |bytes| file.write_all(bytes).map_err(fail))
    }
}

/// The one stream that a capture of a database holds.
fn only_stream(items: &dyn Items) -> Result<ItemInfo, SourceError> {
    let mut found = Vec::new();
    items.walk(&mut |item| {
        if item.kind == NodeKind::File {
            found.push(item);
        }
        Ok(())
    })?;
    let count = found.len();
    match found.pop() {
        Some(item) if count == 1 => Ok(item),
        _ => Err(SourceError::new(
            SourceErrorKind::Corrupt,
            format!("the capture holds {count} streams where a SQLite database has one"),
        )),
    }
}

pub(super) fn side_files(path: &Path) -> [PathBuf; 3] {
    ["-wal", "-shm", "-journal"].map(|suffix| beside(path, suffix))
}
