//! What this machine remembers of each repository it has used, by address: noticed is another repository in its place,
//! another key, and snapshots that were taken away.

use std::path::{Component, Path, PathBuf};

use keepstone_engine::backend::address::RepositoryAddress;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::repo::pin::{Pin, check_missing};
use keepstone_engine::repo::{Readable, Repo, Unreadable};
use keepstone_engine::snapshot::Snapshot;
use keepstone_engine::snapshot::select::Listed;

use crate::context::Context;
use crate::error::{CliError, in_one_line};
use crate::state::PrivateFolder;
use crate::ui::format::{count, printable, size};

impl Context {
    /// Refuses a repository that is not the one that was last seen at this address.
    pub(crate) fn check_pin(&self, repo: &Repo) -> Result<(), CliError> {
        match self.known_pin()? {
            Some(known) if !self.settings.accept_change => {
                Ok(known.check_identity(repo.id(), &repo.root().fingerprint())?)
            }
            _ => {
                self.pin_anew(repo);
                Ok(())
            }
        }
    }

    /// Remembers a repository of which nothing is known yet, or nothing any more.
    pub(crate) fn pin_anew(&self, repo: &Repo) {
        self.remember_pin(&Pin {
            repository: repo.id(),
            key: repo.root().fingerprint(),
            heads: std::collections::BTreeMap::new(),
        });
    }

    /// Lists the snapshots, and refuses a list from which some were taken away. What cannot be read is named, and stands
    /// apart.
    pub(crate) fn snapshots(&self, repo: &Repo) -> Result<Readable, CliError> {
        let found = repo.readable_snapshots()?;
        self.name_unreadable(&found);
        if found.snapshots.is_empty() && found.damaged.is_empty() {
            self.name_uncommitted(repo)?;
        }
        let Some(mut pin) = self.known_pin()? else {
            return Ok(found);
        };
        let mut missing = pin.missing_from(&found.snapshots);
        missing.retain(|head| {
            let mut damaged = found.damaged.iter();
            damaged.all(|record| record.snapshot != Some(head.snapshot))
        });
        if !missing.is_empty() {
            check_missing(&missing, &repo.forgotten()?)?;
        }
        if pin.take(&found.snapshots) {
            self.remember_pin(&pin);
        }
        Ok(found)
    }

    /// Warns of data without any snapshot.
    fn name_uncommitted(&self, repo: &Repo) -> Result<(), CliError> {
        if let Some((packs, bytes)) = repo.uncommitted()? {
            let (packs, bytes) = (count(packs, "pack"), size(bytes));
            self.ui.warning_once(&format!(
                "the repository has no snapshot, but {packs} ({bytes}): of runs that go on or were cut off, or the records \
                 of its snapshots, in end/, are lost: then put them back before it is used"
            ));
        }
        Ok(())
    }

    /// Warns of records that do not open.
    pub(crate) fn name_unreadable(&self, found: &Readable) {
        for Unreadable { snapshot, why } in &found.damaged {
            let means = match snapshot {
                Some(id) => format!("snapshot {} is left out", id.short()),
                None => "forgotten snapshots may be listed".into(),
            };
            let why = in_one_line(why);
            self.ui.warning(&format!("{why}; {means}"));
        }
    }

    /// Remembers a snapshot that was just committed. What fails is warned of: the snapshot is saved.
    pub(crate) fn remember_snapshot(&self, id: SnapshotId, snapshot: &Snapshot) {
        let listed = Listed {
            id,
            snapshot: snapshot.clone(),
            stored_at_ns: None,
        };
        match self.known_pin() {
            Ok(Some(mut pin)) => {
                pin.take(&[listed]);
                self.remember_pin(&pin);
            }
            Ok(None) => {}
            Err(error) => self.say_forgetful(
                "the snapshot is saved, but cannot be looked for later",
                &error,
            ),
        }
    }

    /// Where the memory lies.
    fn pin_place(&self) -> Result<(PrivateFolder, String), CliError> {
        let address: RepositoryAddress = self.settings.repository()?.parse()?;
        let address = absolute(address, &self.folder);
        let name = blake3::hash(address.to_string().as_bytes()).to_hex();
        let folder = self.state()?.folder("pins")?;
        Ok((folder, name.get(..32).unwrap_or_default().to_owned()))
    }

    /// What is remembered. A memory that is out of reach is no reason to refuse a restore, and one to warn.
    fn known_pin(&self) -> Result<Option<Pin>, CliError> {
        let (folder, name) = match self.pin_place() {
            Ok(place) => place,
            Err(error) => {
                self.say_forgetful(
                    "what this machine has seen of the repository cannot be compared",
                    &error,
                );
                return Ok(None);
            }
        };
        let path = folder.path().join(name);
        let failed = |source| CliError::File {
            act: "read",
            path: path.clone(),
            source,
        };
        match std::fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .map_err(|error| failed(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Remembers. Where nothing can be written, later runs compare with what was remembered before.
    fn remember_pin(&self, pin: &Pin) {
        let json = serde_json::to_vec(pin).unwrap_or_default();
        // Where there is no place for it, that was said when it was looked for.
        let Ok((folder, name)) = self.pin_place() else {
            return;
        };
        if let Err(source) = folder.replace(&name, &json) {
            let path: PathBuf = folder.path().join(&name);
            let error = CliError::File {
                act: "write",
                path,
                source,
            };
            self.say_forgetful(
                "what is seen of the repository now cannot be compared later",
                &error,
            );
        }
    }

    fn say_forgetful(&self, what: &str, error: &CliError) {
        let advice = error.advice().map(|advice| format!(" ({advice})"));
        let advice = advice.unwrap_or_default();
        let text = format!("{what}: {}{advice}", error.message());
        self.ui.warning_once(&printable(&text));
    }
}

/// One text for one folder, wherever it is named from: two folders must never share a memory. What no system call is asked
/// about stays as it is: `..` behind a name, which may be a link.
fn absolute(address: RepositoryAddress, from: &Path) -> RepositoryAddress {
    let RepositoryAddress::Folder(path) = address else {
        return address;
    };
    let mut whole = PathBuf::new();
    // The folder that the system names us holds no link, so that `..` leads to the one above it.
    let mut is_ours = path.is_relative();
    if is_ours {
        whole.push(from);
    }
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if is_ours => drop(whole.pop()),
            part => {
                is_ours = false;
                whole.push(part);
            }
        }
    }
    RepositoryAddress::Folder(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_has_one_address_and_two_have_two() {
        let at = |text: &str, from: &str| absolute(text.parse().unwrap(), from.as_ref());
        let known = at("/home/me/rel", "/");
        for (text, from) in [
            ("rel", "/home/me"),
            ("./rel/", "/home/me"),
            ("../me/rel", "/home/me"),
            ("../../rel", "/home/me/a/b"),
            ("local:rel", "/home/me"),
            ("file:///home/me/rel/", "/srv"),
            ("/home//me/./rel", "/srv"),
        ] {
            assert_eq!(at(text, from), known, "{text} from {from}");
        }
        assert_ne!(at("rel", "/home/you"), known);
        // `x` may be a link to anywhere.
        assert_ne!(at("x/../rel", "/home/me"), known);
        let remote = "s3://bucket/rel";
        assert_eq!(at(remote, "/home/me"), remote.parse().unwrap());
    }
}
