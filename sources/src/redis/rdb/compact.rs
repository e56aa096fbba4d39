//! Compact encodings: listpack, ziplist, intset and zipmap, each a run of strings and integers in one string.

use super::RdbError;
use super::input::network_order;

/// One element: a string, or an integer that stands for its decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element<'a> {
    String(&'a [u8]),
    Integer(i64),
}

impl Element<'_> {
    /// The element as clients see it, in `scratch` if it is an integer.
    pub(super) fn text<'s>(&'s self, scratch: &'s mut Vec<u8>) -> &'s [u8] {
        match self {
            Self::String(bytes) => bytes,
            Self::Integer(number) => {
                *scratch = number.to_string().into_bytes();
                scratch
            }
        }
    }

    /// The element as an integer.
    pub(super) fn integer(&self) -> Result<i64, RdbError> {
        match self {
            Self::Integer(number) => Ok(*number),
            Self::String(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(RdbError::Corrupt("a number is no number")),
        }
    }
}

const EARLY: RdbError = RdbError::Corrupt("a compact value ends early");

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn u8(&mut self) -> Result<u8, RdbError> {
        let (first, rest) = self.0.split_first().ok_or(EARLY)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], RdbError> {
        let length = usize::try_from(length).map_err(|_| EARLY)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    fn unsigned_le(&mut self, length: u64) -> Result<u64, RdbError> {
        let bytes = self.take(length)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn signed_le(&mut self, length: u64) -> Result<i64, RdbError> {
        let unused = 64_u32.saturating_sub(8 * u32::try_from(length).unwrap_or(8));
        Ok((self.unsigned_le(length)? << unused).cast_signed() >> unused)
    }
}

/// Visits every element of a listpack; its end mark must be the last byte.
pub(super) fn listpack<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(Element<'a>) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    let mut input = Bytes(bytes);
    let total = input.unsigned_le(4)?;
    input.take(2)?; // The count is a hint that may be unknown.
    if u64::try_from(bytes.len()) != Ok(total) {
        return Err(RdbError::Corrupt(
            "a listpack has another length than it says",
        ));
    }
    loop {
        let before = input.0.len();
        let first = input.u8()?;
        if first == 0xff {
            break;
        }
        let element = listpack_element(&mut input, first)?;
        let length = before - input.0.len();
        input.take(back_length(length))?;
        visit(element)?;
    }
    if input.0.is_empty() {
        Ok(())
    } else {
        Err(RdbError::Corrupt("bytes follow the end of a listpack"))
    }
}

fn listpack_element<'a>(input: &mut Bytes<'a>, first: u8) -> Result<Element<'a>, RdbError> {
    Ok(match first {
        0x00..=0x7f => Element::Integer(i64::from(first)),
        0x80..=0xbf => Element::String(input.take(u64::from(first & 0x3f))?),
        0xc0..=0xdf => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(input.u8()?);
            Element::Integer(if bits >= 1 << 12 {
                bits - (1 << 13)
            } else {
                bits
            })
        }
        0xe0..=0xef => {
            let length = u64::from(first & 0x0f) << 8 | u64::from(input.u8()?);
            Element::String(input.take(length)?)
        }
        0xf0 => {
            let length = input.unsigned_le(4)?;
            Element::String(input.take(length)?)
        }
        0xf1 => Element::Integer(input.signed_le(2)?),
        0xf2 => Element::Integer(input.signed_le(3)?),
        0xf3 => Element::Integer(input.signed_le(4)?),
        0xf4 => Element::Integer(input.signed_le(8)?),
        _ => {
            return Err(RdbError::Corrupt(
                "a listpack element has an unknown encoding",
            ));
        }
    })
}

/// How many bytes the length behind an element takes.
pub(super) fn back_length(length: usize) -> u64 {
    match length {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        0x0020_0000..=0x0fff_ffff => 4,
        _ => 5,
    }
}

/// Visits every element of a ziplist.
pub(super) fn ziplist<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(Element<'a>) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    let mut input = Bytes(bytes);
    let total = input.unsigned_le(4)?;
    input.take(6)?; // Offset of the tail and a count that may be unknown.
    if u64::try_from(bytes.len()) != Ok(total) {
        return Err(RdbError::Corrupt(
            "a ziplist has another length than it says",
        ));
    }
    loop {
        match input.u8()? {
            0xff => break,
            0xfe => drop(input.take(4)?),
            _ => {}
        }
        let element = ziplist_element(&mut input)?;
        visit(element)?;
    }
    if input.0.is_empty() {
        Ok(())
    } else {
        Err(RdbError::Corrupt("bytes follow the end of a ziplist"))
    }
}

fn ziplist_element<'a>(input: &mut Bytes<'a>) -> Result<Element<'a>, RdbError> {
    let first = input.u8()?;
    Ok(match first {
        0x00..=0x3f => Element::String(input.take(u64::from(first))?),
        0x40..=0x7f => {
            let length = u64::from(first & 0x3f) << 8 | u64::from(input.u8()?);
            Element::String(input.take(length)?)
        }
        0x80..=0xbf => {
            let length = network_order(input.take(4)?);
            Element::String(input.take(length)?)
        }
        0xc0 => Element::Integer(input.signed_le(2)?),
        0xd0 => Element::Integer(input.signed_le(4)?),
        0xe0 => Element::Integer(input.signed_le(8)?),
        0xf0 => Element::Integer(input.signed_le(3)?),
        0xfe => Element::Integer(input.signed_le(1)?),
        0xf1..=0xfd => Element::Integer(i64::from(first & 0x0f) - 1),
        _ => {
            return Err(RdbError::Corrupt(
                "a ziplist element has an unknown encoding",
            ));
        }
    })
}

/// Visits every number of an intset.
pub(super) fn intset(bytes: &[u8], mut visit: impl FnMut(i64)) -> Result<(), RdbError> {
    let mut input = Bytes(bytes);
    let width = input.unsigned_le(4)?;
    let count = input.unsigned_le(4)?;
    if ![2, 4, 8].contains(&width) || u64::try_from(input.0.len()) != Ok(count * width) {
        return Err(RdbError::Corrupt(
            "an intset has another length than it says",
        ));
    }
    for _ in 0..count {
        visit(input.signed_le(width)?);
    }
    Ok(())
}

/// Visits every field and value of a zipmap.
pub(super) fn zipmap(bytes: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), RdbError> {
    let mut input = Bytes(bytes);
    input.u8()?; // A count that may be unknown.
    while let Some(length) = zipmap_length(&mut input)? {
        let field = input.take(length)?;
        let length = zipmap_length(&mut input)?.ok_or(EARLY)?;
        let free = u64::from(input.u8()?);
        let value = input.take(length)?;
        input.take(free)?;
        visit(field, value);
    }
    if input.0.is_empty() {
        Ok(())
    } else {
        Err(RdbError::Corrupt("bytes follow the end of a zipmap"))
    }
}

fn zipmap_length(input: &mut Bytes<'_>) -> Result<Option<u64>, RdbError> {
    Ok(match input.u8()? {
        0xff => None,
        0xfe => Some(input.unsigned_le(4)?),
        length => Some(u64::from(length)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listpack_element_is_read() {
        let elements: &[(&[u8], Element<'_>)] = &[
            (b"\x05", Element::Integer(5)),
            (b"\x7f", Element::Integer(127)),
            (b"\x83abc", Element::String(b"abc")),
            (b"\xdf\xff", Element::Integer(-1)),
            (b"\xcf\xff", Element::Integer(4095)),
            (b"\xd0\x00", Element::Integer(-4096)),
            (b"\xe0\x02hi", Element::String(b"hi")),
            (b"\xf0\x01\0\0\0x", Element::String(b"x")),
            (b"\xf1\x00\x80", Element::Integer(-32_768)),
            (b"\xf2\xff\xff\x7f", Element::Integer(8_388_607)),
            (b"\xf3\x00\x00\x00\x80", Element::Integer(-2_147_483_648)),
            (
                b"\xf4\x00\x00\x00\x00\x00\x00\x00\x80",
                Element::Integer(i64::MIN),
            ),
        ];
        let mut bytes = vec![0; 6];
        for (element, _) in elements {
            bytes.extend_from_slice(element);
            bytes.push(u8::try_from(element.len()).unwrap());
        }
        bytes.push(0xff);
        let total = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[..4].copy_from_slice(&total);
        let mut found = Vec::new();
        listpack(&bytes, |element| {
            found.push(element);
            Ok(())
        })
        .unwrap();
        let expected: Vec<_> = elements.iter().map(|(_, element)| *element).collect();
        assert_eq!(found, expected);
        for cut in 0..bytes.len() {
            assert!(listpack(&bytes[..cut], |_| Ok(())).is_err());
        }
    }

    #[test]
    fn every_ziplist_element_is_read() {
        let elements: &[(&[u8], Element<'_>)] = &[
            (b"\x00\xf3", Element::Integer(2)),
            (b"\x02\xf1", Element::Integer(0)),
            (b"\x02\xfd", Element::Integer(12)),
            (b"\x02\x0bHello World", Element::String(b"Hello World")),
            (b"\xfe\x00\x01\x00\x00\x40\x02hi", Element::String(b"hi")),
            (b"\x09\x80\0\0\0\x01x", Element::String(b"x")),
            (b"\x09\xfe\xff", Element::Integer(-1)),
            (b"\x09\xc0\x00\x80", Element::Integer(-32_768)),
            (b"\x09\xf0\xff\xff\xff", Element::Integer(-1)),
            (
                b"\x09\xd0\x00\x00\x00\x80",
                Element::Integer(-2_147_483_648),
            ),
            (
                b"\x09\xe0\xff\xff\xff\xff\xff\xff\xff\x7f",
                Element::Integer(i64::MAX),
            ),
        ];
        let mut bytes = vec![0; 10];
        for (element, _) in elements {
            bytes.extend_from_slice(element);
        }
        bytes.push(0xff);
        let total = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes[..4].copy_from_slice(&total);
        let mut found = Vec::new();
        ziplist(&bytes, |element| {
            found.push(element);
            Ok(())
        })
        .unwrap();
        let expected: Vec<_> = elements.iter().map(|(_, element)| *element).collect();
        assert_eq!(found, expected);
        for cut in 0..bytes.len() {
            assert!(ziplist(&bytes[..cut], |_| Ok(())).is_err());
        }
    }

    #[test]
    fn intsets_and_zipmaps_are_read() {
        let mut numbers = Vec::new();
        let set = b"\x02\0\0\0\x03\0\0\0\xff\xff\x00\x00\x07\x00";
        intset(set, |number| numbers.push(number)).unwrap();
        assert_eq!(numbers, [-1, 0, 7]);
        assert!(intset(&set[..13], |_| ()).is_err());
        assert!(intset(b"\x03\0\0\0\0\0\0\0", |_| ()).is_err());

        let mut pairs = Vec::new();
        let map = b"\x02\x03foo\x03\x01bar-\x05hello\xfe\x05\0\0\0\x00world\xff";
        zipmap(map, |field, value| {
            pairs.push((field.to_vec(), value.to_vec()));
        })
        .unwrap();
        let expected = [("foo", "bar"), ("hello", "world")]
            .map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(pairs, expected);
        assert!(zipmap(&map[..20], |_, _| ()).is_err());
    }
}
