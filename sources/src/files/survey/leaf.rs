//! What an item that is no folder becomes: a step, a problem, or something left out on purpose.

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{ItemInfo, NodeKind, SourceError};

use super::Survey;
use crate::files::client::FileKind;
use crate::files::metadata::Names;
use crate::files::plan::{Act, FileWish, Step, What};
use crate::files::write::what_is_damaged;

impl Survey<'_> {
    pub(super) fn leaf(&mut self, path: &RepoPath, item: ItemInfo) -> Result<(), SourceError> {
        let wanted = self.wanted(&item);
        let content = item.path;
        let what = match item.kind {
            NodeKind::File => What::File(FileWish {
                size_bytes: item.size_bytes,
                sparse: item.meta.sparse || self.options.sparse,
                content,
                linked: None,
            }),
            NodeKind::Link(target) => What::Link(target),
            NodeKind::HardLink(first) => match self.hard_link(path, &first) {
                Ok(Some(what)) => what,
                Ok(None) => {
                    let reason = format!("is a hard link to {first}, which is no file here");
                    self.stays(path, reason);
                    return Ok(());
                }
                Err(error) if error.is_damage() => {
                    let what = what_is_damaged(&error);
                    self.plan.damaged = true;
                    self.stays(path, format!("is a hard link to {first}: {what}"));
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
            NodeKind::Fifo => What::Node(FileKind::Fifo, (0, 0)),
            NodeKind::Socket | NodeKind::Dir => {
                self.leave_out(path, &self.notes.sockets);
                return Ok(());
            }
            NodeKind::BlockDevice(..) | NodeKind::CharDevice(..) if !self.options.privileged => {
                self.leave_out(path, &self.notes.devices);
                return Ok(());
            }
            NodeKind::BlockDevice(major, minor) => {
                What::Node(FileKind::BlockDevice, (major, minor))
            }
            NodeKind::CharDevice(major, minor) => What::Node(FileKind::CharDevice, (major, minor)),
        };
        match self.step(path.clone(), what, wanted) {
            Ok((step, on_disk)) => match self.check_content(step, on_disk.as_ref()) {
                Ok(step) => {
                    let volume = self.volume();
                    let stat = on_disk.as_ref().map(|on_disk| &on_disk.stat);
                    self.plan.push(step, stat, &volume);
                }
                Err(error) if error.is_damage() => {
                    self.plan.damaged = true;
                    self.problem(path, what_is_damaged(&error));
                }
                Err(error) => return Err(error),
            },
            Err(reason) if reason.is_empty() => {}
            Err(reason) => self.problem(path, reason),
        }
        Ok(())
    }

    /// Names an entry that cannot be restored; what is there under its name is not extra.
    fn stays(&mut self, path: &RepoPath, reason: String) {
        self.problem(path, reason);
        self.see_name(path);
    }

    fn leave_out(&mut self, path: &RepoPath, names: &Names) {
        names.add(path);
        self.see_name(path);
    }

    /// What a further name becomes: a link to the first name, or a file if that one is not restored.
    fn hard_link(
        &mut self,
        path: &RepoPath,
        first: &RepoPath,
    ) -> Result<Option<What>, SourceError> {
        let leader = self.promoted.get(first).cloned();
        let leader = leader.or_else(|| self.scope.target_path(first));
        let is_restored = |step: &Step| {
            matches!(step.what, What::File(_)) && !matches!(step.act, Act::Keep | Act::Delete)
        };
        if let Some(leader) = leader
            && self.plan.step(&leader).is_some_and(is_restored)
        {
            return Ok(Some(What::HardLink(leader)));
        }
        let Some(item) = self
            .items
            .get(first)?
            .filter(|item| item.kind == NodeKind::File)
        else {
            return Ok(None);
        };
        self.promoted.insert(first.clone(), path.clone());
        Ok(Some(What::File(FileWish {
            size_bytes: item.size_bytes,
            sparse: item.meta.sparse || self.options.sparse,
            content: item.path,
            linked: None,
        })))
    }
}
