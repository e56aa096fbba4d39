//! Packs and index segments.

use keepstone_engine::backend::{PackClass, PackName};
use keepstone_engine::codec::Cursor;
use keepstone_engine::compress::{Codec, LEVEL_META};
use keepstone_engine::crypto::{BoxHeader, BoxKind, open_box, seal_box};
use keepstone_engine::id::{ChunkId, ObjectId};
use keepstone_engine::index::{self, IndexedPack};
use keepstone_engine::pack::format::{
    decode_footer, decode_trailer, encode_footer, encode_trailer_head, encode_trailer_tail,
};
use keepstone_engine::pack::{Footer, KeyTable, PackWriter};
use keepstone_engine::record::{ChunkRecord, Extent, format as record_format};
use keepstone_engine::segment::SegmentId;

use super::document::{
    Check, Example, array, example, hold, repo, root, session_key, sid, wrapped,
};

pub(super) const CHECKS: &[Check] = &[
    ("footer", footer),
    ("trailer", trailer),
    ("pack", pack),
    ("index-body", index_body),
    ("index", index_segment),
];

#[test]
fn packs_and_index_are_as_written() {
    hold(CHECKS);
}

fn keys() -> KeyTable {
    KeyTable {
        keys: vec![(sid(), wrapped())],
    }
}

/// The name of the pack: what § Layout shows.
pub(super) fn pack_name() -> PackName {
    PackName {
        session: sid(),
        random: ObjectId::from_bytes(std::array::from_fn(|at| 0x90 + u8::try_from(at).unwrap())),
        class: PackClass::Data,
    }
}

fn decoded_footer() -> Footer {
    let bytes = example("footer").bytes();
    let mut input = Cursor::new("footer", &bytes);
    let footer = decode_footer(&mut input, &keys()).unwrap();
    input.finish().unwrap();
    footer
}

fn ids() -> [ChunkId; 3] {
    [
        root().chunk_id(example("chunk-id").parts::<2>()[0]),
        root().node_id(&example("folder-root").bytes()),
        root().node_id(&example("details").bytes()),
    ]
}

fn footer(example: &Example) {
    let footer = decoded_footer();
    let found: Vec<_> = footer
        .boxes
        .iter()
        .map(|place| (place.header.kind, place.header.counter, place.header.codec))
        .collect();
    let expected = [
        (BoxKind::Data, 0, Codec::Raw),
        (BoxKind::Nodes, 1, Codec::Raw),
        (BoxKind::Records, 2, Codec::Raw),
    ];
    assert_eq!(found, expected);
    assert_eq!((footer.boxes[0].offset, footer.boxes[1].offset), (8, 40));
    assert_eq!(footer.chunks, [ids().to_vec()]);
    assert_eq!(encode_footer(&footer, &keys()), example.bytes());
}

fn trailer(example: &Example) {
    let pack = super::document::example("pack").bytes();
    assert!(pack.ends_with(&example.bytes()));
    let size = pack.len() as u64;
    let trailer = decode_trailer(&pack, size).unwrap().unwrap();
    assert_eq!(
        (&trailer.keys, trailer.len),
        (&keys(), example.bytes().len())
    );
    let [_, _, _, _, _, _, _, outer, _, _] = example.parts();
    assert_eq!(trailer.outer_hash, outer);
    assert_eq!(blake3::hash(&pack[..pack.len() - 40]).as_bytes(), outer);
    let footer = &super::document::example("pack").lines[4].bytes;
    let before = size - (example.bytes().len() + footer.len()) as u64;
    assert_eq!(trailer.footer_offset, before);
    let mut again = encode_trailer_head(&trailer.keys, &trailer.footer);
    again.extend(encode_trailer_tail(&again, &trailer.outer_hash));
    assert_eq!(again, example.bytes());
    // Too short a tail says how much is needed.
    assert_eq!(
        decode_trailer(&pack[pack.len() - 8..], size).unwrap(),
        Err(trailer.len)
    );
}

fn pack(example: &Example) {
    let [_, data, nodes, records, footer_box, _] = example.parts();
    let footer = decoded_footer();
    let stored = [data, nodes, records];
    let text = super::document::example("chunk-id").parts::<2>()[0].to_vec();
    let folder = super::document::example("folder-root").bytes();
    let details = super::document::example("details").bytes();
    let plain = [
        text.clone(),
        [folder.clone(), details.clone()].concat(),
        record_format::encode(&chunk_records(&text, &folder, &details)),
    ];
    let mut writer = PackWriter::new(PackClass::Data, &session_key());
    for ((place, stored), plain) in footer.boxes.iter().zip(stored).zip(&plain) {
        let header = place.header;
        let opened = open_box(&session_key(), repo(), &header, stored.to_vec());
        assert_eq!(opened.unwrap(), *plain);
        let sealed = seal_box(
            &session_key(),
            repo(),
            header.kind,
            header.counter,
            LEVEL_META,
            plain,
        );
        assert_eq!(sealed, (header, stored.to_vec()));
        writer.add(header, sealed.1, &wrapped(), ids().to_vec());
    }
    let bytes = example.bytes();
    let trailer = decode_trailer(&bytes, bytes.len() as u64).unwrap().unwrap();
    let opened = open_footer(&trailer.footer, footer_box);
    assert_eq!(opened, super::document::example("footer").bytes());
    let finished = writer.finish(&session_key(), repo(), 3);
    assert_eq!(finished.pieces.concat(), bytes);
    assert_eq!((finished.footer, finished.keys), (footer, keys()));
}

fn open_footer(header: &BoxHeader, stored: &[u8]) -> Vec<u8> {
    open_box(&session_key(), repo(), header, stored.to_vec()).unwrap()
}

fn chunk_records(text: &[u8], folder: &[u8], details: &[u8]) -> Vec<ChunkRecord> {
    let segment = |counter| SegmentId {
        session: sid(),
        counter,
    };
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let records = vec![
        ChunkRecord::whole(segment(0), 0, len(text)),
        ChunkRecord::whole(segment(1), 0, len(folder)),
        ChunkRecord::whole(segment(1), len(folder), len(details)),
    ];
    let stored = |record: &ChunkRecord| matches!(record.extents[0], Extent::Stored { .. });
    assert!(records.iter().all(stored));
    records
}

fn indexed() -> IndexedPack {
    IndexedPack {
        name: pack_name(),
        size_bytes: example("pack").bytes().len() as u64,
        keys: keys(),
        footer: decoded_footer(),
    }
}

fn index_body(example: &Example) {
    let packs = index::format::decode_body(&example.bytes()).unwrap();
    assert_eq!(packs, [indexed()]);
    assert_eq!(index::format::encode_body(&packs), example.bytes());
}

fn index_segment(example: &Example) {
    let packs = index::format::open(&root(), repo(), &example.bytes()).unwrap();
    assert_eq!(packs, [indexed()]);
    let again = index::format::seal(&session_key(), repo(), 4, &packs);
    assert_eq!(again, example.bytes());
    let [_, session, key, ..] = example.parts::<7>();
    assert_eq!(
        (session, array(key)),
        (sid().as_bytes().as_slice(), wrapped())
    );
}
