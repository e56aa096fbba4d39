//! The plan of a restore: what is made, what is replaced, and everything that would not work, said beforehand.

use std::collections::{BTreeMap, BTreeSet};

use keepstone_engine::source::{Items, RestorePlan, SourceError, SourceErrorKind};

use super::capture::major_of;
use super::catalog::Table;
use super::client::Session;
use super::error::PgError;
use super::facts::DatabaseFacts;
use super::layout::{self, Part};
use super::names;
use super::options::{PostgresRestoreOptions, Selection, choose};
use super::rebuild::{DatabasePlan, PlanState, maintenance};
use super::roles::{self, Role};
use super::settings::PostgresSettings;
use super::sql;
use super::wire::Stop;

/// The oldest server that a database can be dropped from while somebody uses it.
const OLDEST_MAJOR: u32 = 13;

/// What the server has and may.
struct Server {
    major: u32,
    version: String,
    superuser: bool,
    create_db: bool,
    create_role: bool,
    databases: BTreeMap<String, bool>,
    roles: BTreeSet<String>,
    extensions: BTreeSet<String>,
    superuser_extensions: BTreeSet<String>,
    tablespaces: BTreeSet<String>,
    locales: BTreeSet<String>,
}

/// Looks at the capture and at the server, and changes neither.
pub(crate) fn plan(
    settings: &PostgresSettings,
    options: &PostgresRestoreOptions,
    items: &dyn Items,
) -> Result<RestorePlan, SourceError> {
    let names = choose(settings, options, &layout::databases(items)?)?;
    let mut state = PlanState {
        id: names::random_hex::<4>()?,
        databases: Vec::new(),
        roles: Vec::new(),
        selection: options.selection(),
        owners: options.owners,
        analyze: options.analyze,
    };
    for (captured, live) in names {
        state.databases.push(DatabasePlan {
            staged: names::beside(&live, names::STAGED, &state.id),
            before: Some(names::beside(&live, names::BEFORE, &state.id)),
            lost_tablespaces: Vec::new(),
            connectable: true,
            captured,
            live,
        });
    }
    let mut session = maintenance(settings, &state.databases, &Stop::default())?;
    let server = look(&mut session).map_err(|error| {
        error.during(format!(
            "cannot look at the server at {}",
            settings.server()
        ))
    })?;
    let mut planner = Planner {
        settings,
        options,
        items,
        server,
        warnings: Vec::new(),
    };
    planner.check_server()?;
    let mut needed = BTreeSet::new();
    let mut size_bytes = 0;
    for database in &mut state.databases {
        needed.extend(planner.check_database(database)?);
        planner.check_schema(database)?;
        size_bytes += planner.check_tables(database, &state.selection)?;
    }
    state.roles = planner.check_roles(&needed)?;
    planner.warnings.push(format!(
        "a server does not say how much space its disks have left: make sure of twice {size_bytes} bytes"
    ));
    finish(&state, planner.warnings, size_bytes)
}

fn finish(
    state: &PlanState,
    warnings: Vec<String>,
    size_bytes: u64,
) -> Result<RestorePlan, SourceError> {
    let databases = &state.databases;
    let replaced = databases
        .iter()
        .filter(|database| database.before.is_some());
    let mut creates: Vec<_> = databases
        .iter()
        .map(|database| format!("database {}", database.staged))
        .collect();
    creates.extend(state.roles.iter().map(|role| format!("role {role}")));
    Ok(RestorePlan {
        creates,
        replaces: replaced
            .map(|database| format!("database {}", database.live))
            .collect(),
        keeps: databases
            .iter()
            .filter_map(|database| database.before.as_ref())
            .map(|before| format!("database {before}"))
            .collect(),
        warnings,
        size_bytes,
        state: serde_json::to_value(state).map_err(|error| {
            SourceError::new(SourceErrorKind::Other, "cannot write the plan down").because(error)
        })?,
    })
}

fn look(session: &mut Session) -> Result<Server, PgError> {
    let version = session.version().to_owned();
    let me = session.query(
        "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user",
    )?;
    let flag = |column| me.first().is_some_and(|row| row.flag(column));
    let databases = session.query("SELECT datname, datallowconn FROM pg_database")?;
    let databases = databases
        .iter()
        .map(|row| (row.text(0), row.flag(1)))
        .collect();
    let mut set = |sql: &str| -> Result<BTreeSet<String>, PgError> {
        Ok(session.query(sql)?.iter().map(|row| row.text(0)).collect())
    };
    Ok(Server {
        major: major_of(&version),
        version,
        superuser: flag(0),
        create_db: flag(1),
        create_role: flag(2),
        databases,
        roles: set("SELECT rolname FROM pg_roles")?,
        extensions: set("SELECT name FROM pg_available_extensions")?,
        superuser_extensions: set(
            "SELECT v.name FROM pg_available_extension_versions v JOIN pg_available_extensions e
                ON e.name = v.name AND e.default_version = v.version
             WHERE v.superuser AND NOT v.trusted",
        )?,
        tablespaces: set("SELECT spcname FROM pg_tablespace")?,
        locales: set(
            "SELECT collcollate FROM pg_collation WHERE collcollate IS NOT NULL
             UNION SELECT datcollate FROM pg_database UNION VALUES ('C'), ('POSIX')",
        )?,
    })
}

struct Planner<'a> {
    settings: &'a PostgresSettings,
    options: &'a PostgresRestoreOptions,
    items: &'a dyn Items,
    server: Server,
    warnings: Vec<String>,
}

fn refused(problem: String) -> SourceError {
    SourceError::new(SourceErrorKind::Preflight, problem)
}

impl Planner<'_> {
    fn check_server(&mut self) -> Result<(), SourceError> {
        let (user, server) = (&self.settings.user, &self.server);
        if server.major < OLDEST_MAJOR {
            return Err(refused(format!(
                "cannot restore into a server of version {}: the oldest that can be is {OLDEST_MAJOR}",
                server.version
            )));
        }
        if let Some(captured) = &self.items.open_facts().version {
            let captured_major = major_of(captured);
            if captured_major > server.major {
                return Err(refused(format!(
                    "the capture is of version {captured} and the server of version {}: an older server \
                     does not understand a newer one's schema",
                    server.version
                )));
            }
            if captured_major < server.major {
                self.warnings.push(format!(
                    "the capture is of version {captured}, the server of version {}",
                    server.version
                ));
            }
        }
        if !self.server.superuser && !self.server.create_db {
            return Err(SourceError::new(
                SourceErrorKind::Denied,
                format!("role {user} may not create databases: it needs CREATEDB"),
            ));
        }
        if !self.server.superuser {
            self.warnings.push(format!(
                "role {user} is no superuser: what only one may restore will fail"
            ));
        }
        Ok(())
    }

    /// Checks one database against the server and answers which roles it needs.
    fn check_database(&mut self, database: &mut DatabasePlan) -> Result<Vec<String>, SourceError> {
        let live = &database.live;
        if let Some(connectable) = self.server.databases.get(live) {
            database.connectable = *connectable;
        } else {
            database.before = None;
        }
        if database.before.is_none() {
            // Nothing is in the way.
        } else if !self.options.replace {
            return Err(SourceError::new(
                SourceErrorKind::Occupied,
                format!(
                    "database {live} exists at {}: restore in place, or under another name",
                    self.settings.server()
                ),
            ));
        } else if !self.options.selection().is_whole() {
            return Err(SourceError::new(
                SourceErrorKind::Occupied,
                format!(
                    "database {live} exists at {}: a part of a database is restored under a name of its own",
                    self.settings.server()
                ),
            ));
        }
        let facts = facts_of(self.items, &database.captured)?;
        let extensions: Vec<_> = facts
            .extensions
            .iter()
            .filter(|extension| !self.server.extensions.contains(&extension.name))
            .map(|extension| format!("{} {}", extension.name, extension.version))
            .collect();
        if !extensions.is_empty() {
            return Err(refused(format!(
                "the server lacks extensions that database {} uses: {}",
                database.captured,
                extensions.join(", ")
            )));
        }
        let forbidden: Vec<_> = facts
            .extensions
            .iter()
            .map(|extension| extension.name.as_str())
            .filter(|name| self.server.superuser_extensions.contains(*name))
            .collect();
        // No refusal: hosted servers let chosen roles make them.
        if !self.server.superuser && !forbidden.is_empty() {
            self.warnings.push(format!(
                "database {} uses extensions that usually only a superuser may create: {}",
                database.captured,
                forbidden.join(", ")
            ));
        }
        let spaces = facts.tablespaces.iter().chain([&facts.tablespace]).cloned();
        let lost: BTreeSet<_> = spaces
            .filter(|space| !self.server.tablespaces.contains(space))
            .collect();
        for space in &lost {
            self.warnings.push(format!(
                "the server lacks tablespace {space}: its default is used"
            ));
        }
        database.lost_tablespaces = lost.into_iter().collect();
        if facts.provider == "c" && !self.server.locales.contains(&facts.collate) {
            self.warnings.push(format!(
                "the server may not know locale {} of database {}",
                facts.collate, database.captured
            ));
        }
        Ok(facts.roles().map(ToOwned::to_owned).collect())
    }

    /// Looks into the schema for what fails late, or does not come back as it was.
    fn check_schema(&mut self, database: &DatabasePlan) -> Result<(), SourceError> {
        let captured = &database.captured;
        let mut lacking = BTreeSet::new();
        let mut subscriptions = Vec::new();
        for part in [Part::SchemaPre, Part::SchemaPost] {
            let script = layout::get_bytes(self.items, &part.path(captured)?)?.unwrap_or_default();
            for statement in sql::statements(&script)? {
                lacking.extend(roles::named_in(statement));
                subscriptions.extend(subscription_in(statement));
            }
        }
        lacking.retain(|role| !self.server.roles.contains(role));
        // With owners they are made, or refused with the others.
        if !self.options.owners && !lacking.is_empty() {
            return Err(refused(format!(
                "policies or user mappings of database {captured}, which are restored without owners too, name roles that the \
                 server lacks: {}; create them",
                Vec::from_iter(lacking).join(", ")
            )));
        }
        if !subscriptions.is_empty() {
            self.warnings.push(format!(
                "subscriptions of database {captured} are restored disabled, and start only when they are enabled: {}",
                subscriptions.join(", ")
            ));
        }
        Ok(())
    }

    /// Checks what is selected and answers how many bytes that is.
    fn check_tables(
        &self,
        database: &DatabasePlan,
        selection: &Selection,
    ) -> Result<u64, SourceError> {
        let tables = tables_of(self.items, &database.captured)?;
        let unknown = selection.unknown(&tables);
        if !unknown.is_empty() {
            return Err(SourceError::new(
                SourceErrorKind::Missing,
                format!(
                    "the capture of database {} holds no {}",
                    database.captured,
                    unknown.join(", ")
                ),
            ));
        }
        let mut size_bytes = 0;
        for table in tables.iter().filter(|table| selection.holds(table)) {
            let path = table.path(&database.captured)?;
            let item = self.items.get(&path)?.ok_or_else(|| {
                SourceError::new(
                    SourceErrorKind::Corrupt,
                    format!("the capture lacks stream {path}"),
                )
            })?;
            size_bytes += item.size_bytes;
        }
        Ok(size_bytes)
    }

    fn check_roles(&mut self, needed: &BTreeSet<String>) -> Result<Vec<String>, SourceError> {
        if !self.options.owners {
            return Ok(Vec::new());
        }
        let captured: Vec<Role> = layout::get_lines(self.items, &layout::roles_path()?)?;
        let needed = roles::closure(&captured, needed.iter().map(String::as_str));
        let known: BTreeMap<_, _> = captured
            .iter()
            .map(|role| (role.name.as_str(), role))
            .collect();
        let missing: Vec<_> = needed
            .into_iter()
            .filter(|role| !self.server.roles.contains(role))
            .collect();
        let unknown = missing
            .iter()
            .find(|role| !known.contains_key(role.as_str()));
        let advice = "create it, or restore without owners";
        if let Some(role) = unknown {
            return Err(refused(format!(
                "the server lacks role {role}, and so does the capture; {advice}"
            )));
        }
        match missing.first() {
            Some(role) if !self.options.create_roles => {
                Err(refused(format!("the server lacks role {role}; {advice}")))
            }
            Some(role) if !self.server.superuser && !self.server.create_role => {
                Err(SourceError::new(
                    SourceErrorKind::Denied,
                    format!(
                        "the server lacks role {role}, which {} may not create; {advice}",
                        self.settings.user
                    ),
                ))
            }
            _ => Ok(missing),
        }
    }
}

/// The subscription that a statement makes, as it names it.
fn subscription_in(statement: &[u8]) -> Option<String> {
    let rest = statement.strip_prefix(b"CREATE SUBSCRIPTION ")?;
    let rest = String::from_utf8_lossy(rest);
    rest.split_once(" CONNECTION ")
        .map(|(name, _)| name.to_owned())
}

/// Facts of a captured database.
pub(crate) fn facts_of(items: &dyn Items, database: &str) -> Result<DatabaseFacts, SourceError> {
    let path = Part::Facts.path(database)?;
    layout::get_lines(items, &path)?.pop().ok_or_else(|| {
        SourceError::new(
            SourceErrorKind::Corrupt,
            format!("the capture's stream {path} is empty"),
        )
    })
}

/// Tables of a captured database.
pub(crate) fn tables_of(items: &dyn Items, database: &str) -> Result<Vec<Table>, SourceError> {
    layout::get_lines(items, &Part::Tables.path(database)?)
}
