//! What a restore should do, as the user said it.

use keepstone_engine::path::percent_decode;
use keepstone_engine::source::{SourceError, SourceErrorKind};
use serde::{Deserialize, Serialize};

use super::catalog::Table;
use super::names;
use super::settings::{Databases, PostgresSettings};

/// What to restore and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the user"
)]
pub struct PostgresRestoreOptions {
    /// Databases of the capture. Empty: those that the target's URL names, or all.
    pub databases: Vec<String>,
    /// Schemas. Empty, with `tables` empty too: everything.
    pub schemas: Vec<String>,
    /// Tables, by schema and name. A partitioned table means its parts.
    pub tables: Vec<(String, String)>,
    /// Whether a database of the target name is replaced. It is kept under another name until discarded.
    pub replace: bool,
    /// Whether roles that the server lacks are made.
    pub create_roles: bool,
    /// Whether owners and grants are restored.
    pub owners: bool,
    /// Whether the planner's statistics are gathered at the end.
    pub analyze: bool,
}

impl Default for PostgresRestoreOptions {
    fn default() -> Self {
        Self {
            databases: Vec::new(),
            schemas: Vec::new(),
            tables: Vec::new(),
            replace: false,
            create_roles: true,
            owners: true,
            analyze: true,
        }
    }
}

impl PostgresRestoreOptions {
    /// Parses `schema.table`, each percent-encoded where it holds a dot; `table` alone is in schema `public`.
    pub fn parse_table(text: &str) -> Result<(String, String), SourceError> {
        let (schema, table) = text.split_once('.').unwrap_or(("public", text));
        let names = percent_decode(schema.as_bytes()).zip(percent_decode(table.as_bytes()));
        names
            .filter(|(schema, table)| !schema.is_empty() && !table.is_empty())
            .ok_or_else(|| {
                SourceError::new(
                    SourceErrorKind::Settings,
                    format!("{text} is no `schema.table`"),
                )
            })
    }

    /// Which part of a database is meant.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            schemas: self.schemas.clone(),
            tables: self.tables.clone(),
        }
    }
}

/// A part of a database; everything if it names nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Selection {
    schemas: Vec<String>,
    tables: Vec<(String, String)>,
}

impl Selection {
    /// Whether everything is meant.
    pub(crate) fn is_whole(&self) -> bool {
        self.schemas.is_empty() && self.tables.is_empty()
    }

    /// Whether this table is meant.
    pub(crate) fn holds(&self, table: &Table) -> bool {
        let named = |schema: &str, name: &str| {
            self.tables
                .iter()
                .any(|(wanted, wanted_name)| wanted == schema && wanted_name == name)
        };
        self.is_whole()
            || self.schemas.contains(&table.schema)
            || named(&table.schema, &table.name)
            || table
                .parents
                .iter()
                .any(|(schema, name)| named(schema, name))
    }

    /// Names in it that no table of the list bears.
    pub(crate) fn unknown(&self, tables: &[Table]) -> Vec<String> {
        let schemas = self
            .schemas
            .iter()
            .filter(|schema| !tables.iter().any(|table| table.schema == **schema));
        let names = self.tables.iter().filter(|(schema, name)| {
            let only = Self {
                schemas: Vec::new(),
                tables: vec![(schema.clone(), name.clone())],
            };
            !tables.iter().any(|table| only.holds(table))
        });
        let shown = names.map(|(schema, name)| format!("table {schema}.{name}"));
        schemas
            .map(|schema| format!("schema {schema}"))
            .chain(shown)
            .collect()
    }
}

/// Pairs captured databases with the names they get.
pub(crate) fn choose(
    settings: &PostgresSettings,
    options: &PostgresRestoreOptions,
    captured: &[String],
) -> Result<Vec<(String, String)>, SourceError> {
    let missing = |name: &str| {
        SourceError::new(
            SourceErrorKind::Missing,
            format!(
                "the capture holds no database {name}, only {}",
                captured.join(", ")
            ),
        )
    };
    let named = match &settings.databases {
        Databases::All => &[],
        Databases::Named(names) => names.as_slice(),
    };
    let chosen = match (&options.databases, named) {
        (chosen, _) if !chosen.is_empty() => chosen.clone(),
        (_, named) if !named.is_empty() && named.iter().all(|name| captured.contains(name)) => {
            named.to_vec()
        }
        _ => captured.to_vec(),
    };
    if let Some(name) = chosen.iter().find(|name| !captured.contains(name)) {
        return Err(missing(name));
    }
    match (chosen.as_slice(), named) {
        ([], _) => Err(SourceError::new(
            SourceErrorKind::Missing,
            "the capture holds no database",
        )),
        ([one], [name]) if names::is_database_name(name) => Ok(vec![(one.clone(), name.clone())]),
        (several, []) => Ok(several
            .iter()
            .map(|name| (name.clone(), name.clone()))
            .collect()),
        (several, named) => match several.iter().find(|name| !named.contains(name)) {
            None => Ok(several
                .iter()
                .map(|name| (name.clone(), name.clone()))
                .collect()),
            Some(name) => Err(SourceError::new(
                SourceErrorKind::Settings,
                format!(
                    "{} databases cannot get the name of one: say which, or name none in the URL; \
                    the URL does not name {name}",
                    several.len()
                ),
            )),
        },
    }
}
