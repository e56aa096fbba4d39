//! Expands LZF, the compression of strings in dumps.

use super::RdbError;

/// No three bytes of input give more than this many of output.
const EXPANSION_MAX: usize = 264;

/// Expands to exactly `length` bytes.
pub(super) fn expand(packed: &[u8], length: usize) -> Result<Vec<u8>, RdbError> {
    if length > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(RdbError::Corrupt("a compressed string claims too much"));
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = packed;
    while let Some((control, tail)) = rest.split_first() {
        rest = if *control < 32 {
            let (run, tail) = tail
                .split_at_checked(usize::from(*control) + 1)
                .ok_or(RdbError::Corrupt("a compressed string ends early"))?;
            out.extend_from_slice(run);
            tail
        } else {
            copy_back(&mut out, *control, tail)?
        };
        if out.len() > length {
            return Err(RdbError::Corrupt(
                "a compressed string is longer than it says",
            ));
        }
    }
    if out.len() < length {
        return Err(RdbError::Corrupt(
            "a compressed string is shorter than it says",
        ));
    }
    Ok(out)
}

fn copy_back<'a>(out: &mut Vec<u8>, control: u8, rest: &'a [u8]) -> Result<&'a [u8], RdbError> {
    const EARLY: RdbError = RdbError::Corrupt("a compressed string ends early");
    let mut rest = rest;
    let mut next = || -> Result<usize, RdbError> {
        let (byte, tail) = rest.split_first().ok_or(EARLY)?;
        rest = tail;
        Ok(usize::from(*byte))
    };
    let mut length = usize::from(control >> 5) + 2;
    if length == 9 {
        length += next()?;
    }
    let back = (usize::from(control & 0x1f) << 8 | next()?) + 1;
    let start = out.len().checked_sub(back).ok_or(RdbError::Corrupt(
        "a compressed string points before its start",
    ))?;
    // The copied range may overlap what it makes: it then repeats with the period `back`.
    if back >= length {
        out.extend_from_within(start..start + length);
    } else {
        for at in start..start + length {
            let byte = out.get(at).copied().unwrap_or_default();
            out.push(byte);
        }
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_copies_and_overlaps_expand() {
        // "abc", then 9 bytes from 3 back: the period repeats.
        assert_eq!(expand(b"\x02abc\xe0\x00\x02", 12).unwrap(), b"abcabcabcabc");
        assert_eq!(expand(b"\x00a\x20\x00", 4).unwrap(), b"aaaa");
        assert_eq!(expand(b"", 0).unwrap(), b"");
    }

    #[test]
    fn damage_is_an_error() {
        for (packed, length) in [
            (b"\x02ab".as_slice(), 3),
            (b"\x00a\x20\x05", 4),
            (b"\x00a", 2),
            (b"\x01ab", 1),
            (b"\x00a\xe0", 9),
            (b"\x00a", usize::MAX),
        ] {
            assert!(expand(packed, length).is_err(), "{packed:?}");
        }
    }
}
