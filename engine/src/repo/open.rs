//! Opening a repository: config, features, key.

use std::sync::Arc;

use super::small::read_whole;
use super::{CHUNKER, Config, FORMAT_VERSION, Repo, SUITE, format, keys};
use crate::backend::{Backend, ObjectKey};
use crate::codec::FormatError;
use crate::crypto::{Secret, open_slot};
use crate::error::{Error, Result};

/// Opens with a password or the bytes of a key file, whichever the slots take.
pub fn open(backend: Arc<dyn Backend>, secret: &Secret) -> Result<Repo> {
    let copies = read_configs(backend.as_ref())?;
    let slots = keys::slot_copies(backend.as_ref())?;
    let mut damage = None;
    for (_, slot) in &slots {
        for bytes in &copies {
            match open_slot(slot, bytes, secret) {
                Ok(None) => break,
                Ok(Some(root)) => {
                    let config = format::decode(bytes).map_err(Error::corrupt("config"))?;
                    check_supported(&config)?;
                    return Ok(Repo {
                        backend,
                        config: Arc::new(config),
                        root: Arc::new(root),
                    });
                }
                Err(error) => damage = Some(error),
            }
        }
    }
    match damage {
        Some(error) => Err(Error::corrupt("config or key slot")(error)),
        None if slots.is_empty() => Err(Error::Missing {
            object: "every key slot".into(),
        }),
        None => Err(Error::WrongPassword),
    }
}

/// Reads the config without a key, and refuses what this program does not know.
pub fn config_of(backend: &dyn Backend) -> Result<Config> {
    let copies = read_configs(backend)?;
    let mut problem = Error::corrupt("config")(FormatError::new("config", "is missing"));
    for bytes in &copies {
        match decode_supported(bytes) {
            Ok(config) => return Ok(config),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

fn decode_supported(bytes: &[u8]) -> Result<Config> {
    let config = format::decode(bytes).map_err(Error::corrupt("config"))?;
    check_supported(&config).map(|()| config)
}

/// The copies of the config that can be read. What only one of them says may be rot: a newer format is believed if
/// neither is of this one.
fn read_configs(backend: &dyn Backend) -> Result<Vec<Vec<u8>>> {
    let mut copies = Vec::new();
    let mut unusable = None;
    for copy in [false, true] {
        match read_whole(backend, &ObjectKey::config(copy)) {
            Ok(bytes) => copies.push(bytes),
            Err(Error::Missing { .. }) => {}
            Err(error @ Error::Corrupt { .. }) => unusable = Some(error),
            Err(error) => return Err(error),
        }
    }
    if copies.is_empty() {
        return Err(unusable.unwrap_or_else(|| Error::NoRepository {
            address: backend.address(),
        }));
    }
    let mut unsupported = None;
    for bytes in &copies {
        match decode_supported(bytes) {
            Ok(_) => return Ok(copies),
            Err(error @ Error::UnsupportedFormat { .. }) => unsupported = Some(error),
            Err(_) => {}
        }
    }
    unsupported.map_or(Ok(copies), Err)
}

fn check_supported(config: &Config) -> Result<()> {
    let unsupported = |found: String| Error::UnsupportedFormat {
        found,
        supported: format!("format {FORMAT_VERSION} without further features"),
    };
    if config.format != FORMAT_VERSION {
        return Err(unsupported(format!("format {}", config.format)));
    }
    if let Some(feature) = config.must_understand.first() {
        return Err(unsupported(format!("feature {feature}")));
    }
    for (value, known) in [(&config.chunker, CHUNKER), (&config.suite, SUITE)] {
        if value != known {
            return Err(unsupported(value.clone()));
        }
    }
    Ok(())
}
