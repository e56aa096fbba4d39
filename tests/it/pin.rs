//! What a machine remembers of a repository: one that was replaced, or lost snapshots, is not used unawares.

use std::path::Path;
use std::process::Command;

use keepstone_testkit::binary::keepstone;
use keepstone_testkit::folders::files_below;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
        std::fs::write(folder.path().join("file"), "text").unwrap();
        let place = Self(folder);
        place.run(&["init"], 0);
        place
    }

    /// A repository as it was before its newest snapshot.
    fn that_went_back() -> Self {
        let place = Self::new();
        place.backup();
        copy(&place.path("repository"), &place.path("older"));
        place.backup();
        std::fs::remove_dir_all(place.path("repository")).unwrap();
        copy(&place.path("older"), &place.path("repository"));
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Runs with an expected exit code; answers what was said.
    fn run(&self, arguments: &[&str], code: i32) -> String {
        let output = keepstone(self.0.path())
            .args(arguments)
            .arg("--no-input")
            .env("KEEPSTONE_REPOSITORY", self.path("repository"))
            .env("KEEPSTONE_KEY_FILE", self.path("key"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    fn backup(&self) {
        self.run(&["backup", "file"], 0);
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_repository_that_went_back_is_noticed_until_it_is_accepted() {
    let place = Place::that_went_back();
    for verb in [&["snapshots"][..], &["backup", "file"], &["ls", "latest"]] {
        let said = place.run(verb, 21);
        assert!(
            said.contains("is gone without having been forgotten"),
            "{said}"
        );
        assert!(said.contains("--accept-change"), "{said}");
    }
    place.run(&["snapshots", "--accept-change"], 0);
    place.backup();
}

#[test]
fn data_without_any_snapshot_is_named_and_kept() {
    let place = Place::new();
    place.backup();
    std::fs::remove_dir_all(place.path("state")).unwrap();
    let end = place.path("repository/end");
    let records: Vec<_> = std::fs::read_dir(&end)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let files = files_below(&place.path("repository"));
    for record in &records {
        std::fs::rename(record, place.path("end-kept")).unwrap();
    }
    for verb in ["snapshots", "check", "prune"] {
        let said = place.run(&[verb], 0);
        assert!(
            said.contains("has no snapshot, but 2 packs"),
            "{verb}: {said}"
        );
    }
    std::fs::rename(place.path("end-kept"), &records[0]).unwrap();
    assert_eq!(files_below(&place.path("repository")), files);
    let said = place.run(&["snapshots"], 0);
    assert!(!said.contains("has no snapshot"), "{said}");
}

#[test]
fn a_new_repository_is_copied_without_its_empty_folders() {
    let place = Place::new();
    let empty = ["-type", "d", "-empty", "-delete"];
    let found = Command::new("find")
        .arg(place.path("repository"))
        .args(empty)
        .status();
    assert!(found.unwrap().success());
    assert!(!place.path("repository/end").exists());
    place.run(&["snapshots"], 0);
    place.backup();
    // With packs there, it is a loss.
    std::fs::remove_dir_all(place.path("repository/end")).unwrap();
    place.run(&["snapshots"], 20);
}

#[test]
fn a_memory_that_cannot_be_looked_into_is_said() {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::that_went_back();
    let state = place.path("state/keepstone");
    let mode = |mode| std::fs::set_permissions(&state, Permissions::from_mode(mode)).unwrap();
    let what = "what this machine has seen of the repository cannot be compared";
    let out = place.path("out");
    let out = out.to_str().unwrap();
    let verbs = [
        &["snapshots"][..],
        &["ls", "latest"],
        &["restore", "latest", "--target", out],
        &["check"],
    ];
    mode(0o755);
    for verb in verbs {
        let said = place.run(verb, 0);
        assert_eq!(said.matches(what).count(), 1, "{verb:?}: {said}");
        assert!(said.contains("others can use the folder"), "{said}");
    }
    for verb in verbs {
        let said = place.run(&[verb, &["--state-dir", "/proc/nope"]].concat(), 0);
        assert_eq!(said.matches(what).count(), 1, "{verb:?}: {said}");
        assert!(said.contains("cannot make the folder /proc/nope"), "{said}");
    }
    mode(0o700);
    place.run(&["snapshots"], 21);
}

#[test]
fn another_repository_in_its_place_is_noticed_until_it_is_accepted() {
    let place = Place::new();
    place.backup();
    let other = Place::new();
    std::fs::remove_dir_all(place.path("repository")).unwrap();
    copy(&other.path("repository"), &place.path("repository"));
    let said = place.run(&["backup", "file"], 21);
    assert!(said.contains("this machine remembers"), "{said}");
    place.run(&["backup", "file", "--accept-change"], 0);
    place.backup();
    // Whoever makes a new one knows that it is new.
    std::fs::remove_dir_all(place.path("repository")).unwrap();
    place.run(&["init"], 0);
    place.backup();
}

#[test]
fn what_was_forgotten_is_not_missed() {
    let place = Place::new();
    place.backup();
    place.backup();
    place.run(&["forget", "latest"], 0);
    place.run(&["prune"], 0);
    place.run(&["snapshots"], 0);
    place.backup();
    place.run(&["forget", "--keep-last", "1", "--prune"], 0);
    place.run(&["check", "--read-data"], 0);
}
