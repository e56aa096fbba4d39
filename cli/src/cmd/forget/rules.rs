//! What is meant by the rules that were typed or configured, before anything is opened.

use std::collections::BTreeMap;

use keepstone_engine::retention::{Grouping, Policy};

use super::ForgetArgs;
use crate::context::Context;
use crate::error::CliError;
use crate::keep::KeepRules;
use crate::reference::SnapshotRef;

/// What to remove, decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ForgetRequest {
    /// These.
    Named(Vec<SnapshotRef>),
    /// What no rule keeps.
    ByRules(RuleBook),
}

/// Rules, and for whom they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RuleBook {
    /// For everything that has none of its own; none: it stays.
    pub(super) general: Option<Rules>,
    /// For snapshots of these sets.
    pub(super) of_sets: BTreeMap<String, Rules>,
}

/// What stays, and what is judged by itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) policy: Policy,
    pub(super) grouping: Grouping,
}

impl RuleBook {
    pub(super) fn for_set(&self, set: Option<&str>) -> Option<&Rules> {
        let own = set.and_then(|set| self.of_sets.get(set));
        own.or(self.general.as_ref())
    }
}

impl Rules {
    /// Rules that keep something.
    fn of(rules: &KeepRules) -> Option<Self> {
        let policy = rules.policy();
        let grouping = rules.grouping();
        (!policy.is_empty()).then_some(Self { policy, grouping })
    }
}

/// Decides what is meant, before anything is opened.
pub(super) fn request(args: &ForgetArgs, context: &Context) -> Result<ForgetRequest, CliError> {
    let typed = args.rules.policy();
    // Rules are typed if there is one, even one that keeps nothing.
    let has_typed = typed != Policy::default();
    if !args.snapshots.is_empty() {
        if has_typed || args.rules.names_grouping() {
            return Err(CliError::usage("snapshots and rules exclude each other"));
        }
        return Ok(ForgetRequest::Named(args.snapshots.clone()));
    }
    let book = if has_typed {
        RuleBook {
            general: Rules::of(&args.rules),
            of_sets: BTreeMap::new(),
        }
    } else {
        configured(args, context)
    };
    let set = args.filter.set.as_ref().map(ToString::to_string);
    let has_rules = match &set {
        Some(set) => book.for_set(Some(set)).is_some(),
        None => book != RuleBook::default(),
    };
    if !has_rules {
        return Err(CliError::usage("no rule says what to keep").hint(
            "Give --keep-last, --keep-daily and their likes, or [retention] in keepstone.toml, or name snapshots.",
        ));
    }
    Ok(ForgetRequest::ByRules(book))
}

/// The rules of keepstone.toml: those of sets before those of everything.
fn configured(args: &ForgetArgs, context: &Context) -> RuleBook {
    let config = &context.settings.config;
    let rules = |rules: &KeepRules| Rules::of(&rules.grouped_like(&args.rules));
    let of_sets = config.sets.iter().filter_map(|(name, set)| {
        let own = set.retention.as_ref().and_then(rules)?;
        Some((name.to_string(), own))
    });
    RuleBook {
        general: config.retention.as_ref().and_then(rules),
        of_sets: of_sets.collect(),
    }
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
            ForgetRequest::ByRules(book) => book.general?.policy.last,
            ForgetRequest::Named(_) => None,
        }
    }

    #[test]
    fn typed_rules_replace_configured_ones() {
        let config = "[retention]\nkeep_last = 3\nkeep_daily = 7\n";
        assert_eq!(last(ask(config, &[]).unwrap()), Some(Count::AtMost(3)));
        let typed = ask(config, &["--keep-last", "1"]).unwrap();
        let ForgetRequest::ByRules(book) = typed else {
            panic!("rules were typed");
        };
        let policy = book.general.unwrap().policy;
        assert_eq!(policy.last, Some(Count::AtMost(1)));
        assert!(policy.per_period.is_empty());
    }

    #[test]
    fn a_typed_grouping_joins_configured_rules() {
        let request = ask("[retention]\nkeep_last = 3\n", &["--group-by", "host"]).unwrap();
        let ForgetRequest::ByRules(book) = request else {
            panic!("rules were configured");
        };
        let Rules { policy, grouping } = book.general.unwrap();
        assert!(grouping.by_host && !grouping.by_set);
        assert_eq!(policy.last, Some(Count::AtMost(3)));
    }

    #[test]
    fn a_set_goes_by_its_own_rules() {
        let config = "[source.a]\nurl = \"files:/a\"\n[set.x]\nsources = [\"a\"]\nretention = { keep_last = 2 }\n\
                      [set.y]\nsources = [\"a\"]\n";
        let book = |config: &str, args: &[&str]| match ask(config, args) {
            Ok(ForgetRequest::ByRules(book)) => book,
            other => panic!("{other:?}"),
        };
        let last = |rules: Option<&Rules>| rules.and_then(|rules| rules.policy.last);
        let own = book(config, &["--set", "x"]);
        assert_eq!(last(own.for_set(Some("x"))), Some(Count::AtMost(2)));
        assert_eq!(own.for_set(None), None);
        assert!(ask(config, &["--set", "y"]).is_err());
        let both = format!("{config}[retention]\nkeep_last = 9\n");
        let both = book(&both, &[]);
        assert_eq!(last(both.for_set(Some("x"))), Some(Count::AtMost(2)));
        assert_eq!(last(both.for_set(Some("y"))), Some(Count::AtMost(9)));
        let typed = book(config, &["--set", "x", "--keep-last", "5"]);
        assert_eq!(last(typed.for_set(Some("x"))), Some(Count::AtMost(5)));
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
