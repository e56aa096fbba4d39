//! A folder between the target and the item that the survey has come to.

use std::collections::BTreeMap;

use crate::files::client::{FileKind, Folder};
use crate::files::plan::{Act, OnDisk, Step, Volume};

/// A folder on the way from the target down to the current item.
#[derive(Debug)]
pub(super) struct Level {
    pub place: Place,
    /// The file system that it is on, or will be.
    pub volume: Volume,
    pub selected: bool,
    /// Whether what the snapshot does not have is removed here.
    pub sweep: bool,
    /// The step that makes this folder, as long as nothing in it is selected.
    pub pending: Option<Step>,
}

/// What is on disk where a folder will be.
#[derive(Debug)]
pub(super) enum Place {
    /// Nothing yet.
    Absent,
    /// A folder with these names, as far as no item has them.
    Listed(BTreeMap<Vec<u8>, Option<FileKind>>),
    /// A folder that cannot be listed.
    Unlisted,
    /// Something that stays in the way.
    Kept,
    /// Something that failed and was named already.
    Failed,
}

pub(super) fn place_after(act: Act, on_disk: Option<&OnDisk>) -> Place {
    let is_dir = on_disk.is_some_and(|on_disk| on_disk.stat.kind == FileKind::Dir);
    match act {
        Act::Create | Act::Overwrite => Place::Absent,
        Act::Metadata | Act::Unchanged | Act::Keep if is_dir => Place::Unlisted,
        _ => Place::Kept,
    }
}

pub(super) fn listed(folder: &Folder) -> Place {
    folder.names().map_or(Place::Unlisted, |names| {
        Place::Listed(
            names
                .into_iter()
                .map(|listed| (listed.name, listed.kind))
                .collect(),
        )
    })
}
