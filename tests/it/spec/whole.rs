//! The objects of the document together are a repository: it opens, checks and restores, here and by the second reader.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backend::{Backend as _, ObjectKey};
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Level, check};
use keepstone_engine::id::ObjectId;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::open;
use keepstone_testkit::scripted::{Streams, read_back};
use keepstone_testkit::tools::{tool, workspace};

use super::document::{example, sid};
use super::keys::{key_file, password};
use super::packs::pack_name;
use super::small::snapshot;

fn write_repository(folder: &Path) {
    let slot = ObjectId::from_bytes([0xa8; 16]);
    let other_slot = ObjectId::from_bytes([0xa9; 16]);
    let objects = [
        (ObjectKey::config(false), "config"),
        (ObjectKey::config(true), "config"),
        (ObjectKey::key(slot, false), "slot-password"),
        (ObjectKey::key(slot, true), "slot-password"),
        (ObjectKey::key(other_slot, false), "slot-raw"),
        (ObjectKey::key(other_slot, true), "slot-raw"),
        (ObjectKey::pack(pack_name()), "pack"),
        (ObjectKey::index(ObjectId::from_bytes([1; 16])), "index"),
        (ObjectKey::end(sid()), "end-object"),
    ];
    let backend = LocalBackend::create(folder).unwrap();
    for (key, name) in objects {
        backend.put_new(&key, &[&example(name).bytes()]).unwrap();
    }
}

#[test]
fn the_objects_of_the_document_are_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    write_repository(&place);
    let text = example("chunk-id").parts::<2>()[0].to_vec();
    let repo = open(Arc::new(LocalBackend::open(&place).unwrap()), &password()).unwrap();
    let listed = repo.snapshots().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id, &listed[0].snapshot), (sid(), &snapshot()));
    let report = check(&repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
    // The example names a snapshot before it, which is not in the document.
    let said: Vec<_> = report.problems.iter().map(|at| at.object.clone()).collect();
    assert_eq!(said, [format!("the snapshot before {}", sid())]);
    let streams = read_back(&repo, sid()).unwrap();
    assert_eq!(
        streams,
        Streams::from([("output".to_owned(), text.clone())])
    );
    // The second reader, with either secret.
    let secrets = [
        ("--password-file", password().to_vec()),
        ("--key-file", key_file().to_vec()),
    ];
    for (how, secret) in secrets {
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, secret).unwrap();
        let out = folder.path().join(how);
        let output = Command::new(tool("reader-venv/bin/python"))
            .arg(workspace().join("tests/reader/reader.py"))
            .args([place.as_os_str(), how.as_ref(), secret_file.as_os_str()])
            .args(["restore", &sid().to_string()])
            .arg(&out)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert_eq!(std::fs::read(out.join("motto/output")).unwrap(), text);
    }
}
