//! Boxes: what a seal binds, its nonce, its bytes.

use keepstone_engine::compress::{Codec, LEVEL_WHOLE, decompress};
use keepstone_engine::crypto::{BoxHeader, BoxKind, open_box, seal_box};

use super::document::{Check, Example, example, hold, repo, session_key, sid};
use super::keys::seal;

pub(super) const CHECKS: &[Check] = &[
    ("box", a_raw_box),
    ("box-zstd", a_compressed_box),
    ("float-planes", float_planes),
];

#[test]
fn boxes_are_as_written() {
    hold(CHECKS);
}

/// The associated data of a header, put together as the table says.
fn bound(header: &BoxHeader) -> Vec<u8> {
    let mut out = b"box\x01".to_vec();
    out.extend(repo().as_bytes());
    out.push(header.kind as u8);
    out.extend(header.session.as_bytes());
    out.extend(header.counter.to_le_bytes());
    out.push(header.codec as u8);
    out.extend(header.raw_len.to_le_bytes());
    out.extend(header.stored_len.to_le_bytes());
    out
}

/// The key of the session, as it is before it is wrapped.
fn key_bytes() -> Vec<u8> {
    example("session-key").parts::<5>()[3].to_vec()
}

fn a_raw_box(example: &Example) {
    let [aad, nonce, plain, stored] = example.parts();
    let header = BoxHeader {
        kind: BoxKind::Data,
        session: sid(),
        counter: 0,
        codec: Codec::Raw,
        raw_len: 16,
        stored_len: 32,
    };
    assert_eq!((aad.len(), bound(&header).as_slice()), (54, aad));
    assert_eq!(nonce, [0; 12]);
    assert_eq!(seal(&key_bytes(), nonce, aad, plain), stored);
    let sealed = seal_box(&session_key(), repo(), BoxKind::Data, 0, LEVEL_WHOLE, plain);
    assert_eq!(sealed, (header, stored.to_vec()));
    let opened = open_box(&session_key(), repo(), &header, stored.to_vec());
    assert_eq!(opened.unwrap(), plain);
}

/// Opened only: another version of zstd may choose another frame.
fn a_compressed_box(example: &Example) {
    let [aad, plain, frame, stored] = example.parts();
    let header = BoxHeader {
        kind: BoxKind::Data,
        session: sid(),
        counter: 9,
        codec: Codec::Zstd,
        raw_len: plain.len().try_into().unwrap(),
        stored_len: stored.len().try_into().unwrap(),
    };
    assert_eq!(bound(&header), aad);
    let nonce = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(seal(&key_bytes(), &nonce, aad, frame), stored);
    let opened = open_box(&session_key(), repo(), &header, stored.to_vec());
    assert_eq!(opened.unwrap(), plain);
}

/// Decoded only, as frames are: put together from its parts, and each frame from what it gives.
fn float_planes(example: &Example) {
    let [
        before,
        floats,
        behind,
        around,
        lengths,
        first,
        low,
        middle,
        upper,
        high,
        second,
    ] = example.parts();
    for (frame, plain) in [(first, around), (second, high)] {
        let decoded = decompress(Codec::Zstd, frame.to_vec(), plain.len());
        assert_eq!(decoded.unwrap(), plain);
    }
    assert_eq!(
        lengths,
        [around.len(), first.len()].map(|len| u8::try_from(len).unwrap())
    );
    let planes = [low, middle, upper, high];
    for (number, float) in floats.chunks(4).enumerate() {
        assert_eq!(float, planes.map(|plane| plane[number]));
    }
    let plain = [before, floats, behind].concat();
    let body = [lengths, first, low, middle, upper, second].concat();
    assert_eq!(decompress(Codec::Planes, body, plain.len()).unwrap(), plain);
}
