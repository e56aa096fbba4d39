//! Reading chunks by name while others write and prune.

use std::collections::BTreeSet;
use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::{Backend as _, ByteRange, ObjectKey, ObjectKind, PackClass};
use keepstone_engine::id::ChunkId;
use keepstone_engine::repo::{Repo, Store, Usable};
use keepstone_testkit::scripted::{Dice, Streams, an_hour_later, new_repo, save, table};

fn saved(repo: &Repo, bytes: &[u8], hour: i64) {
    let streams = Streams::from([("t/data".to_owned(), bytes.to_vec())]);
    save(repo, &streams, hour * 3_600_000_000_000).unwrap();
}

fn ids(store: &Store) -> Vec<ChunkId> {
    store.with_index(|index| index.chunks().iter().map(|(id, _)| *id).collect())
}

#[test]
fn what_was_condemned_stays_so_when_the_index_is_loaded_again() {
    let memory = Arc::new(MemoryBackend::new());
    let repo = new_repo(memory.clone()).unwrap();
    let mut dice = Dice(3);
    let first = table(&mut dice, 2_000);
    saved(&repo, &first, 0);
    let condemned: BTreeSet<String> = memory
        .list(ObjectKind::Pack)
        .unwrap()
        .into_iter()
        .filter_map(|stat| match stat.key {
            ObjectKey::Pack(name) => Some(name.to_string()),
            _ => None,
        })
        .collect();
    let store = Store::load(&repo, &Usable::Except(condemned), true).unwrap();
    let old = ids(&store);
    let relied_on = |store: &Store| old.iter().any(|id| store.is_present(*id).unwrap());
    assert!(!old.is_empty() && !relied_on(&store));
    // Somebody else commits, so that a miss finds a newer index.
    saved(&repo, &an_hour_later(&mut dice, &first), 1);
    let known = ids(&store).len();
    let nothing = store.read_node(ChunkId::from_bytes([9; 32]));
    assert!(
        matches!(nothing, Err(Error::MissingChunk { .. })),
        "{nothing:?}"
    );
    assert!(ids(&store).len() > known, "the index was loaded again");
    assert!(!relied_on(&store));
}

#[test]
fn chunks_read_together_are_those_read_one_by_one() {
    let memory = Arc::new(MemoryBackend::new());
    let repo = new_repo(memory.clone()).unwrap();
    let mut dice = Dice(5);
    let mut bytes = table(&mut dice, 30_000);
    for hour in 0..20 {
        saved(&repo, &bytes, hour);
        bytes = an_hour_later(&mut dice, &bytes);
    }
    let store = Store::load(&repo, &Usable::Indexed, true).unwrap();
    let mut wanted = Vec::new();
    let mut singly = Vec::new();
    for id in ids(&store) {
        let (_, record) = store.record(id).unwrap();
        let before = singly.len();
        // Nodes are kept like chunks, under names of another kind.
        match store.read_chunk(id, record.len, &mut singly) {
            Ok(()) => wanted.push((id, record.len)),
            Err(_) => singly.truncate(before),
        }
    }
    assert!(wanted.len() > 100, "{}", wanted.len());
    let mut together = b"before".to_vec();
    store.read_chunks(&wanted, &mut together).unwrap();
    assert!(together.strip_prefix(b"before") == Some(singly.as_slice()));
    // One that is not there is named, and those before it are whole.
    let absent = ChunkId::from_bytes([9; 32]);
    let error = store.read_chunks(&[wanted[0], (absent, 5)], &mut Vec::new());
    assert!(matches!(error, Err(Error::MissingChunk { chunk }) if chunk == absent));
}

#[test]
fn a_prune_does_not_move_what_it_cannot_open() {
    let memory = Arc::new(MemoryBackend::new());
    let repo = new_repo(memory.clone()).unwrap();
    let mut dice = Dice(8);
    // One pack holds much that will be dead, and segments beside it that will live.
    let live = table(&mut dice, 20_000);
    let dead = table(&mut dice, 90_000);
    let both = Streams::from([
        ("a/live".to_owned(), live.clone()),
        ("b/dead".to_owned(), dead),
    ]);
    let first = save(&repo, &both, 0).unwrap();
    saved(&repo, b"something else", 1);
    let alone = Streams::from([("a/live".to_owned(), live)]);
    save(&repo, &alone, 7_200_000_000_000).unwrap();
    keepstone_engine::forget::forget(&repo, &[first], "test", "host", 0).unwrap();
    let is_data =
        |key: &ObjectKey| matches!(key, ObjectKey::Pack(name) if name.class == PackClass::Data);
    let mut packs = memory.list(ObjectKind::Pack).unwrap();
    packs.retain(|stat| is_data(&stat.key));
    packs.sort_by_key(|stat| stat.size_bytes);
    let largest = packs.last().unwrap().key;
    // Every box of it rots.
    let mut bytes = memory.get(&largest, ByteRange::All).unwrap();
    let end = bytes.len() - 4000;
    bytes[200..end]
        .iter_mut()
        .step_by(5000)
        .for_each(|byte| *byte ^= 1);
    memory.tamper(&largest, Some(bytes));
    let before = memory.list(ObjectKind::Pack).unwrap();
    let error = keepstone_testkit::scripted::prune_at(&repo, 0).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let is_gone = |key: &ObjectKey| memory.stat(key).unwrap().is_none();
    let lost: Vec<_> = before.iter().filter(|stat| is_gone(&stat.key)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
