//! The schema as SQL, by pg_dump, which owns its compatibility; made equal for equal schemas.
//!
//! pg_dump is lent our session, with its snapshot and its locks: one of its own would wait behind whoever waits for
//! ours. It needs no password then, and its environment holds nothing of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::child::{self, Bounds, clean_command};
use super::client::Session;
use super::layout::TEXT_BYTES_MAX;
use super::lend::lend;
use super::settings::PostgresSettings;
use super::socket;
use super::wire::Stop;

/// Folders under which distributions keep the tools of one major version, in `<major>/bin` or `<major>`.
const TOOL_FOLDERS: [&str; 3] = [
    "/usr/lib/postgresql",
    "/usr/local/lib/postgresql",
    "/opt/postgresql",
];
/// A file that cannot be.
const NO_FILE: &str = "/dev/null/none";
/// The first version that can leave statistics out, and would write them otherwise.
const FIRST_WITH_STATISTICS: u32 = 18;

/// Which part of the schema: what tables need before their rows, or what is cheaper or possible only after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Types, functions, tables.
    Pre,
    /// Indexes, constraints, triggers, refreshing of materialized views.
    Post,
}

/// A pg_dump and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PgDump {
    path: PathBuf,
    /// Major version.
    pub(crate) major: u32,
    /// Version as it says it.
    pub(crate) version: String,
}

impl PgDump {
    /// Finds one that can read a server of this major version, the nearest version first.
    pub(crate) fn find(
        settings: &PostgresSettings,
        server_major: u32,
    ) -> Result<Self, SourceError> {
        let candidates = match &settings.pg_dump {
            Some(path) => vec![path.clone()],
            None => candidates(server_major),
        };
        let mut found: Vec<Self> = candidates
            .iter()
            .filter_map(|path| Self::at(path))
            .collect();
        found.sort_by_key(|tool| (tool.major < server_major, tool.major.abs_diff(server_major)));
        let advice =
            format!("install postgresql-client-{server_major} or newer, or name one with pg_dump=");
        match found.into_iter().next() {
            Some(tool) if tool.major >= server_major => Ok(tool),
            Some(tool) => Err(SourceError::new(
                SourceErrorKind::Preflight,
                format!(
                    "the newest pg_dump found is {}, too old for a server of version {server_major}; {advice}",
                    tool.version
                ),
            )),
            None => Err(SourceError::new(
                SourceErrorKind::Preflight,
                format!("cannot find pg_dump, which reads the schema; {advice}"),
            )),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        let output = clean_command(path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (version, major) = parse_version(&text)?;
        Some(Self {
            path: path.to_owned(),
            major,
            version,
        })
    }

    /// Writes one section of a database's schema, as the session sees it.
    pub(crate) fn schema(
        &self,
        settings: &PostgresSettings,
        database: &str,
        session: &mut Session,
        section: Section,
        stop: &Stop,
    ) -> Result<Vec<u8>, SourceError> {
        let mut command = clean_command(&self.path);
        command.arg(match section {
            Section::Pre => "--section=pre-data",
            Section::Post => "--section=post-data",
        });
        // Large objects are a stream of their own. The short name is the one that every version knows.
        command.args(["--no-password", "-B"]);
        if self.major >= FIRST_WITH_STATISTICS {
            command.arg("--no-statistics");
        }
        command.arg(format!(
            "--lock-wait-timeout={}",
            settings.timeouts.lock.as_millis()
        ));
        let act = format!("cannot read the schema of database {database} with pg_dump");
        let dump = lend(session, &act, |folder| {
            connect_by_environment(&mut command, settings, database, folder);
            let bounds = Bounds {
                silence: settings.timeouts.answer,
                // More than this no restore would read.
                bytes: TEXT_BYTES_MAX,
            };
            child::run(command, &bounds, stop, &act)
        })?;
        Ok(normalised(&dump).to_vec())
    }
}

/// Parses the answer to `--version`: the version and its major number.
pub(crate) fn parse_version(text: &str) -> Option<(String, u32)> {
    let version = text
        .split(") ")
        .nth(1)?
        .split_whitespace()
        .next()?
        .to_owned();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((version, digits.parse().ok()?))
}

fn candidates(server_major: u32) -> Vec<PathBuf> {
    let mut found = vec![
        PathBuf::from(format!("/usr/pgsql-{server_major}/bin/pg_dump")),
        PathBuf::from("pg_dump"),
    ];
    for folder in TOOL_FOLDERS {
        let versions = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(versions.map(|version| version.path().join("bin/pg_dump")));
    }
    found
}

fn connect_by_environment(
    command: &mut Command,
    settings: &PostgresSettings,
    database: &str,
    folder: &Path,
) {
    command
        .env("PGHOST", folder)
        .env("PGPORT", socket::PORT.to_string())
        .env("PGUSER", &settings.user)
        .env("PGDATABASE", database)
        .env("PGSSLMODE", "disable")
        .env(
            "PGCONNECT_TIMEOUT",
            settings.timeouts.connect.as_secs().max(2).to_string(),
        )
        .env("PGAPPNAME", "keepstone")
        .env("PGCLIENTENCODING", "UTF8")
        // No file of the user's may change what is read or from where.
        .env("PGSERVICEFILE", NO_FILE)
        .env("PGPASSFILE", NO_FILE);
}

/// Takes off what differs between two dumps of one schema: the header and the footer, with the versions and the
/// random key of `\restrict`. What lies between them is not touched.
pub(crate) fn normalised(dump: &[u8]) -> &[u8] {
    let noise = |line: &[u8]| {
        line.is_empty()
            || line.starts_with(b"--")
            || line.starts_with(b"\\restrict ")
            || line.starts_with(b"\\unrestrict ")
    };
    let mut body = dump;
    while let Some(end) = body.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = body.split_at(end);
        if !noise(line) {
            break;
        }
        body = rest.get(1..).unwrap_or_default();
    }
    while let Some(trimmed) = body.strip_suffix(b"\n") {
        let start = trimmed
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        if !noise(trimmed.get(start..).unwrap_or_default()) {
            break;
        }
        body = body.get(..start).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_header_and_footer_are_taken_off() {
        let dump = b"--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped by pg_dump version 15\n\nSET a = 1;\n\n-- Name: f\nCREATE x AS '\n-- Dumped\n\\restrict x\n';\n\n--\n-- complete\n--\n\n\\unrestrict abc\n\n";
        let text = String::from_utf8(normalised(dump).to_vec()).unwrap();
        assert_eq!(
            text,
            "SET a = 1;\n\n-- Name: f\nCREATE x AS '\n-- Dumped\n\\restrict x\n';\n"
        );
        assert_eq!(normalised(b"--\n\n"), b"");
    }

    #[test]
    fn versions_are_read() {
        let (version, major) =
            parse_version("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0)\n").unwrap();
        assert_eq!((version.as_str(), major), ("15.18", 15));
        assert_eq!(
            parse_version("pg_dump (PostgreSQL) 18beta1\n").unwrap().1,
            18
        );
        assert_eq!(parse_version("something else"), None);
    }
}
