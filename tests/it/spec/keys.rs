//! Config, key slots, derived keys, names of chunks and nodes, session keys.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use keepstone_engine::codec::frame::{self, Kind};
use keepstone_engine::codec::{put_bytes, put_signed, put_varint};
use keepstone_engine::crypto::format::decode_slot;
use keepstone_engine::crypto::{Secret, SessionKey, SlotInfo, open_slot};
use keepstone_engine::id::{RepoId, SessionId};
use keepstone_engine::repo::{self, Config};

use super::document::{Check, Example, array, example, hex, hold, repo, root};

pub(super) const CHECKS: &[Check] = &[
    ("config", config),
    ("slot-raw-steps", slot_raw_steps),
    ("slot-raw", slot_raw),
    ("slot-password-steps", slot_password_steps),
    ("slot-password", slot_password),
    ("derived-keys", derived_keys),
    ("chunk-id", chunk_id),
    ("node-id", node_id),
    ("session-key", session_key),
];

const CREATED_NS: i64 = 1_767_225_600_000_000_000;

#[test]
fn keys_are_as_written() {
    hold(CHECKS);
}

fn config(example: &Example) {
    let config = Config {
        format: 1,
        id: RepoId::from_bytes(std::array::from_fn(|at| 0xa0 + u8::try_from(at).unwrap())),
        must_understand: vec![],
        may_ignore: vec![],
        created_ns: CREATED_NS,
        chunker: repo::CHUNKER.into(),
        suite: repo::SUITE.into(),
    };
    assert_eq!(repo::format::decode(&example.bytes()).unwrap(), config);
    assert_eq!(repo::format::encode(&config), example.bytes());
}

/// The password of § Terminology.
pub(super) fn password() -> Secret {
    Secret::new(b"correct horse battery staple".to_vec())
}

/// The bytes 60 to 7e and a line feed, which belongs to the key.
pub(super) fn key_file() -> Secret {
    Secret::new((0x60..0x7f).chain([b'\n']).collect())
}

fn slot_raw_steps(example: &Example) {
    let [stretched, ..] = example.parts::<4>();
    let slot = super::document::example("slot-raw");
    let salt = slot.lines[3].bytes.as_slice();
    let file = [salt, &key_file()].concat();
    let derived = blake3::derive_key("keepstone 1 raw key file", &file);
    assert_eq!(derived.as_slice(), stretched);
    slot_steps(example);
}

/// That the password stretches so is shown where its slot opens.
fn slot_password_steps(example: &Example) {
    slot_steps(example);
}

fn slot_steps(example: &Example) {
    let [stretched, seal_key, commitment, plain] = example.parts();
    let derive = |purpose: &str| blake3::derive_key(purpose, stretched);
    assert_eq!(derive("keepstone 1 slot seal").as_slice(), seal_key);
    assert_eq!(derive("keepstone 1 slot commitment").as_slice(), commitment);
    let config = super::document::example("config").bytes();
    let keys = super::document::example("derived-keys");
    let root = keys.lines[0].bytes.as_slice();
    assert_eq!(plain, [root, blake3::hash(&config).as_bytes()].concat());
}

fn slot_raw(example: &Example) {
    slot(example, &[0], &key_file(), false);
}

fn slot_password(example: &Example) {
    let mut kdf = vec![1];
    [65_536, 3, 4]
        .into_iter()
        .for_each(|number| put_varint(&mut kdf, number));
    slot(example, &kdf, &password(), true);
}

fn slot(slot: &Example, kdf: &[u8], secret: &Secret, is_password: bool) {
    let bytes = slot.bytes();
    let decoded = decode_slot(&bytes).unwrap();
    let info = SlotInfo {
        created_ns: CREATED_NS,
        host: "alpha".into(),
        user: "root".into(),
    };
    assert_eq!(
        (decoded.info(), decoded.is_password()),
        (&info, is_password)
    );
    let config = example("config").bytes();
    let opened = open_slot(&decoded, &config, secret).unwrap().unwrap();
    assert_eq!(opened.fingerprint(), root().fingerprint());
    let other = Secret::new([secret.as_slice(), b"\n"].concat());
    assert!(open_slot(&decoded, &config, &other).unwrap().is_none());
    assert!(open_slot(&decoded, b"another config", secret).is_err());
    // The encoder takes a random salt, so the same bytes are put together here.
    let steps = example(&format!("{}-steps", slot.name));
    let [_, seal_key, commitment, plain] = steps.parts();
    let salt = slot
        .lines
        .iter()
        .find(|line| line.remark == "salt")
        .unwrap();
    let mut header = [kdf, &salt.bytes, commitment].concat();
    put_signed(&mut header, CREATED_NS);
    put_bytes(&mut header, b"alpha");
    put_bytes(&mut header, b"root");
    let mut again = frame::encode(Kind::Slot).to_vec();
    let bound = [again.as_slice(), &header].concat();
    put_bytes(&mut again, &header);
    put_bytes(&mut again, &seal(seal_key, &[0; 12], &bound, plain));
    assert_eq!(again, bytes);
}

/// ChaCha20-Poly1305, tag last.
pub(super) fn seal(key: &[u8], nonce: &[u8], bound: &[u8], plain: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(&Key::from(array(key)));
    let payload = Payload {
        msg: plain,
        aad: bound,
    };
    cipher.encrypt(&Nonce::from(array(nonce)), payload).unwrap()
}

fn derived_keys(example: &Example) {
    let [root_bytes, chunk, node, wrap, records, seed, fingerprint] = example.parts();
    let derive = |purpose: &str| blake3::derive_key(purpose, root_bytes);
    assert_eq!(derive("keepstone 1 chunk id").as_slice(), chunk);
    assert_eq!(derive("keepstone 1 node id").as_slice(), node);
    assert_eq!(derive("keepstone 1 session key wrap").as_slice(), wrap);
    assert_eq!(derive("keepstone 1 small records").as_slice(), records);
    assert_eq!(&derive("keepstone 1 chunker seed")[..8], seed);
    assert_eq!(root().chunker_seed(), u64::from_le_bytes(array(seed)));
    assert_eq!(&derive("keepstone 1 fingerprint")[..16], fingerprint);
    assert_eq!(root().fingerprint(), hex(fingerprint));
}

fn chunk_id(example: &Example) {
    let [plain, id] = example.parts();
    let keys = super::document::example("derived-keys");
    let key = array(&keys.lines[1].bytes);
    assert_eq!(blake3::keyed_hash(&key, plain).as_bytes(), id);
    assert_eq!(root().chunk_id(plain).as_bytes(), id);
    assert_ne!(root().node_id(plain).as_bytes(), id);
}

fn node_id(example: &Example) {
    let [plain, id] = example.parts();
    let keys = super::document::example("derived-keys");
    let key = array(&keys.lines[2].bytes);
    assert_eq!(blake3::keyed_hash(&key, plain).as_bytes(), id);
    assert_eq!(root().node_id(plain).as_bytes(), id);
    assert_eq!(super::document::example("folder-root").bytes(), plain);
}

fn session_key(example: &Example) {
    let [sid, wrap_key, bound, key, wrapped] = example.parts();
    let keys = super::document::example("derived-keys");
    let derived = blake3::keyed_hash(&array(&keys.lines[3].bytes), sid);
    assert_eq!(derived.as_bytes(), wrap_key);
    let expected = [b"wrap\x01".as_slice(), repo().as_bytes(), sid].concat();
    assert_eq!(bound, expected);
    assert_eq!(seal(wrap_key, &[0; 12], bound, key), wrapped);
    let session = SessionId::from_bytes(array(sid));
    let opened = SessionKey::unwrap(&root(), repo(), session, &array(wrapped)).unwrap();
    assert_eq!(opened.wrapped().as_slice(), wrapped);
    let stranger = SessionId::from_bytes([0; 16]);
    assert!(SessionKey::unwrap(&root(), repo(), stranger, &array(wrapped)).is_err());
}
