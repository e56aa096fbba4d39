//! What the journal says of a restore whose end was cut off or refused.

use std::sync::Mutex;

use keepstone_engine::Error;
use keepstone_engine::backup::Cancel;
use keepstone_engine::id::{ObjectId, RepoId, SnapshotId};
use keepstone_engine::progress::NoObserver;
use keepstone_engine::restore::{
    Journal, JournalEntry, Recovery, discard, is_unfinished, recover, restore_to, rollback,
};
use keepstone_engine::source::{
    Items, Phase, RestorePlan, SourceError, SourceErrorKind, Target, Validation,
};
use keepstone_testkit::memory::MemoryCapture;
use tempfile::TempDir;

/// Writes down what it is asked for, and fails or refuses discards as it is told.
#[derive(Debug, Default)]
struct ScriptedTarget {
    acts: Mutex<Vec<&'static str>>,
    failure: Mutex<Option<SourceErrorKind>>,
    refusal: Mutex<Option<SourceErrorKind>>,
}

impl ScriptedTarget {
    fn fails(&self, kind: SourceErrorKind) {
        *self.failure.lock().unwrap() = Some(kind);
    }

    fn refuses(&self, kind: SourceErrorKind) {
        *self.refusal.lock().unwrap() = Some(kind);
    }

    fn done(&self, act: &'static str) {
        self.acts.lock().unwrap().push(act);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.acts.lock().unwrap())
    }
}

impl Target for ScriptedTarget {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn address(&self) -> String {
        "scripted:".into()
    }

    fn plan(&self, _items: &dyn Items) -> Result<RestorePlan, SourceError> {
        unreachable!("the tests plan")
    }

    fn stage(&self, _plan: &RestorePlan, _items: &dyn Items) -> Result<(), SourceError> {
        self.done("stage");
        Ok(())
    }

    fn validate(&self, _plan: &RestorePlan, _items: &dyn Items) -> Result<Validation, SourceError> {
        Ok(Validation::default())
    }

    fn switch(&self, _plan: &RestorePlan) -> Result<(), SourceError> {
        self.done("switch");
        Ok(())
    }

    fn rollback(&self, _plan: &RestorePlan, _phase: Phase) -> Result<(), SourceError> {
        self.done("rollback");
        Ok(())
    }

    fn may_discard(&self, _plan: &RestorePlan) -> Result<(), SourceError> {
        match self.refusal.lock().unwrap().take() {
            Some(kind) => Err(SourceError::new(kind, "cannot begin")),
            None => Ok(()),
        }
    }

    fn discard(&self, _plan: &RestorePlan) -> Result<(), SourceError> {
        self.done("discard");
        match self.failure.lock().unwrap().take() {
            Some(kind) => Err(SourceError::new(kind, "cannot go on")),
            None => Ok(()),
        }
    }
}

struct Scene {
    folder: TempDir,
    target: ScriptedTarget,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            target: ScriptedTarget::default(),
        }
    }

    fn journal(&self) -> Journal {
        Journal::open(self.folder.path())
    }

    fn restore(&self, keeps: &[&str]) -> keepstone_engine::Result<()> {
        let entry = JournalEntry {
            id: ObjectId::from_bytes([1; ObjectId::LEN]),
            repository: RepoId::from_bytes([2; RepoId::LEN]),
            snapshot: SnapshotId::from_bytes([3; SnapshotId::LEN]),
            source: "app".into(),
            kind: "scripted".into(),
            address: "scripted:".into(),
            target: serde_json::Value::Null,
            plan: RestorePlan {
                creates: Vec::new(),
                replaces: Vec::new(),
                keeps: keeps.iter().map(ToString::to_string).collect(),
                warnings: Vec::new(),
                size_bytes: 0,
                state: serde_json::Value::Null,
            },
            phase: Phase::Staging,
            time_ns: 0,
        };
        let (items, cancel) = (MemoryCapture::default(), Cancel::default());
        restore_to(
            &items,
            &self.target,
            entry,
            &self.journal(),
            &NoObserver,
            &cancel,
        )
        .map(drop)
    }

    /// What a fresh process finds.
    fn entry(&self) -> Option<JournalEntry> {
        let (mut entries, unreadable) = self.journal().list().unwrap();
        assert_eq!(unreadable, [""; 0]);
        assert!(entries.len() < 2);
        entries.pop()
    }

    #[track_caller]
    fn assert_cannot_be_undone(&self, entry: &JournalEntry) {
        let journal = self.journal();
        let undone = recover(&self.target, entry, &journal, Recovery::Undo).map(drop);
        for refused in [rollback(&self.target, entry, &journal), undone] {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            assert!(
                error.to_string().contains("can no longer be undone"),
                "{error}"
            );
        }
        assert_eq!(self.target.take(), [""; 0]);
    }
}

#[test]
fn a_discard_that_was_cut_off_can_only_be_finished() {
    for by_recovery in [false, true] {
        let scene = Scene::new();
        let (target, journal) = (&scene.target, scene.journal());
        scene.restore(&["what was there"]).unwrap();
        let entry = scene.entry().unwrap();
        assert_eq!(entry.phase, Phase::Switched);
        assert!(!is_unfinished(&entry));
        assert_eq!(target.take(), ["stage", "switch"]);

        target.fails(SourceErrorKind::Interrupted);
        discard(target, &entry, &journal).unwrap_err();
        assert_eq!(target.take(), ["discard"]);
        let entry = scene.entry().unwrap();
        assert_eq!(entry.phase, Phase::Discarding);
        assert!(is_unfinished(&entry));
        scene.assert_cannot_be_undone(&entry);

        // Not even where the rest of it is refused.
        target.fails(SourceErrorKind::Occupied);
        discard(target, &entry, &journal).unwrap_err();
        assert_eq!(target.take(), ["discard"]);
        assert_eq!(scene.entry().unwrap(), entry);

        if by_recovery {
            recover(target, &entry, &journal, Recovery::Finish).unwrap();
        } else {
            discard(target, &entry, &journal).unwrap();
        }
        assert_eq!(target.take(), ["discard"]);
        assert_eq!(scene.entry(), None);
    }
}

#[test]
fn a_discard_that_is_refused_leaves_the_way_back() {
    let scene = Scene::new();
    let (target, journal) = (&scene.target, scene.journal());
    scene.restore(&["what was there"]).unwrap();
    let entry = scene.entry().unwrap();
    target.fails(SourceErrorKind::Occupied);
    discard(target, &entry, &journal).unwrap_err();
    assert_eq!(scene.entry().unwrap(), entry);
    rollback(target, &entry, &journal).unwrap();
    assert_eq!(target.take(), ["stage", "switch", "discard", "rollback"]);
    assert_eq!(scene.entry(), None);
}

#[test]
fn a_restore_that_kept_nothing_and_was_cut_off_at_its_end_is_finished() {
    let scene = Scene::new();
    let (target, journal) = (&scene.target, scene.journal());
    target.fails(SourceErrorKind::Interrupted);
    scene.restore(&[]).unwrap_err();
    assert_eq!(target.take(), ["stage", "switch", "discard"]);
    let entry = scene.entry().unwrap();
    assert!(is_unfinished(&entry));
    scene.assert_cannot_be_undone(&entry);
    recover(target, &entry, &journal, Recovery::Finish).unwrap();
    assert_eq!(target.take(), ["discard"]);
    assert_eq!(scene.entry(), None);
}

#[test]
fn a_discard_that_cannot_begin_leaves_the_way_back() {
    let scene = Scene::new();
    let (target, journal) = (&scene.target, scene.journal());
    scene.restore(&["what was there"]).unwrap();
    let entry = scene.entry().unwrap();
    for kind in [
        SourceErrorKind::Unreachable,
        SourceErrorKind::Denied,
        SourceErrorKind::Occupied,
    ] {
        target.refuses(kind);
        discard(target, &entry, &journal).unwrap_err();
        assert_eq!(scene.entry().unwrap(), entry);
    }
    assert_eq!(target.take(), ["stage", "switch"]);

    // One that was begun goes on, whatever would be said of it beforehand.
    target.fails(SourceErrorKind::Interrupted);
    discard(target, &entry, &journal).unwrap_err();
    let entry = scene.entry().unwrap();
    assert_eq!(entry.phase, Phase::Discarding);
    target.refuses(SourceErrorKind::Occupied);
    discard(target, &entry, &journal).unwrap();
    assert_eq!(target.take(), ["discard"; 2]);
    assert_eq!(scene.entry(), None);
}
