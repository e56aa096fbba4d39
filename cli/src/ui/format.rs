//! Sizes, durations, rates and names for people. The only place where they are written.

use std::borrow::Cow;
use std::time::Duration;

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

/// A size in decimal units with two or three digits: `14 MB`, `1.2 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut divisor: u64 = 1;
    // Rounded to three digits, 999.5 kB would read 1000 kB: then the next unit is due.
    while unit + 1 < UNITS.len() && bytes >= divisor * 1000 - divisor / 2 {
        divisor *= 1000;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    let tenths = (u128::from(bytes) * 10 + u128::from(divisor / 2)) / u128::from(divisor);
    if unit == 0 || tenths >= 100 {
        let whole = (u128::from(bytes) + u128::from(divisor / 2)) / u128::from(divisor);
        format!("{whole} {name}")
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// A rate for a size over a time.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let millis = time.as_millis().max(1);
    let per_second = u128::from(bytes) * 1000 / millis;
    format!("{}/s", size(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

/// A duration by its two largest units: `850ms`, `12s`, `3m 05s`, `2h 10m`, `4d 03h`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A number and its noun: `1 snapshot`, `2 snapshots`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A name that cannot move the cursor, change colours or hide what follows it.
///
/// Names in a repository may have been chosen by an enemy.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_unsafe) {
        text.chars()
            .flat_map(|c| {
                let escaped: Box<dyn Iterator<Item = char>> = if is_unsafe(c) {
                    Box::new(c.escape_default())
                } else {
                    Box::new(std::iter::once(c))
                };
                escaped
            })
            .collect()
    } else {
        text.into()
    }
}

/// Control characters, and those that turn the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_240, "1.2 kB"),
            (9_949, "9.9 kB"),
            (9_951, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (14_200_000, "14 MB"),
            (1_200_000_000, "1.2 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (millis, text) in [
            (850, "850ms"),
            (12_400, "12s"),
            (185_000, "3m 05s"),
            (7_800_000, "2h 10m"),
            (356_400_000, "4d 03h"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(rate(84_000_000, Duration::from_secs(2)), "42 MB/s");
        assert_eq!(rate(5, Duration::ZERO), "5.0 kB/s");
    }

    #[test]
    fn hostile_names_are_escaped() {
        assert_eq!(printable("späti.txt"), "späti.txt");
        assert_eq!(printable("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }
}
