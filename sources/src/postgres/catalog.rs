//! What a database holds, read from its catalog: tables, sequences, large objects, and what is left out.

use keepstone_engine::path::{PathError, RepoPath};
use keepstone_engine::source::{SourceError, SourceErrorKind};
use serde::{Deserialize, Serialize};

use super::client::{Row, Session};
use super::error::PgError;
use super::sql::{ident, literal, qualified};

/// Sequences that are asked for in one statement.
const SEQUENCES_AT_ONCE: usize = 200;
/// Schemas that belong to the server.
const USER_SCHEMA: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
/// The condition that a standby server lacks what `c` holds: it gets only what is logged, and reads nothing else.
const NOT_HERE: &str = "(c.relpersistence = 'u' AND pg_is_in_recovery())";
/// The condition that `c` belongs to no extension.
const NO_MEMBER: &str = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
    AND d.objid = c.oid AND d.deptype = 'e')";

/// Owners of `c` and of what it is a part of, `up`. They say what its indexes compute, and the planner calls that.
const OWNERS: &str =
    "SELECT c.relowner UNION ALL SELECT p.relowner FROM up JOIN pg_class p ON p.oid = up.inhparent";
/// The owner of the schema `n`, who can rename it, so that another table bears the name.
const SCHEMA_OWNER: &str = "SELECT CASE n.nspowner::regrole::text WHEN 'pg_database_owner'
        THEN (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database()) ELSE n.nspowner END";
/// Whether to plan a query of `c` may call functions that are not the server's: of an index, of extended statistics (their
/// column came with 14), of a type for which its owner can define casts.
const COMPUTES: &str = "(EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
            AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
        OR EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxrelid = c.oid
            AND to_jsonb(s) ->> 'stxexprs' IS NOT NULL)
        OR EXISTS (SELECT FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_roles o ON o.oid = y.typowner
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            AND NOT coalesce(o.rolsuper OR o.rolname = current_user, false)))";
/// Whether this session keeps others from making indexes and statistics of `c`.
const IS_GUARDED: &str =
    "EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.pid = pg_backend_pid()
        AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted)";
/// Whether whatever is called could do anything.
const IS_SUPERUSER: &str = "(SELECT o.rolsuper FROM pg_roles o WHERE o.rolname = current_user)";
/// Tables that `c` is a part or an heir of, as `up`.
const UP: &str = "WITH RECURSIVE up AS (
        SELECT inhparent, 1 AS depth FROM pg_inherits WHERE inhrelid = c.oid
        UNION ALL
        SELECT i.inhparent, up.depth + 1 FROM pg_inherits i JOIN up ON i.inhrelid = up.inhparent)";
/// Kinds of keys whose hash the server may make of numbers that it gives out itself: those of an enum's values. Where a
/// row goes that is divided by such a hash differs from database to database.
const PASSING_HASHES: &str =
    "'enum_ops', 'oid_ops', 'array_ops', 'record_ops', 'range_ops', 'multirange_ops'";

/// Foreign tables that are parts of `p`: what is loaded through it might be sent to another server.
const FOREIGN_BELOW: &str = "WITH RECURSIVE down AS (
        SELECT inhrelid FROM pg_inherits WHERE inhparent = p.oid
        UNION ALL
        SELECT i.inhrelid FROM pg_inherits i JOIN down ON i.inhparent = down.inhrelid)
    SELECT FROM down JOIN pg_class f ON f.oid = down.inhrelid WHERE f.relkind = 'f'";

/// One table with rows of its own: plain, a leaf of a partitioned one, or the part of an extension's table that
/// belongs to the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Its number on the server that is read; none in what comes from a capture.
    #[serde(skip)]
    pub(crate) oid: Option<u32>,
    /// Schema.
    pub(crate) schema: String,
    /// Name.
    pub(crate) name: String,
    /// Columns in the order of the stream. Generated ones are not in it.
    pub(crate) columns: Vec<String>,
    /// The column that orders the stream: the primary key, if it is one whole number and the table nobody's who could
    /// have us compute something. None: order of the heap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Not written to the server's log: empty after its crash.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unlogged: bool,
    /// Its rows are not on this server, a standby.
    #[serde(skip)]
    pub(crate) rowless: bool,
    /// Tables that it is a part or an heir of, the nearest first: schema and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<(String, String)>,
    /// The partitioned table that its rows are loaded through: to which part they belong may differ from server to server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<(String, String)>,
    /// For a table that an extension made: which rows are the user's, as a `WHERE …` or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extension_rows: Option<String>,
}

impl Table {
    /// Name for people.
    pub(crate) fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Quoted name.
    pub(crate) fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// Stream of its rows.
    pub(crate) fn path(&self, database: &str) -> Result<RepoPath, SourceError> {
        stream_path(&[database, "table", &self.schema, &self.name])
    }

    /// Position of the key in a row.
    pub(crate) fn key_position(&self) -> Option<usize> {
        let key = self.key.as_ref()?;
        self.columns.iter().position(|column| column == key)
    }

    /// The statement that reads its rows in their order. Of all rows without an order it is no query: nothing is planned,
    /// so that nothing of the owner's is called.
    pub(crate) fn copy_out(&self) -> String {
        let columns = self.column_list();
        let rows = self.extension_rows.as_deref().unwrap_or_default();
        match &self.key {
            None if rows.is_empty() && columns.is_empty() => {
                format!("COPY {} TO STDOUT", self.sql())
            }
            None if rows.is_empty() => format!("COPY {} ({columns}) TO STDOUT", self.sql()),
            key => {
                let order = key.as_ref().map(|key| format!("ORDER BY {}", ident(key)));
                format!(
                    "COPY (SELECT {columns} FROM ONLY {} {rows} {}) TO STDOUT",
                    self.sql(),
                    order.unwrap_or_default()
                )
            }
        }
    }

    /// The statement that takes its rows.
    pub(crate) fn copy_in(&self, options: &str) -> String {
        let columns = self.column_list();
        let root = self.root.as_ref();
        let into = root.map_or_else(|| self.sql(), |(schema, name)| qualified(schema, name));
        if columns.is_empty() {
            return format!("COPY {into} FROM STDIN{options}");
        }
        format!("COPY {into} ({columns}) FROM STDIN{options}")
    }

    fn column_list(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|column| ident(column)).collect();
        columns.join(", ")
    }
}

/// A stream's name from names of database objects.
pub(crate) fn stream_path(names: &[&str]) -> Result<RepoPath, SourceError> {
    RepoPath::of_names(names).map_err(|error: PathError| {
        SourceError::new(
            SourceErrorKind::Other,
            format!("cannot name a stream for {}", names.join("/")),
        )
        .because(error)
    })
}

/// Where a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sequence {
    /// Schema.
    pub(crate) schema: String,
    /// Name.
    pub(crate) name: String,
    /// Last value given, or the first to give.
    pub(crate) last_value: i64,
    /// Whether `last_value` has been given.
    pub(crate) is_called: bool,
}

impl Sequence {
    /// The statement that sets it.
    pub(crate) fn setval(&self) -> String {
        format!(
            "SELECT pg_catalog.setval({}, {}, {});",
            literal(&qualified(&self.schema, &self.name)),
            self.last_value,
            self.is_called
        )
    }
}

/// Everything with rows in one database, and what is left out.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Tables in no particular order.
    pub(crate) tables: Vec<Table>,
    /// Tables whose rows live elsewhere.
    pub(crate) foreign_tables: Vec<String>,
    /// Sequences of which this server, a standby, does not know where they stand.
    pub(crate) unknown_sequences: Vec<String>,
}

/// Quoted names of all tables that a capture reads, those included that only have parts.
pub(crate) fn to_lock(session: &mut Session) -> Result<Vec<String>, PgError> {
    read_tables(session, "true")
}

/// Tables of the session's snapshot that it holds no lock on.
pub(crate) fn unlocked(session: &mut Session) -> Result<Vec<String>, PgError> {
    let own =
        "c.oid NOT IN (SELECT l.relation FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.pid = pg_backend_pid() AND l.granted
            AND l.relation IS NOT NULL)";
    read_tables(session, own)
}

fn read_tables(session: &mut Session, condition: &str) -> Result<Vec<String>, PgError> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {USER_SCHEMA}
            AND ({NO_MEMBER} OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension)) AND {condition}
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    );
    let rows = session.query(&sql)?;
    Ok(rows
        .iter()
        .map(|row| qualified(&row.text(0), &row.text(1)))
        .collect())
}

/// Lists the tables of the session's database.
pub(crate) fn contents(session: &mut Session) -> Result<Contents, PgError> {
    let ours = all_ours(&format!("{OWNERS} UNION ALL {SCHEMA_OWNER}"));
    let owned_by_us = all_ours(OWNERS);
    let sql = format!(
        "SELECT n.nspname, c.relname, c.relpersistence = 'u',
            (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND a.attgenerated = ''),
            (SELECT a.attname FROM pg_index i JOIN pg_attribute a
                ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indnkeyatts = 1
                AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AND ({ours})),
            e.condition, c.relkind,
            ({UP} SELECT json_agg(json_build_array(pn.nspname, p.relname) ORDER BY up.depth, pn.nspname,
                p.relname) FROM up JOIN pg_class p ON p.oid = up.inhparent
                JOIN pg_namespace pn ON pn.oid = p.relnamespace),
            {NOT_HERE}, c.oid,
            ({UP} SELECT json_build_array(pn.nspname, p.relname) FROM up JOIN pg_class p ON p.oid = up.inhparent
                JOIN pg_namespace pn ON pn.oid = p.relnamespace JOIN pg_partitioned_table h ON h.partrelid = p.oid
             WHERE h.partstrat = 'h' AND EXISTS (SELECT FROM pg_opclass o WHERE o.oid = ANY (h.partclass)
                AND o.opcname IN ({PASSING_HASHES}) AND o.opcnamespace = 'pg_catalog'::regnamespace)
                AND NOT EXISTS ({FOREIGN_BELOW})
             ORDER BY up.depth DESC LIMIT 1),
            CASE WHEN c.relkind = 'f' OR coalesce(e.condition, '') = '' OR ({owned_by_us}) THEN NULL
                WHEN {COMPUTES} THEN 'computes'
                WHEN {IS_GUARDED} OR NOT {IS_SUPERUSER} THEN NULL
                WHEN pg_is_in_recovery() THEN 'standby' ELSE 'unguarded' END, c.relowner::regrole
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         LEFT JOIN (SELECT u.id, u.condition FROM pg_extension,
                    unnest(extconfig, extcondition) AS u(id, condition)) e ON e.id = c.oid
         WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' AND {USER_SCHEMA}
            AND (e.id IS NOT NULL OR {NO_MEMBER})
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    );
    let mut contents = Contents::default();
    for row in session.query(&sql)? {
        let table = parse_table(&row)?;
        match row.get(11) {
            None => {}
            Some("unguarded") => return Err(PgError::Unlocked(table.shown())),
            Some(why) => return Err(of_another(&table, &row.text(12), why).into()),
        }
        if row.get(6) == Some("f") {
            contents.foreign_tables.push(table.shown());
        } else {
            contents.tables.push(table);
        }
    }
    let unknown = sequence_names(session, NOT_HERE)?;
    let shown = unknown
        .iter()
        .map(|(_, schema, name)| format!("{schema}.{name}"));
    contents.unknown_sequences = shown.collect();
    Ok(contents)
}

/// The query whether all of these owners are superusers or we ourselves: nobody else can put anything into a query of `c`.
fn all_ours(owners: &str) -> String {
    format!(
        "{UP} SELECT bool_and(coalesce(o.rolsuper OR o.rolname = current_user, false))
         FROM ({owners}) owners (id) LEFT JOIN pg_roles o ON o.oid = owners.id"
    )
}

/// Which rows of an extension's table are the user's is asked by a query, in which its owner could have us run something.
fn of_another(table: &Table, owner: &str, why: &str) -> SourceError {
    let why = match why {
        "standby" => "nothing keeps its owner from that on a standby server",
        _ => "its indexes, statistics or types are not the server's own",
    };
    let problem = format!(
        "will not ask which rows of {} the extension left to its users: role {owner} owns the table, is no superuser, and \
         could have functions called with the rights of the backup's role ({why}). Give the table to a superuser or to the \
         role that saves",
        table.shown()
    );
    SourceError::new(SourceErrorKind::Preflight, problem)
}

/// Quoted names of tables of extensions that are asked by a query for the user's rows, and belong to others. Whoever holds
/// the lock that makes indexes and statistics lets nobody make one.
pub(crate) fn to_guard(session: &mut Session) -> Result<Vec<String>, PgError> {
    let owned_by_us = all_ours(OWNERS);
    let asked = format!(
        "c.relkind = 'r' AND NOT ({owned_by_us}) AND NOT pg_is_in_recovery() AND has_schema_privilege(n.oid, 'USAGE')
            AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')
            AND EXISTS (SELECT FROM pg_extension, unnest(extconfig, extcondition) AS u(id, condition)
                WHERE u.id = c.oid AND u.condition <> '')"
    );
    read_tables(session, &asked)
}

fn parse_table(row: &Row) -> Result<Table, PgError> {
    let json = |column: usize| row.get(column).unwrap_or("[]");
    let bad = |error: serde_json::Error| PgError::Protocol(format!("a list of columns: {error}"));
    Ok(Table {
        oid: Some(parse_oid(row, 9)?),
        root: serde_json::from_str(row.get(10).unwrap_or("null")).map_err(bad)?,
        schema: row.text(0),
        name: row.text(1),
        unlogged: row.flag(2),
        rowless: row.flag(8),
        columns: serde_json::from_str(json(3)).map_err(bad)?,
        key: row.get(4).map(ToOwned::to_owned),
        extension_rows: row.get(5).map(ToOwned::to_owned),
        parents: serde_json::from_str(json(7)).map_err(bad)?,
    })
}

fn parse_oid(row: &Row, column: usize) -> Result<u32, PgError> {
    let number = row.get(column).and_then(|text| text.parse().ok());
    number.ok_or_else(|| PgError::Protocol("a relation without its number".into()))
}

/// A relation as its number and its name were when it was listed.
pub(crate) struct Listed<'a> {
    /// What it is, for people.
    pub(crate) kind: &'static str,
    /// Its number.
    pub(crate) oid: u32,
    /// Schema.
    pub(crate) schema: &'a str,
    /// Name.
    pub(crate) name: &'a str,
}

impl Listed<'_> {
    fn replaced(&self) -> SourceError {
        let problem = format!(
            "{} {}.{} was renamed or replaced while it was read",
            self.kind, self.schema, self.name
        );
        SourceError::new(SourceErrorKind::Interrupted, problem)
    }

    /// Says so of what a server answers when the name has come to mean something else: no table, nothing in no schema, or
    /// a view that is not to be read.
    pub(crate) fn or_replaced(&self, error: PgError) -> PgError {
        match error.code() {
            "42809" | "42P01" | "3F000" | "55000" => self.replaced().because(error).into(),
            _ => error,
        }
    }
}

/// Makes sure that names still mean what was listed. A lock stops whoever renames the relation, but not whoever renames
/// its schema. To name a catalog has the server look whether others changed one: what a name means to it is then what
/// it means to the next statement.
pub(crate) fn check_names(session: &mut Session, listed: &[Listed<'_>]) -> Result<(), PgError> {
    if listed.is_empty() {
        return Ok(());
    }
    let values: Vec<_> = listed
        .iter()
        .enumerate()
        .map(|(place, relation)| {
            let name = qualified(relation.schema, relation.name);
            format!("({place}, {}::oid, {})", relation.oid, literal(&name))
        })
        .collect();
    let rows = session.query(&format!(
        "SELECT min(place) FROM (VALUES {}) listed (place, id, name) WHERE NOT EXISTS
            (SELECT FROM pg_class c WHERE c.oid = listed.id AND c.oid = to_regclass(listed.name))",
        values.join(", ")
    ))?;
    let place = rows.first().and_then(|row| row.get(0)?.parse().ok());
    match place.and_then(|place: usize| listed.get(place)) {
        Some(relation) => Err(relation.replaced().into()),
        None => Ok(()),
    }
}

/// Numbers, schemas and names of sequences.
fn sequence_names(
    session: &mut Session,
    condition: &str,
) -> Result<Vec<(u32, String, String)>, PgError> {
    let sql = format!(
        "SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {USER_SCHEMA}
            AND ({NO_MEMBER} OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension)) AND {condition}
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    );
    let rows = session.query(&sql)?;
    rows.iter()
        .map(|row| Ok((parse_oid(row, 0)?, row.text(1), row.text(2))))
        .collect()
}

/// Reads where every sequence stands, as far as this server knows. Nothing locks one before it is read: what was put in
/// its place must not pass for it.
pub(crate) fn sequences(session: &mut Session) -> Result<Vec<Sequence>, PgError> {
    let names = sequence_names(session, &format!("NOT {NOT_HERE}"))?;
    let listed: Vec<_> = names
        .iter()
        .map(|(oid, schema, name)| Listed {
            kind: "sequence",
            oid: *oid,
            schema,
            name,
        })
        .collect();
    let mut sequences = Vec::with_capacity(names.len());
    for listed in listed.chunks(SEQUENCES_AT_ONCE) {
        let parts: Vec<_> = listed
            .iter()
            .enumerate()
            .map(|(place, sequence)| {
                format!(
                    "SELECT {place}, tableoid, last_value, is_called FROM {}",
                    qualified(sequence.schema, sequence.name)
                )
            })
            .collect();
        // What is not the sequence any more is not even looked at, if that can be seen.
        check_names(session, listed)?;
        let rows = session.query(&parts.join(" UNION ALL "))?;
        for (place, sequence) in listed.iter().enumerate() {
            let place = place.to_string();
            sequences.push(stand(sequence, &place, &rows)?);
        }
    }
    Ok(sequences)
}

/// Where one sequence stands, among rows of several: place, number of the relation, last value, whether that was given.
fn stand(sequence: &Listed<'_>, place: &str, rows: &[Row]) -> Result<Sequence, PgError> {
    let mut own = rows.iter().filter(|row| row.get(0) == Some(place));
    match (own.next(), own.next()) {
        (Some(row), None) if parse_oid(row, 1)? == sequence.oid => Ok(Sequence {
            schema: sequence.schema.to_owned(),
            name: sequence.name.to_owned(),
            last_value: row.number(2),
            is_called: row.flag(3),
        }),
        _ => Err(sequence.replaced().into()),
    }
}
