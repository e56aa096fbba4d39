//! The calendar of a time zone, for the engine's retention.

use jiff::tz::TimeZone;
use jiff::{Span, Zoned};
use keepstone_engine::retention::{Calendar, CalendarSpan, Civil};

/// A time zone's calendar.
#[derive(Debug, Clone)]
pub(crate) struct LocalCalendar {
    zone: TimeZone,
}

impl LocalCalendar {
    /// The calendar of a zone.
    pub(crate) fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    fn zoned(&self, time_ns: i64) -> Zoned {
        super::timestamp(time_ns).to_zoned(self.zone.clone())
    }
}

impl Calendar for LocalCalendar {
    fn civil(&self, time_ns: i64) -> Civil {
        let time = self.zoned(time_ns);
        let week = time.date().iso_week_date();
        Civil {
            year: time.year().into(),
            month: time.month().unsigned_abs(),
            day: time.day().unsigned_abs(),
            hour: time.hour().unsigned_abs(),
            offset_seconds: time.offset().seconds(),
            iso_year: week.year().into(),
            iso_week: week.week().unsigned_abs(),
        }
    }

    fn earlier(&self, time_ns: i64, span: CalendarSpan) -> i64 {
        let span = Span::new()
            .try_years(span.years)
            .and_then(|sum| sum.try_months(span.months))
            .and_then(|sum| sum.try_days(span.days))
            .and_then(|sum| sum.try_hours(span.hours));
        // Longer ago than the calendar goes is before everything.
        span.and_then(|span| self.zoned(time_ns).checked_sub(span))
            .map_or(i64::MIN, |time| super::nanoseconds(time.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> LocalCalendar {
        LocalCalendar::new(TimeZone::get("Europe/Berlin").unwrap())
    }

    fn ns(text: &str) -> i64 {
        super::super::nanoseconds(text.parse().unwrap())
    }

    #[test]
    fn days_end_at_local_midnight() {
        let civil = berlin().civil(ns("2026-11-20T23:30:00Z"));
        assert_eq!(
            (civil.year, civil.month, civil.day, civil.hour),
            (2026, 11, 21, 0)
        );
        assert_eq!((civil.iso_year, civil.iso_week), (2026, 47));
    }

    #[test]
    fn the_hour_that_comes_twice_is_two_hours() {
        let calendar = berlin();
        let first = calendar.civil(ns("2026-10-25T00:30:00Z"));
        let second = calendar.civil(ns("2026-10-25T01:30:00Z"));
        assert_eq!((first.hour, second.hour), (2, 2));
        assert_ne!(first.offset_seconds, second.offset_seconds);
    }

    #[test]
    fn a_month_is_a_month_of_the_calendar() {
        let span = CalendarSpan {
            months: 1,
            ..CalendarSpan::default()
        };
        assert_eq!(
            berlin().earlier(ns("2026-03-31T10:00:00Z"), span),
            ns("2026-02-28T11:00:00Z")
        );
        let ages = CalendarSpan {
            years: 9_999,
            ..CalendarSpan::default()
        };
        assert_eq!(berlin().earlier(0, ages), i64::MIN);
    }
}
