//! When a silent session may be fenced: policy only. Who won is decided by one put-if-absent, whatever is decided here; a wrong
//! fence costs one re-run, never data.

use super::SessionRecord;

/// What is known when a session is looked at.
pub struct FenceView<'a> {
    /// Label of this host.
    pub host: &'a str,
    /// This boot of this host.
    pub boot: &'a str,
    /// Whether a process of this host lives: number and start time.
    pub process_alive: &'a dyn Fn(u32, u64) -> bool,
    /// The present time: nanoseconds since 1970, UTC.
    pub now_ns: i64,
    /// How long a session of another host must be silent, in nanoseconds.
    pub fence_after_ns: i64,
}

/// What to do about an open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceDecision {
    /// End it now; why, for people.
    Fence(String),
    /// Wait until this time at most.
    Wait {
        /// When it may be fenced if it stays silent: nanoseconds since 1970, UTC.
        until_ns: i64,
    },
}

/// Decides about one open session. `last_sign_ns`: when the store last took something from it, by the store's own time.
pub fn decide(record: &SessionRecord, last_sign_ns: i64, view: &FenceView<'_>) -> FenceDecision {
    let here = record.host == view.host && !record.boot.is_empty() && !view.boot.is_empty();
    if here && record.boot != view.boot {
        return FenceDecision::Fence("its host has been restarted since".into());
    }
    if here && !(view.process_alive)(record.pid, record.process_start) {
        return FenceDecision::Fence(format!("its process {} is gone", record.pid));
    }
    let until_ns = last_sign_ns.saturating_add(view.fence_after_ns);
    if !here && view.now_ns >= until_ns {
        return FenceDecision::Fence("it has been silent for too long".into());
    }
    FenceDecision::Wait { until_ns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::WriterId;

    #[test]
    fn a_dead_process_is_fenced_at_once_and_a_silent_host_by_age() {
        let record = |host: &str, boot: &str, pid| SessionRecord {
            host: host.into(),
            boot: boot.into(),
            pid,
            process_start: 7,
            writer: WriterId::from_bytes([0; 16]),
            start_ns: 0,
            program: String::new(),
        };
        let check = |record: SessionRecord, now_ns, fenced: bool| {
            let alive = |pid: u32, start: u64| pid == 1 && start == 7;
            let view = FenceView {
                host: "here",
                boot: "b2",
                process_alive: &alive,
                now_ns,
                fence_after_ns: 100,
            };
            let decision = decide(&record, 50, &view);
            assert_eq!(
                matches!(decision, FenceDecision::Fence(_)),
                fenced,
                "{record:?} {now_ns}"
            );
        };
        check(record("here", "b2", 2), 60, true);
        check(record("here", "b1", 1), 60, true);
        check(record("here", "b2", 1), 60, false);
        check(record("here", "b2", 1), 10_000, false);
        check(record("there", "b9", 2), 149, false);
        check(record("there", "b9", 2), 150, true);
        check(record("here", "", 2), 60, false);
        check(record("here", "", 2), 150, true);
    }
}
