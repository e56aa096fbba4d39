//! The scope of a restore: which items it takes and where below the target they go.

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{Items, NodeKind, SourceError, SourceErrorKind};

use super::excludes::Patterns;
use super::rebuild::FilesRestoreOptions;

/// Which items are restored, and the paths they get.
#[derive(Debug)]
pub(super) struct Scope {
    subpath: RepoPath,
    /// What is taken off the front of every path.
    strip: RepoPath,
    include: Patterns,
    exclude: Patterns,
}

impl Scope {
    /// Reads the options and looks the subpath up.
    pub(super) fn of(
        options: &FilesRestoreOptions,
        items: &dyn Items,
    ) -> Result<Self, SourceError> {
        let subpath = options.subpath.clone().unwrap_or_default();
        let mut strip = RepoPath::root();
        if !subpath.is_root() {
            let item = items.get(&subpath)?.ok_or_else(|| {
                let act = format!("the snapshot has no /{subpath}");
                SourceError::new(SourceErrorKind::Missing, act)
            })?;
            if options.strip_subpath {
                strip = match item.kind {
                    NodeKind::Dir => subpath.clone(),
                    _ => subpath.parent().unwrap_or_default(),
                };
            }
        }
        Ok(Self {
            subpath,
            strip,
            include: Patterns::compile(&options.include)?,
            exclude: Patterns::compile(&options.exclude)?,
        })
    }

    /// Where an item goes; none if it is neither restored nor on the way to what is.
    pub(super) fn target_path(&self, item: &RepoPath) -> Option<RepoPath> {
        if !self.holds(item) && !self.subpath.starts_with(item) {
            return None;
        }
        if self.strip.is_root() {
            return Some(item.clone());
        }
        let rest = item.as_bytes().strip_prefix(self.strip.as_bytes())?;
        if !rest.is_empty() && !rest.starts_with(b"/") {
            return None;
        }
        RepoPath::parse(rest).ok()
    }

    /// The item that a path below the target stands for.
    pub(super) fn item_path(&self, path: &RepoPath) -> RepoPath {
        self.strip.join_path(path).unwrap_or_default()
    }

    /// Whether an item lies where the restore looks at all.
    pub(super) fn holds(&self, item: &RepoPath) -> bool {
        item.starts_with(&self.subpath)
    }

    /// Whether an item is restored; `above` tells whether the folder above it is, with all that is in it.
    pub(super) fn selects(&self, item: &RepoPath, is_dir: bool, above: bool) -> bool {
        self.holds(item)
            && (above
                || self.include.is_empty()
                || self.include.matches(item, is_dir)
                || (*item == self.subpath && self.include.match_within(item, is_dir)))
    }

    /// Whether an item and everything below it is left out.
    pub(super) fn excludes(&self, item: &RepoPath, is_dir: bool) -> bool {
        self.exclude.matches(item, is_dir)
    }
}
