//! Record blocks.

use keepstone_engine::id::{ChunkId, SessionId};
use keepstone_engine::record::{ChunkRecord, Extent, format};
use keepstone_engine::segment::SegmentId;

use super::document::{Check, Example, hold, sid};

pub(super) const CHECKS: &[Check] = &[
    ("record-block", one_record),
    ("record-block-copies", records_with_copies),
];

#[test]
fn record_blocks_are_as_written() {
    hold(CHECKS);
}

fn says(example: &Example, records: &[ChunkRecord]) {
    let block = format::decode(&example.bytes()).unwrap();
    assert_eq!(block.len(), records.len());
    for (ordinal, record) in (0..).zip(records) {
        assert_eq!(&block.record(ordinal).unwrap(), record);
    }
    assert_eq!(format::encode(records), example.bytes());
}

fn one_record(example: &Example) {
    let segment = SegmentId {
        session: SessionId::from_bytes([2; 16]),
        counter: 7,
    };
    says(example, &[ChunkRecord::whole(segment, 100, 2000)]);
}

fn records_with_copies(example: &Example) {
    let stored = |counter, offset, len| Extent::Stored {
        segment: SegmentId {
            session: sid(),
            counter,
        },
        offset,
        len,
    };
    let copy = |base, offset, len| Extent::Copy {
        base: ChunkId::from_bytes([base; 32]),
        offset,
        len,
    };
    let first = ChunkRecord {
        len: 26,
        depth: 1,
        extents: vec![
            copy(0xe0, 0, 10),
            stored(20, 0, 5),
            copy(0xe0, 12, 8),
            stored(20, 5, 3),
        ],
    };
    let second = ChunkRecord {
        len: 261,
        depth: 2,
        extents: vec![
            copy(0xe1, 1000, 200),
            stored(21, 0, 4),
            copy(0xe1, 1100, 50),
            copy(0xe0, 0, 7),
        ],
    };
    says(example, &[first, second]);
}
