//! Comparing one wish with what is on disk: the facts that `plan::decide` needs, and what is in the way.

use std::io;
use std::sync::Arc;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::SourceError;

use super::Survey;
use super::level::Place;
use crate::files::client::{self, FileKind, Folder};
use crate::files::extent::Extent;
use crate::files::metadata::Wanted;
use crate::files::plan::{Act, Doomed, OnDisk, Overwrite, Step, What, content_equal, decide};
use crate::files::spare::Sweeper;
use crate::files::verify;

impl Survey<'_> {
    /// Looks at the disk and decides. An error is a reason, empty if it was given before.
    pub(super) fn step(
        &mut self,
        path: RepoPath,
        mut what: What,
        mut wanted: Wanted,
    ) -> Result<(Step, Option<OnDisk>), String> {
        let on_disk = self.look(&path, what.kind());
        let on_disk = match on_disk {
            Ok(on_disk) => on_disk,
            Err(Obstacle::Named) => return Err(String::new()),
            Err(Obstacle::Kept) => {
                let act = Act::Keep;
                return Ok((new_step(path, act, what, wanted), None));
            }
            Err(Obstacle::Io(error)) => return Err(client::reason(&error)),
        };
        let leader = match &what {
            What::HardLink(leader) => self.plan.step(leader).and_then(|step| match &step.what {
                What::File(file) => file.linked,
                _ => None,
            }),
            _ => None,
        };
        let is_ancestor = matches!(what, What::Dir(Extent::Ancestor));
        let disk = on_disk.as_ref();
        if let Some(disk) = disk.filter(|disk| content_equal(&what, &wanted, disk, leader)) {
            wanted.stay_as(disk);
        }
        let act = match decide(&what, &wanted, disk, self.options.overwrite, leader) {
            Act::Metadata if is_ancestor => Act::Unchanged,
            Act::Overwrite if is_ancestor => {
                return Err("something that is no folder is in the way".into());
            }
            act => act,
        };
        if !matches!(act, Act::Unchanged | Act::Metadata) {
            wanted.make_anew();
        }
        wanted.tell(self.notes);
        if let (What::File(file), Some(disk)) = (&mut what, disk)
            && act == Act::Unchanged
            && disk.stat.links > 1
        {
            file.linked = Some((disk.stat.device, disk.stat.inode));
        }
        let mut step = new_step(path, act, what, wanted);
        if let Some(disk) = disk
            && act == Act::Overwrite
        {
            step.clear = self.clear(&step, disk)?;
        }
        Ok((step, on_disk))
    }

    /// What must go before an entry of another kind can be made.
    fn clear(&mut self, step: &Step, on_disk: &OnDisk) -> Result<Vec<Doomed>, String> {
        let is_dir = on_disk.stat.kind == FileKind::Dir;
        if is_dir == (step.what.kind() == FileKind::Dir) {
            return Ok(Vec::new());
        }
        if !is_dir {
            let path = step.path.clone();
            return Ok(vec![Doomed { path, is_dir }]);
        }
        let folder = self
            .stack
            .folder()
            .map_err(|error| client::reason(&error))?;
        let sweep = self.sweeper(|sweeper| sweeper.sweep(&folder, &step.path));
        let whole = sweep
            .doomed
            .first()
            .is_some_and(|doomed| doomed.path == step.path);
        let empty = sweep.doomed.len() == 1;
        if whole && (empty || self.options.delete) {
            return Ok(sweep.doomed);
        }
        Err("a folder that is not empty is in the way".into())
    }

    pub(super) fn sweeper<T>(&self, act: impl FnOnce(Sweeper<'_>) -> T) -> T {
        act(Sweeper {
            base: &self.base,
            spare: &self.spare,
            scope: self.scope,
            notes: self.notes,
        })
    }

    /// With `verify`, a file counts as unchanged only if its content is equal. An error that is damage concerns this file
    /// alone: nobody can tell whether it is equal, and there is nothing to write in its place.
    pub(super) fn check_content(
        &mut self,
        mut step: Step,
        on_disk: Option<&OnDisk>,
    ) -> Result<Step, SourceError> {
        let stays = matches!(step.act, Act::Unchanged | Act::Metadata);
        if let (What::File(file), Some(on_disk), true, true) =
            (&mut step.what, on_disk, stays, self.options.verify)
        {
            let name = step.path.name().unwrap_or_default();
            let open = |folder: Arc<Folder>| folder.open_file(name, &on_disk.stat, self.powers);
            let equal = match self.stack.folder().and_then(open) {
                Ok(open) => verify::content_equals(self.items, &file.content, &open)?,
                Err(_) => false,
            };
            if !equal {
                file.linked = None;
                if step.wanted.make_anew() {
                    step.wanted.tell(self.notes);
                }
                step.act = match self.options.overwrite {
                    Overwrite::Never => Act::Keep,
                    _ => Act::Overwrite,
                };
            }
        }
        Ok(step)
    }

    /// What is on disk at a path in the current folder. Takes its name off the list.
    fn look(&mut self, path: &RepoPath, wished: FileKind) -> Result<Option<OnDisk>, Obstacle> {
        let name = path.name().unwrap_or_default();
        let Some((_, level)) = self.stack.top() else {
            return Ok(None);
        };
        match &mut level.place {
            Place::Absent => return Ok(None),
            Place::Listed(names) => {
                if names.remove(name).is_none() {
                    return Ok(None);
                }
            }
            Place::Unlisted => {}
            Place::Kept => return Err(Obstacle::Kept),
            Place::Failed => return Err(Obstacle::Named),
        }
        let folder = self.stack.folder()?;
        match on_disk(&folder, name, wished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            seen => Ok(Some(seen?)),
        }
    }
}

/// Why nothing can be decided for an entry.
enum Obstacle {
    /// The folder above failed, which was said.
    Named,
    /// The folder above is something else that stays.
    Kept,
    Io(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn new_step(path: RepoPath, act: Act, what: What, wanted: Wanted) -> Step {
    Step {
        path,
        act,
        what,
        wanted,
        clear: Vec::new(),
    }
}

fn on_disk(folder: &Folder, name: &[u8], wished: FileKind) -> io::Result<OnDisk> {
    let stat = folder.stat(name)?;
    let compare = stat.kind == wished;
    Ok(OnDisk {
        stat,
        xattrs: if compare {
            client::xattrs_of(folder, name)?
        } else {
            client::Xattrs::new()
        },
        link_target: if compare && stat.kind == FileKind::Link {
            folder.link_target(name)?
        } else {
            Vec::new()
        },
    })
}
