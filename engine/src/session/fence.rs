//! When a silent session may be fenced: policy only. Who won is decided by one put-if-absent, whatever is decided here; a wrong
//! fence costs one re-run, never data.

use super::SessionRecord;
use crate::id::WriterId;

/// What is known when a session is looked at.
pub struct FenceView<'a> {
    /// Label of this host, for what is recorded.
    pub host: &'a str,
    /// Who looks: the state folder of this machine and user.
    pub writer: WriterId,
    /// This boot of this machine.
    pub boot: &'a str,
    /// The namespace in which this process has its number.
    pub pid_namespace: &'a str,
    /// Whether a process of this host lives: number and start time.
    pub process_alive: &'a dyn Fn(u32, u64) -> bool,
    /// The present time: nanoseconds since 1970, UTC.
    pub now_ns: i64,
    /// How long a session of which nothing is known here must be silent, in nanoseconds.
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
    // Host labels may be shared by machines and containers: a boot is one machine's, a state folder one user's on it.
    let here = !record.boot.is_empty() && record.boot == view.boot;
    let sees_it = here && record.pid_namespace == view.pid_namespace;
    if sees_it && !(view.process_alive)(record.pid, record.process_start) {
        return FenceDecision::Fence(format!("its process {} is gone", record.pid));
    }
    let booted = !record.boot.is_empty() && !view.boot.is_empty() && !here;
    if booted && record.writer == view.writer {
        return FenceDecision::Fence("its host has been restarted since".into());
    }
    let until_ns = last_sign_ns.saturating_add(view.fence_after_ns);
    if !sees_it && view.now_ns >= until_ns {
        return FenceDecision::Fence("it has been silent for too long".into());
    }
    FenceDecision::Wait { until_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(number: u8) -> WriterId {
        WriterId::from_bytes([number; 16])
    }

    #[test]
    fn a_dead_process_is_fenced_at_once_and_what_cannot_be_seen_by_age() {
        let record = |by: u8, boot: &str, namespace: &str, pid| SessionRecord {
            host: "shared".into(),
            boot: boot.into(),
            pid,
            process_start: 7,
            pid_namespace: namespace.into(),
            writer: writer(by),
            start_ns: 0,
            program: String::new(),
        };
        let check = |record: SessionRecord, now_ns, fenced: bool| {
            let alive = |pid: u32, start: u64| pid == 1 && start == 7;
            let view = FenceView {
                host: "shared",
                writer: writer(1),
                boot: "b2",
                pid_namespace: "n1",
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
        // Dead, of an earlier boot, alive for however long.
        check(record(1, "b2", "n1", 2), 60, true);
        check(record(1, "b1", "n1", 1), 60, true);
        check(record(1, "b2", "n1", 1), 60, false);
        check(record(1, "b2", "n1", 1), 10_000, false);
        // Another user of this machine is seen as well.
        check(record(2, "b2", "n1", 2), 60, true);
        // Another machine or container of the same label is not.
        check(record(2, "b9", "n1", 2), 149, false);
        check(record(2, "b9", "n1", 2), 150, true);
        check(record(1, "b2", "n2", 2), 149, false);
        check(record(1, "b2", "n2", 2), 150, true);
        // Where the system does not name its boot.
        check(record(1, "", "n1", 2), 60, false);
        check(record(1, "", "n1", 2), 150, true);
    }
}
