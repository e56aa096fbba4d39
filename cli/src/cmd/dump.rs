//! `dump`: writes a file, or a source in the form of its own tools, to standard output.

use std::path::PathBuf;

use clap::Args;

use crate::args::FilterArgs;
use crate::reference::{Address, Reference};
use std::io::Write as _;
use std::sync::Arc;

use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::{CapturedItems, export_to_writer, source_failed};
use keepstone_engine::source::{Items as _, SourceError, SourceErrorKind};

use crate::cancel::cancel;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::place_in::places;
use crate::repository::{find_snapshot, parallel};
use crate::sources::export;

const EXAMPLES: &str = "\
Examples:
  keepstone dump latest:/etc/hosts
  keepstone dump latest /etc/hosts
  keepstone dump latest:postgres-app | psql -v ON_ERROR_STOP=1 copy_of_app
  keepstone dump latest:redis | redis-cli --pipe
  keepstone dump latest:sqlite-app.db -t app.db";

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

/// Writes one file, stream or exported source.
pub(crate) fn run(args: &DumpArgs, context: &Context) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    let all = context.snapshots(&repo)?;
    let listed = find_snapshot(&all, &args.snapshot.snapshot, &args.filter)?;
    let address = args.snapshot.address.iter().chain(&args.path);
    let found = places(&listed.snapshot, address, &args.filter)?;
    let [place] = found.as_slice() else {
        return Err(CliError::usage("name one file, stream or source to dump")
            .hint("For example latest:/etc/hosts or latest:postgres-app."));
    };
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    let items = CapturedItems::open(&store, place.source, parallel(), &cancel())?;
    let mut out: Box<dyn std::io::Write> = match &args.target {
        None => Box::new(std::io::stdout().lock()),
        Some(path) => Box::new(create(path)?),
    };
    if place.path.is_root() {
        let export = export(&place.source.kind).ok_or_else(|| {
            CliError::usage(format!(
                "source {} holds files: name one of them",
                place.source.name
            ))
        })?;
        export_to_writer(&place.source.name, &items, export.as_ref(), out.as_mut())?;
    } else {
        let written = items.read(&place.path, &mut |bytes| {
            out.write_all(bytes).map_err(|error| {
                SourceError::new(SourceErrorKind::Other, "cannot write the dump").because(error)
            })
        });
        written.map_err(|error| source_failed(&place.source.name, error))?;
    }
    out.flush().map_err(CliError::Output)?;
    Ok(ExitCode::Done)
}

/// A dump is plain text of what was sealed: nobody else reads it.
fn create(path: &std::path::Path) -> Result<std::fs::File, CliError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| CliError::File {
            act: "make",
            path: path.into(),
            source,
        })
}
