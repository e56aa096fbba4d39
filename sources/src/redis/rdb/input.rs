//! Bounded reading of a dump: numbers, lengths and strings over any reader, with a running checksum.

use std::io::Read;

use super::{RdbError, crc64, lzf};

/// Longest string of a dump.
pub(in super::super) const STRING_BYTES_MAX: u64 = 1 << 30;

const BUFFER_BYTES: usize = 64 * 1024;

/// A length, or the kind of special encoding that stands in its place.
pub(super) enum Length {
    Plain(u64),
    Special(u8),
}

/// Reads primitives of a dump.
pub(in super::super) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What is not consumed yet.
    start: usize,
    /// From here on consumed bytes are not yet in the checksum.
    unsummed: usize,
    crc: u64,
    consumed: u64,
}

impl<R: Read> Input<R> {
    pub(in super::super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            start: 0,
            unsummed: 0,
            crc: 0,
            consumed: 0,
        }
    }

    /// Checksum over everything consumed so far.
    pub(super) fn checksum(&mut self) -> u64 {
        let fresh = self.buffer.get(self.unsummed..self.start);
        self.crc = crc64::update(self.crc, fresh.unwrap_or_default());
        self.unsummed = self.start;
        self.crc
    }

    /// Bytes consumed so far.
    pub(in super::super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Bytes that have come and are not consumed.
    fn available(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn refill(&mut self) -> Result<(), RdbError> {
        self.checksum();
        self.buffer.resize(BUFFER_BYTES, 0);
        let read = loop {
            match self.reader.read(&mut self.buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.start = 0;
        self.unsummed = 0;
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(RdbError::Truncated),
            _ => Ok(()),
        }
    }

    pub(in super::super) fn u8(&mut self) -> Result<u8, RdbError> {
        loop {
            if let Some(byte) = self.available().first() {
                let byte = *byte;
                self.start += 1;
                self.consumed += 1;
                return Ok(byte);
            }
            self.refill()?;
        }
    }

    /// Exactly this many bytes. Memory grows with what comes, not with what is claimed.
    pub(in super::super) fn bytes(&mut self, length: u64) -> Result<Vec<u8>, RdbError> {
        if length > STRING_BYTES_MAX {
            return Err(RdbError::Corrupt("a string is longer than the limit"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(length.min(BUFFER_BYTES));
        while out.len() < length {
            if self.available().is_empty() {
                self.refill()?;
            }
            let wanted = (length - out.len()).min(self.available().len());
            out.extend_from_slice(self.available().get(..wanted).unwrap_or_default());
            self.start += wanted;
            self.consumed += u64::try_from(wanted).unwrap_or_default();
        }
        Ok(out)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.u8()?;
        }
        Ok(array)
    }

    pub(super) fn u64_le(&mut self) -> Result<u64, RdbError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64_le(&mut self) -> Result<i64, RdbError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn f64_le(&mut self) -> Result<f64, RdbError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    pub(super) fn length_or_special(&mut self) -> Result<Length, RdbError> {
        let first = self.u8()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(low)),
            1 => Length::Plain(u64::from(low) << 8 | u64::from(self.u8()?)),
            2 if first == 0x80 => Length::Plain(network_order(&self.array::<4>()?)),
            2 if first == 0x81 => Length::Plain(network_order(&self.array::<8>()?)),
            2 => return Err(RdbError::Corrupt("a length has an unknown form")),
            _ => Length::Special(low),
        })
    }

    pub(super) fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(RdbError::Corrupt("a length is missing")),
        }
    }

    /// A string, expanded, integers as decimal text.
    pub(in super::super) fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        match self.length_or_special()? {
            Length::Plain(length) => self.bytes(length),
            Length::Special(0) => Ok(decimal(i8::from_le_bytes(self.array()?))),
            Length::Special(1) => Ok(decimal(i16::from_le_bytes(self.array()?))),
            Length::Special(2) => Ok(decimal(i32::from_le_bytes(self.array()?))),
            Length::Special(3) => {
                let packed_length = self.length()?;
                let length = self.length()?;
                if length > STRING_BYTES_MAX {
                    return Err(RdbError::Corrupt("a string is longer than the limit"));
                }
                let packed = self.bytes(packed_length)?;
                lzf::expand(&packed, usize::try_from(length).unwrap_or(usize::MAX))
            }
            Length::Special(_) => Err(RdbError::Corrupt("a string has an unknown encoding")),
        }
    }
}

fn decimal(number: impl Into<i64>) -> Vec<u8> {
    number.into().to_string().into_bytes()
}

/// A number whose first byte is the most significant one.
pub(super) fn network_order(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
