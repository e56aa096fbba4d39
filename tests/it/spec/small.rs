//! Small records: their JSON and their seals.

use std::fmt::Debug;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use keepstone_engine::codec::frame::{self, Kind};
use keepstone_engine::crypto::open_record;
use keepstone_engine::session::format::{SmallRecord, decode, encode};
use keepstone_engine::session::{ForgottenRecord, SessionRecord, SettledRecord, TombstoneRecord};
use keepstone_engine::snapshot::format::{self as end_format, End};
use keepstone_engine::snapshot::{Snapshot, SourceDetails};
use keepstone_engine::source::Consistency;

use super::document::{Check, Example, array, example, hold, repo, root, sid};
use super::keys::seal;

pub(super) const CHECKS: &[Check] = &[
    ("session", session),
    ("forgotten", forgotten),
    ("tombstone", tombstone),
    ("settled", settled),
    ("small-record-steps", small_record_steps),
    ("small-record", small_record),
    ("end-aborted", end_aborted),
    ("end-committed", end_committed),
    ("end-object", end_object),
    ("details", details),
];

const CREATED_NS: i64 = 1_767_225_600_000_000_000;
const HOUR_NS: i64 = 3_600_000_000_000;

#[test]
fn small_records_are_as_written() {
    hold(CHECKS);
}

fn says_again<T: SmallRecord + PartialEq + Debug>(example: &Example) -> T {
    let record: T = decode(&example.bytes()).unwrap();
    let again = String::from_utf8(encode(&record)).unwrap();
    assert_eq!(again, String::from_utf8(example.bytes()).unwrap());
    record
}

fn session(example: &Example) {
    let record: SessionRecord = says_again(example);
    assert_eq!((record.pid, record.process_start), (4242, 8_675_309));
    assert_eq!(
        (record.host.as_str(), record.start_ns),
        ("alpha", CREATED_NS)
    );
}

fn forgotten(example: &Example) {
    let record: ForgottenRecord = says_again(example);
    assert_eq!(record.time_ns, CREATED_NS + HOUR_NS);
}

fn tombstone(example: &Example) {
    let record: TombstoneRecord = says_again(example);
    let layout = super::document::example("layout");
    let pack = String::from_utf8(layout.lines[2].bytes.clone()).unwrap();
    let name = pack.rsplit('/').next().unwrap();
    assert_eq!(record.packs, [name]);
}

fn settled(example: &Example) {
    let record: SettledRecord = says_again(example);
    assert_eq!((record.aborted.len(), record.forgotten.len()), (1, 1));
}

fn end_again(example: &Example) -> End {
    let end = end_format::decode(&example.bytes()).unwrap();
    let again = String::from_utf8(end_format::encode(&end)).unwrap();
    assert_eq!(again, String::from_utf8(example.bytes()).unwrap());
    end
}

fn end_aborted(example: &Example) {
    let expected = End::Aborted {
        time_ns: CREATED_NS,
        host: "beta".into(),
        reason: "fenced: silent for 24 h".into(),
    };
    assert_eq!(end_again(example), expected);
}

/// The snapshot of the examples.
pub(super) fn snapshot() -> Snapshot {
    match end_format::decode(&example("end-committed").bytes()) {
        Ok(End::Committed(snapshot)) => snapshot,
        other => panic!("no snapshot: {other:?}"),
    }
}

fn end_committed(example: &Example) {
    end_again(example);
    let snapshot = snapshot();
    let [source] = snapshot.sources.as_slice() else {
        panic!("one source")
    };
    assert_eq!(source.consistency, Consistency::Fuzzy);
    let folder = super::document::example("node-id").parts::<2>()[1].to_vec();
    assert_eq!(source.root.unwrap().as_bytes(), folder.as_slice());
    let details = super::document::example("details").bytes();
    assert_eq!(source.details, Some(root().node_id(&details)));
}

fn details(example: &Example) {
    let details: SourceDetails = serde_json::from_slice(&example.bytes()).unwrap();
    let again = serde_json::to_string(&details).unwrap();
    assert_eq!(again.into_bytes(), example.bytes());
    assert_eq!(details.open.attributes["program"], "printf");
}

/// Where the record of the steps lies.
const FORGOTTEN: &str = "forgotten/c0c1c2c3c4c5c6c7c8c9cacbcccdcecf";

fn records_key() -> [u8; 32] {
    let keys = example("derived-keys");
    *blake3::keyed_hash(&array(&keys.lines[4].bytes), repo().as_bytes()).as_bytes()
}

/// Associated data as the text says.
fn bound(kind: Kind, codec: u8, length: &[u8], name: &str) -> Vec<u8> {
    let head = [b"record\x01".as_slice(), repo().as_bytes()].concat();
    let tail = [&[kind as u8, codec], length, name.as_bytes()].concat();
    [head, tail].concat()
}

fn small_record_steps(example: &Example) {
    let [key, subkey, aad] = example.parts();
    assert_eq!(records_key().as_slice(), key);
    let record = super::document::example("small-record");
    let [_, codec, length, nonce, sealed, tag] = record.parts();
    assert_eq!(bound(Kind::Forgotten, codec[0], length, FORGOTTEN), aad);
    // The subkey and the end of the nonce make the same bytes with the plain cipher.
    let nonce = [&[0; 4], &nonce[16..]].concat();
    let plain = super::document::example("forgotten").bytes();
    assert_eq!(seal(subkey, &nonce, aad, &plain), [sealed, tag].concat());
}

/// Opens by the engine; sealed again here, since the engine's nonce is random.
fn opens_and_seals(example: &Example, kind: Kind, name: &str) -> Vec<u8> {
    let [head, codec, length, nonce, sealed, tag] = example.parts();
    assert_eq!(head, frame::encode(kind));
    let cipher = XChaCha20Poly1305::new(&Key::from(records_key()));
    let (nonce, aad) = (
        XNonce::from(array(nonce)),
        bound(kind, codec[0], length, name),
    );
    let stored = [sealed, tag].concat();
    let payload = |msg| Payload { msg, aad: &aad };
    let packed = cipher.decrypt(&nonce, payload(&stored)).unwrap();
    assert_eq!(cipher.encrypt(&nonce, payload(&packed)).unwrap(), stored);
    let json = open_record(&root(), repo(), kind, name, &example.bytes()).unwrap();
    let declared = u32::from_le_bytes(array(length));
    assert_eq!(json.len(), usize::try_from(declared).unwrap());
    assert!(open_record(&root(), repo(), kind, "end/another", &example.bytes()).is_err());
    json
}

fn small_record(example: &Example) {
    let json = opens_and_seals(example, Kind::Forgotten, FORGOTTEN);
    assert_eq!(json, super::document::example("forgotten").bytes());
}

fn end_object(example: &Example) {
    assert_eq!(example.lines[1].bytes, [1]);
    let json = opens_and_seals(example, Kind::End, &format!("end/{}", sid()));
    assert_eq!(json, super::document::example("end-committed").bytes());
}
