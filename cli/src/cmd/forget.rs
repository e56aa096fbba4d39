//! `forget`: removes snapshots by id or by rules.

use clap::Args;
use keepstone_engine::retention::{Grouping, Policy};

use super::prune::FenceArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::keep::{KeepRules, TagList};
use crate::reference::SnapshotRef;
use crate::source_name::SourceName;

const EXAMPLES: &str = "\
Examples:
  keepstone forget 3fc2a9
  keepstone forget --keep-hourly 24 --keep-daily 7 --keep-weekly 4 --dry-run
  keepstone forget --keep-within 7d --keep-within-daily 30d --keep-tag-last pre-upgrade=1 --prune
  keepstone forget                          by the rules of [retention] in keepstone.toml

Rules are applied to each group by itself: by host, and by set or the names of the sources. A snapshot that
satisfies one rule stays. So does the last good copy of every source, and a snapshot that is dated after it was
stored. Until prune has removed its data, undelete brings a snapshot back.";

/// Arguments of `forget`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ForgetArgs {
    /// Remove these, whatever the rules say
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Show what would be removed
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Free the space at once
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) fencing: FenceArgs,
    #[command(flatten)]
    pub(crate) rules: KeepRules,
    #[command(flatten)]
    pub(crate) filter: ForgetFilterArgs,
}

/// To which snapshots the rules apply. Not `FilterArgs`: `-H` is `--keep-hourly` here, as in restic.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct ForgetFilterArgs {
    /// Only snapshots of this host; may be given several times
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Only snapshots with all these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS")]
    pub(crate) tag: Vec<TagList>,
    /// Only snapshots that hold this source; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<SourceName>,
    /// Only snapshots of this set
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Option<SourceName>,
}

/// What to remove, decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ForgetRequest {
    /// These.
    Named(Vec<SnapshotRef>),
    /// What no rule keeps.
    ByRules {
        /// The rules.
        policy: Policy,
        /// What makes a group.
        grouping: Grouping,
    },
}

/// Removes snapshots.
pub(crate) fn run(args: &ForgetArgs, context: &Context) -> Result<ExitCode, CliError> {
    let _request = request(args, context)?;
    Err(CliError::Unavailable("forget"))
}

/// Decides what is meant, before anything is opened.
pub(crate) fn request(args: &ForgetArgs, context: &Context) -> Result<ForgetRequest, CliError> {
    let typed = args.rules.policy();
    // Rules are typed if there is one, even one that keeps nothing.
    let has_typed = typed != Policy::default();
    if !args.snapshots.is_empty() {
        if has_typed || args.rules.names_grouping() {
            return Err(CliError::usage("snapshots and rules exclude each other"));
        }
        return Ok(ForgetRequest::Named(args.snapshots.clone()));
    }
    let rules = match &context.settings.config.retention {
        Some(configured) if !has_typed => configured.grouped_like(&args.rules),
        _ => args.rules.clone(),
    };
    let policy = rules.policy();
    if policy.is_empty() {
        return Err(CliError::usage("no rule says what to keep").hint(
            "Give --keep-last, --keep-daily and their likes, or [retention] in keepstone.toml, or name snapshots.",
        ));
    }
    Ok(ForgetRequest::ByRules {
        policy,
        grouping: rules.grouping(),
    })
}

#[cfg(test)]
mod tests {
    use keepstone_engine::retention::Count;

    use super::*;
    use crate::cmd::test_context;

    fn ask(config: &str, args: &[&str]) -> Result<ForgetRequest, CliError> {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            args: ForgetArgs,
        }
        let typed = Typed::try_parse_from(["forget"].iter().chain(args)).unwrap();
        request(&typed.args, &test_context(config))
    }

    fn last(request: ForgetRequest) -> Option<Count> {
        match request {
            ForgetRequest::ByRules { policy, .. } => policy.last,
            ForgetRequest::Named(_) => None,
        }
    }

    #[test]
    fn typed_rules_replace_configured_ones() {
        let config = "[retention]\nkeep_last = 3\nkeep_daily = 7\n";
        assert_eq!(last(ask(config, &[]).unwrap()), Some(Count::AtMost(3)));
        let typed = ask(config, &["--keep-last", "1"]).unwrap();
        let ForgetRequest::ByRules { policy, .. } = typed else {
            panic!("rules were typed");
        };
        assert_eq!(policy.last, Some(Count::AtMost(1)));
        assert!(policy.per_period.is_empty());
    }

    #[test]
    fn a_typed_grouping_joins_configured_rules() {
        let request = ask("[retention]\nkeep_last = 3\n", &["--group-by", "host"]).unwrap();
        let ForgetRequest::ByRules { grouping, policy } = request else {
            panic!("rules were configured");
        };
        assert!(grouping.by_host && !grouping.by_set);
        assert_eq!(policy.last, Some(Count::AtMost(3)));
    }

    #[test]
    fn rules_that_keep_nothing_are_refused() {
        for args in [&[][..], &["--keep-last", "0"]] {
            let message = ask("", args).unwrap_err().message();
            assert_eq!(message, "no rule says what to keep");
        }
        // What was typed counts, even if the file knows better.
        assert!(ask("[retention]\nkeep_last = 3\n", &["--keep-last", "0"]).is_err());
    }

    #[test]
    fn snapshots_and_rules_do_not_mix() {
        assert!(matches!(
            ask("[retention]\nkeep_last = 3\n", &["3fc2"]),
            Ok(ForgetRequest::Named(_))
        ));
        assert!(ask("", &["3fc2", "--keep-last", "1"]).is_err());
    }
}
