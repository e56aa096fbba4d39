//! `dump`: writes a file, or a source in the form of its own tools, to standard output.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use keepstone_engine::Error;
use keepstone_engine::path::RepoPath;
use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::{CapturedItems, export_to_writer, source_failed};
use keepstone_engine::source::{
    Export, ExportPart, Items as _, NodeKind, SourceError, SourceErrorKind,
};
use keepstone_engine::tree::{Body, Entry};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::Serialize;

use crate::args::FilterArgs;
use crate::cancel::cancel;
use crate::choose::{sources_named, wanted};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::{InSnapshot, places, places_that_exist, show};
use crate::reference::{Address, Reference};
use crate::repository::parallel;
use crate::sources::export;
use crate::ui::format::printable;

const EXAMPLES: &str = "\
Examples:
  keepstone dump latest:/etc/hosts
  keepstone dump latest /etc/hosts
  keepstone dump latest:postgres-app | psql -v ON_ERROR_STOP=1 copy_of_app
  keepstone dump latest:postgres/app | psql -v ON_ERROR_STOP=1 copy_of_app
  keepstone dump latest:redis | redis-cli --pipe
  keepstone dump latest:sqlite-app.db -t app.db

Of a PostgreSQL source one database is written, to be loaded into an empty one of any name. Roles, owners and settings \
of databases belong to the server: they come as SOURCE/globals.sql, and change what bears their names there.";

/// Arguments of `dump`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DumpArgs {
    /// The snapshot, with :PATH or :SOURCE what to write
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: Reference,
    /// What to write, if it does not stand after the snapshot
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<Address>,
    /// Write into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) target: Option<PathBuf>,
    /// Write the stream as it is kept, not in the form of the source's tools
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Serialize)]
struct Dumped<'a> {
    snapshot_id: String,
    source: &'a str,
    path: String,
    target: String,
    bytes: u64,
}

/// Writes one file, stream or exported source.
pub(crate) fn run(args: &DumpArgs, context: &Context) -> Result<ExitCode, CliError> {
    if args.target.is_none() && context.ui.is_json() {
        return Err(
            CliError::usage("what is dumped goes to standard output as it is")
                .hint("With --json, name a file for it with --target."),
        );
    }
    let repo = context.open_repo()?;
    let all = context.snapshots(&repo)?;
    let addresses = args.snapshot.address.iter().chain(&args.path);
    let named = sources_named(addresses.clone());
    let wanted = wanted(&args.snapshot.snapshot);
    let listed = context.find_snapshot_with(&all, &wanted, &named, &args.filter)?;
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    // A part of an export lies in no tree.
    let is_in_source = |address: &Address| matches!(address, Address::InSource { .. });
    let found = if addresses.clone().all(is_in_source) {
        places(&listed.snapshot, addresses, &args.filter)?
    } else {
        places_that_exist(&listed.snapshot, addresses, &args.filter, &store)?
    };
    let [place] = found.as_slice() else {
        return Err(CliError::usage("name one file, stream or source to dump")
            .hint("For example latest:/etc/hosts or latest:postgres-app."));
    };
    let items = CapturedItems::open(&store, place.source, parallel(), &cancel())?;
    let export = export(&place.source.kind).filter(|_| !args.raw);
    let content = content(place, &store, &items, export.as_deref())?;
    let write = |out: &mut dyn Write| write_content(place, &content, &items, out);
    let Some(path) = &args.target else {
        let mut out = Counting::new(io::stdout().lock());
        let written = write(&mut out);
        return match out.end(written, CliError::Output) {
            // Whoever stopped reading has what they wanted.
            Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ExitCode::Done)
            }
            ended => ended.map(|_| ExitCode::Done),
        };
    };
    let bytes = write_file(path, &write)?;
    let dumped = Dumped {
        snapshot_id: listed.id.to_string(),
        source: &place.source.name,
        path: show(&place.source.name, &place.path),
        target: path.display().to_string(),
        bytes,
    };
    context.ui.object("dumped", &dumped)?;
    Ok(ExitCode::Done)
}

/// What is to be written.
enum Content<'a> {
    /// The source in the form of its own tools.
    Export(&'a dyn Export),
    /// One part of that, by its name.
    Part(&'a dyn Export, String),
    /// One file or stream.
    Item(RepoPath),
}

/// What a place holds. A source without tools of its own that holds one stream is that stream.
fn content<'a>(
    place: &InSnapshot<'_>,
    store: &Store,
    items: &CapturedItems,
    export: Option<&'a dyn Export>,
) -> Result<Content<'a>, CliError> {
    let name = &place.source.name;
    let parts = match export {
        Some(export) => export
            .parts(items)
            .map_err(|error| source_failed(name, error))?,
        None => Vec::new(),
    };
    if place.path.is_root() {
        return match export {
            Some(export) => whole(name, export, &parts),
            None => only_stream(place, store).map(Content::Item),
        };
    }
    let is_meant = |part: &ExportPart| part.name == place.path.to_string();
    let lookup = |path: &RepoPath| match place.source.root {
        Some(root) => store.lookup(root, path),
        None => Ok(None),
    };
    let (mut path, mut entry) = (place.path.clone(), lookup(&place.path)?);
    // A further name of a file has the content of the first one.
    if let Some(Entry {
        body: Body::Other(NodeKind::HardLink(first)),
        ..
    }) = &entry
    {
        path = first.clone();
        entry = lookup(&path)?;
    }
    match entry {
        Some(Entry {
            body: Body::File(_),
            ..
        }) => Ok(Content::Item(path)),
        _ if let (Some(export), Some(part)) = (export, parts.into_iter().find(is_meant)) => {
            Ok(Content::Part(export, part.name))
        }
        Some(_) => Err(CliError::usage(format!(
            "{} has no content: name a file",
            show(name, &place.path)
        ))),
        None => {
            let what = format!("the snapshot holds no {}", show(name, &place.path));
            Err(Error::NotFound { what }.into())
        }
    }
}

/// All of a source, as far as one stream can hold it: what is loaded into one place, and acts on nothing else.
fn whole<'a>(
    name: &str,
    export: &'a dyn Export,
    parts: &[ExportPart],
) -> Result<Content<'a>, CliError> {
    if parts.is_empty() {
        return Ok(Content::Export(export));
    }
    let inward: Vec<_> = parts.iter().filter(|part| !part.reaches_out).collect();
    if let [only] = inward.as_slice() {
        return Ok(Content::Part(export, only.name.clone()));
    }
    let names = parts.iter().map(|part| format!("{name}/{}", part.name));
    let names: Vec<_> = names.collect();
    Err(CliError::usage(format!(
        "source {name} holds {} databases: name one of them",
        inward.len()
    ))
    .hint(printable(&format!("They are {}.", names.join(", ")))))
}

fn only_stream(place: &InSnapshot<'_>, store: &Store) -> Result<RepoPath, CliError> {
    let entries = match place.source.root {
        Some(root) => store.folder(root)?,
        None => Vec::new(),
    };
    if let [
        Entry {
            name,
            body: Body::File(_),
            ..
        },
    ] = entries.as_slice()
        && let Ok(path) = RepoPath::root().join(name)
    {
        return Ok(path);
    }
    Err(CliError::usage(format!(
        "source {} holds many files: name one of them",
        place.source.name
    )))
}

fn write_content(
    place: &InSnapshot<'_>,
    content: &Content<'_>,
    items: &CapturedItems,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let name = &place.source.name;
    match content {
        Content::Export(export) => export_to_writer(name, items, *export, None, out)?,
        Content::Part(export, part) => export_to_writer(name, items, *export, Some(part), out)?,
        Content::Item(path) => {
            let written = items.read(path, &mut |bytes| {
                out.write_all(bytes).map_err(|error| {
                    SourceError::new(SourceErrorKind::Other, "cannot write the dump").because(error)
                })
            });
            written.map_err(|error| source_failed(name, error))?;
        }
    }
    Ok(())
}

/// Writes a file that appears under its name only when it is whole. A dump is plain text of what was sealed: nobody else
/// reads it.
fn write_file(
    path: &Path,
    write: &dyn Fn(&mut dyn Write) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let failed = |act, source| CliError::File {
        act,
        path: path.into(),
        source,
    };
    if path.symlink_metadata().is_ok() {
        return Err(failed("make", io::ErrorKind::AlreadyExists.into()));
    }
    let (part, file) = make_part(path).map_err(|error| failed("make", error))?;
    let mut out = Counting::new(io::BufWriter::with_capacity(1 << 20, file));
    let written = write(&mut out);
    let bytes = out.bytes;
    let done = out
        .end(written, |error| failed("write", error))
        .and_then(|file| {
            file.into_inner()
                .map_err(|error| failed("write", error.into_error()))
        })
        .and_then(|file| file.sync_all().map_err(|error| failed("write", error)))
        .and_then(|()| {
            renameat_with(CWD, &part, CWD, path, RenameFlags::NOREPLACE)
                .map_err(|error| failed("make", error.into()))
        });
    if done.is_err() {
        // If it cannot go, its name says what it is.
        let _best_effort = fs::remove_file(&part);
    }
    done.map(|()| bytes)
}

/// A new file beside the one that is meant, under a name that nobody could have taken before.
fn make_part(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    let name = format!(".keepstone-part-{:016x}", u64::from_le_bytes(random));
    let part = path.with_file_name(name);
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let file = options.open(&part)?;
    Ok((part, file))
}

/// Counts what is written, and remembers why it could not be: an export does not tell its own failure from that.
struct Counting<W> {
    inner: W,
    bytes: u64,
    failure: Option<io::Error>,
}

impl<W: Write> Counting<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            bytes: 0,
            failure: None,
        }
    }

    fn noting<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| {
            let kind = error.kind();
            self.failure = Some(error);
            kind.into()
        })
    }

    fn end(
        mut self,
        written: Result<(), CliError>,
        failed: impl Fn(io::Error) -> CliError,
    ) -> Result<W, CliError> {
        let flushed = self.flush();
        if let Some(error) = self.failure.take() {
            return Err(failed(error));
        }
        written?;
        flushed.map_err(failed)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let done = self.inner.write(buffer);
        let count = self.noting(done)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.inner.flush();
        self.noting(done)
    }
}
