//! What is particular to a folder: crashes, full and read-only disks, permissions, and what else may lie there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backend::{
    Backend as _, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, PackClass,
};
use keepstone_testkit::folders::files_below;
use tempfile::TempDir;

use super::{body_of, kind_of, object_id, pack, session_id};

const PUT_LOOP: &str = env!("CARGO_BIN_EXE_put-loop");

#[test]
fn a_killed_writer_leaves_whole_objects_and_all_that_were_answered() {
    let folder = tempfile::tempdir().unwrap();
    let backend = LocalBackend::create(folder.path()).unwrap();
    let mut answered = Vec::new();
    for round in 1..=8 {
        let mut writer = Command::new(PUT_LOOP)
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        answered.extend(lines.by_ref().take(round * 7).map(Result::unwrap));
        writer.kill().unwrap();
        writer.wait().unwrap();
        // The last line may be torn, and then its write was not answered as a whole.
        answered.extend(
            lines
                .map_while(Result::ok)
                .filter(|line| ObjectKey::parse(line).is_some()),
        );
        for stat in backend.list(ObjectKind::Index).unwrap() {
            let ObjectKey::Index(id) = stat.key else {
                panic!("{}", stat.key)
            };
            let [value, length, ..] = *id.as_bytes();
            let body = vec![value; usize::from(length) << 12];
            assert!(
                backend.get(&stat.key, ByteRange::All).unwrap() == body,
                "{} is torn",
                stat.key
            );
        }
    }
    assert!(answered.len() >= 200);
    for line in answered {
        let key = ObjectKey::parse(&line).unwrap();
        assert!(
            backend.stat(&key).unwrap().is_some(),
            "{key} was answered and is gone"
        );
    }
}

/// A small file system of its own, unmounted when dropped.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn new(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(
            mounted.success(),
            "cannot mount a tmpfs: run the tests as root"
        );
        Self(folder)
    }

    fn make_read_only(&self) {
        let mount = Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(self.0.path())
            .status();
        assert!(mount.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.0.path())
            .status();
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let disk = Tmpfs::new("256k");
    let backend = LocalBackend::create(disk.0.path()).unwrap();
    let fits = pack(PackClass::Data);
    backend.put_new(&fits, &[&body_of(100_000)]).unwrap();
    let files = files_below(disk.0.path());
    for _ in 0..3 {
        let (head, tail) = (body_of(150_000), body_of(60_000));
        let error = backend
            .put_new(&pack(PackClass::Data), &[&head, &tail])
            .unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::NoSpace, "{error:?}");
        assert_eq!(files_below(disk.0.path()), files);
    }
    assert_eq!(backend.list(ObjectKind::Pack).unwrap().len(), 1);
    assert_eq!(
        backend.get(&fits, ByteRange::All).unwrap(),
        body_of(100_000)
    );
    // What is deleted can be written again, though it was open for reading.
    backend.delete(&fits).unwrap();
    backend
        .put_new(&pack(PackClass::Data), &[&body_of(150_000)])
        .unwrap();
}

#[test]
fn a_read_only_file_system_can_be_read_and_says_what_it_is() {
    let disk = Tmpfs::new("256k");
    let key = ObjectKey::end(session_id());
    LocalBackend::create(disk.0.path())
        .unwrap()
        .put_new(&key, &[b"body"])
        .unwrap();
    disk.make_read_only();
    let backend = LocalBackend::open(disk.0.path()).unwrap();
    assert_eq!(backend.get(&key, ByteRange::All).unwrap(), b"body");
    assert_eq!(backend.list(ObjectKind::End).unwrap().len(), 1);
    let other = ObjectKey::end(session_id());
    assert_eq!(
        kind_of(backend.put_new(&other, &[b"body"])),
        BackendErrorKind::ReadOnly
    );
    assert_eq!(kind_of(backend.delete(&key)), BackendErrorKind::ReadOnly);
    let nested = disk.0.path().join("new");
    assert_eq!(
        kind_of(LocalBackend::create(nested)),
        BackendErrorKind::ReadOnly
    );
}

#[test]
fn a_folder_that_may_not_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    LocalBackend::create(folder.path()).unwrap();
    let open =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(folder.path(), 0o755);
    for entry in fs::read_dir(folder.path()).unwrap() {
        open(&entry.unwrap().path(), 0o755);
    }
    // Root may write everywhere, so somebody else tries.
    let writer = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            PUT_LOOP,
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&writer.stderr);
    assert!(
        told.contains("cannot write index/") && told.contains("access is denied"),
        "{told}"
    );
    assert_eq!(files_below(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_missing_folder_is_not_made_by_opening_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = LocalBackend::open(&missing).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::NotFound);
    assert!(
        error.to_string().contains(missing.to_str().unwrap()),
        "{error}"
    );
    assert!(!missing.exists());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(kind_of(LocalBackend::open(&file)), BackendErrorKind::Other);
    assert_eq!(
        kind_of(LocalBackend::create(file.join("below"))),
        BackendErrorKind::Other
    );
}

#[test]
fn a_repository_is_made_only_where_nothing_lies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/and/deep");
    let backend = LocalBackend::create(&path).unwrap();
    // What an interrupted init left is taken up again.
    backend
        .put_new(&ObjectKey::key(object_id(), false), &[b"slot"])
        .unwrap();
    fs::create_dir(path.join("lost+found")).unwrap();
    LocalBackend::create(&path).unwrap();
    backend
        .put_new(&ObjectKey::config(false), &[b"config"])
        .unwrap();
    let error = LocalBackend::create(&path).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::AlreadyExists);
    assert_eq!(error.key(), Some(&ObjectKey::config(false)));

    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let error = LocalBackend::create(folder.path()).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::Occupied);
    assert!(format!("{error:?}").contains("letter.txt"), "{error:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn nobody_else_can_read_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let backend = LocalBackend::create(&path).unwrap();
    let key = pack(PackClass::Data);
    backend.put_new(&key, &[b"body"]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let file = path.join(key.path());
    assert_eq!(mode(&file) & !0o600, 0);
    for folder in file
        .ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(&path))
    {
        assert_eq!(mode(folder) & !0o700, 0, "{}", folder.display());
    }
}

#[test]
fn what_is_no_object_is_neither_listed_nor_read() {
    let folder = tempfile::tempdir().unwrap();
    let backend = LocalBackend::create(folder.path()).unwrap();
    let index = folder.path().join("index");
    let [linked, piped, nested] = [(); 3].map(|()| object_id().to_string());
    fs::write(folder.path().join("tmp/1-0"), "half").unwrap();
    fs::write(index.join("notes.txt"), "").unwrap();
    fs::write(index.join(format!("{}.old", object_id())), "").unwrap();
    fs::create_dir_all(folder.path().join("packs/zz")).unwrap();
    fs::write(folder.path().join("packs/README"), "").unwrap();
    symlink("/etc/passwd", index.join(&linked)).unwrap();
    fs::create_dir(index.join(&nested)).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(index.join(&piped))
            .status()
            .unwrap()
            .success()
    );
    for kind in ObjectKind::ALL {
        assert_eq!(backend.list(kind).unwrap(), [], "{kind}");
    }
    for name in [linked, piped, nested] {
        let key = ObjectKey::index(name.parse().unwrap());
        assert_eq!(backend.stat(&key).unwrap(), None);
        assert_eq!(
            kind_of(backend.get(&key, ByteRange::All)),
            BackendErrorKind::NotFound
        );
        assert_eq!(
            kind_of(backend.put_new(&key, &[b"x"])),
            BackendErrorKind::AlreadyExists
        );
    }
}

#[test]
fn a_file_that_became_shorter_or_absurdly_long_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let backend = LocalBackend::create(folder.path()).unwrap();
    let key = pack(PackClass::Data);
    backend.put_new(&key, &[&body_of(1000)]).unwrap();
    assert_eq!(
        backend.get(&key, ByteRange::Last(10)).unwrap(),
        body_of(1000)[990..]
    );
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.path().join(key.path()))
        .unwrap();
    file.set_len(500).unwrap();
    assert_eq!(
        kind_of(backend.get(&key, ByteRange::All)),
        BackendErrorKind::Truncated
    );
    file.set_len(1 << 43).unwrap();
    let hostile = LocalBackend::open(folder.path()).unwrap();
    assert_eq!(
        hostile
            .get(
                &key,
                ByteRange::FromTo {
                    offset: 0,
                    length: 500
                }
            )
            .unwrap(),
        body_of(1000)[..500]
    );
    // Eight tebibytes of hole: an error, not the end of the process.
    assert_eq!(
        kind_of(hostile.get(&key, ByteRange::All)),
        BackendErrorKind::Other
    );
}

#[test]
fn a_deleted_repository_does_not_look_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repository");
    let backend = LocalBackend::create(&path).unwrap();
    fs::remove_dir(path.join("index")).unwrap();
    assert_eq!(backend.list(ObjectKind::Index).unwrap(), []);
    // A copy of a new repository may lack its empty folders.
    fs::remove_dir(path.join("end")).unwrap();
    assert_eq!(backend.list(ObjectKind::End).unwrap(), []);
    assert!(path.join("end").is_dir());
    // Of one with a pack it would look as if nothing in it were needed.
    backend.put_new(&pack(PackClass::Data), &[]).unwrap();
    fs::remove_dir(path.join("end")).unwrap();
    assert_eq!(
        kind_of(backend.list(ObjectKind::End)),
        BackendErrorKind::NotFound
    );
    assert!(!path.join("end").exists());
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(
        kind_of(backend.list(ObjectKind::Index)),
        BackendErrorKind::NotFound
    );
    assert_eq!(
        kind_of(backend.put_new(&ObjectKey::index(object_id()), &[])),
        BackendErrorKind::NotFound
    );
}

#[test]
fn more_packs_are_read_than_are_held_open() {
    let folder = tempfile::tempdir().unwrap();
    let backend = LocalBackend::create(folder.path()).unwrap();
    let keys: Vec<_> = (0..150).map(|_| pack(PackClass::Data)).collect();
    for (length, key) in keys.iter().enumerate() {
        backend.put_new(key, &[&body_of(1000 + length)]).unwrap();
    }
    for _ in 0..3 {
        for (length, key) in keys.iter().enumerate() {
            assert_eq!(
                backend.get(key, ByteRange::Last(9)).unwrap(),
                body_of(1000 + length)[991 + length..]
            );
        }
    }
    let open = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(Result::ok);
    let open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let open = open
        .filter(|path| path.starts_with(folder.path().join("packs")))
        .count();
    assert!((1..100).contains(&open), "{open} packs are open");
}
