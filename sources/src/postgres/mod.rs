//! PostgreSQL: databases saved while they work, rebuilt beside the live ones and switched in by name.
//!
//! # What is saved
//!
//! Of each database: its schema as pg_dump writes it (extensions with their versions, types, functions, tables,
//! views, indexes, constraints, triggers, policies, comments, owners and grants), every row of every table and
//! partition, the rows that users added to tables of extensions, sequences, large objects with owners and grants,
//! encoding, locale, owner, comment, grants and settings of the database. Of the server: roles with memberships
//! and settings, and the hashes of their passwords where we may read them.
//!
//! Names, definitions and rows must be UTF-8 or of an encoding that the server can turn into it: of a database in
//! `SQL_ASCII`, for which the server does not know what its bytes mean, a capture fails at the first text that is neither
//! ASCII nor UTF-8.
//!
//! Not saved, and said in the report where it matters: rows of foreign tables, temporary tables, on a standby server
//! what unlogged tables and sequences hold (it has none of it), rows of materialized views (they are refreshed on restore), databases that accept no connections, templates,
//! `postgresql.conf`, `pg_hba.conf`, replication slots, statistics.
//!
//! Rows are lines of COPY's text form under fixed settings, so that equal rows are equal bytes on every server.
//! They come in the order of the primary key where it is one whole number and table and schema belong to a superuser or to
//! the role that saves, else in the order of the heap; the stream's attribute `key_sorted` says which. To ask for an order
//! is a query, and what an index of the table computes may be called when a query is planned: who owns the table would have
//! functions of theirs run with our rights. (Which rows of an extension's table are the user's can only be asked. Where such
//! a table belongs to neither, nobody can make an index of it while it is captured, and a capture is refused where it has one
//! that computes, or on a standby. A role that is no superuser and may not lock the table asks all the same, with no more
//! rights than its own; and who owns the schema may put another table under the name in the moment between the look at it
//! and the question, which a capture notices only afterwards.) Generated columns are left out and computed anew. Counts and digests
//! are exact: a digest is over the lines with their line feeds, and the server's own row count must agree.
//!
//! # Consistency
//!
//! One database is one instant: all connections share one exported snapshot, which is taken when every table is
//! locked. Sequences may be a little ahead, never behind. Several databases are several instants, one directly after
//! the other, because the server offers nothing better. Definitions are read by pg_dump directly after the snapshot: the
//! server tells them as they are then, and what is renamed or dropped in that very moment may be missed. While a capture
//! runs it holds `ACCESS SHARE` locks and a snapshot: `ALTER TABLE`, `TRUNCATE`, `VACUUM FULL` and changes of views wait
//! for it, reading and writing do not; but behind one that waits for a table everybody waits who comes later, as during
//! pg_dump. A lock that somebody else holds ends the capture after `lock_timeout`. No lock stops who renames a schema: a
//! capture ends when the name of a table that it still has to read means another one.
//!
//! The capture itself waits for nobody who waits for it: pg_dump speaks through the session that holds the locks, and a
//! table whose lock somebody waits for is read by that session alone.
//!
//! A standby server ends a capture that stands in the way of what it has to replay, after `max_standby_streaming_delay`
//! (30 s by default): raise that, or set `hot_standby_feedback = on`.
//!
//! # Settings
//!
//! `postgres://[user@]host[:port]/[database]`. Without a database all are meant; `?databases=a,b` names several.
//! A folder as host (`postgres://%2Frun%2Fpostgresql/app`) or no host is a Unix socket. Options: `sslmode`
//! (`disable`, `prefer`, `require`, `verify-full`, as PostgreSQL's tools mean them), `sslrootcert`,
//! `connect_timeout`, `answer_timeout`, `lock_timeout` (seconds), `connections` (tables copied side by side),
//! `passfile`, `pg_dump`. A password is never in the URL: it is given apart, by `PGPASSWORD`, or by a password file
//! (`PGPASSFILE`, `~/.pgpass`) that only its owner can read. SCRAM-SHA-256, MD5 and plain passwords work; Kerberos,
//! client certificates and channel binding do not. A connection pooler that hands out sessions by transaction
//! cannot carry a snapshot: connect to the server itself.
//!
//! pg_dump must be there for a capture, in the major version of the server or a newer one. It connects to a Unix socket
//! of ours in a temporary folder that only we can enter, and learns neither password nor server. The folder is made in
//! `TMPDIR`, or in `/run` or `/tmp` where that cannot be: its path is too long for a socket, or holds a comma. Our sessions
//! have a `search_path` of their own, so that no function of a database is called for one of the server, and settings
//! of their own wherever they shape text.
//!
//! # Privileges
//!
//! `pg_read_all_data` and `CONNECT` suffice for a capture (from 14 on they show the passwords' hashes too). Large
//! objects need their owner, a grant or a superuser; tables with row-level security need `BYPASSRLS`, or the
//! capture fails, because a policy would hide rows. A restore needs `CREATEDB`, to replace a database also its
//! ownership, to end other users' sessions `pg_signal_backend`, and a superuser for what only one may own or make.
//!
//! # Restore
//!
//! A database is rebuilt as `<name>__keepstone_<id>` and read back: every count, digest, sequence and large object,
//! and the schema if the server has the version of the capture. Only then it takes its name: what had it becomes
//! `<name>__before_<id>`, accepts no connections, and is kept until discarded. All renames of a restore are one
//! transaction, which ends the sessions that are in the way: at any moment, kill -9 included, every database is
//! the old one or every database is the new one. Rolling back is the same transaction the other way. What a restore
//! made carries a mark at the end of its comment until it is discarded; a fresh process with the plan alone finishes
//! or undoes it. Nothing is rolled back where what is live is not what this restore made.
//!
//! Roles that the server lacks are made first and go again on a rollback. Existing roles are not changed. Extensions,
//! roles and versions that would not work are refused before anything is made; how much space the server's disks
//! have cannot be asked. Subscriptions come back disabled; those of what is dropped go without a word to the publisher,
//! whose slot stays.
//!
//! Where a row lies in a table that is partitioned by the hash of an enum, or of what may hold one, depends on numbers that
//! the server gives out. Such rows are loaded through that table and compared as a whole; its parts are restored together.
//!
//! Schemas and tables can be chosen. They are restored into a database of their own, with the definitions they need;
//! foreign keys to tables that were not chosen are left out.
//!
//! # Export
//!
//! `<database>.sql` for each database, to be loaded into an empty one, and `globals.sql` for roles (load it before)
//! and owners, grants and settings of databases (load it again after):
//! `psql -X -v ON_ERROR_STOP=1 -d app -f app.sql`. Large objects keep their numbers. The scripts open with
//! `\restrict` where the psql of the exporting machine knows it; delete the first and the last line for an older one.

mod assignment;
mod capture;
mod catalog;
mod child;
mod client;
mod definitions;
mod drop;
mod emit;
mod error;
mod export;
mod facts;
mod large_objects;
mod layout;
mod lend;
mod load;
mod login;
mod make;
mod mark;
mod names;
mod options;
mod passfile;
mod plan;
mod rebuild;
mod roles;
mod rows;
mod schema;
mod settings;
mod snapshot;
mod socket;
mod sql;
mod stage;
mod switch;
mod tls;
mod url;
mod validate;
mod wire;

pub use capture::PostgresSource;
pub use client::look_into_message;
pub use export::PostgresExport;
pub use large_objects::parse_line as parse_large_object_line;
pub use options::PostgresRestoreOptions;
pub use rebuild::PostgresTarget;
pub use settings::{Databases, Host, PostgresEnvironment, PostgresSettings, SslMode, Timeouts};
pub use sql::statements;

/// Kind of the source, and scheme of its URLs.
pub const KIND: &str = "postgres";
