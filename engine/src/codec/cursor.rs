//! Bounded reading of bytes: nothing is allocated for a count that the bytes cannot hold.

use super::FormatError;

/// Reads a value from front to back.
#[derive(Debug)]
pub struct Cursor<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, at: 0 }
    }

    /// An error at the present place.
    pub fn problem(&self, problem: impl Into<String>) -> FormatError {
        FormatError {
            what: self.what,
            offset: self.at,
            problem: problem.into(),
        }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Takes exactly `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len());
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.problem(format!("needs {count} more bytes")))?;
        self.at += count;
        Ok(taken)
    }

    /// Takes a fixed number of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// Takes one byte.
    pub fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    /// Takes a 16-bit number.
    pub fn u16_le(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Takes a 32-bit number.
    pub fn u32_le(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Takes a 64-bit number.
    pub fn u64_le(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Takes a LEB128 number; refuses forms that are longer than needed.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, FormatError> {
        // Most numbers by far, and record blocks hold millions of them.
        match self.bytes.get(self.at..) {
            Some([byte @ ..0x80, ..]) => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.problem("number is too large"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.problem("number is not in its shortest form"));
                }
                return Ok(value);
            }
        }
        Err(self.problem("number is too long"))
    }

    /// Takes a zigzag number.
    pub fn signed(&mut self) -> Result<i64, FormatError> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// Takes a LEB128 number that is at most `max`.
    pub fn at_most(&mut self, max: usize) -> Result<usize, FormatError> {
        let value = self.varint()?;
        match usize::try_from(value) {
            Ok(value) if value <= max => Ok(value),
            _ => Err(self.problem(format!("{value} is more than {max}"))),
        }
    }

    /// Takes a count of things that are at least `size` bytes each: no more than the bytes can hold.
    pub fn count(&mut self, max: usize, size: usize) -> Result<usize, FormatError> {
        let count = self.at_most(max)?;
        if count.saturating_mul(size) > self.remaining() {
            return Err(self.problem(format!("{count} things do not fit in what is left")));
        }
        Ok(count)
    }

    /// Takes a 32-bit LEB128 number.
    pub fn varint_u32(&mut self) -> Result<u32, FormatError> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.problem(format!("{value} is more than 32 bits")))
    }

    /// Takes a length of at most `max` and so many bytes.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], FormatError> {
        let length = self.at_most(max)?;
        self.take(length)
    }

    /// Takes a length of at most `max` and so many bytes of UTF-8.
    pub fn text(&mut self, max: usize) -> Result<String, FormatError> {
        let bytes = self.bytes(max)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.problem("text is not UTF-8"))
    }

    /// Ends: bytes behind the value are damage, not padding.
    pub fn finish(self) -> Result<(), FormatError> {
        match self.remaining() {
            0 => Ok(()),
            more => Err(self.problem(format!("{more} bytes too many"))),
        }
    }
}
