//! The pure kernels: whatever the bytes, what they answer fits the input.

use keepstone_engine::chunker::{ChunkSizes, Chunker};
use keepstone_engine::compress;
use keepstone_engine::delta::{AlignOptions, Aligner, Step};
use keepstone_engine::source::Profile;

/// Decompression: never more than was declared.
pub fn decompress(data: &[u8]) -> bool {
    decompressed(compress::Codec::Zstd, data).is_some()
}

/// Float planes: no more than was declared either, and what comes back can be said again.
pub fn planes(data: &[u8]) -> bool {
    decompressed(compress::Codec::Planes, data).is_some_and(|raw| {
        let (codec, packed) = compress::compress_data(compress::LEVEL_WHOLE, &raw, 0);
        let again = compress::decompress(codec, packed, raw.len());
        assert!(again.is_ok_and(|again| again == raw));
        true
    })
}

/// The declared length first, then what is compressed.
fn decompressed(codec: compress::Codec, data: &[u8]) -> Option<Vec<u8>> {
    let (declared, packed) = data.split_first_chunk::<4>()?;
    let declared = usize::try_from(u32::from_le_bytes(*declared) % (1 << 20)).expect("small");
    let raw = compress::decompress(codec, packed.to_vec(), declared).ok()?;
    assert_eq!(raw.len(), declared);
    Some(raw)
}

pub fn planes_seeds() -> Vec<Vec<u8>> {
    let mut noise = 1_u32;
    let mut vector = |floats: usize| {
        let mut bytes = Vec::new();
        for _ in 0..floats {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // 0x3a to 0x3d above three bytes of noise.
            bytes.extend_from_slice(&(noise >> 8 | (0x3a + (noise >> 30)) << 24).to_le_bytes());
        }
        bytes
    };
    let seed = |raw: Vec<u8>| {
        let (codec, packed) = compress::compress_data(compress::LEVEL_WHOLE, &raw, 0);
        assert_eq!(codec, compress::Codec::Planes);
        let declared = u32::try_from(raw.len()).expect("small").to_le_bytes();
        [declared.as_slice(), &packed].concat()
    };
    let mut point = |number: usize| [format!("point {number}, ").as_bytes(), &vector(40)].concat();
    vec![
        seed((0..30).flat_map(&mut point).collect()),
        seed(vector(200)),
    ]
}

pub fn decompress_seeds() -> Vec<Vec<u8>> {
    let text = b"words and words and words, and after them words ".repeat(40);
    let (_, packed) = compress::compress(compress::LEVEL_WHOLE, &text, 0);
    let declared = u32::try_from(text.len()).expect("small").to_le_bytes();
    vec![[declared.as_slice(), &packed].concat()]
}

/// Cut points ascend, end at the end and leave no chunk too long.
pub fn chunker(data: &[u8]) -> bool {
    let Some((choice, rest)) = data.split_first() else {
        return false;
    };
    let profile = [Profile::Bytes, Profile::Records, Profile::Pages][usize::from(choice % 3)];
    let mut stream = Vec::new();
    while stream.len() < 100_000 && !rest.is_empty() {
        stream.extend_from_slice(rest);
    }
    let boundaries: Vec<usize> = (1..=stream.len())
        .filter(|end| stream[end - 1] == b'\n' || *end == stream.len())
        .collect();
    let chunker = Chunker::new(ChunkSizes::STANDARD, u64::from(*choice), profile);
    let mut ends = Vec::new();
    chunker.cut(&stream, &boundaries, true, &mut ends);
    let mut before = 0;
    for end in &ends {
        assert!(*end > before && end - before <= ChunkSizes::STANDARD.max());
        before = *end;
    }
    assert_eq!(before, stream.len());
    true
}

/// The steps of a delta make exactly the new stream.
pub fn delta(data: &[u8]) -> bool {
    let Some((at, rest)) = data.split_first_chunk::<2>() else {
        return false;
    };
    let (parent, new) = rest.split_at(usize::from(u16::from_le_bytes(*at)).min(rest.len()));
    let mut steps = Vec::new();
    Aligner::new(AlignOptions::default()).align(new, 0, parent, 0, 0, &mut steps);
    let piece = |bytes: &[u8], from: u64, len: u32| {
        let from = usize::try_from(from).expect("an offset in memory");
        bytes[from..from + usize::try_from(len).expect("a length in memory")].to_vec()
    };
    let made = steps.iter().flat_map(|step| match *step {
        Step::Literal { at, len } => piece(new, at, len),
        Step::Copy { from, len } => piece(parent, from, len),
    });
    assert!(
        made.eq(new.iter().copied()),
        "the steps make another stream"
    );
    true
}

pub fn stream_seeds() -> Vec<Vec<u8>> {
    let row = |id: usize| {
        format!(
            "{id}\tu{}\tw{:04} w{:04}\n",
            id % 7,
            id * 37 % 5000,
            id * 91 % 5000
        )
    };
    let parent: String = (0..150).map(row).collect();
    let new: String = (0..150)
        .filter(|id| id % 40 != 3)
        .map(|id| row(id + usize::from(id % 50 == 7)))
        .collect();
    let at = u16::try_from(parent.len()).expect("short").to_le_bytes();
    vec![
        [at.as_slice(), parent.as_bytes(), new.as_bytes()].concat(),
        [at.as_slice(), &vec![0; 6000]].concat(),
    ]
}
