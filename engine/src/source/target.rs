//! Targets: a live system that a capture is rebuilt into, in steps that survive a kill.
//!
//! plan → stage → validate → switch, then later `discard` or `rollback`. The plan is data and is written to a
//! journal before the first effect; each step can be taken by a fresh process that has only the plan.

use std::io;

use serde::{Deserialize, Serialize};

use super::{Items, SourceError, SourceErrorKind};

/// What a restore will do, decided before anything is touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// What will be made beside the live data, for people.
    pub creates: Vec<String>,
    /// What the switch will replace, for people. Empty: nothing is overwritten.
    pub replaces: Vec<String>,
    /// Under which names what is replaced will be kept until discarded, for people.
    pub keeps: Vec<String>,
    /// What the user should know before saying yes.
    pub warnings: Vec<String>,
    /// How much must be written, in bytes, as far as known.
    pub size_bytes: u64,
    /// Everything the target needs to go on in a fresh process: names chosen, options. No secrets.
    pub state: serde_json::Value,
}

/// How far a restore had come when the journal was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Planned, and staging may have begun: live data is untouched.
    Staging,
    /// Staged and validated: live data is untouched.
    Staged,
    /// The switch may be half done.
    Switching,
    /// The switch is done; what it replaced is kept.
    Switched,
    /// What it replaced may be dropped in part: there is no way back.
    Discarding,
}

/// What validation found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Records compared.
    pub records: u64,
    /// Records that expired since the capture and therefore left the expected sum.
    pub expired: u64,
    /// One sentence per difference. Empty: what was rebuilt equals what was captured.
    pub differences: Vec<String>,
    /// Sentences for the user that are no differences.
    pub notes: Vec<String>,
}

/// A live system to rebuild into. Every method may be called by a fresh process, and again after a kill.
pub trait Target: Send + Sync {
    /// Kind, as `Source::kind`.
    fn kind(&self) -> &'static str;

    /// Address as recorded and shown: no user info, no query, no secret.
    fn address(&self) -> String;

    /// Looks at both sides and refuses what cannot work: space, versions, privileges, an occupied target
    /// name. Reads only.
    fn plan(&self, items: &dyn Items) -> Result<RestorePlan, SourceError>;

    /// Rebuilds beside the live data. Starts over what an earlier try left under the plan's own names.
    fn stage(&self, plan: &RestorePlan, items: &dyn Items) -> Result<(), SourceError>;

    /// Compares what was staged with what was recorded.
    fn validate(&self, plan: &RestorePlan, items: &dyn Items) -> Result<Validation, SourceError>;

    /// Puts the staged data in the place of the live data and keeps the latter. Finishes a switch that was
    /// killed half-way.
    fn switch(&self, plan: &RestorePlan) -> Result<(), SourceError>;

    /// What a finished switch has kept, for people: the plan saw an earlier moment. Empty: there is nothing to go back
    /// to. Asked only after a switch.
    fn kept(&self, plan: &RestorePlan) -> Result<Vec<String>, SourceError> {
        Ok(plan.keeps.clone())
    }

    /// Brings back what was there before, from any phase, and removes what was staged.
    fn rollback(&self, plan: &RestorePlan, phase: Phase) -> Result<(), SourceError>;

    /// Refuses a discard beforehand, as `discard` would, or where the target cannot be reached. Reads only.
    fn may_discard(&self, _plan: &RestorePlan) -> Result<(), SourceError> {
        Ok(())
    }

    /// Removes what the switch had kept, and nothing that the plan's `keeps` do not name. After it there is no way back,
    /// unless it is refused as `Occupied`: nothing was removed then. Finishes a discard that was killed half-way.
    fn discard(&self, plan: &RestorePlan) -> Result<(), SourceError>;
}

/// Writes a capture in the form that the source's own tools read.
pub trait Export: Send + Sync {
    /// Writes every file of the export. `items` has the capture, `out` takes the files.
    fn export(&self, items: &dyn Items, out: &mut dyn ExportSink) -> Result<(), SourceError>;

    /// Files of the export that mean different things to whoever loads them, and so never follow each other in one
    /// stream. None: all files of it may.
    fn parts(&self, _items: &dyn Items) -> Result<Vec<ExportPart>, SourceError> {
        Ok(Vec::new())
    }

    /// Writes one of `parts`, by its name.
    fn export_part(
        &self,
        _items: &dyn Items,
        name: &str,
        _out: &mut dyn ExportSink,
    ) -> Result<(), SourceError> {
        Err(SourceError::new(
            SourceErrorKind::Missing,
            format!("the export has no part {name}"),
        ))
    }
}

/// A file of an export that can be had alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPart {
    /// How it is named, as if it lay below the source.
    pub name: String,
    /// It acts on more than the place it is loaded into: only for whoever names it.
    pub reaches_out: bool,
}

/// Takes exported files, one at a time.
pub trait ExportSink {
    /// Starts a file with this relative name, such as `app.sql`, and ends the one before it.
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write>;

    /// Says of a name beside the file just written that nothing may bear it: what does goes before that file gets its own
    /// name. Of no meaning where files do not lie beside each other.
    fn absent(&mut self, _name: &str) -> io::Result<()> {
        Ok(())
    }
}
