//! Making a repository.

use std::sync::Arc;

use super::keys::refuse_weak;
use super::{CHUNKER, Config, FORMAT_VERSION, Repo, SUITE, format};
use crate::backend::{Backend, ByteRange, ObjectKey, ObjectKind};
use crate::crypto::{KdfParameters, RootKey, Secret, SlotInfo, random, seal_slot};
use crate::error::{Error, Result};
use crate::id::{ObjectId, RepoId};

/// What a new repository is made with.
pub struct InitOptions {
    /// Password, or bytes of a key file.
    pub secret: Secret,
    /// How it is stretched.
    pub kdf: KdfParameters,
    /// What is said of the first key slot.
    pub info: SlotInfo,
}

/// Makes a repository where there is none. The config is written last: before it, nothing is a repository.
pub fn init(backend: Arc<dyn Backend>, options: InitOptions) -> Result<Repo> {
    refuse_weak(&options.secret, options.kdf)?;
    refuse_occupied(backend.as_ref())?;
    let config = Config {
        format: FORMAT_VERSION,
        id: RepoId(random()),
        must_understand: vec![],
        may_ignore: vec![],
        created_ns: options.info.created_ns,
        chunker: CHUNKER.into(),
        suite: SUITE.into(),
    };
    let bytes = format::encode(&config);
    let root = RootKey::generate();
    let slot = seal_slot(&root, &bytes, &options.secret, options.kdf, options.info)
        .map_err(Error::corrupt("new key slot"))?;
    put_slot(backend.as_ref(), ObjectId(random()), &slot)?;
    for copy in [true, false] {
        let key = ObjectKey::config(copy);
        backend
            .put_new(&key, &[&bytes])
            .map_err(Error::backend("write", &key))?;
    }
    Ok(Repo {
        backend,
        config: Arc::new(config),
        root: Arc::new(root),
    })
}

/// A slot is stored twice: a lost key is a lost repository.
pub(super) fn put_slot(backend: &dyn Backend, slot: ObjectId, bytes: &[u8]) -> Result<()> {
    for copy in [false, true] {
        let key = ObjectKey::key(slot, copy);
        backend
            .put_new(&key, &[bytes])
            .map_err(Error::backend("write", &key))?;
        let read = backend
            .get(&key, ByteRange::All)
            .map_err(Error::backend("read back", &key))?;
        if read != bytes {
            return Err(Error::Missing {
                object: format!("what was just written to {key}"),
            });
        }
    }
    Ok(())
}

fn refuse_occupied(backend: &dyn Backend) -> Result<()> {
    for kind in [
        ObjectKind::Config,
        ObjectKind::Key,
        ObjectKind::End,
        ObjectKind::Pack,
    ] {
        let found = backend.list(kind).map_err(|source| Error::Backend {
            act: "list",
            object: format!("{kind} at {}", backend.address()),
            source,
        })?;
        if let Some(first) = found.first() {
            let what = if kind == ObjectKind::Config {
                "a repository".into()
            } else {
                first.key.to_string()
            };
            return Err(Error::Occupied {
                address: backend.address(),
                what,
            });
        }
    }
    Ok(())
}
