//! Making what a restore needs outside of its databases: roles and the databases themselves, each marked as ours.

use keepstone_engine::source::{Items, SourceError};

use super::capture::major_of;
use super::client::Session;
use super::drop::drop_database;
use super::error::PgError;
use super::layout;
use super::mark::{comment_on, marked};
use super::plan::facts_of;
use super::rebuild::{DatabasePlan, PlanState};
use super::roles::{self, Role};
use super::switch::marked_roles;

/// First version with locale providers.
const FIRST_WITH_PROVIDERS: u32 = 15;
/// First version whose memberships have options.
const FIRST_WITH_MEMBER_OPTIONS: u32 = 16;

/// Makes the roles that the server lacks.
pub(crate) fn create_roles(
    server: &mut Session,
    state: &PlanState,
    items: &dyn Items,
) -> Result<(), SourceError> {
    let captured: Vec<Role> = layout::get_lines(items, &layout::roles_path()?)?;
    let failed = |error: PgError, role: &str| error.during(format!("cannot create role {role}"));
    let existing = roles::names(server).map_err(|error| error.during("cannot list the roles"))?;
    let planned = captured
        .iter()
        .filter(|role| state.roles.contains(&role.name));
    for role in planned
        .clone()
        .filter(|role| !existing.contains(&role.name))
    {
        // In one transaction with the mark that it is ours, so that a rollback knows which roles to drop.
        let mut statements = vec!["BEGIN;".to_owned()];
        statements.extend(role.create());
        statements.push(comment_on(
            "ROLE",
            &role.name,
            Some(&marked(role.comment.as_deref(), &state.id)),
        ));
        statements.push("COMMIT;".to_owned());
        if let Err(error) = server.execute(&statements.join("\n")) {
            drop(server.execute("ROLLBACK"));
            return Err(failed(error, &role.name));
        }
    }
    let made = marked_roles(server, &state.id)?;
    let now = roles::names(server).map_err(|error| error.during("cannot list the roles"))?;
    let options = major_of(server.version()) >= FIRST_WITH_MEMBER_OPTIONS;
    for role in planned.filter(|role| made.iter().any(|(name, _)| *name == role.name)) {
        for statement in role.join(&now, options) {
            server
                .execute(&statement)
                .map_err(|error| failed(error, &role.name))?;
        }
    }
    Ok(())
}

/// Makes the empty database, and drops what an earlier try left under its name.
pub(crate) fn create_database(
    server: &mut Session,
    state: &PlanState,
    database: &DatabasePlan,
    items: &dyn Items,
) -> Result<(), SourceError> {
    let act = format!("cannot create database {}", database.staged);
    let facts = facts_of(items, &database.captured)?;
    let providers = major_of(server.version()) >= FIRST_WITH_PROVIDERS;
    let tablespace = !database.lost_tablespaces.contains(&facts.tablespace);
    let comment = marked(facts.comment.as_deref(), &state.id);
    let mark = comment_on("DATABASE", &database.staged, Some(&comment));
    let create = facts.create(&database.staged, providers, tablespace);
    drop_database(server, &database.staged)?;
    server
        .execute(&create)
        .and_then(|()| server.execute(&mark))
        .map_err(|error| error.during(act))
}
