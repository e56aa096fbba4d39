//! Dropping a database, with what the server would refuse that for: it is a template, or it subscribes to another.
//!
//! Every step can be taken again: whoever is killed in between leaves what the next one drops. The publisher of a
//! subscription keeps its slot: another database may live on it.

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::client::Session;
use super::error::PgError;
use super::sql::{ident, literal};
use super::wire::Stop;

/// What stands in the way of dropping a database.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hindrances {
    is_template: bool,
    is_closed: bool,
    subscriptions: Vec<String>,
    /// Those of them that only others can drop.
    of_others: Vec<String>,
}

impl Hindrances {
    /// Refuses before anything is changed: an opened database whose subscription goes on would take from the slot what
    /// whoever lives on it now has yet to get.
    fn refuse(&self, name: &str) -> Result<(), SourceError> {
        let Some(subscription) = self.of_others.first() else {
            return Ok(());
        };
        let refused = format!(
            "cannot drop database {name}: its subscription {subscription} belongs to another role, and only that or a superuser can drop it"
        );
        Err(SourceError::new(SourceErrorKind::Denied, refused))
    }
}

/// Refuses what `drop_database` would refuse, and changes nothing.
pub(crate) fn may_drop(session: &mut Session, name: &str) -> Result<(), SourceError> {
    look_at(session, name)?.refuse(name)
}

/// Drops a database, if it is there, and ends the sessions in it.
pub(crate) fn drop_database(session: &mut Session, name: &str) -> Result<(), SourceError> {
    let hindrances = look_at(session, name)?;
    hindrances.refuse(name)?;
    if hindrances.is_template {
        run(
            session,
            &format!("ALTER DATABASE {} IS_TEMPLATE false", ident(name)),
        )?;
    }
    if !hindrances.subscriptions.is_empty() {
        let dropped = drop_subscriptions(session, name, &hindrances);
        if dropped.is_err() && hindrances.is_closed {
            // As it was: the first failure is what is told.
            let close = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", ident(name));
            drop(session.execute(&close));
        }
        dropped?;
    }
    run(
        session,
        &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name)),
    )
}

fn look_at(session: &mut Session, name: &str) -> Result<Hindrances, SourceError> {
    look(session, name).map_err(|error| error.during(format!("cannot look at database {name}")))
}

fn look(session: &mut Session, name: &str) -> Result<Hindrances, PgError> {
    let rows = session.query(&format!(
        "SELECT d.datistemplate, NOT d.datallowconn, s.subname, pg_has_role(s.subowner, 'USAGE')
         FROM pg_database d
         LEFT JOIN pg_subscription s ON s.subdbid = d.oid WHERE d.datname = {} ORDER BY 3",
        literal(name)
    ))?;
    let mut found = Hindrances::default();
    for row in rows {
        found.is_template = row.flag(0);
        found.is_closed = row.flag(1);
        let Some(subscription) = row.get(2) else {
            continue;
        };
        found.subscriptions.push(subscription.to_owned());
        if !row.flag(3) {
            found.of_others.push(subscription.to_owned());
        }
    }
    Ok(found)
}

fn drop_subscriptions(
    session: &mut Session,
    name: &str,
    hindrances: &Hindrances,
) -> Result<(), SourceError> {
    if hindrances.is_closed {
        // Open, a subscription would go on, and take from the slot what whoever lives on it now has yet to get. Only a
        // superuser can stop it from outside; for others the time until the next statements has to do.
        let stop = format!(
            "UPDATE pg_subscription SET subenabled = false
             WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = {})",
            literal(name)
        );
        drop(session.execute(&stop));
        run(
            session,
            &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", ident(name)),
        )?;
    }
    let mut inside = Session::connect(&session.settings, name, Stop::default())?;
    for subscription in &hindrances.subscriptions {
        let subscription = ident(subscription);
        for statement in [
            format!("ALTER SUBSCRIPTION {subscription} DISABLE"),
            // Without its name the slot at the publisher is let be.
            format!("ALTER SUBSCRIPTION {subscription} SET (slot_name = NONE)"),
            format!("DROP SUBSCRIPTION IF EXISTS {subscription}"),
        ] {
            run(&mut inside, &statement)?;
        }
    }
    Ok(())
}

fn run(session: &mut Session, sql: &str) -> Result<(), SourceError> {
    session.execute(sql).map_err(|error| {
        let server = session.settings.server();
        error.during(format!("cannot run `{sql}` at {server}"))
    })
}
