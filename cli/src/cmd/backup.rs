//! `backup`: saves sources as one snapshot.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use keepstone_engine::backup::{BackupOptions, Bases, SourceRun, WriterHistory, backup};
use keepstone_engine::source::Source;
use keepstone_sources::command::{CommandLine, CommandSettings, CommandSource};

use crate::cache::CacheUse;
use crate::cancel::cancel;
use crate::cmd::restore::name_unfinished;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::keep::TagList;
use crate::report::tell_backup;
use crate::repository::{WriterState, parallel};
use crate::size::Size;
use crate::source_name::SourceName;
use crate::source_spec::{self, SourceAddress, SourceSpec};
use crate::stdin::{StdinSource, stream_name};
use crate::time::{Moment, parse_moment};

const EXAMPLES: &str = "\
Examples:
  keepstone backup /etc /home
  keepstone backup sqlite:/var/lib/app.db redis://localhost postgres://localhost/app
  keepstone backup main=postgres://localhost/app 'command:mysqldump --all-databases'
  keepstone backup --set nightly --tag pre-upgrade
  keepstone backup --stdin-from-command --stdin-filename db.sql -- mysqldump app

Sources are a path, or files:/path, command:PROGRAM ARGUMENTS, sqlite:/path, redis://host:port/number, \
postgres://user@host/database, each of them with NAME= in front if its name matters. All of them become one \
snapshot, or none: a source that fails fails the run, unless --partial is given.";

/// Arguments of `backup`.
#[derive(Debug, Default, Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct BackupArgs {
    /// What to save: paths and addresses; with --stdin-from-command the command and its arguments
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,
    /// Save the sources of this set of keepstone.toml
    #[arg(long, value_name = "NAME", conflicts_with = "sources")]
    pub(crate) set: Option<SourceName>,
    /// Of the set, or of keepstone.toml, only this source; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "sources")]
    pub(crate) source: Vec<SourceName>,
    /// Host label, instead of the name of this machine [env: KEEPSTONE_HOST]
    #[arg(short = 'H', long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS")]
    pub(crate) tag: Vec<TagList>,
    /// Say what this snapshot is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Kind of the run, such as hourly or manual
    #[arg(long = "type", value_name = "KIND")]
    pub(crate) kind: Option<SourceName>,
    /// Date the snapshot then instead of now
    #[arg(long, value_name = "TIME")]
    pub(crate) time: Option<String>,
    /// Show what would be saved
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Commit the sources that succeeded although others failed
    #[arg(long)]
    pub(crate) partial: bool,
    /// Make no snapshot if nothing changed
    #[arg(long)]
    pub(crate) skip_if_unchanged: bool,
    /// Read everything again, also files that look unchanged
    #[arg(long, visible_alias = "force", visible_short_alias = 'f')]
    pub(crate) full: bool,
    /// And store it without deltas
    #[arg(long, requires = "full")]
    pub(crate) rebase: bool,
    /// Read what deltas need from the repository if the cache lacks it
    #[arg(long)]
    pub(crate) fetch_bases: bool,
    #[command(flatten)]
    pub(crate) exclude: ExcludeArgs,
    #[command(flatten)]
    pub(crate) stdin: StdinArgs,
}

/// What to leave out of files and folders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "What to leave out of files")]
pub(crate) struct ExcludeArgs {
    /// Leave out what matches, as in .gitignore; may be given several times
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// The same, with capitals and small letters the same
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iexclude: Vec<String>,
    /// Leave out what matches a line of this file; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// The same, with capitals and small letters the same
    #[arg(long, value_name = "FILE")]
    pub(crate) iexclude_file: Vec<PathBuf>,
    /// Leave out what is in folders marked with a CACHEDIR.TAG
    #[arg(long)]
    pub(crate) exclude_caches: bool,
    /// Leave out what is in folders that hold this file; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) exclude_if_present: Vec<String>,
    /// Leave out larger files
    #[arg(long, value_name = "SIZE")]
    pub(crate) exclude_larger_than: Option<Size>,
    /// Stay on the file systems of the paths that were named
    #[arg(short = 'x', long)]
    pub(crate) one_file_system: bool,
}

/// A stream instead of sources.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "A stream instead of sources")]
pub(crate) struct StdinArgs {
    /// Save standard input
    #[arg(long, conflicts_with_all = ["stdin_from_command", "sources", "set", "source"])]
    pub(crate) stdin: bool,
    /// Save what a command prints; the command follows after --
    #[arg(long, conflicts_with_all = ["set", "source"])]
    pub(crate) stdin_from_command: bool,
    /// Name of the stream in the snapshot
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(crate) stdin_filename: String,
}

/// What is to be saved, decided.
#[derive(Debug)]
pub(crate) enum Input {
    /// Sources, named and distinct.
    Sources(Vec<SourceSpec>),
    /// Standard input, or a command's output, as one stream.
    Stream {
        /// Name of the stream.
        name: String,
        /// Program and arguments; empty for standard input.
        command: Vec<OsString>,
    },
}

/// A backup as meant.
#[derive(Debug)]
pub(crate) struct BackupRequest {
    /// What to save.
    pub(crate) input: Input,
    /// Host label.
    pub(crate) host: String,
    /// Tags.
    pub(crate) tags: BTreeSet<String>,
    /// The time to claim.
    pub(crate) time: Option<Moment>,
}

/// Saves the sources.
pub(crate) fn run(args: &BackupArgs, context: &Context) -> Result<ExitCode, CliError> {
    let request = request(args, context)?;
    // Without it there is nobody to write as, and that is no warning.
    context.state()?;
    if let Some(time) = request.time.filter(|time| time.was_interpreted) {
        let shown = context.clock.show_with_offset(time.time_ns);
        context.ui.status(&format!("the snapshot is dated {shown}"));
    }
    let cache = if args.fetch_bases {
        CacheUse::Warmed
    } else {
        CacheUse::Kept
    };
    let repo = context.open_repo_with(cache)?;
    name_unfinished(context);
    let state = WriterState::lock(context.repo_state(&repo)?)?;
    // Nobody else commits as this writer any more.
    let parents = context.snapshots(&repo)?.snapshots;
    let history = state.history(&repo, context.writer_id()?, parents.iter())?;
    let options = options(args, &request, history, context)?;
    let (names, sources) = open_sources(args, &request, context)?;
    let runs: Vec<_> = names
        .into_iter()
        .zip(&sources)
        .map(|(name, source)| SourceRun {
            name,
            source: source.as_ref(),
        })
        .collect();
    let progress = context.ui.progress();
    // A run that is dated then is dated wholly: its sources were consistent then, not now.
    let now_ns = context.clock.now_ns();
    let shift_ns = request.time.map_or(0, |time| time.time_ns - now_ns);
    let clock = || context.clock.now_ns() + shift_ns;
    let done = backup(&repo, &runs, &options, &clock, &progress, &cancel());
    drop(progress);
    // With --partial everything failed: that it saves the others would be no advice.
    let failed = if args.partial {
        CliError::Engine
    } else {
        CliError::Capture
    };
    let report = done.map_err(failed)?;
    // What is saved is said, whatever becomes of the memory of it, and the other way round.
    let told = tell_backup(&report, &parents, args.dry_run, context);
    if let Some(id) = report.id {
        state.remember_or_warn(&report.history, &context.ui);
        context.remember_snapshot(id, &report.snapshot);
    }
    told?;
    let failed = report.snapshot.is_partial();
    let skipped = report
        .snapshot
        .sources
        .iter()
        .any(|source| source.counts.skipped > 0);
    Ok(match (failed, skipped) {
        (true, _) => ExitCode::SourceFailed,
        (false, true) => ExitCode::Incomplete,
        (false, false) => ExitCode::Done,
    })
}

fn options(
    args: &BackupArgs,
    request: &BackupRequest,
    history: WriterHistory,
    context: &Context,
) -> Result<BackupOptions, CliError> {
    Ok(BackupOptions {
        session: context.session_record(&request.host)?,
        user: context.user(),
        zone: context.clock.zone_name(),
        description: args.description.clone().unwrap_or_default(),
        label: args
            .kind
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        tags: request.tags.iter().cloned().collect(),
        set: args.set.as_ref().map(ToString::to_string),
        partial: args.partial,
        bases: match (args.full, args.fetch_bases) {
            (true, _) => Bases::ReadAll,
            (false, true) => Bases::Fetch,
            (false, false) => Bases::AtHand,
        },
        rebase: args.rebase,
        parallel: parallel(),
        time_ns: request.time.map(|moment| moment.time_ns),
        skip_if_unchanged: args.skip_if_unchanged,
        dry_run: args.dry_run,
        history,
    })
}

type Sources = (Vec<String>, Vec<Box<dyn Source>>);

fn open_sources(
    args: &BackupArgs,
    request: &BackupRequest,
    context: &Context,
) -> Result<Sources, CliError> {
    match &request.input {
        Input::Sources(specs) => {
            let names = specs.iter().map(|spec| spec.name.to_string()).collect();
            let sources = specs.iter().map(|spec| context.source(spec, &args.exclude));
            Ok((names, sources.collect::<Result<_, _>>()?))
        }
        Input::Stream { name, command } => {
            let source: Box<dyn Source> = if command.is_empty() {
                Box::new(StdinSource::new(name)?)
            } else {
                let words = command
                    .iter()
                    .map(|word| word.to_string_lossy().into_owned());
                let mut settings = CommandSettings::new(CommandLine::Argv(words.collect()))?;
                settings.stream = Some(stream_name(name)?);
                Box::new(CommandSource::new(settings))
            };
            let source_name = SourceName::from_parts("stdin", name);
            Ok((vec![source_name.to_string()], vec![source]))
        }
    }
}

/// Decides what is meant, before anything is opened.
pub(crate) fn request(args: &BackupArgs, context: &Context) -> Result<BackupRequest, CliError> {
    let time = args.time.as_deref().map(|text| {
        parse_moment(text, &context.clock)
            .map_err(|error| CliError::usage(format!("--time {text}: {error}")))
    });
    let input = input(args, context)?;
    let is_files = |spec: &SourceSpec| matches!(spec.address, SourceAddress::Files(_));
    let has_files = match &input {
        Input::Sources(specs) => specs.iter().any(is_files),
        Input::Stream { .. } => false,
    };
    if !has_files && args.exclude != ExcludeArgs::default() {
        return Err(
            CliError::usage("no files are saved, of which anything could be left out").hint(
                "--exclude and its likes are for files; [source.NAME] has options for the rest.",
            ),
        );
    }
    Ok(BackupRequest {
        input,
        host: args.host.clone().unwrap_or_else(|| context.host()),
        tags: args.tag.iter().flat_map(|list| list.0.clone()).collect(),
        time: time.transpose()?,
    })
}

fn input(args: &BackupArgs, context: &Context) -> Result<Input, CliError> {
    if args.stdin.stdin || args.stdin.stdin_from_command {
        if args.stdin.stdin_from_command && args.sources.is_empty() {
            return Err(CliError::usage("--stdin-from-command lacks its command")
                .hint("Write it after two dashes: keepstone backup --stdin-from-command -- mysqldump app"));
        }
        return Ok(Input::Stream {
            name: args.stdin.stdin_filename.clone(),
            command: args.sources.clone(),
        });
    }
    let sources = sources(args, context)?;
    if sources.is_empty() {
        return Err(CliError::usage("nothing to save was named")
            .hint("Name paths, addresses or a --set; keepstone backup --help has examples."));
    }
    Ok(Input::Sources(sources))
}

fn sources(args: &BackupArgs, context: &Context) -> Result<Vec<SourceSpec>, CliError> {
    let config = &context.settings.config;
    if let Some(set) = &args.set {
        let members = config.set(set)?;
        if let Some(missing) = args
            .source
            .iter()
            .find(|name| members.iter().all(|member| member.name != **name))
        {
            return Err(CliError::usage(format!(
                "the set {set} has no source {missing}"
            )));
        }
        return Ok(members
            .into_iter()
            .filter(|member| args.source.is_empty() || args.source.contains(&member.name))
            .collect());
    }
    if !args.source.is_empty() {
        let specs = args.source.iter().map(|name| config.source(name));
        return source_spec::gather(specs.collect::<Result<_, _>>()?);
    }
    let exists = |path: &Path| path.symlink_metadata().is_ok();
    let specs = args
        .sources
        .iter()
        .map(|argument| source_spec::parse_argument(argument, &context.folder, &exists));
    source_spec::gather(specs.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::test_context;

    const CONFIG: &str = r#"
        [source.etc]
        url = "files:/etc"
        [source.cache]
        url = "redis://localhost"
        [source.db]
        url = "postgres://localhost/app"
        [set.nightly]
        sources = ["etc", "cache"]
    "#;

    fn names(args: &[&str]) -> Result<Vec<String>, CliError> {
        let context = test_context(CONFIG);
        let args = parse(args);
        match request(&args, &context)?.input {
            Input::Sources(specs) => Ok(specs.iter().map(|spec| spec.name.to_string()).collect()),
            Input::Stream { name, command } => Ok(vec![name, command.len().to_string()]),
        }
    }

    fn parse(args: &[&str]) -> BackupArgs {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: BackupArgs,
        }
        Typed::try_parse_from(["backup"].iter().chain(args))
            .unwrap()
            .args
    }

    #[test]
    fn sources_come_from_the_command_line_or_a_set() {
        let check = |args: &[&str], expected: &[&str]| assert_eq!(names(args).unwrap(), expected);
        check(&["/etc", "sqlite:/x.db", "/srv"], &["files", "sqlite-x.db"]);
        check(&["--set", "nightly"], &["etc", "cache"]);
        check(&["--set", "nightly", "--source", "etc"], &["etc"]);
        check(&["--source", "db"], &["db"]);
        check(&["--stdin"], &["stdin", "0"]);
        check(
            &[
                "--stdin-from-command",
                "--stdin-filename",
                "x",
                "--",
                "a",
                "-b",
            ],
            &["x", "2"],
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let message = |args: &[&str]| names(args).unwrap_err().message();
        assert_eq!(message(&[]), "nothing to save was named");
        assert_eq!(message(&["--set", "weekly"]), "there is no set weekly");
        assert_eq!(
            message(&["--set", "nightly", "--source", "db"]),
            "the set nightly has no source db"
        );
        assert_eq!(message(&["--source", "x"]), "there is no source x");
        assert_eq!(
            message(&["--stdin-from-command"]),
            "--stdin-from-command lacks its command"
        );
        assert!(message(&["/etc", "--time", "noon"]).starts_with("--time noon: not a time"));
    }

    #[test]
    fn tags_are_one_set() {
        let context = test_context(CONFIG);
        let args = parse(&["/etc", "--tag", "a,b", "--tag", "b", "-H", "web1"]);
        let request = request(&args, &context).unwrap();
        assert_eq!(request.tags.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(request.host, "web1");
    }
}
