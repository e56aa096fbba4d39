//! Export: one script for each database, and one for the server, that stock psql loads.
//!
//! Scripts open with `\restrict` where the psql of this machine knows it, so that nothing in the data can become a
//! command. Independent of that, every statement is taken apart first, and a backslash outside of quotes is refused.

use std::io::{self, Write};
use std::path::Path;

use keepstone_engine::path::percent_encode;
use keepstone_engine::source::{
    Export, ExportPart, ExportSink, Items, SourceError, SourceErrorKind,
};

use super::catalog::{Sequence, Table};
use super::child::clean_command;
use super::large_objects::{self, ObjectOwner};
use super::layout::{self, Lines, Part as Stream};
use super::mark;
use super::names;
use super::plan::{facts_of, tables_of};
use super::roles::{self, Role};
use super::schema::parse_version;
use super::sql;

/// First minor version of each major one whose psql knows `\restrict`; later majors always do.
const KNOW_RESTRICT: [(u32, u32); 5] = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];
/// Settings under which the rows were written.
const SETTINGS: &str = "SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET client_encoding = 'UTF8';\n\
    SET standard_conforming_strings = on;\nSET datestyle = 'ISO, YMD';\nSET intervalstyle = 'postgres';\n\
    SET timezone = 'UTC';\nSET lc_monetary = 'C';\nSET bytea_output = 'hex';\nSET row_security = off;\n";

/// Writes a capture as SQL.
#[derive(Debug, Default)]
pub struct PostgresExport {
    restrict: Restrict,
}

/// Whether scripts open with `\restrict`.
#[derive(Debug, Default)]
enum Restrict {
    /// With a random key, if the psql of this machine knows it.
    #[default]
    IfKnown,
    /// With this key.
    With(String),
    /// Never.
    Without,
}

impl PostgresExport {
    /// An export that fits the psql of this machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// An export that opens with `\restrict` and this key, or without it.
    pub fn with_restrict(key: Option<String>) -> Self {
        Self {
            restrict: key.map_or(Restrict::Without, Restrict::With),
        }
    }

    fn key(&self) -> Result<Option<String>, SourceError> {
        Ok(match &self.restrict {
            Restrict::With(key) => Some(key.clone()),
            Restrict::IfKnown if psql_knows_restrict() => Some(names::random_hex::<32>()?),
            Restrict::IfKnown | Restrict::Without => None,
        })
    }
}

impl Export for PostgresExport {
    fn export(&self, items: &dyn Items, out: &mut dyn ExportSink) -> Result<(), SourceError> {
        let key = self.key()?;
        for part in Part::all(items)? {
            part.write(items, key.as_deref(), out)?;
        }
        Ok(())
    }

    /// A database is loaded into the one that psql is connected to, whatever that is called; what belongs to the server
    /// changes roles and databases by their names.
    fn parts(&self, items: &dyn Items) -> Result<Vec<ExportPart>, SourceError> {
        let parts = Part::all(items)?;
        Ok(parts.iter().map(Part::to_export_part).collect())
    }

    fn export_part(
        &self,
        items: &dyn Items,
        name: &str,
        out: &mut dyn ExportSink,
    ) -> Result<(), SourceError> {
        let mut parts = Part::all(items)?.into_iter();
        let part = parts
            .find(|part| part.to_export_part().name == name)
            .ok_or_else(|| {
                let act = format!("the capture holds no database {name}");
                SourceError::new(SourceErrorKind::Missing, act)
            })?;
        part.write(items, self.key()?.as_deref(), out)
    }
}

/// One script.
enum Part {
    Database(String),
    /// Roles and settings of databases; with the name of the script.
    Globals(&'static str),
}

impl Part {
    fn all(items: &dyn Items) -> Result<Vec<Self>, SourceError> {
        let databases = layout::databases(items)?;
        // A database may have such a name already; an encoded one never begins so.
        let is_taken = |name: &String| name == "globals" || name == "globals.sql";
        let taken = databases.iter().any(is_taken);
        let globals = if taken { "@globals.sql" } else { "globals.sql" };
        let databases = databases.into_iter().map(Self::Database);
        Ok(databases.chain([Self::Globals(globals)]).collect())
    }

    fn to_export_part(&self) -> ExportPart {
        match self {
            Self::Database(database) => ExportPart {
                name: percent_encode(database),
                reaches_out: false,
            },
            Self::Globals(name) => ExportPart {
                name: (*name).to_owned(),
                reaches_out: true,
            },
        }
    }

    fn write(
        &self,
        items: &dyn Items,
        key: Option<&str>,
        out: &mut dyn ExportSink,
    ) -> Result<(), SourceError> {
        let name = match self {
            Self::Database(database) => format!("{}.sql", percent_encode(database)),
            Self::Globals(name) => (*name).to_owned(),
        };
        let writer = out.file(&name).map_err(|error| unwritten(&name, error))?;
        let mut script = Script {
            writer,
            name: &name,
            items,
            key,
        };
        match self {
            Self::Database(database) => script.database(database),
            Self::Globals(_) => script.globals(),
        }
    }
}

fn unwritten(name: &str, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull => SourceErrorKind::NoSpace,
        _ => SourceErrorKind::Engine,
    };
    SourceError::new(kind, format!("cannot write {name}")).because(error)
}

fn psql_knows_restrict() -> bool {
    let output = clean_command(Path::new("psql")).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| parse_version(&text))
        .is_some_and(|(version, _)| knows_restrict(&version))
}

fn knows_restrict(version: &str) -> bool {
    let mut numbers = version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok());
    let (major, minor): (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let last = KNOW_RESTRICT.last().map_or(0, |(major, _)| *major);
    let first = KNOW_RESTRICT.iter().find(|(known, _)| *known == major);
    major > last || first.is_some_and(|(_, first)| minor >= *first)
}

struct Script<'a> {
    writer: &'a mut dyn Write,
    name: &'a str,
    items: &'a dyn Items,
    key: Option<&'a str>,
}

impl Script<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.writer
            .write_all(bytes)
            .map_err(|error| unwritten(self.name, error))
    }

    fn open(&mut self, title: &str) -> Result<(), SourceError> {
        let title: String = title.chars().filter(|char| !char.is_control()).collect();
        self.put(format!("-- {title}\n\n").as_bytes())?;
        if let Some(key) = self.key {
            self.put(format!("\\restrict {key}\n\n").as_bytes())?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), SourceError> {
        if let Some(key) = self.key {
            self.put(format!("\n\\unrestrict {key}\n").as_bytes())?;
        }
        self.writer
            .flush()
            .map_err(|error| unwritten(self.name, error))
    }

    fn database(&mut self, database: &str) -> Result<(), SourceError> {
        self.open(&format!(
            "PostgreSQL database {database}, to be loaded into an empty one"
        ))?;
        self.put(SETTINGS.as_bytes())?;
        self.put(b"SELECT pg_catalog.set_config('search_path', '', false);\n\n")?;
        self.schema(database, Stream::SchemaPre)?;
        for table in tables_of(self.items, database)? {
            self.rows(database, &table)?;
        }
        self.large_objects(database)?;
        let path = Stream::Sequences.path(database)?;
        for sequence in layout::get_lines::<Sequence>(self.items, &path)? {
            self.statement(&sequence.setval())?;
        }
        self.schema(database, Stream::SchemaPost)?;
        self.close()
    }

    fn statement(&mut self, statement: &str) -> Result<(), SourceError> {
        // What we put together from the capture is taken apart like the rest of it.
        sql::statements(statement.as_bytes())?;
        self.put(statement.as_bytes())?;
        self.put(b"\n")
    }

    fn schema(&mut self, database: &str, part: Stream) -> Result<(), SourceError> {
        let path = part.path(database)?;
        let text = layout::get_bytes(self.items, &path)?.ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::Corrupt,
                format!("the capture lacks stream {path}"),
            )
        })?;
        for statement in sql::statements(&text)? {
            // Comments between statements stay behind: they hold names, which may hold anything.
            if statement != b"CREATE SCHEMA public;" {
                self.put(&sql::for_psql(statement)?)?;
                self.put(b"\n\n")?;
            }
        }
        Ok(())
    }

    fn rows(&mut self, database: &str, table: &Table) -> Result<(), SourceError> {
        let path = table.path(database)?;
        let mut lines = Lines::default();
        let copy = format!("{};", table.copy_in(""));
        sql::statements(copy.as_bytes())?;
        self.put(format!("{copy}\n").as_bytes())?;
        let items = self.items;
        items.read(&path, &mut |piece| {
            lines.feed(piece, &mut |line| {
                // It would end the rows, and what follows would be commands.
                if line == b"\\.\n" || line == b"\\.\r\n" {
                    return Err(SourceError::new(
                        SourceErrorKind::Corrupt,
                        format!("the capture's stream {path} holds a line that is no row"),
                    ));
                }
                self.put(line)
            })
        })?;
        lines.end(&path)?;
        self.put(b"\\.\n\n")
    }

    fn large_objects(&mut self, database: &str) -> Result<(), SourceError> {
        let path = Stream::LargeObjects.path(database)?;
        if self.items.get(&path)?.is_none() {
            return Ok(());
        }
        let mut lines = Lines::default();
        let items = self.items;
        items.read(&path, &mut |piece| {
            lines.feed(piece, &mut |line| {
                let statement = large_objects::restore_line(line)?;
                self.put(format!("{statement}\n").as_bytes())
            })
        })?;
        lines.end(&path)?;
        let path = Stream::LargeObjectOwners.path(database)?;
        for owner in layout::get_lines::<ObjectOwner>(self.items, &path)? {
            for statement in owner.dress(true) {
                self.statement(&statement)?;
            }
        }
        Ok(())
    }

    fn globals(&mut self) -> Result<(), SourceError> {
        self.open("PostgreSQL roles and settings of databases, to be loaded by a superuser")?;
        self.put(SETTINGS.as_bytes())?;
        self.put(b"\n-- Roles. Those that exist already are changed.\n\n")?;
        let all: Vec<Role> = layout::get_lines(self.items, &layout::roles_path()?)?;
        for role in &all {
            self.statement(&role.create_if_missing())?;
            for statement in role.shape() {
                self.statement(&statement)?;
            }
        }
        let names = roles::closure(&all, all.iter().map(|role| role.name.as_str()));
        for statement in all.iter().flat_map(|role| role.join(&names, false)) {
            self.statement(&statement)?;
        }
        let title = "Owners, grants and settings of databases, as far as these exist: load this file again after them.";
        self.put(format!("\n-- {title}\n\n").as_bytes())?;
        for database in layout::databases(self.items)? {
            let facts = facts_of(self.items, &database)?;
            let comment = mark::comment_on("DATABASE", &database, facts.comment.as_deref());
            for statement in [vec![comment], facts.dress(&database, true)].concat() {
                let body = format!(
                    "BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {}) THEN {statement} END IF; END",
                    sql::literal(&database)
                );
                self.statement(&format!("DO {};", sql::literal(&body)))?;
            }
        }
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_psql_does_not_know_restrict() {
        for (version, known) in [
            ("15.13", false),
            ("15.14", true),
            ("15.18", true),
            ("12.22", false),
            ("17.5", false),
            ("17.6", true),
            ("18.0", true),
            ("18beta1", true),
            ("", false),
        ] {
            assert_eq!(knows_restrict(version), known, "{version}");
        }
    }
}
