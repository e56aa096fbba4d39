//! Recognises what lies at an address: nothing, a repository of ours, or one of another tool, which is then named and
//! never written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::address::RepositoryAddress;
use super::credentials::Credentials;
use super::key::{ObjectKey, ObjectKind};
use super::local::LocalBackend;
use super::opendal::OpendalBackend;
use super::{BackendError, BackendErrorKind};

/// What lies at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupant {
    /// Nothing, or the beginning of a repository of ours: one may be made here.
    Nothing,
    /// A repository of ours, of whatever version.
    Keepstone,
    /// Another tool's repository.
    Foreign(ForeignRepository),
    /// Something unknown, of which this is one name.
    Unknown(String),
}

/// Another tool's repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignRepository {
    /// restic and rustic share one format.
    Restic,
    /// borg.
    Borg,
    /// kopia.
    Kopia,
    /// bupstash.
    Bupstash,
    /// vykar.
    Vykar,
}

impl fmt::Display for ForeignRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restic => "restic or rustic",
            Self::Borg => "borg",
            Self::Kopia => "kopia",
            Self::Bupstash => "bupstash",
            Self::Vykar => "vykar",
        })
    }
}

/// Looks at what lies at an address. Writes nothing.
pub fn survey(
    address: &RepositoryAddress,
    credentials: &Credentials,
) -> Result<Occupant, BackendError> {
    let look = match address {
        RepositoryAddress::Folder(path) => match LocalBackend::open(path) {
            Ok(backend) => backend.look()?,
            Err(error) if error.kind() == BackendErrorKind::NotFound => Look::default(),
            Err(error) => return Err(error),
        },
        RepositoryAddress::Memory => Look::default(),
        RepositoryAddress::Remote(address) => OpendalBackend::open(address, credentials)?.look()?,
    };
    Ok(look.judge())
}

/// The top of a place: names of files and folders, of what lies in `keys`, and the heads of telling files.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) files: BTreeSet<String>,
    pub(super) folders: BTreeSet<String>,
    pub(super) keys: BTreeSet<String>,
    pub(super) heads: BTreeMap<String, Vec<u8>>,
}

impl Look {
    fn judge(&self) -> Occupant {
        if let Some(foreign) = self.foreign() {
            return Occupant::Foreign(foreign);
        }
        let has_config = self.has_file("config") || self.has_file("config.copy");
        let has_slot = self.keys.iter().any(|name| is_our_slot(name));
        match self.stranger() {
            _ if has_config && has_slot => Occupant::Keepstone,
            Some(name) => Occupant::Unknown(name.to_owned()),
            None if has_config => Occupant::Keepstone,
            None => Occupant::Nothing,
        }
    }

    fn foreign(&self) -> Option<ForeignRepository> {
        let head = |name: &str| self.heads.get(name).map_or(&[][..], Vec::as_slice);
        let is_borg = head("config").starts_with(b"[repository]")
            || head("README").starts_with(b"This is a Borg Backup repository");
        if self.has_file("kopia.repository") || self.has_file("kopia.repository.f") {
            return Some(ForeignRepository::Kopia);
        }
        if is_borg {
            return Some(ForeignRepository::Borg);
        }
        if self.has_file("repo.oplog") || self.has_file("bupstash.sqlite3") {
            return Some(ForeignRepository::Bupstash);
        }
        let has_one_index = ["index", "index.gen", "manifest"]
            .iter()
            .any(|name| self.has_file(name));
        if self.keys.contains("repokey") || (self.has_file("config") && has_one_index) {
            return Some(ForeignRepository::Vykar);
        }
        let has_restic_key = self.keys.iter().any(|name| is_hex(name, 64));
        let has_restic_folders = ["data", "snapshots"]
            .iter()
            .all(|name| self.folders.contains(*name));
        if self.has_file("config") && (has_restic_key || has_restic_folders) {
            return Some(ForeignRepository::Restic);
        }
        None
    }

    /// A name that no repository of ours has at its top.
    pub(super) fn stranger(&self) -> Option<&str> {
        let is_ours = |name: &String| {
            ObjectKind::ALL
                .iter()
                .any(|kind| kind.folder() == Some(name))
        };
        let file = self
            .files
            .iter()
            .find(|name| ObjectKey::parse(name).is_none());
        let folder = self
            .folders
            .iter()
            .find(|name| *name != "tmp" && !is_ours(name));
        let key = self.keys.iter().find(|name| !is_our_slot(name));
        file.or(folder).or(key).map(String::as_str)
    }

    fn has_file(&self, name: &str) -> bool {
        self.files.contains(name)
    }
}

fn is_our_slot(name: &str) -> bool {
    ObjectKey::parse(&format!("keys/{name}")).is_some()
}

fn is_hex(name: &str, length: usize) -> bool {
    name.len() == length && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[&str], folders: &[&str], keys: &[&str]) -> Look {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Look {
            files: set(files),
            folders: set(folders),
            keys: set(keys),
            heads: BTreeMap::new(),
        }
    }

    #[test]
    fn tools_are_told_apart_by_what_lies_at_the_top() {
        let check = |look: Look, expected| assert_eq!(look.judge(), expected, "{look:?}");
        let foreign = Occupant::Foreign;
        let slot = format!("{}.1", "0a".repeat(16));
        let restic_key = "0a".repeat(32);
        check(look(&[], &[], &[]), Occupant::Nothing);
        check(look(&[], &["keys", "packs", "tmp"], &[]), Occupant::Nothing);
        check(
            look(&["config"], &["keys", "packs"], &[&slot]),
            Occupant::Keepstone,
        );
        check(
            look(&["config.copy", "notes"], &["keys"], &[&slot]),
            Occupant::Keepstone,
        );
        check(
            look(&["config"], &["keys"], &[&restic_key]),
            foreign(ForeignRepository::Restic),
        );
        check(
            look(
                &["config"],
                &["data", "index", "keys", "locks", "snapshots"],
                &[],
            ),
            foreign(ForeignRepository::Restic),
        );
        check(
            look(&["kopia.repository"], &[], &[]),
            foreign(ForeignRepository::Kopia),
        );
        check(
            look(&["kopia.repository.f"], &["p00"], &[]),
            foreign(ForeignRepository::Kopia),
        );
        check(
            look(&["repo.oplog"], &["meta"], &[]),
            foreign(ForeignRepository::Bupstash),
        );
        check(
            look(
                &["config", "index"],
                &["keys", "packs", "sessions"],
                &["repokey"],
            ),
            foreign(ForeignRepository::Vykar),
        );
        check(
            look(&["config", "index"], &["packs"], &[]),
            foreign(ForeignRepository::Vykar),
        );
        check(
            look(&["config", "HEAD"], &["objects"], &[]),
            Occupant::Unknown("HEAD".into()),
        );
        check(
            look(&["letter.txt"], &[], &[]),
            Occupant::Unknown("letter.txt".into()),
        );
        let mut borg = look(&["config", "README"], &["data"], &[]);
        borg.heads
            .insert("config".into(), b"[repository]\nversion = 1\n".to_vec());
        check(borg, foreign(ForeignRepository::Borg));
    }
}
