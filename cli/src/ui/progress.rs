//! Progress on a terminal: what is being done, how fast, how long it will take. Appears after two seconds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keepstone_engine::progress::{Event, Observer};

use super::Ui;
use super::format::{count, duration, printable, rate, size};

/// Shorter operations show nothing.
const APPEARS_AFTER: Duration = Duration::from_secs(2);
/// How often the line changes at most, and how often it turns while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// Shows the events of an operation. Warnings are always said, the rest only on a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    bar: Option<ProgressBar>,
    started: Instant,
    bytes: AtomicU64,
    items: AtomicU64,
    /// When the line changed last, in milliseconds since the start.
    drawn_ms: AtomicU64,
    part: Mutex<Part>,
}

/// The part of the operation that is under way.
#[derive(Debug)]
struct Part {
    name: String,
    started: Instant,
    bytes_total: u64,
    items_total: u64,
    current: String,
    is_shown: bool,
}

impl Part {
    fn starting(name: &str, is_shown: bool) -> Self {
        Self {
            name: name.to_owned(),
            started: Instant::now(),
            bytes_total: 0,
            items_total: 0,
            current: String::new(),
            is_shown,
        }
    }

    /// The line without what is being worked on.
    fn line(&self, bytes: u64, items: u64, elapsed: Duration) -> String {
        let mut parts = Vec::new();
        if self.bytes_total > 0 {
            let percent = (u128::from(bytes) * 100 / u128::from(self.bytes_total)).min(100);
            parts.push(format!("{percent} %"));
            parts.push(format!("{} of {}", size(bytes), size(self.bytes_total)));
        } else if bytes > 0 {
            parts.push(size(bytes));
        }
        if self.items_total > 0 {
            parts.push(format!("{items} of {}", count(self.items_total, "item")));
        } else if items > 0 {
            parts.push(count(items, "item"));
        }
        if bytes > 0 {
            parts.push(rate(bytes, elapsed));
        }
        if let Some(left) = time_left(bytes, self.bytes_total, elapsed)
            .or_else(|| time_left(items, self.items_total, elapsed))
        {
            parts.push(format!("{} left", duration(left)));
        }
        let name = if self.name.is_empty() {
            "working"
        } else {
            &self.name
        };
        if parts.is_empty() {
            format!("{name}, {}", duration(elapsed))
        } else {
            format!("{name}: {}", parts.join(", "))
        }
    }
}

/// What remains at the speed so far. The total is an estimate and may be too low: then nobody knows.
fn time_left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 || total <= done {
        return None;
    }
    let millis = elapsed.as_millis() * u128::from(total - done) / u128::from(done);
    // To the second: a line that flickers is not read.
    Some(Duration::from_secs(
        u64::try_from(millis / 1000).ok()?.max(1),
    ))
}

impl Progress {
    /// Draws on standard error.
    pub(super) fn on_terminal(ui: Ui) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self::new(ui, Some(bar))
    }

    /// Draws nothing.
    pub(super) fn hidden(ui: Ui) -> Self {
        Self::new(ui, None)
    }

    fn new(ui: Ui, bar: Option<ProgressBar>) -> Self {
        Self {
            ui,
            bar,
            started: Instant::now(),
            bytes: AtomicU64::new(0),
            items: AtomicU64::new(0),
            drawn_ms: AtomicU64::new(0),
            part: Mutex::new(Part::starting("", false)),
        }
    }

    /// Takes the line off the terminal while something else is written or asked.
    pub(crate) fn aside<T>(&self, act: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(act),
            None => act(),
        }
    }

    fn change(&self, act: impl FnOnce(&mut Part)) {
        if self.bar.is_some()
            && let Ok(mut part) = self.part.lock()
        {
            act(&mut part);
        }
    }

    /// Whether it is time for another line. Events are many, and most of them pass here.
    fn is_due(&self) -> bool {
        let elapsed = self.started.elapsed();
        let now_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let drawn_ms = self.drawn_ms.load(Ordering::Relaxed);
        let is_due = elapsed >= APPEARS_AFTER
            && Duration::from_millis(now_ms.saturating_sub(drawn_ms)) >= TICK;
        if is_due {
            self.drawn_ms.store(now_ms, Ordering::Relaxed);
        }
        is_due
    }

    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        if !self.is_due() {
            return;
        }
        // Whoever holds it is drawing.
        let Ok(mut part) = self.part.try_lock() else {
            return;
        };
        if !part.is_shown {
            part.is_shown = true;
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        let items = self.items.load(Ordering::Relaxed);
        let line = part.line(bytes, items, part.started.elapsed());
        if part.current.is_empty() {
            bar.set_message(line);
        } else {
            bar.set_message(format!("{line}  {}", part.current));
        }
    }
}

impl Observer for Progress {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Warning { source, text } => {
                let text = match source {
                    Some(source) => format!("{source}: {text}"),
                    None => text.to_owned(),
                };
                self.aside(|| self.ui.warning(&printable(&text)));
                return;
            }
            Event::Phase { name } => {
                self.bytes.store(0, Ordering::Relaxed);
                self.items.store(0, Ordering::Relaxed);
                self.change(|part| *part = Part::starting(name, part.is_shown));
            }
            Event::Total { bytes, items } => self.change(|part| {
                part.bytes_total = bytes;
                part.items_total = items;
            }),
            Event::ItemStarted { source, path } => self.change(|part| {
                part.current = printable(&format!("{source}/{path}")).into_owned();
            }),
            Event::ItemFinished => {
                self.items.fetch_add(1, Ordering::Relaxed);
            }
            Event::BytesRead { bytes, .. } => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            _ => {}
        }
        self.draw();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes_total: u64, items_total: u64) -> Part {
        Part {
            bytes_total,
            items_total,
            ..Part::starting("saving", false)
        }
    }

    #[test]
    fn a_line_tells_rate_and_time_left() {
        assert_eq!(
            part(100_000_000, 0).line(25_000_000, 0, Duration::from_secs(5)),
            "saving: 25 %, 25 MB of 100 MB, 5.0 MB/s, 15s left"
        );
        assert_eq!(
            part(0, 8).line(0, 2, Duration::from_secs(3)),
            "saving: 2 of 8 items, 9s left"
        );
    }

    #[test]
    fn an_estimate_that_was_too_low_promises_nothing() {
        assert_eq!(
            part(10_000_000, 0).line(25_000_000, 3, Duration::from_secs(5)),
            "saving: 100 %, 25 MB of 10 MB, 3 items, 5.0 MB/s"
        );
        assert_eq!(part(0, 0).line(0, 0, Duration::from_secs(5)), "saving, 5s");
    }
}
