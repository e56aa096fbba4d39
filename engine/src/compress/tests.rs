//! What is split into planes and what is not; bytes come back as they were.

use proptest::prelude::*;

use super::*;

fn noise(seed: u8, count: usize) -> Vec<u8> {
    let mut out = vec![0; count];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut out);
    out
}

/// Floats of like size: noise below a sign and an exponent from 0x3a to 0x3f.
fn vector(seed: u8, count: usize) -> Vec<u8> {
    let mut bytes = noise(seed, 4 * count);
    for float in bytes.as_chunks_mut::<4>().0 {
        float[3] = (float[3] & 0x80) | (0x3a + (float[3] & 0x7f) % 6);
    }
    bytes
}

/// Payloads of growing length between vectors, so that these begin at any phase.
fn points(count: usize, dimensions: usize) -> Vec<u8> {
    let point = |number: usize| {
        let payload = format!(
            "{{\"id\":{number},\"text\":\"{}\"}}",
            "word ".repeat(number % 7)
        );
        let mut point = payload.into_bytes();
        point.resize(point.len() + number % 4, b' ');
        point.extend(vector(u8::try_from(number % 251).unwrap(), dimensions));
        point
    };
    (0..count).flat_map(point).collect()
}

#[test]
fn what_does_not_compress_stays_raw() {
    let noise = noise(0, 50_000);
    for compress in [compress, compress_data] {
        let (codec, packed) = compress(LEVEL_WHOLE, &noise, 16);
        assert_eq!(codec, Codec::Raw);
        assert_eq!(decompress(codec, packed, noise.len()).unwrap(), noise);
    }
}

#[test]
fn a_frame_that_is_larger_than_declared_is_refused() {
    let zeros = vec![0; 1 << 20];
    let (codec, packed) = compress_data(LEVEL_WHOLE, &zeros, 16);
    assert_eq!(codec, Codec::Zstd);
    assert!(decompress(codec, packed.clone(), 1000).is_err());
    assert!(decompress(codec, packed.clone(), (1 << 20) + 1).is_err());
    assert_eq!(decompress(codec, packed, 1 << 20).unwrap(), zeros);
}

#[test]
fn vectors_between_payloads_are_split_into_planes_and_gain_by_it() {
    for dimensions in [32, 64, 384, 768] {
        let raw = points(200, dimensions);
        let (codec, packed) = compress_data(LEVEL_DELTA, &raw, 16);
        let (_, plain) = compress(LEVEL_DELTA, &raw, 16);
        assert_eq!(codec, Codec::Planes, "{dimensions}");
        assert!(
            packed.len() * 20 < plain.len() * 19,
            "{dimensions}: {} {}",
            packed.len(),
            plain.len()
        );
        assert_eq!(decompress(codec, packed, raw.len()).unwrap(), raw);
    }
}

#[test]
fn runs_are_found_where_they_are() {
    let raw = [
        &vector(1, 100),
        b"between, a text of some length ".as_slice(),
        &vector(2, 50),
    ]
    .concat();
    let runs = floats::find_runs(&raw);
    let places: Vec<_> = runs.iter().map(|run| (run.at, run.floats)).collect();
    assert_eq!(places, [(0, 100), (431, 50)]);
}

#[test]
fn what_only_looks_like_floats_is_told_by_a_plain_frame() {
    let text = "tick tock, words and 1234567890 numbers\n"
        .repeat(2000)
        .into_bytes();
    let counters: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| (n * 3).to_le_bytes())
        .collect();
    let repeated = vector(5, 256).repeat(100);
    for raw in [text, counters, repeated] {
        let (codec, packed) = compress_data(LEVEL_WHOLE, &raw, 16);
        assert_eq!(codec, Codec::Zstd);
        assert_eq!(decompress(codec, packed, raw.len()).unwrap(), raw);
    }
}

#[test]
fn planes_that_do_not_add_up_are_refused() {
    let raw = points(40, 64);
    let (codec, packed) = compress_data(LEVEL_WHOLE, &raw, 0);
    assert_eq!(codec, Codec::Planes);
    for len in [0, 1, raw.len() - 1, raw.len() + 1, usize::MAX] {
        assert!(decompress(codec, packed.clone(), len).is_err(), "{len}");
    }
    for end in 0..packed.len() {
        let cut = packed.get(..end).unwrap().to_vec();
        assert!(decompress(codec, cut, raw.len()).is_err(), "{end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_come_back(pieces in prop::collection::vec((any::<u8>(), 0..3_usize, 0..3000_usize), 0..8)) {
        let piece = |(seed, kind, len): &(u8, usize, usize)| match kind {
            0 => noise(*seed, *len),
            1 => vector(*seed, *len),
            _ => vec![*seed; *len],
        };
        let raw: Vec<u8> = pieces.iter().flat_map(piece).collect();
        let (codec, packed) = compress_data(LEVEL_WHOLE, &raw, 16);
        prop_assert_eq!(decompress(codec, packed, raw.len()).unwrap(), raw);
    }
}
