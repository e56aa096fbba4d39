//! Lengths of time: `3h`, `1d12h`, `90min`.
//!
//! `m` is months in restic's retention rules and minutes everywhere else in the world: it is taken where restic takes
//! it and refused elsewhere.

use std::time::Duration;

use jiff::Span;
use keepstone_engine::retention::CalendarSpan;

/// Larger numbers are typing errors.
const AMOUNT_MAX: u32 = 9_999;

/// Why a text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpanError {
    /// No number, or a number without a unit.
    #[error("not a length of time: write a number and a unit, such as 3h or 1d12h")]
    Form,
    /// A number that is too large.
    #[error("a length of time goes up to {AMOUNT_MAX} of a unit")]
    TooLong,
    /// A unit that stands for two things.
    #[error("m could be minutes or months: write min or mo")]
    Ambiguous,
    /// A unit that is not known here.
    #[error("{0} is not a unit of time here: use {1}")]
    Unit(String, &'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
}

/// Whether a text is meant as a length of time rather than a date: digits, then a letter.
pub(super) fn looks_like_span(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < text.len()
        && rest.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.contains([':', '-'])
}

/// Parses an age in calendar units and units of the clock.
pub(super) fn parse_age(text: &str) -> Result<Span, SpanError> {
    parts(text)?
        .into_iter()
        .try_fold(Span::new(), |span, (amount, unit)| {
            let amount = i64::from(amount);
            let span = match unit_of(unit, "y, mo, w, d, h, min or s")? {
                Unit::Year => span.try_years(amount),
                Unit::Month => span.try_months(amount),
                Unit::Week => span.try_weeks(amount),
                Unit::Day => span.try_days(amount),
                Unit::Hour => span.try_hours(amount),
                Unit::Minute => span.try_minutes(amount),
                Unit::Second => span.try_seconds(amount),
            };
            span.map_err(|_| SpanError::TooLong)
        })
}

/// Parses what a retention rule spans, as restic does, and weeks.
pub(crate) fn parse_calendar_span(text: &str) -> Result<CalendarSpan, SpanError> {
    const UNITS: &str = "y, m, w, d or h";
    let mut span = CalendarSpan::default();
    for (amount, unit) in parts(text)? {
        let unit = if unit == "m" {
            Unit::Month
        } else {
            unit_of(unit, UNITS)?
        };
        match unit {
            Unit::Year => span.years += amount,
            Unit::Month => span.months += amount,
            Unit::Week => span.days += 7 * amount,
            Unit::Day => span.days += amount,
            Unit::Hour => span.hours += amount,
            Unit::Minute => return Err(SpanError::Unit("min".into(), UNITS)),
            Unit::Second => return Err(SpanError::Unit("s".into(), UNITS)),
        }
    }
    Ok(span)
}

/// Parses a length that no calendar changes: a day has 24 hours.
pub(crate) fn parse_exact(text: &str) -> Result<Duration, SpanError> {
    const UNITS: &str = "w, d, h, min or s";
    let mut seconds = 0;
    for (amount, unit) in parts(text)? {
        let each = match unit_of(unit, UNITS)? {
            Unit::Year | Unit::Month => return Err(SpanError::Unit(unit.to_owned(), UNITS)),
            Unit::Week => 7 * 86_400,
            Unit::Day => 86_400,
            Unit::Hour => 3_600,
            Unit::Minute => 60,
            Unit::Second => 1,
        };
        seconds += u64::from(amount) * each;
    }
    Ok(Duration::from_secs(seconds))
}

/// Takes a text apart into numbers and units.
fn parts(text: &str) -> Result<Vec<(u32, &str)>, SpanError> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let unit_start = rest.find(|c: char| !c.is_ascii_digit());
        let (number, tail) = rest.split_at(unit_start.ok_or(SpanError::Form)?);
        let unit_end = tail.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = tail.split_at(unit_end.unwrap_or(tail.len()));
        if number.is_empty() {
            return Err(SpanError::Form);
        }
        let amount = number.parse().map_err(|_| SpanError::TooLong)?;
        // Several parts are bounded together, so that no sum of them can overflow.
        if amount > AMOUNT_MAX || parts.len() >= 16 {
            return Err(SpanError::TooLong);
        }
        parts.push((amount, unit.trim()));
        rest = tail;
    }
    if parts.is_empty() {
        return Err(SpanError::Form);
    }
    Ok(parts)
}

fn unit_of(text: &str, known: &'static str) -> Result<Unit, SpanError> {
    match text {
        "y" => Ok(Unit::Year),
        "mo" => Ok(Unit::Month),
        "w" => Ok(Unit::Week),
        "d" => Ok(Unit::Day),
        "h" => Ok(Unit::Hour),
        "min" => Ok(Unit::Minute),
        "s" => Ok(Unit::Second),
        "m" => Err(SpanError::Ambiguous),
        _ => Err(SpanError::Unit(text.to_owned(), known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_takes_months_as_restic_does() {
        let expected = CalendarSpan {
            years: 1,
            months: 5,
            days: 7,
            hours: 2,
        };
        assert_eq!(parse_calendar_span("1y5m7d2h"), Ok(expected));
        assert_eq!(parse_calendar_span("1y5mo1w2h"), Ok(expected));
        assert!(parse_calendar_span("90min").is_err());
    }

    #[test]
    fn a_bare_m_is_refused_where_minutes_are_possible() {
        assert_eq!(parse_exact("5m"), Err(SpanError::Ambiguous));
        assert_eq!(parse_exact("5min"), Ok(Duration::from_mins(5)));
        assert_eq!(parse_exact("1d12h"), Ok(Duration::from_hours(36)));
        assert!(parse_exact("1mo").is_err());
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in ["", "h", "3", "3h4", "-3h", "99999d", "3 fortnights"] {
            assert!(parse_exact(text).is_err(), "{text}");
        }
    }
}
