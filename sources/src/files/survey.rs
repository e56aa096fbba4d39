//! The survey: compares the items of a snapshot with what is on disk and writes the plan. Changes nothing.
//!
//! Items may come from a hostile repository. What is not a tree (an item below a link, out of order, twice) never
//! gets a step.

mod compare;
mod leaf;
mod level;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    ItemInfo, Items, Meta, NodeKind, Skipped, SourceError, SourceErrorKind, Walked,
};

use super::client::{self, Folder, Powers};
use super::extent::Extent;
use super::metadata::{Notes, Wanted};
use super::plan::{NOT_DELETED, Plan, Volume, What};
use super::rebuild::FilesRestoreOptions;
use super::scope::Scope;
use super::spare::Spare;
use super::stack::FolderStack;
use super::write::what_is_damaged;
use level::{Level, Place, listed, place_after};

/// Everything that the survey asks; shared with nobody.
pub(super) struct Survey<'a> {
    items: &'a dyn Items,
    options: &'a FilesRestoreOptions,
    scope: &'a Scope,
    powers: &'a Powers,
    notes: &'a Notes,
    base: Arc<Folder>,
    /// The file system of the base.
    volume: Volume,
    spare: Spare,
    stack: FolderStack<Level>,
    plan: Plan,
    last_item: Option<RepoPath>,
    last_leaf: Option<RepoPath>,
    skipped_below: Option<RepoPath>,
    /// Files whose first name is not restored, by that name: where their content is restored instead.
    promoted: BTreeMap<RepoPath, RepoPath>,
}

impl<'a> Survey<'a> {
    /// Prepares a survey of a target; `exists` tells whether `base` is that or only a folder above it.
    pub(super) fn new(
        items: &'a dyn Items,
        options: &'a FilesRestoreOptions,
        scope: &'a Scope,
        powers: &'a Powers,
        (notes, (base, exists)): (&'a Notes, (Arc<Folder>, bool)),
    ) -> Result<Self, SourceError> {
        let spare = Spare::of(items)?;
        if options.delete && !spare.is_known() {
            notes.unknown_excludes.store(true, Ordering::Relaxed);
        }
        let mut stack = FolderStack::new(Arc::clone(&base));
        let place = if exists { listed(&base) } else { Place::Absent };
        let stat = base.stat_self().map_err(|error| {
            let act = "cannot look at the target";
            SourceError::new(SourceErrorKind::Other, act).because(error)
        })?;
        let volume = Volume {
            device: stat.device,
            folder: RepoPath::root(),
        };
        let level = Level {
            place,
            volume: volume.clone(),
            selected: options.include.is_empty(),
            sweep: false,
            pending: None,
        };
        stack.push(RepoPath::root(), Some(Arc::clone(&base)), level);
        Ok(Self {
            items,
            options,
            scope,
            powers,
            notes,
            base,
            volume,
            spare,
            stack,
            plan: Plan::default(),
            last_item: None,
            last_leaf: None,
            skipped_below: None,
            promoted: BTreeMap::new(),
        })
    }

    /// Looks at every item.
    pub(super) fn run(mut self) -> Result<Plan, SourceError> {
        let items = self.items;
        items.walk_past_damage(&mut |walked| {
            if items.cancelled() {
                let act = "looking at the target was interrupted";
                return Err(SourceError::new(SourceErrorKind::Cancelled, act));
            }
            match walked {
                Walked::Item(item) => self.visit(*item),
                Walked::Lost(folder, error) => {
                    self.lost(&folder, &error);
                    Ok(())
                }
            }
        })?;
        while self.leave_level() {}
        self.plan.leftovers.sort();
        self.plan.deletions.sort_by(|a, b| a.path.cmp(&b.path));
        if self.plan.damaged {
            for doomed in mem::take(&mut self.plan.deletions) {
                self.problem(&doomed.path, NOT_DELETED.into());
            }
            self.plan.keep_folders();
        }
        Ok(self.plan)
    }

    fn visit(&mut self, item: ItemInfo) -> Result<(), SourceError> {
        if self
            .last_item
            .as_ref()
            .is_some_and(|last| *last >= item.path)
        {
            let act = format!(
                "cannot restore {}: items are not in the order of paths",
                item.path
            );
            return Err(SourceError::new(SourceErrorKind::Corrupt, act));
        }
        self.last_item = Some(item.path.clone());
        let below =
            |path: &Option<RepoPath>| path.as_ref().is_some_and(|p| item.path.starts_with(p));
        if below(&self.skipped_below) {
            return Ok(());
        }
        if below(&self.last_leaf) {
            self.problem(&item.path, "lies below an entry that is no folder".into());
            return Ok(());
        }
        let is_dir = item.kind == NodeKind::Dir;
        if !is_dir {
            self.last_leaf = Some(item.path.clone());
        }
        let Some(path) = self.scope.target_path(&item.path) else {
            return Ok(());
        };
        if path.is_root() {
            return self.visit_target(&item);
        }
        self.go_to_parent(&path);
        if self.scope.excludes(&item.path, is_dir) {
            self.skipped_below = Some(item.path);
            self.see_name(&path);
            return Ok(());
        }
        self.visit_at(path, item)
    }

    /// Nobody knows what was in a folder: nothing in it is restored, and nothing in it is extra.
    fn lost(&mut self, item: &RepoPath, error: &SourceError) {
        let skipped = self.skipped_below.as_ref();
        if skipped.is_some_and(|skipped| item.starts_with(skipped)) {
            return;
        }
        let Some(path) = self.scope.target_path(item) else {
            return;
        };
        // The folder was met just before.
        if let Some((top, level)) = self.stack.top()
            && *top == path
        {
            level.sweep = false;
        }
        self.plan.damaged = true;
        let reason = format!("nothing in it is restored: {}", what_is_damaged(error));
        self.problem(&path, reason);
    }

    /// The item that stands for the target folder itself: its own facts are left alone.
    fn visit_target(&mut self, item: &ItemInfo) -> Result<(), SourceError> {
        if item.kind != NodeKind::Dir {
            let act = format!("cannot restore {}: it is no folder", item.path);
            return Err(SourceError::new(SourceErrorKind::Settings, act));
        }
        let extent = Extent::of(&item.facts.attributes);
        let sweep = self.sweeps(extent, &item.path);
        if let Some((_, level)) = self.stack.top() {
            level.selected = self.scope.selects(&item.path, true, level.selected);
            level.sweep = sweep && level.selected;
        }
        Ok(())
    }

    fn sweeps(&self, extent: Extent, item: &RepoPath) -> bool {
        self.options.delete
            && extent == Extent::All
            && self.spare.is_known()
            && !self.spare.is_unread(item)
            && self.scope.holds(item)
    }

    /// Goes up, and down again where items lack the folders above them.
    fn go_to_parent(&mut self, path: &RepoPath) {
        let parent = path.parent().unwrap_or_default();
        while let Some((top, _)) = self.stack.top()
            && !parent.starts_with(top)
        {
            self.leave_level();
        }
        let depth = self.stack.levels().count();
        let selected = self.stack.top().is_some_and(|(_, level)| level.selected);
        let mut folder = RepoPath::root();
        for (above, name) in parent.components().enumerate() {
            let Ok(path) = folder.join(name) else { return };
            folder = path;
            if above + 1 >= depth {
                let wanted = Wanted::of(
                    &Meta::default(),
                    &NodeKind::Dir,
                    self.powers,
                    false,
                    self.notes,
                );
                self.folder(folder.clone(), Extent::Ancestor, wanted, (selected, false));
            }
        }
    }

    fn visit_at(&mut self, path: RepoPath, item: ItemInfo) -> Result<(), SourceError> {
        let is_dir = item.kind == NodeKind::Dir;
        let above = self.stack.top().is_some_and(|(_, level)| level.selected);
        let selected = self.scope.selects(&item.path, is_dir, above);
        if is_dir {
            let extent = match Extent::of(&item.facts.attributes) {
                _ if !selected => Extent::Ancestor,
                extent => extent,
            };
            let wanted = self.wanted(&item);
            let sweep = selected && self.sweeps(extent, &item.path);
            self.folder(path, extent, wanted, (selected, sweep));
            return Ok(());
        }
        if !selected {
            self.see_name(&path);
            return Ok(());
        }
        self.commit_pending();
        self.leaf(&path, item)
    }

    fn wanted(&self, item: &ItemInfo) -> Wanted {
        let privileged = self.options.privileged;
        Wanted::of(&item.meta, &item.kind, self.powers, privileged, self.notes)
    }

    fn folder(
        &mut self,
        path: RepoPath,
        extent: Extent,
        wanted: Wanted,
        (selected, sweep): (bool, bool),
    ) {
        let what = What::Dir(extent);
        let mut level = Level {
            place: Place::Failed,
            volume: self.volume(),
            selected,
            sweep,
            pending: None,
        };
        match self.step(path.clone(), what, wanted) {
            Ok((step, on_disk)) => {
                level.place = place_after(step.act, on_disk.as_ref());
                let stat = on_disk.as_ref().map(|on_disk| &on_disk.stat);
                if let (Place::Unlisted, Some(stat)) = (&level.place, stat)
                    && stat.device != level.volume.device
                {
                    level.volume = Volume {
                        device: stat.device,
                        folder: path.clone(),
                    };
                }
                if selected {
                    self.commit_pending();
                    self.plan.push(step, stat, &level.volume);
                } else {
                    level.pending = Some(step);
                }
            }
            // The folder above was named already.
            Err(reason) if reason.is_empty() => {}
            Err(reason) => self.problem(&path, format!("{reason}; nothing below it is restored")),
        }
        self.stack.push(path, None, level);
        self.list_top();
    }

    /// The file system that the current folder is on, or will be.
    pub(super) fn volume(&mut self) -> Volume {
        match self.stack.top() {
            Some((_, level)) => level.volume.clone(),
            None => self.volume.clone(),
        }
    }

    /// Lists the folder that was just entered, if it is there.
    fn list_top(&mut self) {
        let is_there = |(_, level): (&RepoPath, &mut Level)| matches!(level.place, Place::Unlisted);
        if self.stack.top().is_some_and(is_there)
            && let Ok(folder) = self.stack.folder()
            && let Some((_, level)) = self.stack.top()
        {
            level.place = listed(&folder);
        }
    }

    /// Something in the folders above is selected: they are needed.
    fn commit_pending(&mut self) {
        for level in self.stack.levels() {
            if let Some(step) = level.pending.take() {
                self.plan.push(step, None, &level.volume);
            }
        }
    }

    /// An item that is not restored still has its name: what is there under it is not extra.
    fn see_name(&mut self, path: &RepoPath) {
        if let (Some((_, level)), Some(name)) = (self.stack.top(), path.name())
            && let Place::Listed(names) = &mut level.place
        {
            names.remove(name);
        }
    }

    /// Goes up one level; what no item has there is left over or extra. Answers false at the end.
    fn leave_level(&mut self) -> bool {
        let extra = match self.stack.top() {
            None => return false,
            Some((path, level)) => match std::mem::replace(&mut level.place, Place::Absent) {
                Place::Listed(names) if !names.is_empty() => {
                    let (path, volume) = (path.clone(), level.volume.clone());
                    Some(((path, volume), level.sweep, names))
                }
                _ => None,
            },
        };
        if let Some(((path, volume), sweep, names)) = extra
            && let Ok(folder) = self.stack.folder()
        {
            for name in names.into_keys() {
                let Ok(path) = path.join(&name) else { continue };
                if client::is_leftover(&name) {
                    if client::is_dead_leftover(&folder, &name) {
                        self.plan.leftovers.push(path);
                        self.plan.need(&volume);
                    }
                } else if sweep {
                    let sweep = self.sweeper(|sweeper| sweeper.sweep(&folder, &path));
                    if !sweep.doomed.is_empty() {
                        self.plan.need(&volume);
                    }
                    self.plan.deletions.extend(sweep.doomed);
                    self.plan.problems.extend(sweep.problems);
                }
            }
        }
        self.stack.pop().is_some()
    }

    fn problem(&mut self, path: &RepoPath, reason: String) {
        let path = path.to_string();
        self.plan.problems.push(Skipped { path, reason });
    }
}
