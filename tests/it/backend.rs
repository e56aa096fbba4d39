//! Backends: one suite for all of them, then what is particular to a folder, to a remote store and to recognising other
//! tools' repositories.

mod foreign;
mod local;
mod remote;

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::thread;

use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::opendal::OpendalBackend;
use keepstone_engine::backend::probe::{self, PutIfAbsent};
use keepstone_engine::backend::{
    Backend, BackendErrorKind, ByteRange, ObjectKey, ObjectKind, PackClass, PackName, open_backend,
};
use keepstone_engine::id::{ObjectId, SessionId};
use keepstone_testkit::servers::minio::Minio;

#[test]
fn memory_conforms() {
    conforms(&MemoryBackend::new());
}

#[test]
fn a_local_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    conforms(&LocalBackend::create(folder.path().join("repository")).unwrap());
}

#[test]
fn a_remote_store_in_memory_conforms() {
    conforms(&OpendalBackend::memory().unwrap());
}

#[test]
fn minio_conforms() {
    let minio = Minio::start();
    let backend = open_backend(&minio.address("some/prefix"), &minio.credentials()).unwrap();
    conforms(&*backend);
}

fn conforms(backend: &dyn Backend) {
    an_empty_store_has_nothing(backend);
    objects_of_every_kind_are_kept(backend);
    bodies_of_all_sizes_come_back(backend);
    ranges_are_exact(backend);
    long_lists_are_whole(backend);
    of_many_writers_one_wins(backend);
    assert_eq!(put_if_absent(backend), PutIfAbsent::Refused);
}

fn object_id() -> ObjectId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    ObjectId::from_bytes(bytes)
}

fn session_id() -> SessionId {
    SessionId::from_bytes(*object_id().as_bytes())
}

fn pack(class: PackClass) -> ObjectKey {
    ObjectKey::pack(PackName {
        session: session_id(),
        random: object_id(),
        class,
    })
}

fn one_of_each() -> Vec<ObjectKey> {
    vec![
        ObjectKey::config(false),
        ObjectKey::config(true),
        ObjectKey::key(object_id(), false),
        ObjectKey::key(object_id(), true),
        ObjectKey::session(session_id()),
        pack(PackClass::Data),
        pack(PackClass::Meta),
        ObjectKey::index(object_id()),
        ObjectKey::end(session_id()),
        ObjectKey::forgotten(session_id()),
        ObjectKey::tombstone(object_id()),
        ObjectKey::settled(object_id()),
    ]
}

/// Bytes that differ from place to place, and from length to length.
fn body_of(length: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new()
        .update(&length.to_le_bytes())
        .finalize_xof();
    let mut bytes = vec![0; length];
    reader.fill(&mut bytes);
    bytes
}

fn kind_of<T: std::fmt::Debug>(
    answer: Result<T, keepstone_engine::backend::BackendError>,
) -> BackendErrorKind {
    answer.unwrap_err().kind()
}

fn put_if_absent(backend: &dyn Backend) -> PutIfAbsent {
    let found = probe::put_if_absent(backend, &mut session_id).unwrap();
    assert_eq!(
        backend.list(ObjectKind::Forgotten).unwrap(),
        [],
        "the probe leaves nothing"
    );
    found
}

fn an_empty_store_has_nothing(backend: &dyn Backend) {
    for kind in ObjectKind::ALL {
        assert_eq!(backend.list(kind).unwrap(), [], "{kind}");
    }
    for key in one_of_each() {
        assert_eq!(backend.stat(&key).unwrap(), None, "{key}");
        for range in [
            ByteRange::All,
            ByteRange::Last(1),
            ByteRange::Last(0),
            ByteRange::FromTo {
                offset: 0,
                length: 1,
            },
        ] {
            let error = backend.get(&key, range).unwrap_err();
            assert_eq!(error.kind(), BackendErrorKind::NotFound, "{key} {range:?}");
            assert_eq!(error.key(), Some(&key));
        }
        backend.delete(&key).unwrap();
    }
}

fn objects_of_every_kind_are_kept(backend: &dyn Backend) {
    let keys = one_of_each();
    for key in &keys {
        backend
            .put_new(key, &[b"one", b"", b" and ", b"two"])
            .unwrap();
    }
    for key in &keys {
        let refused = backend.put_new(key, &[b"another body"]).unwrap_err();
        assert_eq!(refused.kind(), BackendErrorKind::AlreadyExists, "{refused}");
        assert_eq!(refused.key(), Some(key));
        assert_eq!(
            backend.get(key, ByteRange::All).unwrap(),
            b"one and two",
            "{key}"
        );
        let stat = backend.stat(key).unwrap().unwrap();
        assert_eq!((stat.key, stat.size_bytes), (*key, 11));
    }
    for kind in ObjectKind::ALL {
        let listed = backend.list(kind).unwrap();
        let mut expected: Vec<_> = keys.iter().filter(|key| key.kind() == kind).collect();
        expected.sort();
        assert_eq!(
            listed.iter().map(|stat| &stat.key).collect::<Vec<_>>(),
            expected
        );
        for stat in listed {
            assert_eq!(stat.size_bytes, 11, "{}", stat.key);
            assert_eq!(
                backend.stat(&stat.key).unwrap().map(|stat| stat.key),
                Some(stat.key)
            );
        }
    }
    for key in &keys {
        backend.delete(key).unwrap();
        backend.delete(key).unwrap();
        assert_eq!(backend.stat(key).unwrap(), None);
        assert_eq!(
            kind_of(backend.get(key, ByteRange::All)),
            BackendErrorKind::NotFound
        );
        assert_eq!(
            backend
                .list(key.kind())
                .unwrap()
                .iter()
                .find(|stat| stat.key == *key),
            None
        );
    }
}

fn bodies_of_all_sizes_come_back(backend: &dyn Backend) {
    for length in [
        0,
        1,
        2,
        4095,
        4096,
        4097,
        65_537,
        (1 << 20) + 3,
        (5 << 20) + 1,
        (16 << 20) + 17,
    ] {
        let key = pack(PackClass::Data);
        let body = body_of(length);
        let pieces: Vec<&[u8]> = body.chunks(length.div_ceil(7).max(1)).collect();
        backend.put_new(&key, &pieces).unwrap();
        assert!(
            backend.get(&key, ByteRange::All).unwrap() == body,
            "{length} bytes"
        );
        assert_eq!(
            backend.stat(&key).unwrap().unwrap().size_bytes,
            length as u64
        );
        assert_eq!(
            backend.list(ObjectKind::Pack).unwrap()[0].size_bytes,
            length as u64
        );
        assert_eq!(
            backend.get(&key, ByteRange::Last(5)).unwrap(),
            body[length.saturating_sub(5)..]
        );
        backend.delete(&key).unwrap();
    }
}

fn ranges_are_exact(backend: &dyn Backend) {
    let key = pack(PackClass::Meta);
    let body = body_of(100_000);
    backend.put_new(&key, &[&body]).unwrap();
    let from_to = |offset, length| backend.get(&key, ByteRange::FromTo { offset, length });
    for (offset, length) in [
        (0, 1),
        (0, 100_000),
        (1, 99_999),
        (99_999, 1),
        (31, 65_536),
        (7, 0),
        (100_000, 0),
    ] {
        let found = from_to(offset, length).unwrap();
        let (start, end) = (offset as usize, (offset + length) as usize);
        assert!(found == body[start..end], "{length} bytes from {offset}");
    }
    for (offset, length) in [
        (0, 100_001),
        (99_999, 2),
        (100_000, 1),
        (100_001, 0),
        (1 << 40, 5),
        (u64::MAX, 1),
    ] {
        let error = from_to(offset, length).unwrap_err();
        assert_eq!(
            error.kind(),
            BackendErrorKind::Truncated,
            "{length} from {offset}: {error:?}"
        );
    }
    for (length, start) in [
        (0, 100_000),
        (1, 99_999),
        (99_999, 1),
        (100_000, 0),
        (1 << 40, 0),
    ] {
        assert!(
            backend.get(&key, ByteRange::Last(length)).unwrap() == body[start..],
            "last {length}"
        );
    }
    backend.delete(&key).unwrap();
}

/// More than a store names in one answer.
fn long_lists_are_whole(backend: &dyn Backend) {
    let keys: Vec<_> = (0..1100).map(|_| pack(PackClass::Data)).collect();
    let on_all = |act: &(dyn Fn(&ObjectKey) + Sync)| {
        thread::scope(|scope| {
            for part in keys.chunks(100) {
                scope.spawn(move || part.iter().for_each(act));
            }
        });
    };
    on_all(&|key| backend.put_new(key, &[b"x"]).unwrap());
    let listed = backend.list(ObjectKind::Pack).unwrap();
    assert!(listed.is_sorted_by_key(|stat| stat.key));
    let expected: BTreeSet<_> = keys.iter().copied().collect();
    assert_eq!(
        listed.iter().map(|stat| stat.key).collect::<BTreeSet<_>>(),
        expected
    );
    assert_eq!(listed.len(), expected.len());
    on_all(&|key| backend.delete(key).unwrap());
    assert_eq!(backend.list(ObjectKind::Pack).unwrap(), []);
}

fn of_many_writers_one_wins(backend: &dyn Backend) {
    const WRITERS: usize = 16;
    for round in 0..30 {
        let key = ObjectKey::end(session_id());
        let start = Arc::new(Barrier::new(WRITERS));
        let winners: Vec<usize> = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let start = Arc::clone(&start);
                    scope.spawn(move || {
                        let body = body_of(1000 + writer);
                        start.wait();
                        match backend.put_new(&key, &[&body]) {
                            Ok(()) => Some(writer),
                            Err(error) => {
                                assert_eq!(
                                    error.kind(),
                                    BackendErrorKind::AlreadyExists,
                                    "{error:?}"
                                );
                                None
                            }
                        }
                    })
                })
                .collect();
            writers
                .into_iter()
                .filter_map(|writer| writer.join().unwrap())
                .collect()
        });
        assert_eq!(winners.len(), 1, "winners of round {round}: {winners:?}");
        assert_eq!(
            backend.get(&key, ByteRange::All).unwrap(),
            body_of(1000 + winners[0])
        );
        backend.delete(&key).unwrap();
    }
}
