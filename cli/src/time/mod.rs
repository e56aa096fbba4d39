//! Times as people write and read them. Everything is relative to a clock that is passed in.
//!
//! The repository knows nanoseconds in UTC; time zones exist only here. A time without a zone is local, and is shown
//! with its offset before anything depends on it; one that a change of the clock made ambiguous is refused.

mod calendar;
mod span;

pub(crate) use calendar::LocalCalendar;
pub(crate) use span::{parse_calendar_span, parse_exact};

use jiff::civil::{Date, DateTime};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{AmbiguousOffset, Disambiguation, TimeZone};
use jiff::{Timestamp, Zoned};

/// Now, and here.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    fixed: Option<Timestamp>,
    zone: TimeZone,
}

impl Clock {
    /// Name of the time zone, if it has one.
    pub(crate) fn zone_name(&self) -> Option<String> {
        self.zone.iana_name().map(str::to_owned)
    }

    /// The clock and the time zone of the machine.
    pub(crate) fn of_system() -> Self {
        Self {
            fixed: None,
            zone: TimeZone::system(),
        }
    }

    /// A clock that stands still.
    #[cfg(test)]
    pub(crate) fn fixed(now: &str, zone: &str) -> Self {
        Self {
            fixed: Some(now.parse().unwrap()),
            zone: TimeZone::get(zone).unwrap(),
        }
    }

    /// Now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the clock is read"
    )]
    pub(crate) fn now(&self) -> Timestamp {
        self.fixed.unwrap_or_else(Timestamp::now)
    }

    /// Now, as the repository counts.
    pub(crate) fn now_ns(&self) -> i64 {
        nanoseconds(self.now())
    }

    /// The calendar of this place.
    pub(crate) fn calendar(&self) -> LocalCalendar {
        LocalCalendar::new(self.zone.clone())
    }

    /// A moment in local time to the second, for tables.
    pub(crate) fn show(&self, time_ns: i64) -> String {
        self.zoned(time_ns)
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string()
    }

    /// A moment in local time with its offset, for sentences.
    pub(crate) fn show_with_offset(&self, time_ns: i64) -> String {
        self.zoned(time_ns)
            .strftime("%Y-%m-%d %H:%M:%S%:z")
            .to_string()
    }

    fn zoned(&self, time_ns: i64) -> Zoned {
        timestamp(time_ns).to_zoned(self.zone.clone())
    }
}

/// Every `i64` of nanoseconds lies within the years that jiff knows.
fn timestamp(time_ns: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default()
}

/// A moment of RFC 3339 in UTC, for JSON.
pub(crate) fn rfc3339(time_ns: i64) -> String {
    timestamp(time_ns).to_string()
}

/// Moments before 1678 and after 2261 do not fit and stand still at the end.
fn nanoseconds(time: Timestamp) -> i64 {
    let end = if time.as_second() < 0 {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::try_from(time.as_nanosecond()).unwrap_or(end)
}

/// A moment that a user named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// In nanoseconds since 1970, UTC.
    pub(crate) time_ns: i64,
    /// Whether our zone or our clock had a part in it: then it is echoed.
    pub(crate) was_interpreted: bool,
}

/// Why a text names no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimeError {
    /// Not one of the forms.
    #[error(
        "not a time: write 2026-11-20T14:05:00+01:00, \"2026-11-20 14:05\", 2026-11-20, or an age such as 3h or 2d"
    )]
    Form,
    /// The length of time has an unknown or ambiguous unit.
    #[error(transparent)]
    Span(#[from] span::SpanError),
    /// The clock was set back over it.
    #[error("the clock showed this time twice: add an offset, {first} or {second}")]
    Twice {
        /// The offset in force before the change.
        first: String,
        /// The offset in force after it.
        second: String,
    },
    /// The clock was set forward over it.
    #[error("the clock was set forward over this time, so it never was: add an offset")]
    Never,
    /// Farther away than can be counted.
    #[error("too far away: the years 1678 to 2261 can be named")]
    Range,
}

/// Parses a moment: RFC 3339, a local date with or without time, or an age.
pub(crate) fn parse_moment(text: &str, clock: &Clock) -> Result<Moment, TimeError> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return moment(time, false);
    }
    if text.contains('[') {
        let parser = DateTimeParser::new().disambiguation(Disambiguation::Reject);
        let time = parser.parse_zoned(text).map_err(|_| TimeError::Form)?;
        return moment(time.timestamp(), false);
    }
    if span::looks_like_span(text) {
        let now = clock.now().to_zoned(clock.zone.clone());
        let time = now
            .checked_sub(span::parse_age(text)?)
            .map_err(|_| TimeError::Range)?;
        return moment(time.timestamp(), true);
    }
    moment(local(text, &clock.zone)?, true)
}

fn local(text: &str, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    if !text.contains([':', 'T', 't', ' ']) {
        let date: Date = text.parse().map_err(|_| TimeError::Form)?;
        // Some places change their clocks at midnight: then a day begins when it begins.
        let start = date
            .to_zoned(zone.clone())
            .and_then(|day| day.start_of_day());
        return start
            .map(|start| start.timestamp())
            .map_err(|_| TimeError::Range);
    }
    let civil: DateTime = text.parse().map_err(|_| TimeError::Form)?;
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            ambiguous.unambiguous().map_err(|_| TimeError::Range)
        }
        AmbiguousOffset::Gap { .. } => Err(TimeError::Never),
        AmbiguousOffset::Fold { before, after } => Err(TimeError::Twice {
            first: before.to_string(),
            second: after.to_string(),
        }),
    }
}

fn moment(time: Timestamp, was_interpreted: bool) -> Result<Moment, TimeError> {
    Ok(Moment {
        time_ns: i64::try_from(time.as_nanosecond()).map_err(|_| TimeError::Range)?,
        was_interpreted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noon in Berlin, a month after its clocks went back.
    fn berlin() -> Clock {
        Clock::fixed("2026-11-21T11:00:00Z", "Europe/Berlin")
    }

    fn check(text: &str, expected: &str) {
        let clock = berlin();
        let moment = parse_moment(text, &clock).unwrap();
        assert_eq!(clock.show_with_offset(moment.time_ns), expected, "{text}");
    }

    #[test]
    fn the_forms_of_a_time() {
        check("2026-11-20T14:05:00Z", "2026-11-20 15:05:00+01:00");
        check("2026-11-20T14:05:00-05:00", "2026-11-20 20:05:00+01:00");
        check("2026-11-20 14:05", "2026-11-20 14:05:00+01:00");
        check("2026-11-20T14:05:07", "2026-11-20 14:05:07+01:00");
        check("2026-07-01 14:05", "2026-07-01 14:05:00+02:00");
        check("2026-11-20", "2026-11-20 00:00:00+01:00");
        check(
            "2026-11-20T14:05[America/New_York]",
            "2026-11-20 20:05:00+01:00",
        );
    }

    #[test]
    fn an_age_is_counted_back_from_the_clock() {
        check("3h", "2026-11-21 09:00:00+01:00");
        check("90min", "2026-11-21 10:30:00+01:00");
        check("1d12h", "2026-11-20 00:00:00+01:00");
        check("1w", "2026-11-14 12:00:00+01:00");
        // A month ago the clocks were not yet back: noon stays noon.
        check("1mo", "2026-10-21 12:00:00+02:00");
    }

    #[test]
    fn what_the_zone_decided_is_marked_for_the_echo() {
        let clock = berlin();
        for (text, was_interpreted) in [
            ("2026-11-20T14:05:00Z", false),
            ("2026-11-20 14:05", true),
            ("3h", true),
        ] {
            let moment = parse_moment(text, &clock).unwrap();
            assert_eq!(moment.was_interpreted, was_interpreted, "{text}");
        }
    }

    #[test]
    fn a_time_that_was_twice_or_never_is_refused() {
        let clock = berlin();
        assert_eq!(
            parse_moment("2026-10-25 02:30", &clock),
            Err(TimeError::Twice {
                first: "+02".into(),
                second: "+01".into()
            })
        );
        assert_eq!(
            parse_moment("2026-03-29 02:30", &clock),
            Err(TimeError::Never)
        );
        check("2026-10-25 02:30+02:00", "2026-10-25 02:30:00+02:00");
    }

    #[test]
    fn nonsense_is_refused() {
        let clock = berlin();
        for text in ["", "yesterday", "14:05", "2026-13-01", "2026-11-20 25:00"] {
            assert_eq!(parse_moment(text, &clock), Err(TimeError::Form), "{text}");
        }
        for text in ["3x", "5m", "3h4"] {
            let error = parse_moment(text, &clock).unwrap_err();
            assert!(matches!(error, TimeError::Span(_)), "{text}");
        }
        assert_eq!(parse_moment("900y", &clock), Err(TimeError::Range));
    }
}
