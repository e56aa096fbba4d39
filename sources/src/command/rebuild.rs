//! Feeding a capture to a command's standard input, and exporting it as a file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keepstone_engine::source::{
    Export, ExportSink, ItemInfo, Items, NodeKind, Phase, RestorePlan, SourceError,
    SourceErrorKind, Target, Validation,
};
use serde_json::json;

use super::client::{Direction, Running};
use super::remains::Remains;
use super::{CommandSettings, KIND};

/// A command that takes a capture on its standard input.
///
/// Nothing of it can be staged beside the live data: it runs in `stage`, and from then on there is no way back.
#[derive(Debug)]
pub struct CommandTarget {
    settings: CommandSettings,
    /// The program could not even be started, in this process.
    refused: AtomicBool,
    /// It read everything and succeeded, in this process.
    ended: AtomicBool,
    /// What goes on of it though it was ended, in this process.
    remains: Mutex<Remains>,
}

impl CommandTarget {
    /// A target with these settings, which come from the user and never from a snapshot.
    pub fn new(settings: CommandSettings) -> Self {
        Self {
            settings,
            refused: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            remains: Mutex::default(),
        }
    }

    fn program(&self) -> &str {
        self.settings.command.program()
    }
}

impl Target for CommandTarget {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    fn plan(&self, items: &dyn Items) -> Result<RestorePlan, SourceError> {
        let item = only_stream(items)?;
        let program = self.program();
        Ok(RestorePlan {
            creates: vec![format!(
                "whatever {program} makes of {} bytes",
                item.size_bytes
            )],
            replaces: vec![format!("whatever {program} overwrites")],
            keeps: Vec::new(),
            warnings: vec![format!(
                "{program} acts at once on the live system: what it does can be neither compared nor rolled back"
            )],
            size_bytes: item.size_bytes,
            state: json!({}),
        })
    }

    fn stage(&self, _plan: &RestorePlan, items: &dyn Items) -> Result<(), SourceError> {
        let item = only_stream(items)?;
        let started = Running::start(&self.settings, Direction::ToCommand);
        self.refused.store(started.is_err(), Ordering::Relaxed);
        let mut running = started?;
        let fed = feed(&mut running, &item, items);
        if let Err(error) = &fed {
            let is_told = running.remains() != Remains::default();
            running.kill();
            // What its own error says is not said twice; of one that was stopped on request nobody sees the error.
            if !is_told || error.kind() == SourceErrorKind::Cancelled {
                *lock(&self.remains) = running.remains();
            }
        }
        self.ended.store(fed.is_ok(), Ordering::Relaxed);
        fed
    }

    fn validate(&self, _plan: &RestorePlan, _items: &dyn Items) -> Result<Validation, SourceError> {
        let program = self.program();
        let note = if self.ended.load(Ordering::Relaxed) {
            format!(
                "{program} read everything and ended with status 0; what it made was not compared"
            )
        } else {
            format!("what {program} made was not compared")
        };
        Ok(Validation {
            notes: vec![note],
            ..Validation::default()
        })
    }

    fn switch(&self, _plan: &RestorePlan) -> Result<(), SourceError> {
        Ok(())
    }

    fn rollback(&self, _plan: &RestorePlan, _phase: Phase) -> Result<(), SourceError> {
        if self.refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        // A later process cannot know whether the program ran, so it must assume that it did.
        Err(SourceError::new(
            SourceErrorKind::Other,
            format!(
                "cannot undo what {} may have done{}",
                self.program(),
                lock(&self.remains)
            ),
        ))
    }

    fn discard(&self, _plan: &RestorePlan) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Feeds a whole capture, and waits until the command has made something of it.
fn feed(running: &mut Running, item: &ItemInfo, items: &dyn Items) -> Result<(), SourceError> {
    let cancelled = || items.cancelled();
    let mut fed = 0;
    items.read(&item.path, &mut |bytes| {
        fed += bytes.len() as u64;
        running.write_all(bytes, &cancelled)
    })?;
    if fed != item.size_bytes {
        return Err(SourceError::new(
            SourceErrorKind::Corrupt,
            format!("the capture held {fed} bytes of {}", item.size_bytes),
        ));
    }
    running.finish(&cancelled)
}

fn lock(remains: &Mutex<Remains>) -> MutexGuard<'_, Remains> {
    remains.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the bytes of a command as a file.
#[derive(Debug, Default)]
pub struct CommandExport;

impl CommandExport {
    /// The export; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl Export for CommandExport {
    fn export(&self, items: &dyn Items, out: &mut dyn ExportSink) -> Result<(), SourceError> {
        let item = only_stream(items)?;
        let name = item.path.to_string();
        let failed = |error| cannot_write(&name, error);
        let file = out.file(&name).map_err(failed)?;
        items.read(&item.path, &mut |bytes| {
            file.write_all(bytes).map_err(failed)
        })
    }
}

fn cannot_write(name: &str, error: std::io::Error) -> SourceError {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            SourceErrorKind::NoSpace
        }
        std::io::ErrorKind::PermissionDenied => SourceErrorKind::Denied,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, format!("cannot write {name}")).because(error)
}

/// The one stream that a capture of a command holds, whatever its name.
fn only_stream(items: &dyn Items) -> Result<ItemInfo, SourceError> {
    let mut found = Vec::new();
    items.walk(&mut |item| {
        if item.kind == NodeKind::File {
            found.push(item);
        }
        Ok(())
    })?;
    match (found.pop(), found.is_empty()) {
        (Some(item), true) => Ok(item),
        (other, _) => Err(SourceError::new(
            SourceErrorKind::Corrupt,
            format!(
                "the capture holds {} streams where a command has one",
                found.len() + usize::from(other.is_some())
            ),
        )),
    }
}
