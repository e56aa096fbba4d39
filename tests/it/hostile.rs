//! A hostile repository, made with the real key by the engine's own format code: each lie is refused by a clear error, in
//! bounded memory, and never breaks what stands beside it.

mod deep;
mod forge;
mod swollen;

use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backend::{Backend as _, ObjectKey, ObjectKind};
use keepstone_engine::codec::frame::{self, Kind};
use keepstone_engine::codec::{put_bytes, put_signed, put_varint};
use keepstone_engine::crypto::BoxKind;
use keepstone_engine::limits;
use keepstone_engine::record::{ChunkRecord, Extent};
use keepstone_engine::segment::SegmentId;
use keepstone_engine::tree::format::{
    encode_entry, encode_folder, encode_folder_index, encode_list,
};
use keepstone_engine::tree::{ChunkList, ListEntry};
use keepstone_testkit::scripted::{new_repo, open_repo, prune_at, read_listed};

use self::forge::{Forge, chain, copy, file_entry, folder, name};

#[track_caller]
fn says(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "{text:?} does not say {wanted:?}");
}

#[test]
fn what_the_forge_makes_is_read_if_it_is_honest() {
    let mut forge = Forge::new();
    let (id, len) = forge.chunk(b"some bytes");
    let root = forge.file_of(id, len);
    let (repo, listed) = forge.commit(root, "script");
    assert_eq!(read_listed(&repo, &listed).unwrap()["f"], b"some bytes");
}

#[test]
fn deltas_that_go_round_are_refused() {
    let mut forge = Forge::new();
    forge.record(name(1), copy(name(2), 0, 100));
    forge.record(name(2), copy(name(1), 0, 100));
    let root = forge.file_of(name(1), 100);
    says(&forge.refused(root), "its bases are too deep");
}

#[test]
fn a_chunk_that_is_a_copy_of_itself_is_refused() {
    let mut forge = Forge::new();
    forge.record(name(1), copy(name(1), 0, 100));
    let root = forge.file_of(name(1), 100);
    says(&forge.refused(root), "its bases are too deep");
}

#[test]
fn a_chain_of_deltas_that_is_too_deep_is_refused() {
    let mut forge = Forge::new();
    let (mut below, len) = forge.chunk(b"the end of the chain");
    for number in 0..=limits::DELTA_DEPTH_MAX {
        forge.record(name(number), copy(below, 0, len));
        below = name(number);
    }
    let root = forge.file_of(below, len);
    says(&forge.refused(root), "its bases are too deep");
}

#[test]
fn an_extent_beyond_its_segment_or_base_is_refused() {
    let mut forge = Forge::new();
    let segment = forge.segment(BoxKind::Data, b"short");
    forge.record(name(1), ChunkRecord::whole(segment, 3, 100));
    let root = forge.file_of(name(1), 100);
    says(&forge.refused(root), "an extent ends beyond segment");
    let mut forge = Forge::new();
    let (base, _) = forge.chunk(b"short");
    forge.record(name(1), copy(base, 3, 100));
    let root = forge.file_of(name(1), 100);
    says(
        &forge.refused(root),
        "it is shorter than what is copied out of it",
    );
}

#[test]
fn a_segment_that_is_nowhere_is_named() {
    let mut forge = Forge::new();
    let (session, counter) = (keepstone_engine::id::SessionId::from_bytes([5; 16]), 7);
    forge.record(
        name(1),
        ChunkRecord::whole(SegmentId { session, counter }, 0, 100),
    );
    let root = forge.file_of(name(1), 100);
    says(&forge.refused(root), "is missing");
}

#[test]
fn a_block_of_absurd_counts_is_refused() {
    let huge = |counts: &[u64]| {
        let mut raw = Vec::new();
        counts.iter().for_each(|count| put_varint(&mut raw, *count));
        raw
    };
    let wide = ChunkRecord {
        len: 100,
        depth: 200,
        extents: vec![],
    };
    let long = ChunkRecord::whole(
        SegmentId {
            session: keepstone_engine::id::SessionId::from_bytes([5; 16]),
            counter: 1,
        },
        u32::MAX - 10,
        100,
    );
    for raw in [
        huge(&[u64::MAX]),
        huge(&[1 << 40]),
        huge(&[0, 1 << 40]),
        huge(&[0, 0, 1 << 40]),
        huge(&[0, 0, 0, 1 << 40]),
        huge(&[0, 0, 0, 4000, 1 << 40]),
        keepstone_engine::record::format::encode(&[wide]),
        keepstone_engine::record::format::encode(&[long]),
        vec![],
    ] {
        let mut forge = Forge::new();
        forge.block(raw, vec![name(1)]);
        let root = forge.file_of(name(1), 100);
        let said = forge.refused(root);
        assert!(said.contains("record block"), "{said}");
    }
}

#[test]
fn a_box_that_unpacks_to_more_than_a_box_may_is_refused_unopened() {
    let mut forge = Forge::new();
    // So much beside it is dead that a prune moves what is live.
    let mut dead = vec![0; 100_000];
    blake3::Hasher::new().finalize_xof().fill(&mut dead);
    forge.segment(BoxKind::Nodes, &dead);
    let bomb = vec![0; limits::SEGMENT_RAW_BYTES_MAX + 1];
    let segment = forge.segment(BoxKind::Data, &bomb);
    forge.record(name(1), ChunkRecord::whole(segment, 0, 100));
    let root = forge.file_of(name(1), 100);
    let (repo, listed) = forge.commit(root, "script");
    let error = read_listed(&repo, &listed).unwrap_err();
    assert!(forge::is_damage(&error), "{error}");
    prune_at(&repo, 1).unwrap_err();
}

#[test]
fn bytes_that_are_not_what_they_are_called_are_refused() {
    let mut forge = Forge::new();
    let segment = forge.segment(BoxKind::Data, b"other bytes");
    forge.record(name(1), ChunkRecord::whole(segment, 0, 11));
    let root = forge.file_of(name(1), 11);
    says(&forge.refused(root), "its bytes do not give its name");
}

#[test]
fn a_folder_that_contains_itself_is_not_what_it_is_called() {
    let mut forge = Forge::new();
    forge.node_named(name(9), &folder(&[(b"again", name(9))]));
    says(&forge.refused(name(9)), "its bytes do not give its name");
}

#[test]
fn names_that_climb_are_refused_with_their_folder() {
    for bad in [
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
        "../up",
        "nul\0",
        "a\0/../b",
    ] {
        let mut forge = Forge::new();
        let (id, len) = forge.chunk(b"evil");
        let chunks = ChunkList::Inline(vec![(id, len)]);
        let entry = encode_entry(&file_entry(bad.as_bytes(), len.into(), chunks));
        let root = forge.node(&encode_folder(&[entry]));
        says(&forge.refused(root), "path component");
    }
}

#[test]
fn sources_with_names_that_climb_are_no_snapshot() {
    for bad in ["..", "../up", "/etc", "a/b", ""] {
        let mut forge = Forge::new();
        let (id, len) = forge.chunk(b"evil");
        let root = forge.file_of(id, len);
        let (repo, listed) = forge.commit(root, bad);
        let error = repo.end(listed.id).unwrap_err();
        says(&chain(&error), "name of source");
        assert_eq!(
            repo.readable_snapshots().unwrap().snapshots.len(),
            1,
            "{bad}"
        );
    }
}

fn list_entry(id: keepstone_engine::id::ChunkId, len: u64) -> ListEntry {
    ListEntry {
        id,
        len,
        keys: None,
    }
}

#[test]
fn a_list_that_promises_more_or_less_than_it_holds_is_refused() {
    let sums = "do not sum up to the size";
    // Sizes that lie, overflow, or are nothing at all.
    for (lens, size, wanted) in [
        (vec![10, 10], 21, sums),
        (vec![10, 10], u64::MAX, sums),
        (vec![0, 0], 0, "names what is empty"),
        (vec![], 0, "names what is empty"),
    ] {
        let mut forge = Forge::new();
        let (id, _) = forge.chunk(b"ten bytes!");
        let entries: Vec<_> = lens.iter().map(|len| list_entry(id, *len)).collect();
        let list = forge.node(&encode_list(0, &entries));
        let root = forge.file(size, ChunkList::Node(list));
        says(&forge.refused(root), wanted);
    }
    let mut forge = Forge::new();
    let (id, _) = forge.chunk(b"ten bytes!");
    let below = forge.node(&encode_list(0, &[list_entry(id, 10)]));
    let max = list_entry(below, u64::MAX);
    let list = forge.node(&encode_list(1, &[max.clone(), max]));
    let root = forge.file(20, ChunkList::Node(list));
    says(&forge.refused(root), sums);
}

#[test]
fn a_small_node_that_stands_for_endless_chunks_is_refused_at_once() {
    // Seven levels of four hundred: as text it would be as long as the sea.
    let mut forge = Forge::new();
    let (id, len) = forge.chunk(b"x");
    let (mut below, mut total) = (id, u64::from(len));
    for level in 0..7 {
        let entries = vec![list_entry(below, total); 400];
        below = forge.node(&encode_list(level, &entries));
        total *= 400;
    }
    let root = forge.file(400, ChunkList::Node(below));
    says(&forge.refused(root), "do not sum up to the size");
}

#[test]
fn list_nodes_on_the_wrong_level_are_refused() {
    let mut forge = Forge::new();
    let (id, _) = forge.chunk(b"ten bytes!");
    let too_high = forge.node(&encode_list(
        limits::NODE_LEVEL_MAX + 1,
        &[list_entry(id, 10)],
    ));
    let root = forge.file(10, ChunkList::Node(too_high));
    says(&forge.refused(root), "is too high");
    let mut forge = Forge::new();
    let (id, _) = forge.chunk(b"ten bytes!");
    let leaf = forge.node(&encode_list(0, &[list_entry(id, 10)]));
    let list = forge.node(&encode_list(2, &[list_entry(leaf, 10)]));
    let root = forge.file(10, ChunkList::Node(list));
    says(&forge.refused(root), "wrong level");
}

#[test]
fn a_folder_index_that_repeats_itself_is_refused_at_once() {
    let mut forge = Forge::new();
    let (id, len) = forge.chunk(b"one");
    let mut below = forge.file_of(id, len);
    for level in 1..=limits::NODE_LEVEL_MAX {
        below = forge.node(&encode_folder_index(level, &vec![below; 5_000]));
    }
    says(&forge.refused(below), "are not sorted");
    // Of nothing there is no end either.
    let mut forge = Forge::new();
    let mut below = forge.node(&encode_folder(&[]));
    for level in 1..=limits::NODE_LEVEL_MAX {
        below = forge.node(&encode_folder_index(level, &vec![below; 5_000]));
    }
    says(&forge.refused(below), "it holds nothing");
}

#[test]
fn folders_that_share_what_is_missing_are_looked_at_once() {
    let mut forge = Forge::new();
    let mut below = name(66);
    for _ in 0..60 {
        below = forge.node(&folder(&[(b"a", below), (b"b", below)]));
    }
    says(&forge.refused(below), "is in no pack");
}

#[test]
fn folders_that_are_nested_too_deep_are_refused() {
    let mut forge = Forge::new();
    let mut below = forge.node(&encode_folder(&[]));
    for _ in 0..=limits::FOLDER_DEPTH_MAX {
        below = forge.node(&folder(&[(b"d", below)]));
    }
    says(&forge.refused(below), "too deep");
}

#[test]
fn extents_that_overflow_are_refused() {
    let mut forge = Forge::new();
    let segment = forge.segment(BoxKind::Data, b"short");
    let extents = vec![
        Extent::Stored {
            segment,
            offset: u32::MAX,
            len: u32::MAX,
        },
        Extent::Stored {
            segment,
            offset: 0,
            len: 101,
        },
    ];
    let record = ChunkRecord {
        len: 100,
        depth: 0,
        extents,
    };
    forge.record(name(1), record);
    let root = forge.file_of(name(1), 100);
    says(&forge.refused(root), "record block");
}

#[test]
fn a_key_slot_that_asks_for_a_mainframe_is_refused_before_it_is_stretched() {
    for (memory_kib, passes, lanes) in [
        (1 << 30, 3, 4),
        (64, 1000, 1),
        (64, 1, 1000),
        (u64::from(u32::MAX) + 1, 1, 1),
    ] {
        let backend = Arc::new(MemoryBackend::new());
        drop(new_repo(backend.clone()).unwrap());
        let mut header = vec![1];
        [memory_kib, passes, lanes]
            .into_iter()
            .for_each(|number| put_varint(&mut header, number));
        header.extend_from_slice(&[7; 16 + 32]);
        put_signed(&mut header, 0);
        put_bytes(&mut header, b"host");
        put_bytes(&mut header, b"user");
        let mut slot = frame::encode(Kind::Slot).to_vec();
        put_bytes(&mut slot, &header);
        put_bytes(&mut slot, &[7; 80]);
        for stat in backend.list(ObjectKind::Key).unwrap() {
            backend.tamper(&stat.key, Some(slot.clone()));
        }
        let error = open_repo(backend).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn objects_larger_than_their_kind_can_be_are_never_fetched() {
    swollen::every_kind();
}

#[test]
fn a_config_that_is_too_large_is_refused_by_its_length() {
    let backend = Arc::new(MemoryBackend::new());
    drop(new_repo(backend.clone()).unwrap());
    for copy in [false, true] {
        backend.tamper(&ObjectKey::config(copy), Some(vec![b' '; 100_000]));
    }
    let error = open_repo(backend).unwrap_err();
    says(&chain(&error), "has 100000 bytes, 65536 is the most");
}
