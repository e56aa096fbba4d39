//! Rebuild: a capture becomes new databases beside the live ones, and takes their names when it is proved equal.
//!
//! The acts lie in `plan`, `stage`, `validate` and `switch`. This file holds what they share: the plan's state.

use keepstone_engine::source::{
    Items, Phase, RestorePlan, SourceError, SourceErrorKind, Target, Validation,
};
use serde::{Deserialize, Serialize};

use super::client::Session;
use super::options::{PostgresRestoreOptions, Selection};
use super::settings::PostgresSettings;
use super::wire::Stop;
use super::{plan, stage, switch, validate};

/// A server that a capture is rebuilt into.
#[derive(Debug)]
pub struct PostgresTarget {
    settings: PostgresSettings,
    options: PostgresRestoreOptions,
}

/// Everything a fresh process needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanState {
    /// Eight hexadecimal digits that are in every name we make.
    pub(crate) id: String,
    /// Databases in the order of the capture.
    pub(crate) databases: Vec<DatabasePlan>,
    /// Roles that the server lacks and that are made.
    pub(crate) roles: Vec<String>,
    /// Which part of each database.
    pub(crate) selection: Selection,
    /// Whether owners and grants are restored.
    pub(crate) owners: bool,
    /// Whether statistics are gathered.
    pub(crate) analyze: bool,
}

/// What becomes of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabasePlan {
    /// Name in the capture.
    pub(crate) captured: String,
    /// Name in the end.
    pub(crate) live: String,
    /// Name until the switch.
    pub(crate) staged: String,
    /// Name under which the database that bears `live` now is kept; none if there is none.
    pub(crate) before: Option<String>,
    /// Whether the database that bears `live` now accepts connections.
    pub(crate) connectable: bool,
    /// Tablespaces that the server lacks.
    pub(crate) lost_tablespaces: Vec<String>,
}

impl PlanState {
    /// Reads the state back out of a plan.
    pub(crate) fn of(plan: &RestorePlan) -> Result<Self, SourceError> {
        serde_json::from_value(plan.state.clone()).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Corrupt,
                "cannot understand the plan of the restore",
            )
            .because(error)
        })
    }
}

impl PostgresTarget {
    /// A target with these settings. Its databases say under which name to restore.
    pub fn new(settings: PostgresSettings, options: PostgresRestoreOptions) -> Self {
        Self { settings, options }
    }
}

impl Target for PostgresTarget {
    fn kind(&self) -> &'static str {
        super::KIND
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    fn plan(&self, items: &dyn Items) -> Result<RestorePlan, SourceError> {
        plan::plan(&self.settings, &self.options, items)
    }

    fn stage(&self, plan: &RestorePlan, items: &dyn Items) -> Result<(), SourceError> {
        stage::stage(&self.settings, &PlanState::of(plan)?, items)
    }

    fn validate(&self, plan: &RestorePlan, items: &dyn Items) -> Result<Validation, SourceError> {
        validate::validate(&self.settings, &PlanState::of(plan)?, items)
    }

    fn switch(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        switch::switch(&self.settings, &PlanState::of(plan)?)
    }

    fn rollback(&self, plan: &RestorePlan, _phase: Phase) -> Result<(), SourceError> {
        // The server itself says how far we came: names change in one transaction.
        switch::rollback(&self.settings, &PlanState::of(plan)?)
    }

    fn may_discard(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        switch::may_discard(&self.settings, &PlanState::of(plan)?)
    }

    fn discard(&self, plan: &RestorePlan) -> Result<(), SourceError> {
        switch::discard(&self.settings, &PlanState::of(plan)?)
    }
}

/// Half of the key under which the acts of one restore take turns; the other half is its id, or 0 for all restores.
const TURN: i32 = 0x6b73_746e;

/// Connects as `maintenance` does, and waits until nobody else works on this restore: of a process that was killed the
/// server may still be carrying out the last statement. The turn ends with the session.
pub(crate) fn take_turn(
    settings: &PostgresSettings,
    state: &PlanState,
    stop: &Stop,
) -> Result<Session, SourceError> {
    let mut session = maintenance(settings, &state.databases, stop)?;
    let id = u32::from_str_radix(&state.id, 16).unwrap_or_default();
    wait_for_turn(settings, &mut session, id, "another session works on it")?;
    Ok(session)
}

/// Waits besides until no restore changes names or marks, for an act that does so. A key is one of the database that is
/// connected to: a restore that replaces `postgres` itself takes its turn in another, and meets those of the same kind
/// only. What may not go wrong between it and the others is looked at again where names change.
pub(crate) fn take_turn_of_all(
    settings: &PostgresSettings,
    session: &mut Session,
) -> Result<(), SourceError> {
    wait_for_turn(settings, session, 0, "another is switched")
}

fn wait_for_turn(
    settings: &PostgresSettings,
    session: &mut Session,
    turn: u32,
    hindrance: &str,
) -> Result<(), SourceError> {
    let sql = format!("SELECT pg_advisory_lock({TURN}, {})", turn.cast_signed());
    session.execute(&sql).map_err(|error| {
        let server = settings.server();
        error.during(format!(
            "cannot go on with the restore at {server} while {hindrance}"
        ))
    })
}

/// Connects to a database that the plan does not rename.
pub(crate) fn maintenance(
    settings: &PostgresSettings,
    databases: &[DatabasePlan],
    stop: &Stop,
) -> Result<Session, SourceError> {
    let mut last = None;
    for name in super::capture::MAINTENANCE_DATABASES {
        if databases.iter().any(|database| database.live == name) {
            continue;
        }
        match Session::connect(settings, name, stop.clone()) {
            Err(error) if error.kind() == SourceErrorKind::Missing => last = Some(error),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| {
        let act = "cannot find a database to connect to that is not restored itself";
        SourceError::new(SourceErrorKind::Missing, act)
    }))
}
