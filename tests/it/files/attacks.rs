//! Items from a hostile repository, and traps on disk: nothing outside the target is ever touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, ItemInfo, Items, Meta, NodeKind, OpenFacts, Profile, SourceError,
    SourceErrorKind, StreamFacts,
};
use keepstone_sources::files::{FilesEvent, restore_files};
use keepstone_testkit::memory::MemoryCapture;

use super::tree::{Place, chmod, describe, mode, restore, restore_well, write};

/// Items exactly as given, in the given order.
#[derive(Default)]
struct Forged {
    items: Vec<(ItemInfo, Vec<u8>)>,
    open_facts: OpenFacts,
    report: CaptureReport,
}

impl Forged {
    fn with(mut self, path: &str, kind: NodeKind, content: &str) -> Self {
        let is_dir = kind == NodeKind::Dir;
        let meta = Meta {
            mode: if is_dir { 0o755 } else { 0o644 },
            mtime_ns: 1_000_000_000,
            ..Meta::default()
        };
        let info = ItemInfo {
            path: RepoPath::parse(path).unwrap(),
            kind,
            meta,
            profile: Profile::Bytes,
            size_bytes: content.len() as u64,
            facts: StreamFacts::default(),
        };
        self.items.push((info, content.into()));
        self
    }

    fn dir(self, path: &str) -> Self {
        self.with(path, NodeKind::Dir, "")
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.with(path, NodeKind::File, content)
    }

    fn link(self, path: &str, target: impl AsRef<std::path::Path>) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let target = target.as_ref().as_os_str().as_bytes().to_vec();
        self.with(path, NodeKind::Link(target), "")
    }

    fn hard_link(self, path: &str, to: &str) -> Self {
        self.with(path, NodeKind::HardLink(RepoPath::parse(to).unwrap()), "")
    }
}

impl Items for Forged {
    fn open_facts(&self) -> &OpenFacts {
        &self.open_facts
    }

    fn report(&self) -> &CaptureReport {
        &self.report
    }

    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.items
            .iter()
            .try_for_each(|(info, _)| visit(info.clone()))
    }

    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError> {
        Ok(self
            .items
            .iter()
            .find(|(info, _)| info.path == *path)
            .map(|(info, _)| info.clone()))
    }

    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let found = self
            .items
            .iter()
            .find(|(info, _)| info.path == *path)
            .unwrap();
        take(&found.1)
    }

    fn read_from(
        &self,
        _: &RepoPath,
        _: u64,
        _: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        unreachable!("a restore reads from the start")
    }

    fn cancelled(&self) -> bool {
        false
    }
}

/// Something outside that must stay as it is.
fn guarded(place: &Place) -> std::path::PathBuf {
    let outside = place.outside();
    write(outside.join("passwd"), "root:x:0:0");
    chmod(outside.join("passwd"), 0o640);
    outside
}

#[test]
fn an_item_below_a_link_is_refused() {
    let place = Place::new();
    let outside = guarded(&place);
    let before = describe(&outside);
    let forged = Forged::default()
        .dir("a")
        .link("a/etc", &outside)
        .file("a/etc/passwd", "owned")
        .dir("a/etc/sub")
        .file("a/etc/sub/deeper", "owned")
        .file("b", "fine");
    let report = restore(&forged, &place.options()).unwrap();
    assert_eq!(describe(&outside), before);
    assert_eq!(report.problems.len(), 3, "{:?}", report.problems);
    assert_eq!(
        fs::read_link(place.target().join("a/etc")).unwrap(),
        outside
    );
    assert_eq!(fs::read(place.target().join("b")).unwrap(), b"fine");
    // Also when the link is there from the run before.
    restore(&forged, &place.options()).unwrap();
    assert_eq!(describe(&outside), before);
}

#[test]
fn a_link_then_a_folder_of_the_same_name_is_damage() {
    let place = Place::new();
    let outside = guarded(&place);
    let before = describe(&outside);
    let twice = Forged::default()
        .link("a", &outside)
        .dir("a")
        .file("a/passwd", "owned");
    let backwards = Forged::default()
        .dir("b")
        .link("a", &outside)
        .file("a/passwd", "owned");
    for forged in [twice, backwards] {
        let error = restore(&forged, &place.options()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Corrupt);
        assert!(!place.target().exists(), "refused before anything was made");
    }
    assert_eq!(describe(&outside), before);
}

#[test]
fn hard_links_reach_only_files_of_the_snapshot() {
    let place = Place::new();
    let outside = guarded(&place);
    let outside_path = outside.join("passwd");
    let outside_item = outside_path.to_str().unwrap();
    // There is such a path in the target too, but no item for it.
    write(
        place.target().join(outside_path.strip_prefix("/").unwrap()),
        "not in the snapshot",
    );
    let forged = Forged::default()
        .dir("a")
        .hard_link("a/absolute", outside_item)
        .hard_link("a/folder", "a")
        .hard_link("a/itself", "a/itself")
        .link("a/link", &outside_path)
        .hard_link("a/through", "a/link")
        .hard_link("a/x later", "a/y real")
        .file("a/y real", "content");
    let report = restore(&forged, &place.options()).unwrap();
    let refused: Vec<_> = report
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(refused, ["a/absolute", "a/folder", "a/itself", "a/through"]);
    assert_eq!(fs::metadata(&outside_path).unwrap().nlink(), 1);
    assert_eq!(
        fs::read(place.target().join("a/x later")).unwrap(),
        b"content"
    );
}

#[test]
fn links_on_disk_are_replaced_and_not_followed() {
    let place = Place::new();
    let outside = guarded(&place);
    write(outside.join("sub/file"), "outside");
    let before = describe(&outside);
    let forged = Forged::default()
        .dir("a")
        .dir("a/sub")
        .file("a/sub/file", "from the snapshot")
        .file("a/x", "from the snapshot")
        .link("a/y", "/etc/hostname");
    fs::create_dir_all(place.target().join("a")).unwrap();
    symlink(outside.join("sub"), place.target().join("a/sub")).unwrap();
    symlink(outside.join("passwd"), place.target().join("a/x")).unwrap();
    symlink(&outside, place.target().join("a/y")).unwrap();
    let mut options = place.options();
    options.delete = true;
    options.verify = true;
    restore_well(&forged, &options);
    assert_eq!(describe(&outside), before);
    assert!(
        fs::symlink_metadata(place.target().join("a/sub"))
            .unwrap()
            .is_dir()
    );
    assert_eq!(
        fs::read(place.target().join("a/sub/file")).unwrap(),
        b"from the snapshot"
    );
    assert_eq!(
        fs::read(place.target().join("a/x")).unwrap(),
        b"from the snapshot"
    );
    assert!(
        fs::symlink_metadata(place.target().join("a/x"))
            .unwrap()
            .is_file()
    );
    assert_eq!(
        fs::read_link(place.target().join("a/y")).unwrap().to_str(),
        Some("/etc/hostname")
    );
}

#[test]
fn a_link_that_takes_the_place_of_a_folder_meanwhile_is_not_followed() {
    let place = Place::new();
    let outside = guarded(&place);
    write(outside.join("file"), "outside");
    let before = describe(&outside);
    let forged = Forged::default()
        .dir("a")
        .dir("b")
        .file("b/file", "x")
        .file("c", "y");
    for name in ["a", "b"] {
        fs::create_dir_all(place.target().join(name)).unwrap();
    }
    let swap = |event: FilesEvent<'_>| {
        if let FilesEvent::Planned { .. } = event {
            fs::rename(place.target().join("b"), place.target().join("b.moved")).unwrap();
            symlink(&outside, place.target().join("b")).unwrap();
        }
    };
    let report = restore_files(&forged, &place.options(), &swap).unwrap();
    assert_eq!(describe(&outside), before);
    let failed: Vec<_> = report
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(failed, ["b", "b/file"]);
    assert_eq!(fs::read(place.target().join("c")).unwrap(), b"y");
}

#[test]
fn delete_does_not_go_through_links() {
    let place = Place::new();
    let outside = guarded(&place);
    let before = describe(&outside);
    write(place.source().join("file"), "file");
    let captured = place.capture();
    restore_well(&captured, &place.options());
    symlink(&outside, place.restored().join("extra link")).unwrap();
    fs::create_dir(place.restored().join("extra")).unwrap();
    symlink(&outside, place.restored().join("extra/link")).unwrap();
    let mut options = place.options();
    options.delete = true;
    restore_well(&captured, &options);
    assert_eq!(describe(&outside), before);
    assert_eq!(fs::read_dir(place.restored()).unwrap().count(), 1);
}

#[test]
fn files_with_names_outside_the_target_are_not_written_through() {
    let place = Place::new();
    let outside = guarded(&place);
    let before = describe(&outside);
    fs::create_dir_all(place.target()).unwrap();
    fs::hard_link(outside.join("passwd"), place.target().join("passwd")).unwrap();
    restore_well(&Forged::default().file("passwd", "owned"), &place.options());
    assert_eq!(fs::read(outside.join("passwd")).unwrap(), b"root:x:0:0");
    fs::remove_file(place.target().join("passwd")).unwrap();
    assert_eq!(describe(&outside)[&b"passwd"[..]].same_as, None);
    assert_eq!(
        describe(&outside)[&b"passwd"[..]].content,
        before[&b"passwd"[..]].content
    );
    assert_eq!(mode(outside.join("passwd")), 0o640);
}

#[test]
fn absurd_sizes_owners_and_times_do_no_harm() {
    let place = Place::new();
    let mut forged = Forged::default().file("a", "small").file("b", "fine");
    forged.items[0].0.size_bytes = u64::MAX;
    let error = restore(&forged, &place.options()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::NoSpace);

    // Said to have holes, so that its size does not count beforehand.
    forged.items[0].0.meta.sparse = true;
    forged.items[1].0.meta.uid = u32::MAX;
    forged.items[1].0.meta.gid = u32::MAX;
    forged.items[1].0.meta.mode = u32::MAX;
    forged.items[1].0.meta.mtime_ns = i64::MIN;
    let report = restore(&forged, &place.options()).unwrap();
    assert_eq!(report.problems.len(), 1);
    assert!(
        report.problems[0].reason.contains("instead of"),
        "{}",
        report.problems[0].reason
    );
    assert!(!place.target().join("a").exists());
    let facts = fs::metadata(place.target().join("b")).unwrap();
    assert_eq!(
        (facts.uid(), facts.gid(), facts.mode() & 0o7777),
        (0, 0, 0o1777)
    );
}

#[test]
fn names_of_temporary_files_are_ordinary_names_in_a_snapshot() {
    let place = Place::new();
    let name = ".keepstone-0123456789abcdef.part";
    let forged = Forged::default().file(name, "mine");
    restore_well(&forged, &place.options());
    restore_well(&forged, &place.options());
    assert_eq!(fs::read(place.target().join(name)).unwrap(), b"mine");
}

#[test]
fn attributes_that_say_nothing_sensible_are_harmless() {
    let place = Place::new();
    let mut captured = MemoryCapture::default();
    for patterns in [
        serde_json::json!("text"),
        serde_json::json!([1, 2]),
        serde_json::json!(null),
    ] {
        captured
            .open_facts
            .attributes
            .insert("patterns".into(), patterns);
        let mut options = place.options();
        options.delete = true;
        write(place.target().join("mine"), "mine");
        restore_well(&captured, &options);
        assert!(place.target().join("mine").exists());
    }
}

#[test]
fn a_target_that_is_no_folder_is_refused() {
    let place = Place::new();
    write(place.target(), "a file");
    let error = restore(&Forged::default().file("a", "a"), &place.options()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Occupied);
}
