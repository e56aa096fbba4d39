//! A database rebuilt beside the live one, and its export.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Export, ExportSink, ItemInfo, Items, NodeKind, Phase, RestorePlan, SourceError,
    SourceErrorKind, Target, Validation,
};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::compare::compare;
use super::files::{
    Files, PRIVATE_MODE, StepHook, Steps, create_private, side_files, take_owner_and_mode,
};
use super::header::{HEADER_BYTES, Header};
use super::preflight::{Old, check_folder, resolve, warn_of_users};
use super::switch::Switch;
use super::tables::{TableSwitch, check_selection, compare as compare_some, keep_only};
use super::{BUSY_TIMEOUT, KIND, facts, io_failure};

/// How a database is put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteTargetOptions {
    /// Overwrites the content in place, in one transaction of SQLite, where other processes have the database open;
    /// and replaces a file that is no database.
    pub force: bool,
    /// Only these tables. Empty: the whole database.
    pub tables: Vec<String>,
    /// How long a lock is waited for.
    pub busy_timeout: Duration,
}

impl Default for SqliteTargetOptions {
    fn default() -> Self {
        Self {
            force: false,
            tables: Vec::new(),
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
    #[serde(default)]
    tables: Vec<String>,
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
        check_selection(&self.options.tables, items)?;
        let live = resolve(&self.path)?;
        let mut old = Old::at(&live, self.options.force)?;
        if self.options.tables.is_empty() {
            old.warnings
                .extend(warn_of_users(&live, self.options.force));
        }
        let folder = live.parent().unwrap_or(Path::new("/"));
        check_folder(folder, item.size_bytes)?;
        let state = State {
            id: new_id(&live)?,
            stream: item.path.to_string(),
            replaces: old.exists,
            mode: old.mode.unwrap_or_else(|| recorded_mode(items)),
            force: self.options.force,
            tables: self.options.tables.clone(),
            busy_timeout_ms: u64::try_from(self.options.busy_timeout.as_millis())
                .unwrap_or(u64::MAX),
            live,
        };
        let files = Files::new(&state.live, &state.id);
        let of_what = match state.tables.as_slice() {
            [] => String::new(),
            [one] => format!("table {one} of "),
            several => format!("tables {} of ", several.join(", ")),
        };
        let shown = |path: &Path| format!("{of_what}{}", path.display());
        Ok(RestorePlan {
            creates: vec![files.new.display().to_string()],
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
        let in_place = state.table_switch(&switch).is_some();
        if !state.force && !in_place {
            switch.wait_until_closed()?;
        }
        let new = &switch.files.new;
        switch.files.remove_new()?;
        let fail = |e| io_failure("cannot write", new, e);
        let mut file = create_private(new)?;
        self.steps.done("created");
        let path = RepoPath::parse(&state.stream).map_err(|e| not_understood().because(e))?;
        let item = items.get(&path)?.ok_or_else(not_understood)?;
        write_stream(&mut file, &item, items, new)?;
        self.steps.done("written");
        take_owner_and_mode(&file, &state.live, state.mode).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        if !in_place && !state.tables.is_empty() {
            keep_only(&switch, &state.tables, state.mode)?;
        }
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
        let (client, worked) = client.work_beside(
            |client| match state.tables.as_slice() {
                [] => compare(client, items, digests),
                tables => compare_some(client, tables, items),
            },
            || Ok(()),
            &|| items.cancelled(),
        );
        client.close()?;
        worked.map(|((), validation)| validation)
    }

    fn switch(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        let state = State::of(plan)?;
        let switch = self.switch_of(&state);
        match state.table_switch(&switch) {
            Some(tables) => tables.switch(),
            None => switch.switch(),
        }
    }

    fn rollback(&self, plan: &RestorePlan, phase: Phase) -> Result<(), SourceError> {
        let state = State::of(plan)?;
        let switch = self.switch_of(&state);
        match state.table_switch(&switch) {
            Some(tables) => tables.rollback(phase),
            None => switch.rollback(phase),
        }
    }

    fn discard(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        self.switch_of(&State::of(plan)?).discard()
    }
}

impl State {
    /// Whether tables of a database are replaced that stays itself.
    fn table_switch<'a>(&'a self, switch: &'a Switch) -> Option<TableSwitch<'a>> {
        (self.replaces && !self.tables.is_empty()).then(|| TableSwitch {
            switch,
            tables: &self.tables,
            mark: format!("keepstone_{}", self.id),
        })
    }

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

fn new_id(live: &Path) -> Result<String, SourceError> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|e| io_failure("cannot name a file beside", live, std::io::Error::other(e)))?;
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
        items.read(&item.path, &mut |bytes| file.write_all(bytes).map_err(fail))?;
        // Whoever opens the file would take the log or journal of the one before it for its own.
        for side in side_files(Path::new(&name)) {
            out.absent(&side.to_string_lossy()).map_err(fail)?;
        }
        Ok(())
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
