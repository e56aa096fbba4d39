//! Reads a whole dump: what a server sends to its replicas, or keeps as `dump.rdb`.

use std::io::Read;

use super::{Input, RdbError, object};
use crate::redis::record::Record;

/// Newest version that is understood.
const VERSION_MAX: u16 = 12;
/// Versions before this have no checksum, and nobody runs their servers.
const VERSION_MIN: u16 = 5;

/// What comes out of a dump, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A fact of the server that wrote the dump.
    Aux {
        /// Its name, such as `redis-ver`.
        name: Vec<u8>,
        /// Its text.
        value: Vec<u8>,
    },
    /// A library of functions, as its code.
    Function(Vec<u8>),
    /// A module keeps something of its own beside the keys; it was passed over.
    ModuleAux(String),
    /// One key of a database.
    Key {
        /// Number of the database.
        db: u32,
        /// The key and its value.
        record: Record,
    },
    /// A key with a collection that has no element. Servers leave such keys out when they load a dump.
    Empty {
        /// Number of the database.
        db: u32,
        /// The key.
        key: Vec<u8>,
    },
}

/// Reads events off a stream.
pub struct RdbReader<R> {
    input: Input<R>,
    version: u16,
    db: u32,
    expires_ms: Option<u64>,
    current: Vec<u8>,
}

impl<R: Read> RdbReader<R> {
    /// Reads the head.
    pub fn new(reader: R) -> Result<Self, RdbError> {
        let mut input = Input::new(reader);
        let head = input.array::<9>()?;
        let version = head
            .strip_prefix(b"REDIS")
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        let Some(version) = version else {
            if head.starts_with(b"VALKEY") {
                let name = String::from_utf8_lossy(&head).into_owned();
                return Err(RdbError::Unsupported(format!("the format {name}")));
            }
            return Err(RdbError::Corrupt("the dump does not begin as one"));
        };
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(RdbError::Unsupported(format!(
                "version {version} of the format"
            )));
        }
        Ok(Self {
            input,
            version,
            db: 0,
            expires_ms: None,
            current: Vec::new(),
        })
    }

    /// Version of the format.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Number of the database and name of the key that is being read, for an error message.
    pub fn position(&self) -> (u32, &[u8]) {
        (self.db, &self.current)
    }

    /// The next event; none when the end mark and the checksum were there.
    pub fn next_event(&mut self) -> Result<Option<Event>, RdbError> {
        loop {
            match self.input.u8()? {
                244 => self.skip_lengths(3)?, // Sizes of a slot.
                245 => return Ok(Some(Event::Function(self.input.string()?))),
                247 => return self.module_aux().map(Some),
                248 => self.skip_lengths(1)?,  // Idle time.
                249 => drop(self.input.u8()?), // Frequency of use.
                250 => {
                    let name = self.input.string()?;
                    let value = self.input.string()?;
                    return Ok(Some(Event::Aux { name, value }));
                }
                251 => self.skip_lengths(2)?, // Sizes of the tables.
                252 => self.expires_ms = Some(self.input.u64_le()?),
                253 => {
                    let seconds = u32::from_le_bytes(self.input.array()?);
                    self.expires_ms = Some(u64::from(seconds) * 1000);
                }
                254 => {
                    self.db = u32::try_from(self.input.length()?)
                        .map_err(|_| RdbError::Corrupt("a database number is too large"))?;
                }
                255 => return self.end().map(|()| None),
                opcode @ (243 | 246) => {
                    return Err(RdbError::Unsupported(format!("opcode {opcode}")));
                }
                kind => return self.key(kind).map(Some),
            }
        }
    }

    /// What follows the end of the dump.
    pub fn into_input(self) -> Trailing<R> {
        Trailing(self.input)
    }

    fn skip_lengths(&mut self, count: usize) -> Result<(), RdbError> {
        for _ in 0..count {
            self.input.length()?;
        }
        Ok(())
    }

    fn key(&mut self, kind: u8) -> Result<Event, RdbError> {
        self.current = self.input.string()?;
        let value = match object::read_value(kind, &mut self.input) {
            Err(RdbError::Empty) => None,
            value => Some(value?),
        };
        let (db, key) = (self.db, std::mem::take(&mut self.current));
        let expires_ms = self.expires_ms.take();
        Ok(match value {
            None => Event::Empty { db, key },
            Some(value) => Event::Key {
                db,
                record: Record {
                    key,
                    expires_ms,
                    value,
                },
            },
        })
    }

    fn module_aux(&mut self) -> Result<Event, RdbError> {
        let name = object::module_name(self.input.length()?);
        self.skip_lengths(2)?; // Before or after the keys: a tag and a number.
        loop {
            match self.input.length()? {
                0 => return Ok(Event::ModuleAux(name)),
                1 | 2 => drop(self.input.length()?),
                3 => drop(self.input.array::<4>()?),
                4 => drop(self.input.array::<8>()?),
                5 => drop(self.input.string()?),
                _ => return Err(RdbError::Corrupt("a module wrote an unknown mark")),
            }
        }
    }

    /// The checksum; all zero where the server was told to write none.
    fn end(&mut self) -> Result<(), RdbError> {
        let sum = self.input.checksum();
        let written = self.input.u64_le()?;
        if written != 0 && written != sum {
            return Err(RdbError::Corrupt("the checksum does not match"));
        }
        Ok(())
    }
}

/// The stream behind a dump.
pub struct Trailing<R>(Input<R>);

impl<R: Read> Trailing<R> {
    /// Exactly this many bytes.
    pub fn take(&mut self, length: usize) -> Result<Vec<u8>, RdbError> {
        self.0.bytes(u64::try_from(length).unwrap_or(u64::MAX))
    }

    /// Bytes of the dump and of what was taken behind it.
    pub fn consumed(&self) -> u64 {
        self.0.consumed()
    }
}
