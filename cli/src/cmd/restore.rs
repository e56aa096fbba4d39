//! `restore`: brings back what a snapshot holds, into a folder, beside live data, or in its place.

mod advice;
mod earlier;
mod folder;
mod live;
mod record;
mod selection;
mod steps;

pub(crate) use earlier::name_unfinished;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};

use keepstone_engine::repo::{Store, Usable};
use keepstone_engine::restore::CapturedItems;
use keepstone_engine::snapshot::SnapshotSource;
use keepstone_engine::snapshot::select::{Listed, Wanted};

use self::earlier::Ending;
use crate::args::FilterArgs;
use crate::cancel::cancel;
use crate::choose::wanted;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::reference::{HexPrefix, Reference, SnapshotRef};
use crate::report::SnapshotObject;
use crate::repository::parallel;
use crate::source_spec::{self, SourceSpec};
use crate::time::{Moment, parse_moment};

const EXAMPLES: &str = "\
Examples:
  keepstone restore latest --target /tmp/restored
  keepstone restore latest:/etc/app --target /
  keepstone restore --at '2026-11-20 14:05' --target /tmp/then
  keepstone restore --at 3h --to app=postgres://localhost/app_copy
  keepstone restore --at 3h --in-place --dry-run
  keepstone restore --at 3h --in-place
  keepstone restore --at 3h --to db=sqlite:/var/lib/app.db --table notes
  keepstone restore --at 3h --to cache=redis://localhost --key-pattern 'user:7:*'
  keepstone restore --list
  keepstone restore --rollback 3fc2a9

A restore into a live system is staged beside it, validated, then switched; what it replaced is kept until \
--discard-old, and --rollback brings it back. --at takes the newest snapshot whose data is of that time or before it, \
names it, and asks before it overwrites.";

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// The snapshot: an id or its first digits, latest, latest~N, or with :PATH only that
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: Option<Reference>,
    /// The newest snapshot whose data is of this time or before it
    #[arg(long, value_name = "TIME", conflicts_with = "snapshot")]
    pub(crate) at: Option<String>,
    /// Show what would change
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Do not ask, and restore what was saved on another host
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) databases: DatabaseArgs,
    #[command(flatten)]
    pub(crate) earlier: EarlierArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// Where to restore to.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Where to")]
pub(crate) struct PlaceArgs {
    /// Into this folder: files under their paths, the rest as their own tools read it
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: Option<PathBuf>,
    /// A source into a live system; may be given several times
    #[arg(long, value_name = "NAME=URL")]
    pub(crate) to: Vec<String>,
    /// Every source to where it was saved from, according to keepstone.toml or the snapshot
    #[arg(long, conflicts_with_all = ["target", "to"])]
    pub(crate) in_place: bool,
}

/// How to restore files.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileArgs {
    /// Only what matches, as in .gitignore; may be given several times
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// All but what matches, as in .gitignore; may be given several times
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Remove what the snapshot does not hold from the folders that it does hold
    #[arg(long)]
    pub(crate) delete: bool,
    /// Read back and compare what was written
    #[arg(long)]
    pub(crate) verify: bool,
    /// Restore setuid bits, devices and security attributes too
    #[arg(long)]
    pub(crate) privileged: bool,
}

/// What of a database, and how.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Databases, with --to or --in-place")]
pub(crate) struct DatabaseArgs {
    /// Only this database, by name (PostgreSQL) or number (Redis); may be given several times
    #[arg(long, value_name = "DATABASE")]
    pub(crate) database: Vec<String>,
    /// Only this schema, into a database of its own (PostgreSQL); may be given several times
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) schema: Vec<String>,
    /// Only this table: SCHEMA.TABLE into a database of its own (PostgreSQL), or TABLE, also into a database that
    /// lives on (SQLite); may be given several times
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Vec<String>,
    /// Without owners, grants and roles (PostgreSQL)
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Only keys that match, with * and ?, beside the others (Redis); may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) key_pattern: Vec<String>,
    /// Put NEW in front of every key, or in the place of OLD; keys without OLD stay out (Redis)
    #[arg(long, value_name = "[OLD=]NEW")]
    pub(crate) prefix: Option<String>,
    /// What becomes of the time keys have to live (Redis)
    #[arg(long, value_name = "HOW", default_value = "keep")]
    pub(crate) ttl: TtlChoice,
    /// Replace the functions of the server too (Redis)
    #[arg(long)]
    pub(crate) functions: bool,
    /// Overwrite a database in place, in one transaction, that others have open (SQLite)
    #[arg(long)]
    pub(crate) in_use: bool,
}

/// What becomes of the time that keys have to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TtlChoice {
    /// Keys expire when they would have; those that have by now are left out
    #[default]
    Keep,
    /// Keys live as long as they still had when they were saved
    Shift,
    /// Keys live for ever
    Drop,
}

/// What is left of earlier restores.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Earlier restores")]
pub(crate) struct EarlierArgs {
    /// List restores that can be undone or finished
    #[arg(long, group = "earlier", conflicts_with_all = ["snapshot", "at", "target", "to", "in_place"])]
    pub(crate) list: bool,
    /// Finish a restore that was cut off
    #[arg(long, value_name = "ID", group = "earlier", conflicts_with_all = ["snapshot", "at", "target", "to", "in_place"])]
    pub(crate) resume: Option<HexPrefix>,
    /// Undo a restore: bring back what it replaced
    #[arg(long, value_name = "ID", group = "earlier", conflicts_with_all = ["snapshot", "at", "target", "to", "in_place"])]
    pub(crate) rollback: Option<HexPrefix>,
    /// Drop what a restore replaced; after that there is no way back
    #[arg(long, value_name = "ID", group = "earlier", conflicts_with_all = ["snapshot", "at", "target", "to", "in_place"])]
    pub(crate) discard_old: Option<HexPrefix>,
}

/// A restore as meant.
#[derive(Debug)]
pub(crate) enum RestoreRequest {
    /// Show what is left of earlier ones.
    List,
    /// Finish one.
    Resume(HexPrefix),
    /// Undo one.
    Rollback(HexPrefix),
    /// Drop what one replaced.
    DiscardOld(HexPrefix),
    /// Bring something back.
    Restore {
        /// Which snapshot.
        which: Which,
        /// Where to.
        place: Place,
    },
}

/// Which snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// By name.
    Named(Reference),
    /// By time.
    At(Moment),
}

/// Where to.
#[derive(Debug)]
pub(crate) enum Place {
    /// A folder, live systems, or both.
    Elsewhere {
        /// For every source that is not named in `to`.
        target: Option<PathBuf>,
        /// By name of the source.
        to: Vec<SourceSpec>,
    },
    /// Where everything came from.
    InPlace,
}

/// Restores.
pub(crate) fn run(args: &RestoreArgs, context: &Context) -> Result<ExitCode, CliError> {
    let request = request(args, context)?;
    if let RestoreRequest::Restore {
        which: Which::At(moment),
        ..
    } = &request
        && moment.was_interpreted
    {
        let shown = context.clock.show_with_offset(moment.time_ns);
        context.ui.status(&format!("--at is {shown}"));
    }
    let ending = |id| Ending {
        id,
        force: args.force,
        dry_run: args.dry_run,
        context,
    };
    match &request {
        RestoreRequest::List => earlier::list(context),
        RestoreRequest::Resume(id) => ending(id).resume(),
        RestoreRequest::Rollback(id) => ending(id).rollback(),
        RestoreRequest::DiscardOld(id) => ending(id).discard(),
        RestoreRequest::Restore { which, place } => restore(args, which, place, context),
    }
}

fn restore(
    args: &RestoreArgs,
    which: &Which,
    place: &Place,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let repo = context.open_repo()?;
    name_unfinished(context);
    let all = context.snapshots(&repo)?;
    let (wanted, address) = match which {
        Which::Named(reference) => (wanted(&reference.snapshot), reference.address.as_ref()),
        Which::At(moment) => (Wanted::At(moment.time_ns), None),
    };
    let named = selection::sources_named(place, address);
    let listed = context.find_snapshot_with(&all, &wanted, &named, &args.filter)?;
    let shown = context.clock.show_with_offset(listed.snapshot.time_ns);
    context.ui.status(&format!(
        "snapshot {} of {shown}, host {}",
        listed.id.short(),
        listed.snapshot.host
    ));
    let object = SnapshotObject::of(listed.id, &listed.snapshot);
    context.ui.object("snapshot", &object)?;
    refuse_strange(args, place, which, listed, &all.snapshots, context)?;
    selection::check(args, place, address, &listed.snapshot)?;
    let store = Arc::new(Store::load(&repo, &Usable::Indexed, false)?);
    let run = RestoreRun {
        args,
        context,
        store,
        listed,
    };
    steps::restore(&run, place, address)
}

/// In place means the host that was saved, unless the user insists.
fn refuse_strange(
    args: &RestoreArgs,
    place: &Place,
    which: &Which,
    listed: &Listed,
    all: &[Listed],
    context: &Context,
) -> Result<(), CliError> {
    if !matches!(place, Place::InPlace) || args.force {
        return Ok(());
    }
    if listed.snapshot.host != context.host() {
        return Err(CliError::usage(format!(
            "the snapshot is of the host {}",
            listed.snapshot.host
        ))
        .hint("--force restores it in place here; --to and --target restore it elsewhere."));
    }
    let hosts: BTreeSet<_> = all.iter().map(|listed| &listed.snapshot.host).collect();
    let is_latest = matches!(
        which,
        Which::Named(Reference {
            snapshot: SnapshotRef::Latest { .. },
            ..
        })
    );
    if is_latest && hosts.len() > 1 && args.filter.host.is_empty() {
        return Err(
            CliError::usage("latest could be of several hosts").hint("Name one with --host.")
        );
    }
    Ok(())
}

/// What every part of a restore stands on.
pub(crate) struct RestoreRun<'a> {
    pub(crate) args: &'a RestoreArgs,
    pub(crate) context: &'a Context,
    pub(crate) store: Arc<Store>,
    pub(crate) listed: &'a Listed,
}

impl RestoreRun<'_> {
    /// The capture of one source.
    pub(crate) fn items(&self, source: &SnapshotSource) -> Result<CapturedItems, CliError> {
        Ok(CapturedItems::open(
            &self.store,
            source,
            parallel(),
            &cancel(),
        )?)
    }
}

/// Decides what is meant, before anything is opened.
pub(crate) fn request(args: &RestoreArgs, context: &Context) -> Result<RestoreRequest, CliError> {
    if args.earlier.list {
        return Ok(RestoreRequest::List);
    }
    if let Some(id) = &args.earlier.resume {
        return Ok(RestoreRequest::Resume(id.clone()));
    }
    if let Some(id) = &args.earlier.rollback {
        return Ok(RestoreRequest::Rollback(id.clone()));
    }
    if let Some(id) = &args.earlier.discard_old {
        return Ok(RestoreRequest::DiscardOld(id.clone()));
    }
    let which = which(args, context)?;
    let place = place(&args.place)?;
    let may_delete = match &place {
        Place::InPlace => true,
        Place::Elsewhere { target, .. } => target.is_some(),
    };
    if args.files.delete && !may_delete {
        return Err(CliError::usage("--delete needs --target or --in-place"));
    }
    if let (Place::Elsewhere { to, .. }, Some(flag)) = (&place, args.databases.given().first())
        && to.is_empty()
    {
        return Err(
            CliError::usage(format!("{} needs --to or --in-place", flag.name))
                .hint("A folder gets whole exports."),
        );
    }
    Ok(RestoreRequest::Restore { which, place })
}

fn which(args: &RestoreArgs, context: &Context) -> Result<Which, CliError> {
    match (&args.snapshot, &args.at) {
        (Some(snapshot), _) => Ok(Which::Named(snapshot.clone())),
        (None, Some(text)) => {
            let moment = parse_moment(text, &context.clock)
                .map_err(|error| CliError::usage(format!("--at {text}: {error}")))?;
            if moment.time_ns > context.clock.now_ns() {
                return Err(CliError::usage(format!(
                    "--at {} is in the future",
                    context.clock.show_with_offset(moment.time_ns)
                )));
            }
            Ok(Which::At(moment))
        }
        (None, None) => Err(CliError::usage("no snapshot was named")
            .hint("Name one (latest, an id) or a time (--at 3h); keepstone snapshots lists them.")),
    }
}

fn place(args: &PlaceArgs) -> Result<Place, CliError> {
    if args.in_place {
        return Ok(Place::InPlace);
    }
    if args.target.is_none() && args.to.is_empty() {
        return Err(CliError::usage("no place to restore to was named").hint(
            "Give --target DIR, --to NAME=URL, or --in-place; --dry-run shows what would happen.",
        ));
    }
    let to = args.to.iter().map(|text| source_spec::parse_target(text));
    Ok(Place::Elsewhere {
        target: args.target.clone(),
        to: source_spec::gather(to.collect::<Result<_, _>>()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::test_context;

    fn ask(args: &[&str]) -> Result<RestoreRequest, CliError> {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: RestoreArgs,
        }
        let typed = Typed::try_parse_from(["restore"].iter().chain(args)).unwrap();
        request(&typed.args, &test_context(""))
    }

    #[test]
    fn a_restore_needs_a_snapshot_and_a_place() {
        assert!(ask(&["latest", "--target", "/x"]).is_ok());
        assert!(ask(&["--at", "3h", "--in-place"]).is_ok());
        assert!(ask(&["latest", "--to", "db=postgres://h/copy"]).is_ok());
        let message = |args: &[&str]| ask(args).unwrap_err().message();
        assert_eq!(message(&["--target", "/x"]), "no snapshot was named");
        assert_eq!(message(&["latest"]), "no place to restore to was named");
        assert_eq!(
            message(&["latest", "--to", "postgres://h/copy"]),
            "postgres://h/copy is not of the form NAME=URL"
        );
        assert_eq!(
            message(&["latest", "--to", "db=postgres://h/copy", "--delete"]),
            "--delete needs --target or --in-place"
        );
        assert_eq!(
            message(&["latest", "--target", "/x", "--table", "t"]),
            "--table needs --to or --in-place"
        );
    }

    #[test]
    fn a_time_is_in_the_past() {
        let message = ask(&["--at", "2030-01-01", "--in-place"])
            .unwrap_err()
            .message();
        assert_eq!(message, "--at 2030-01-01 00:00:00+01:00 is in the future");
    }

    #[test]
    fn earlier_restores_need_nothing_else() {
        assert!(matches!(ask(&["--list"]), Ok(RestoreRequest::List)));
        assert!(matches!(
            ask(&["--rollback", "3fc2"]),
            Ok(RestoreRequest::Rollback(_))
        ));
    }
}
