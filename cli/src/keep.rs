//! Retention rules as typed (`--keep-daily 7`) or configured (`keep_daily = 7`).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use keepstone_engine::retention::{CalendarSpan, Count, Grouping, Period, Policy};
use serde::{Deserialize, Deserializer, de};

use crate::time::parse_calendar_span;

/// The rules. A snapshot that satisfies one of them stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "What to keep")]
pub(crate) struct KeepRules {
    /// Keep the newest N snapshots (or "unlimited")
    #[arg(short = 'l', long, value_name = "N")]
    keep_last: Option<KeepCount>,
    /// Keep the newest of each of the last N hours that hold a snapshot
    #[arg(short = 'H', long, value_name = "N")]
    keep_hourly: Option<KeepCount>,
    /// Keep the newest of each of the last N days that hold a snapshot
    #[arg(short = 'd', long, value_name = "N")]
    keep_daily: Option<KeepCount>,
    /// Keep the newest of each of the last N weeks that hold a snapshot
    #[arg(short = 'w', long, value_name = "N")]
    keep_weekly: Option<KeepCount>,
    /// Keep the newest of each of the last N months that hold a snapshot
    #[arg(short = 'm', long, value_name = "N")]
    keep_monthly: Option<KeepCount>,
    /// Keep the newest of each of the last N quarters that hold a snapshot
    #[arg(long, value_name = "N")]
    keep_quarter_yearly: Option<KeepCount>,
    /// Keep the newest of each of the last N years that hold a snapshot
    #[arg(short = 'y', long, value_name = "N")]
    keep_yearly: Option<KeepCount>,
    /// Keep all so long before the newest, for example 1y5m7d2h (m: months)
    #[arg(long, value_name = "DURATION")]
    keep_within: Option<KeepSpan>,
    /// Keep hourly ones so long before the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_hourly: Option<KeepSpan>,
    /// Keep daily ones so long before the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_daily: Option<KeepSpan>,
    /// Keep weekly ones so long before the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_weekly: Option<KeepSpan>,
    /// Keep monthly ones so long before the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_monthly: Option<KeepSpan>,
    /// Keep quarterly ones so long before the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_quarter_yearly: Option<KeepSpan>,
    /// Keep yearly ones so long before the newest
    #[arg(long, value_name = "DURATION")]
    keep_within_yearly: Option<KeepSpan>,
    /// Keep those with all these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS")]
    keep_tag: Vec<TagList>,
    /// Keep the newest N with this tag; may be given several times
    #[arg(long, value_name = "TAG=N")]
    keep_tag_last: Vec<TagCount>,
    /// What makes a group that is judged by itself: host, set, tags, separated by commas, or nothing
    #[arg(short = 'g', long, value_name = "GROUP")]
    group_by: Option<GroupBy>,
}

impl KeepRules {
    /// The policy for the engine.
    pub(crate) fn policy(&self) -> Policy {
        let counts = [
            (Period::Hour, self.keep_hourly),
            (Period::Day, self.keep_daily),
            (Period::Week, self.keep_weekly),
            (Period::Month, self.keep_monthly),
            (Period::Quarter, self.keep_quarter_yearly),
            (Period::Year, self.keep_yearly),
        ];
        let spans = [
            (Period::Hour, self.keep_within_hourly),
            (Period::Day, self.keep_within_daily),
            (Period::Week, self.keep_within_weekly),
            (Period::Month, self.keep_within_monthly),
            (Period::Quarter, self.keep_within_quarter_yearly),
            (Period::Year, self.keep_within_yearly),
        ];
        let present = |(period, count): (Period, Option<KeepCount>)| Some((period, count?.0));
        Policy {
            last: self.keep_last.map(|count| count.0),
            per_period: counts.into_iter().filter_map(present).collect(),
            within: self.keep_within.map(|span| span.0),
            within_per_period: spans
                .into_iter()
                .filter_map(|(period, span)| Some((period, span?.0)))
                .collect(),
            tags: self.keep_tag.iter().map(|list| list.0.clone()).collect(),
            tag_last: self.tag_last(),
        }
    }

    /// What makes a group.
    pub(crate) fn grouping(&self) -> Grouping {
        self.group_by.map(|by| by.0).unwrap_or_default()
    }

    /// Whether a grouping was asked for.
    pub(crate) fn names_grouping(&self) -> bool {
        self.group_by.is_some()
    }

    /// The same rules with another grouping, if the other has one.
    #[must_use]
    pub(crate) fn grouped_like(&self, other: &Self) -> Self {
        Self {
            group_by: other.group_by.or(self.group_by),
            ..self.clone()
        }
    }

    fn tag_last(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for TagCount { tag, count } in &self.keep_tag_last {
            let largest: &mut u32 = counts.entry(tag.clone()).or_default();
            *largest = (*largest).max(*count);
        }
        counts
    }
}

/// A number, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeepCount(Count);

impl FromStr for KeepCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // restic wrote -1 before it wrote `unlimited`.
        if text == "unlimited" || text == "-1" {
            return Ok(Self(Count::Unlimited));
        }
        text.parse()
            .map(|count| Self(Count::AtMost(count)))
            .map_err(|_| "give a number, or \"unlimited\"".into())
    }
}

/// A length of time in calendar units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeepSpan(CalendarSpan);

impl FromStr for KeepSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_calendar_span(text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

/// Tags that are all wanted; none: no tags are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagList(pub(crate) BTreeSet<String>);

impl FromStr for TagList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Self(BTreeSet::new()));
        }
        text.split(',')
            .map(|tag| check_tag(tag.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// A tag and how many to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TagCount {
    tag: String,
    count: u32,
}

impl FromStr for TagCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.rsplit_once('=').and_then(|(tag, count)| {
            Some(Self {
                tag: check_tag(tag).ok()?,
                count: count.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| "write TAG=N, as in pre-upgrade=1".into())
    }
}

/// Checks one tag: not empty, no comma, nothing that would move a terminal's cursor.
pub(crate) fn check_tag(tag: &str) -> Result<String, String> {
    if tag.is_empty() {
        Err("a tag is empty".into())
    } else if tag.len() > 256 || tag.contains(',') || tag.contains(char::is_control) {
        Err("a tag is at most 256 bytes without commas and control characters".into())
    } else {
        Ok(tag.to_owned())
    }
}

/// What makes a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupBy(pub(crate) Grouping);

impl FromStr for GroupBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut by = Grouping {
            by_host: false,
            by_set: false,
            by_tags: false,
        };
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "host" => by.by_host = true,
                // restic groups by paths; here sources stand in their place.
                "set" | "sources" | "paths" => by.by_set = true,
                "tags" => by.by_tags = true,
                _ => return Err("group by host, set or tags, separated by commas".into()),
            }
        }
        Ok(Self(by))
    }
}

/// Takes a text, or a number where a number makes sense; messages do not repeat it.
fn deserialize_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(u32),
        Text(String),
    }
    let raw = Raw::deserialize(deserializer)
        .map_err(|_| de::Error::custom("neither a text nor a number from 0 on"))?;
    let text = match raw {
        Raw::Number(number) => number.to_string(),
        Raw::Text(text) => text,
    };
    text.parse().map_err(de::Error::custom)
}

macro_rules! deserialize_as_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserialize_text(deserializer)
            }
        }
    )*};
}

deserialize_as_text!(KeepCount, KeepSpan, TagList, TagCount, GroupBy);

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(toml: &str) -> Result<KeepRules, toml::de::Error> {
        toml::from_str(toml)
    }

    #[test]
    fn typed_and_configured_rules_are_the_same() {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            rules: KeepRules,
        }
        let typed = Typed::parse_from([
            "x",
            "--keep-last=3",
            "--keep-daily=unlimited",
            "--keep-within=1m",
            "--keep-within-weekly=12w",
            "--keep-tag=a,b",
            "--keep-tag-last=up=1",
            "--group-by=host",
        ]);
        let configured = rules(
            r#"
            keep_last = 3
            keep_daily = "unlimited"
            keep_within = "1m"
            keep_within_weekly = "12w"
            keep_tag = ["a,b"]
            keep_tag_last = ["up=1"]
            group_by = "host"
            "#,
        );
        assert_eq!(Ok(typed.rules), configured);
    }

    #[test]
    fn rules_become_a_policy() {
        let policy =
            rules("keep_hourly = 24\nkeep_within = \"7d\"\nkeep_tag_last = [\"a=1\", \"a=2\"]")
                .unwrap()
                .policy();
        assert_eq!(policy.per_period[&Period::Hour], Count::AtMost(24));
        assert_eq!(policy.within.unwrap().days, 7);
        assert_eq!(policy.tag_last["a"], 2);
        assert!(KeepRules::default().policy().is_empty());
    }

    #[test]
    fn groups_are_named_by_words() {
        let by = |text: &str| text.parse::<GroupBy>().map(|by| by.0);
        assert_eq!(by("host,set"), Ok(Grouping::default()));
        assert!(by("").is_ok_and(|by| !by.by_host && !by.by_set && !by.by_tags));
        assert!(by("colour").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for toml in [
            "keep_last = -3",
            "keep_last = 1.5",
            "keep_within = \"soon\"",
            "keep_tag = [\"a,,b\"]",
            "keep_tag_last = [\"a\"]",
            "keep_minutely = 3",
        ] {
            assert!(rules(toml).is_err(), "{toml}");
        }
    }
}
