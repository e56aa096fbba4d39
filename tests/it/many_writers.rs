//! Several hosts at once: four processes with labels of their own back up into one repository while a fifth forgets and
//! prunes without end. Every snapshot that was committed and not forgotten restores.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keepstone_testkit::binary::keepstone;
use keepstone_testkit::folders::files_below;
use keepstone_testkit::scripted::{Dice, an_hour_later, table};
use keepstone_testkit::servers::minio::Minio;

/// How long they write.
const SPAN: Duration = Duration::from_mins(1);
const WRITERS: u64 = 4;
/// Snapshots that the pruning host leaves to each of the others.
const KEPT: &str = "3";

/// The content of a folder by file name.
type Content = BTreeMap<String, Vec<u8>>;

/// A repository and what it takes to reach it.
struct Place {
    folder: tempfile::TempDir,
    address: String,
    environment: Vec<(&'static str, &'static str)>,
}

impl Place {
    fn new(address: Option<String>, environment: &[(&'static str, &'static str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("repository");
        std::fs::write(folder.path().join("key"), [7; 32]).unwrap();
        let place = Self {
            address: address.unwrap_or_else(|| inside.to_str().unwrap().to_owned()),
            environment: environment.to_vec(),
            folder,
        };
        place.run("pruner", &["init"]);
        place
    }

    /// A run of the program on one of the hosts: each has its own state and cache.
    fn command(&self, host: &str, arguments: &[&str]) -> Command {
        let home = self.folder.path().join(host);
        std::fs::create_dir_all(&home).unwrap();
        let mut command = keepstone(&home);
        command
            .args(["--json", "--no-input"])
            .args(arguments)
            .env("KEEPSTONE_HOST", host)
            .env("KEEPSTONE_REPOSITORY", &self.address)
            .env("KEEPSTONE_KEY_FILE", self.folder.path().join("key"))
            .envs(self.environment.iter().copied());
        command
    }

    /// The objects that a successful run prints.
    fn run(&self, host: &str, arguments: &[&str]) -> Vec<serde_json::Value> {
        let output = self.command(host, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{host}: {arguments:?} ended with {}: {said}",
            output.status
        );
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn data(&self, host: &str) -> PathBuf {
        self.folder.path().join(format!("data-{host}"))
    }
}

fn find<'a>(objects: &'a [serde_json::Value], kind: &str) -> &'a serde_json::Value {
    let mut found = objects
        .iter()
        .filter(|object| object["message_type"] == kind);
    found
        .next()
        .unwrap_or_else(|| panic!("no {kind} in {objects:?}"))
}

/// Saves its folder again and again, changed each time; answers what each snapshot holds.
fn write_until(place: &Place, number: u64, end: Instant) -> BTreeMap<String, Content> {
    let host = format!("host{number}");
    let data = place.data(&host);
    std::fs::create_dir(&data).unwrap();
    let mut dice = Dice(100 + number);
    // All begin alike, so that they rely on each other's chunks.
    let mut bytes = table(&mut Dice(77), 10_000);
    let mut saved = BTreeMap::new();
    while Instant::now() < end {
        bytes = an_hour_later(&mut dice, &bytes);
        let small = format!("{} of {host}", saved.len()).into_bytes();
        let content = Content::from([("table".into(), bytes.clone()), ("small".into(), small)]);
        for (name, bytes) in &content {
            std::fs::write(data.join(name), bytes).unwrap();
        }
        let objects = place.run(&host, &["backup", data.to_str().unwrap()]);
        let id = find(&objects, "summary")["snapshot_id"].as_str().unwrap();
        saved.insert(id.to_owned(), content);
    }
    saved
}

/// Forgets and prunes until told to stop; answers how many packs went while others were writing.
fn prune_until(place: &Place, done: &AtomicBool) -> u64 {
    let mut swept = 0;
    while !done.load(Ordering::Relaxed) {
        let arguments = [
            "forget",
            "--keep-last",
            KEPT,
            "--group-by",
            "host",
            "--prune",
        ];
        let objects = place.run("pruner", &arguments);
        swept += find(&objects, "pruned")["swept"].as_u64().unwrap();
    }
    swept
}

fn assert_restores(place: &Place, id: &str, content: &Content) {
    let target = place.folder.path().join("restored").join(id);
    std::fs::create_dir_all(&target).unwrap();
    place.run(
        "pruner",
        &["restore", id, "--target", target.to_str().unwrap()],
    );
    let restored: Content = files_below(&target)
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(file).unwrap())
        })
        .collect();
    assert!(restored == *content, "snapshot {id} is not what was saved");
}

fn many_writers(place: &Place) {
    let done = AtomicBool::new(false);
    let end = Instant::now() + SPAN;
    let (saved, swept) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| scope.spawn(move || write_until(place, number, end)))
            .collect();
        let pruner = scope.spawn(|| prune_until(place, &done));
        let saved: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        (saved, pruner.join().unwrap())
    });
    let saved: BTreeMap<_, _> = saved.into_iter().flat_map(|saved| saved.unwrap()).collect();
    println!("{} snapshots committed, {swept} packs swept", saved.len());
    assert!(swept > 0, "the prune never came to an end");

    let listed = place.run("pruner", &["snapshots"]);
    let kept: Vec<_> = listed
        .iter()
        .filter(|object| object["message_type"] == "snapshot")
        .map(|object| object["id"].as_str().unwrap())
        .collect();
    assert!(kept.len() as u64 >= WRITERS * 3, "{kept:?}");
    for id in kept {
        assert_restores(place, id, &saved[id]);
    }
    place.run("pruner", &["check", "--read-data"]);
}

#[test]
fn on_a_local_folder_every_committed_snapshot_restores() {
    many_writers(&Place::new(None, &[]));
}

#[test]
fn on_minio_every_committed_snapshot_restores() {
    let minio = Minio::start();
    many_writers(&Place::new(Some(minio.url("many")), &minio.environment()));
}
