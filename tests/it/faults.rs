//! Scripted faults: each gives its kind of error, harms nothing that was saved, and is over with the next run.

use std::collections::BTreeMap;
use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::{Backend as _, BackendErrorKind, ByteRange, ObjectKey, ObjectKind};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Level, check};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_testkit::faulty::{Effect, Fault, FaultyBackend};
use keepstone_testkit::recording::Operation;
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, open_repo, prune_at, read_back, read_listed, save,
    table,
};

const HOUR_NS: i64 = 3_600_000_000_000;

/// Two hours saved without a fault, and a third to be saved with one.
struct Stage {
    memory: Arc<MemoryBackend>,
    faulty: Arc<FaultyBackend>,
    saved: Vec<(SnapshotId, Streams)>,
    next: Streams,
}

impl Stage {
    fn new() -> Self {
        let memory = Arc::new(MemoryBackend::new());
        let repo = new_repo(memory.clone()).unwrap();
        let mut dice = Dice(21);
        let mut bytes = table(&mut dice, 3_000);
        let streams = |bytes: &[u8]| Streams::from([("t/data".to_owned(), bytes.to_vec())]);
        let mut saved = Vec::new();
        for hour in 0..2 {
            let streams = streams(&bytes);
            saved.push((save(&repo, &streams, hour * HOUR_NS).unwrap(), streams));
            bytes = an_hour_later(&mut dice, &bytes);
        }
        Self {
            faulty: Arc::new(FaultyBackend::new(memory.clone())),
            memory,
            saved,
            next: streams(&bytes),
        }
    }

    /// A repository that was opened before things go wrong.
    fn repo(&self, fault: Fault) -> Repo {
        let repo = open_repo(self.faulty.clone()).unwrap();
        self.faulty.script(fault);
        repo
    }

    /// What was saved restores, the repository is clean, and the next run saves.
    fn assert_unharmed(&self, fault: &str) {
        assert!(!self.faulty.fired().is_empty(), "{fault} never came");
        let repo = open_repo(self.memory.clone()).unwrap();
        for (id, streams) in &self.saved {
            assert!(read_back(&repo, *id).unwrap() == *streams, "{fault}: {id}");
        }
        assert_clean(&repo, fault);
        let id = save(&repo, &self.next, 9 * HOUR_NS).unwrap();
        assert!(
            read_back(&repo, id).unwrap() == self.next,
            "{fault}: the next run"
        );
        assert_clean(&repo, fault);
        prune_at(&repo, 10 * HOUR_NS).unwrap();
        for (id, streams) in &self.saved {
            assert!(
                read_back(&repo, *id).unwrap() == *streams,
                "{fault}: {id} pruned"
            );
        }
    }
}

fn assert_clean(repo: &Repo, fault: &str) {
    let report = check(repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
    assert!(report.is_clean(), "{fault}: {:#?}", report.problems);
}

fn kind_of(error: &Error) -> Option<BackendErrorKind> {
    match error {
        Error::Backend { source, .. } => Some(source.kind()),
        _ => None,
    }
}

/// What a run of the writer puts, in this order or side by side.
const PUTS: [ObjectKind; 4] = [
    ObjectKind::Session,
    ObjectKind::Pack,
    ObjectKind::Index,
    ObjectKind::End,
];

#[test]
fn a_put_that_is_refused_fails_the_run_by_its_kind() {
    for kind in [
        BackendErrorKind::NoSpace,
        BackendErrorKind::Denied,
        BackendErrorKind::ReadOnly,
        BackendErrorKind::Other,
    ] {
        for object in PUTS {
            for nth in 1..=if object == ObjectKind::Pack { 2 } else { 1 } {
                let stage = Stage::new();
                let fault = Fault::on(Operation::Put, Effect::Fail(kind))
                    .of(object)
                    .nth(nth);
                let repo = stage.repo(fault);
                let error = save(&repo, &stage.next, 5 * HOUR_NS).unwrap_err();
                let name = format!("put {nth} of {object}: {kind:?}");
                assert_eq!(kind_of(&error), Some(kind), "{name}: {error}");
                assert!(
                    error.to_string().starts_with("cannot write"),
                    "{name}: {error}"
                );
                stage.assert_unharmed(&name);
            }
        }
    }
}

#[test]
fn a_full_disk_that_stays_full_leaves_no_snapshot() {
    let stage = Stage::new();
    let repo = stage.repo(
        Fault::on(Operation::Put, Effect::Fail(BackendErrorKind::NoSpace))
            .nth(2)
            .for_ever(),
    );
    let error = save(&repo, &stage.next, 5 * HOUR_NS).unwrap_err();
    assert_eq!(kind_of(&error), Some(BackendErrorKind::NoSpace), "{error}");
    let reopened = open_repo(stage.memory.clone()).unwrap();
    assert_eq!(reopened.snapshots().unwrap().len(), 2);
    stage.assert_unharmed("a full disk");
}

#[test]
fn a_put_without_an_answer_is_tried_again_and_counts_once() {
    let unreachable = Effect::Fail(BackendErrorKind::Unreachable);
    for effect in [Effect::LoseAnswer, unreachable] {
        for object in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::End] {
            let mut stage = Stage::new();
            let repo = stage.repo(Fault::on(Operation::Put, effect.clone()).of(object));
            let id = save(&repo, &stage.next, 5 * HOUR_NS).unwrap();
            let listed = open_repo(stage.memory.clone())
                .unwrap()
                .snapshots()
                .unwrap();
            assert_eq!(listed.len(), 3, "{object} {effect:?}");
            stage.saved.push((id, stage.next.clone()));
            stage.assert_unharmed(&format!("{object} {effect:?}"));
        }
    }
}

#[test]
fn a_session_record_without_an_answer_ends_the_run_before_it_begins() {
    let stage = Stage::new();
    let repo = stage.repo(Fault::on(Operation::Put, Effect::LoseAnswer).of(ObjectKind::Session));
    let error = save(&repo, &stage.next, 5 * HOUR_NS).unwrap_err();
    assert_eq!(
        kind_of(&error),
        Some(BackendErrorKind::Unreachable),
        "{error}"
    );
    stage.assert_unharmed("a session record");
}

#[test]
fn a_commit_that_nobody_answers_is_known_by_the_next_look() {
    for effect in [
        Effect::LoseAnswer,
        Effect::Fail(BackendErrorKind::Unreachable),
    ] {
        let stage = Stage::new();
        let fault = Fault::on(Operation::Put, effect.clone())
            .of(ObjectKind::End)
            .for_ever();
        let repo = stage.repo(fault);
        let done = save(&repo, &stage.next, 5 * HOUR_NS);
        let listed = open_repo(stage.memory.clone())
            .unwrap()
            .snapshots()
            .unwrap();
        if effect == Effect::LoseAnswer {
            // The second try found what the first had put.
            assert_eq!(listed.len(), 3);
            assert_eq!(listed[2].id, done.unwrap());
        } else {
            let kind = done.as_ref().map_err(kind_of);
            assert_eq!(kind, Err(Some(BackendErrorKind::Unreachable)));
            assert_eq!(listed.len(), 2);
        }
        stage.assert_unharmed(&format!("{effect:?}"));
    }
}

#[test]
fn a_get_that_fails_once_fails_that_restore_only() {
    for kind in [BackendErrorKind::Unreachable, BackendErrorKind::Denied] {
        for object in [ObjectKind::Index, ObjectKind::Pack, ObjectKind::End] {
            let stage = Stage::new();
            let (id, streams) = &stage.saved[1];
            let repo = stage.repo(Fault::on(Operation::Get, Effect::Fail(kind)).of(object));
            let error = read_back(&repo, *id).unwrap_err();
            assert_eq!(kind_of(&error), Some(kind), "{object}: {error}");
            assert!(read_back(&repo, *id).unwrap() == *streams, "{object}");
            stage.assert_unharmed(&format!("get of {object}: {kind:?}"));
        }
    }
}

#[test]
fn bytes_that_are_cut_or_changed_on_the_way_are_never_believed() {
    let effects = [
        Effect::Truncate(40),
        Effect::Truncate(0),
        Effect::FlipBit(300),
    ];
    for effect in effects {
        for object in [ObjectKind::Index, ObjectKind::Pack, ObjectKind::End] {
            for nth in 1..=3 {
                let stage = Stage::new();
                let (id, streams) = &stage.saved[1];
                let fault = Fault::on(Operation::Get, effect.clone())
                    .of(object)
                    .nth(nth);
                let repo = stage.repo(fault);
                match read_back(&repo, *id) {
                    Ok(read) => assert!(read == *streams, "{object} {effect:?}"),
                    Err(error) => {
                        let damage = matches!(error, Error::Corrupt { .. });
                        assert!(damage, "{object} {effect:?}: {error}");
                    }
                }
                let whole = open_repo(stage.memory.clone()).unwrap();
                assert!(
                    read_back(&whole, *id).unwrap() == *streams,
                    "{object} {effect:?}"
                );
            }
        }
    }
}

#[test]
fn a_list_that_is_behind_the_times_harms_nothing() {
    for object in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::End] {
        let mut stage = Stage::new();
        let repo = stage.repo(Fault::on(Operation::List, Effect::Stale).of(object).nth(2));
        for hour in 5..7 {
            let id = save(&repo, &stage.next, hour * HOUR_NS).unwrap();
            stage.saved.push((id, stage.next.clone()));
        }
        stage.assert_unharmed(&format!("a stale list of {object}"));
    }
}

#[test]
fn a_prune_that_fails_anywhere_loses_nothing_and_is_finished_by_the_next() {
    let kind = BackendErrorKind::Denied;
    let mut fired = 0;
    for operation in [
        Operation::Put,
        Operation::Delete,
        Operation::Get,
        Operation::List,
    ] {
        for nth in 1.. {
            let mut stage = Stage::new();
            let (first, _) = stage.saved.remove(0);
            let whole = open_repo(stage.memory.clone()).unwrap();
            forget(&whole, &[first], "test", "host", 3 * HOUR_NS).unwrap();
            let repo = stage.repo(Fault::on(operation, Effect::Fail(kind)).nth(nth));
            let done = prune_at(&repo, 4 * HOUR_NS);
            if stage.faulty.fired().is_empty() {
                done.unwrap();
                break;
            }
            let error = done.unwrap_err();
            assert_eq!(kind_of(&error), Some(kind), "{operation:?} {nth}: {error}");
            stage.assert_unharmed(&format!("{operation:?} {nth} of a prune"));
            fired += 1;
        }
    }
    assert!(fired > 10, "only {fired} faults");
}

#[test]
fn a_repository_without_any_end_is_not_taken_for_one_that_nobody_needs() {
    for pruned_before in [true, false] {
        let stage = Stage::new();
        let repo = open_repo(stage.memory.clone()).unwrap();
        if pruned_before {
            prune_at(&repo, 4 * HOUR_NS).unwrap();
        }
        let ends = stage.memory.list(ObjectKind::End).unwrap();
        let read = |key: &ObjectKey| stage.memory.get(key, ByteRange::All).unwrap();
        let ends: Vec<_> = ends
            .iter()
            .map(|stat| (stat.key, read(&stat.key)))
            .collect();
        for (key, _) in &ends {
            stage.memory.delete(key).unwrap();
        }
        let packs = stage.memory.list(ObjectKind::Pack).unwrap();
        // How a run ends that fails for this reason, or for another, changes nothing.
        for hour in 5..7 {
            let pruned = prune_at(&repo, hour * HOUR_NS);
            let report = check(&repo, Level::Structure, 2, &NoObserver, &Cancel::default());
            if pruned_before {
                assert!(matches!(pruned, Err(Error::Missing { .. })), "{pruned:?}");
                let saved = save(&repo, &stage.next, hour * HOUR_NS);
                assert!(matches!(saved, Err(Error::Missing { .. })), "{saved:?}");
                assert_eq!(report.unwrap().problems[0].object, "end/");
            } else {
                // It looks like first runs that were all cut off: there is no harm in waiting for one that ends.
                let pruned = pruned.unwrap();
                assert_eq!((pruned.condemned, pruned.fenced), (0, vec![]));
                let (known, _) = repo.uncommitted().unwrap().unwrap();
                assert_eq!(known, packs.len() as u64);
                let full = Effect::Fail(BackendErrorKind::NoSpace);
                let unable = Fault::on(Operation::Put, full).of(ObjectKind::Pack);
                let unable = stage.repo(unable.for_ever());
                save(&unable, &stage.next, hour * HOUR_NS).unwrap_err();
            }
        }
        assert_eq!(stage.memory.list(ObjectKind::Pack).unwrap(), packs);
        // Put back, everything is as it was.
        for (key, bytes) in &ends {
            stage.memory.delete(key).unwrap();
            stage.memory.put_new(key, &[bytes]).unwrap();
        }
        for (id, streams) in &stage.saved {
            assert!(read_back(&repo, *id).unwrap() == *streams);
        }
    }
}

#[test]
fn an_end_that_is_listed_and_cannot_be_got_is_not_taken_for_settled() {
    let stage = Stage::new();
    let gone = Effect::Fail(BackendErrorKind::NotFound);
    let fault = Fault::on(Operation::Get, gone)
        .of(ObjectKind::End)
        .for_ever();
    let repo = stage.repo(fault);
    let pruned = prune_at(&repo, 5 * HOUR_NS);
    assert!(matches!(pruned, Err(Error::Missing { .. })), "{pruned:?}");
    let readable = repo.readable_snapshots().unwrap();
    assert_eq!((readable.snapshots.len(), readable.damaged.len()), (0, 2));
    let report = check(&repo, Level::Structure, 2, &NoObserver, &Cancel::default()).unwrap();
    let named = |object: &str| object.starts_with("end/");
    let named = report.problems.iter().filter(|found| named(&found.object));
    assert_eq!(named.count(), 2, "{:#?}", report.problems);
    stage.assert_unharmed("ends that are not found");
}

#[test]
fn a_session_whose_record_is_gone_is_fenced_unless_it_has_ended() {
    let stage = Stage::new();
    let repo = open_repo(stage.memory.clone()).unwrap();
    let refused = Effect::Fail(BackendErrorKind::Denied);
    let unable = stage.repo(
        Fault::on(Operation::Put, refused)
            .of(ObjectKind::End)
            .for_ever(),
    );
    save(&unable, &stage.next, 2 * HOUR_NS).unwrap_err();
    let mut sessions = repo.sessions().unwrap();
    let ends = stage.memory.list(ObjectKind::End).unwrap();
    sessions.retain(|id, _| ends.iter().all(|end| end.key != ObjectKey::end(*id)));
    let open = *sessions.first_key_value().unwrap().0;
    forget(&repo, &[stage.saved[0].0], "test", "host", 3 * HOUR_NS).unwrap();
    let gone = Effect::Fail(BackendErrorKind::NotFound);
    let faulty = Arc::new(FaultyBackend::new(stage.memory.clone()));
    let repo = open_repo(faulty.clone()).unwrap();
    faulty.script(
        Fault::on(Operation::Get, gone)
            .of(ObjectKind::Session)
            .for_ever(),
    );
    let report = prune_at(&repo, 5 * HOUR_NS).unwrap();
    assert!(
        report.fenced.iter().any(|(id, _)| *id == open),
        "{report:?}"
    );
    assert!(report.waiting.is_empty(), "{report:?}");
    assert!(stage.memory.stat(&ObjectKey::end(open)).unwrap().is_some());
}

#[test]
fn a_sector_that_is_lost_keeps_nobody_from_what_lies_elsewhere() {
    let mut kinds = BTreeMap::new();
    for key in Stage::new().memory.contents().keys() {
        *kinds.entry(key.kind()).or_insert(0) += 1;
    }
    assert!(
        kinds[&ObjectKind::Pack] >= 4 && kinds[&ObjectKind::Index] >= 2,
        "{kinds:?}"
    );
    // Sessions and packs have other names each time.
    for (kind, count) in kinds {
        for number in 0..count {
            let key_of = |stage: &Stage| {
                let contents = stage.memory.contents();
                let of_kind = contents.into_keys().filter(|key| key.kind() == kind);
                of_kind.collect::<Vec<_>>()[number]
            };
            let stage = Stage::new();
            let key = key_of(&stage);
            let fails = Effect::Fail(BackendErrorKind::Unreadable);
            let repo = stage.repo(Fault::on(Operation::Get, fails).at(key).for_ever());
            match kind {
                ObjectKind::Index => {
                    for (id, streams) in &stage.saved {
                        assert_eq!(&read_back(&repo, *id).unwrap(), streams);
                    }
                    save(&repo, &stage.next, 2 * HOUR_NS).unwrap();
                    assert!(!stage.faulty.fired().is_empty());
                }
                // What cannot be read is stored again.
                ObjectKind::Pack => {
                    let id = save(&repo, &stage.next, 2 * HOUR_NS).unwrap();
                    assert_eq!(read_back(&repo, id).unwrap(), stage.next, "{key}");
                }
                ObjectKind::End => {
                    let found = repo.readable_snapshots().unwrap();
                    assert_eq!((found.snapshots.len(), found.damaged.len()), (1, 1));
                    let other = &found.snapshots[0];
                    let (_, streams) = stage.saved.iter().find(|(id, _)| *id == other.id).unwrap();
                    assert_eq!(&read_listed(&repo, other).unwrap(), streams);
                    // Nothing is thrown away on the word of a record that may come back.
                    prune_at(&repo, 3 * HOUR_NS).unwrap_err();
                    save(&repo, &stage.next, 2 * HOUR_NS).unwrap();
                }
                _ => {}
            }
        }
    }
}
