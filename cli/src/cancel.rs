//! ^C: once stops cleanly, twice ends at once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use keepstone_engine::backup::Cancel;

use crate::exit::ExitCode;

#[expect(
    clippy::disallowed_methods,
    reason = "the second interrupt ends the process at once"
)]
fn end_at_once() -> ! {
    std::process::exit(i32::from(ExitCode::Interrupted.code()))
}

static CANCEL: OnceLock<Cancel> = OnceLock::new();
static TIMES: AtomicU32 = AtomicU32::new(0);

/// What every operation looks at; the first call begins to listen.
pub(crate) fn cancel() -> Cancel {
    CANCEL
        .get_or_init(|| {
            let cancel = Cancel::default();
            let heard = cancel.clone();
            let listening = ctrlc::set_handler(move || {
                heard.set();
                if TIMES.fetch_add(1, Ordering::Relaxed) > 0 {
                    end_at_once();
                }
            });
            if let Err(error) = listening {
                tracing::warn!("interrupts end this run at once: {error}");
            }
            cancel
        })
        .clone()
}
