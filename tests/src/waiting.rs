//! Waiting for something that is bound to come about.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came about: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}
