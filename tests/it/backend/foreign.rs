//! Other tools' repositories, made by the tools themselves where they can be installed by name.

use std::fs;
use std::path::Path;
use std::process::Command;

use keepstone_engine::backend::foreign::{ForeignRepository, Occupant, survey};
use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backend::{
    Backend as _, BackendErrorKind, Credentials, ObjectKey, RepositoryAddress, create_backend,
};
use keepstone_testkit::servers::minio::Minio;

use super::{kind_of, object_id};

fn in_folder(path: &Path) -> Occupant {
    survey(
        &RepositoryAddress::Folder(path.to_owned()),
        &Credentials::default(),
    )
    .unwrap()
}

fn run(command: &mut Command) {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|_| {
        panic!("{name} is missing: install the Debian packages restic and borgbackup")
    });
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn restic_init(home: &Path, repository: &str) -> Command {
    let mut restic = Command::new("restic");
    restic.args(["--no-cache", "--repo", repository, "init"]);
    restic
        .env("HOME", home)
        .env("RESTIC_PASSWORD", "a password");
    restic
}

#[test]
fn repositories_of_restic_and_borg_are_recognised_and_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let (restic, borg) = (folder.path().join("restic"), folder.path().join("borg"));
    run(&mut restic_init(folder.path(), restic.to_str().unwrap()));
    run(Command::new("borg")
        .args(["init", "--encryption", "none"])
        .arg(&borg)
        .env("HOME", folder.path()));
    for (path, expected) in [
        (&restic, ForeignRepository::Restic),
        (&borg, ForeignRepository::Borg),
    ] {
        assert_eq!(in_folder(path), Occupant::Foreign(expected));
        let before = fs::read_dir(path).unwrap().count();
        assert_eq!(kind_of(LocalBackend::create(path)), refusal(path));
        assert_eq!(fs::read_dir(path).unwrap().count(), before);
    }
}

/// Their config has the name of ours.
fn refusal(path: &Path) -> BackendErrorKind {
    assert!(path.join("config").is_file());
    BackendErrorKind::AlreadyExists
}

#[test]
fn a_repository_of_kopia_is_recognised_by_its_marker() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kopia.repository.f"), "{}").unwrap();
    assert_eq!(
        in_folder(folder.path()),
        Occupant::Foreign(ForeignRepository::Kopia)
    );
    assert_eq!(
        kind_of(LocalBackend::create(folder.path())),
        BackendErrorKind::Occupied
    );
}

#[test]
fn our_own_repository_is_told_from_nothing_and_from_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    assert_eq!(in_folder(&path), Occupant::Nothing);
    let backend = LocalBackend::create(&path).unwrap();
    assert_eq!(in_folder(&path), Occupant::Nothing);
    backend
        .put_new(&ObjectKey::key(object_id(), false), &[b"slot"])
        .unwrap();
    backend
        .put_new(&ObjectKey::config(false), &[b"config"])
        .unwrap();
    assert_eq!(in_folder(&path), Occupant::Keepstone);
    assert_eq!(
        in_folder(folder.path()),
        Occupant::Unknown("repository".into())
    );
}

#[test]
fn a_bucket_is_looked_at_in_the_same_way() {
    let minio = Minio::start();
    let at = |prefix: &str| survey(&minio.address(prefix), &minio.credentials()).unwrap();
    assert_eq!(at("ours"), Occupant::Nothing);
    let backend = create_backend(&minio.address("ours"), &minio.credentials()).unwrap();
    backend
        .put_new(&ObjectKey::key(object_id(), false), &[b"slot"])
        .unwrap();
    assert_eq!(at("ours"), Occupant::Nothing);
    backend
        .put_new(&ObjectKey::config(false), &[b"config"])
        .unwrap();
    assert_eq!(at("ours"), Occupant::Keepstone);
    assert_eq!(at(""), Occupant::Unknown("ours".into()));

    let folder = tempfile::tempdir().unwrap();
    run(restic_init(folder.path(), &minio.url("restic")).envs(minio.environment()));
    assert_eq!(at("restic"), Occupant::Foreign(ForeignRepository::Restic));
}
