//! Export: every database as a file of commands that `redis-cli --pipe` loads into any server.

use std::io::{self, Write};

use keepstone_engine::source::{Export, ExportSink, Items, SourceError, SourceErrorKind};

use super::commands::commands_of;
use super::resp::put_command;
use super::stage::{for_each_record, read_strings};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes `db<n>.resp` for each database, and `functions.resp` if there are functions.
///
/// Keys that have an expiry get it as it was: those that have expired meanwhile are gone at once. The times at which
/// consumers of streams were last seen cannot be set by commands, nor pending entries whose message was deleted.
#[derive(Debug, Default)]
pub struct RedisExport(());

impl RedisExport {
    /// Has no settings.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Export for RedisExport {
    fn export(&self, items: &dyn Items, out: &mut dyn ExportSink) -> Result<(), SourceError> {
        for db in super::rebuild::databases_of(items)?.into_keys() {
            export_database(items, db, out)?;
        }
        export_functions(items, out)
    }
}

fn export_database(
    items: &dyn Items,
    db: u32,
    out: &mut dyn ExportSink,
) -> Result<(), SourceError> {
    let name = format!("db{db}.resp");
    let mut file = File::begin(&name, out)?;
    file.command(&[b"SELECT", db.to_string().as_bytes()])?;
    for_each_record(items, db, &mut |record, _| {
        commands_of(&record, &mut |arguments| file.command(arguments))
    })?;
    file.finish()
}

fn export_functions(items: &dyn Items, out: &mut dyn ExportSink) -> Result<(), SourceError> {
    let mut libraries = Vec::new();
    read_strings(items, "functions", &mut |_, code| {
        libraries.push(code.to_vec());
        Ok(())
    })?;
    if libraries.is_empty() {
        return Ok(());
    }
    let mut file = File::begin("functions.resp", out)?;
    for code in &libraries {
        file.command(&[b"FUNCTION", b"LOAD", b"REPLACE", code])?;
    }
    file.finish()
}

struct File<'a> {
    name: &'a str,
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
}

impl<'a> File<'a> {
    fn begin(name: &'a str, out: &'a mut dyn ExportSink) -> Result<Self, SourceError> {
        let out = out.file(name).map_err(|error| failed(name, error))?;
        Ok(Self {
            name,
            out,
            buffer: Vec::new(),
        })
    }

    fn command(&mut self, arguments: &[&[u8]]) -> Result<(), SourceError> {
        put_command(&mut self.buffer, arguments);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SourceError> {
        self.out
            .write_all(&self.buffer)
            .map_err(|error| failed(self.name, error))?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<(), SourceError> {
        self.flush()
    }
}

fn failed(name: &str, error: io::Error) -> SourceError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SourceErrorKind::NoSpace,
        _ => SourceErrorKind::Other,
    };
    SourceError::new(kind, format!("cannot write the export {name}")).because(error)
}
