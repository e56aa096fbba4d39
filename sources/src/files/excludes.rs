//! Which entries are left out of a capture, or chosen for a restore: patterns, marks in folders, size.
//!
//! A pattern is a line of a gitignore file with one difference: a pattern that does not begin with a slash may
//! match at any depth, even if it holds a slash. One that begins with a slash is a path from the root.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{SourceError, SourceErrorKind};
use serde::{Deserialize, Serialize};

/// One gitignore-style pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// The line as it would stand in a gitignore file; comments and empty lines match nothing.
    pub text: String,
    /// Whether letters match in either case.
    #[serde(default)]
    pub ignore_case: bool,
}

impl Pattern {
    /// A pattern that tells upper and lower case apart.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ignore_case: false,
        }
    }

    /// A pattern that matches either case.
    pub fn ignoring_case(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ignore_case: true,
        }
    }
}

/// A mark in a folder that keeps the rest of the folder out of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderMark {
    /// Name of the file that marks the folder.
    pub name: Vec<u8>,
    /// What the file must begin with. Empty: its presence is enough.
    pub header: Vec<u8>,
}

impl FolderMark {
    /// The mark of the Cache Directory Tagging specification.
    pub fn cachedir() -> Self {
        Self {
            name: b"CACHEDIR.TAG".to_vec(),
            header: b"Signature: 8a477f597d28d172789f06886806bc55".to_vec(),
        }
    }

    /// Parses `NAME` or `NAME:HEADER`.
    pub fn parse(text: &str) -> Self {
        let (name, header) = text.split_once(':').unwrap_or((text, ""));
        Self {
            name: name.into(),
            header: header.into(),
        }
    }
}

/// All rules of one capture, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub patterns: Patterns,
    pub marks: Vec<FolderMark>,
    pub larger_than_bytes: Option<u64>,
    pub one_file_system: bool,
}

/// Compiled patterns. The last one that matches an entry decides; `!` turns a match around.
#[derive(Debug, Clone)]
pub(super) struct Patterns {
    set: Gitignore,
}

impl Patterns {
    /// Compiles patterns; one that makes no sense is named.
    pub(super) fn compile<'a>(
        patterns: impl IntoIterator<Item = &'a Pattern>,
    ) -> Result<Self, SourceError> {
        let bad = |text: &str, error: ignore::Error| {
            SourceError::new(
                SourceErrorKind::Settings,
                format!("cannot use pattern `{text}`"),
            )
            .because(error)
        };
        let mut builder = GitignoreBuilder::new("/");
        for pattern in patterns {
            let line = at_any_depth(&pattern.text);
            builder
                .case_insensitive(pattern.ignore_case)
                .and_then(|builder| builder.add_line(None, &line))
                .map_err(|error| bad(&pattern.text, error))?;
        }
        let set = builder
            .build()
            .map_err(|error| bad("all together", error))?;
        Ok(Self { set })
    }

    /// Whether there is no pattern at all.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Whether the patterns name this very entry.
    pub(super) fn matches(&self, path: &RepoPath, is_dir: bool) -> bool {
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        matches!(self.set.matched(path, is_dir), Match::Ignore(_))
    }

    /// Whether the patterns name this entry or a folder above it.
    pub(super) fn match_within(&self, path: &RepoPath, is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut above = path.parent();
        while let Some(folder) = above.filter(|folder| !folder.is_root()) {
            if self.matches(&folder, true) {
                return true;
            }
            above = folder.parent();
        }
        self.matches(path, is_dir)
    }
}

/// gitignore ties a pattern with a slash inside to the folder of the gitignore file. On a command line there is
/// no such folder, so it is let loose.
fn at_any_depth(text: &str) -> Cow<'_, str> {
    let (negation, body) = match text.strip_prefix('!') {
        Some(body) => ("!", body),
        None => ("", text),
    };
    let tied = body.trim_end_matches('/').contains('/');
    let free = body.starts_with('/') || body.starts_with("**/") || body.starts_with('#');
    if tied && !free {
        Cow::Owned(format!("{negation}**/{body}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], path: &str, expected: bool) {
        let patterns: Vec<_> = patterns.iter().copied().map(Pattern::new).collect();
        let compiled = Patterns::compile(&patterns).unwrap();
        let is_dir = path.ends_with('/');
        let path = RepoPath::parse(path.trim_end_matches('/')).unwrap();
        let found = compiled.match_within(&path, is_dir);
        assert_eq!(found, expected, "{patterns:?} on {path}");
    }

    #[test]
    fn patterns_are_those_of_gitignore_but_match_at_any_depth() {
        check(&[], "etc/app", false);
        check(&["*.tmp"], "etc/app/x.tmp", true);
        check(&["*.tmp"], "etc/app/x.tmpl", false);
        check(&["/etc/app"], "etc/app", true);
        check(&["/etc/app"], "etc/app/deep/below", true);
        check(&["/etc/app"], "srv/etc/app", false);
        check(&["/*.conf"], "etc/x.conf", false);
        check(&["etc/app"], "srv/etc/app/x", true);
        check(&["**/cache/**"], "a/cache/x", true);
        check(&["**/cache/**"], "a/cache/", false);
        check(&["cache/"], "a/cache", false);
        check(&["cache/"], "a/cache/", true);
        check(&["cache/"], "a/cache/x", true);
        check(&["*.log", "!keep.log"], "var/keep.log", false);
        check(&["*.log", "!var/keep.log"], "var/keep.log", false);
        check(&["*.log", "!keep.log"], "var/other.log", true);
        check(&["# comment", "", "  "], "# comment", false);
        check(&["\\#name"], "a/#name", true);
        check(&["\\!name"], "a/!name", true);
        check(&["a[0-9]"], "x/a7", true);
        check(&["?"], "xy/ab", false);
        check(&["*"], "anything/at/all", true);
    }

    #[test]
    fn case_is_ignored_only_where_asked() {
        let patterns = [Pattern::ignoring_case("*.jpg"), Pattern::new("*.png")];
        let compiled = Patterns::compile(&patterns).unwrap();
        let matches = |path| compiled.matches(&RepoPath::parse(path).unwrap(), false);
        assert!(matches("a/X.JPG"));
        assert!(!matches("a/X.PNG"));
        assert!(matches("a/x.png"));
    }

    #[test]
    fn names_that_are_not_utf8_are_matched() {
        let compiled = Patterns::compile(&[Pattern::new("*.tmp")]).unwrap();
        let path = RepoPath::parse(b"a/\xff\xfe.tmp").unwrap();
        assert!(compiled.matches(&path, false));
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_named() {
        let error = Patterns::compile(&[Pattern::new("a[z-b]")]).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Settings);
        assert!(error.to_string().contains("`a[z-b]`"), "{error}");
    }

    #[test]
    fn a_mark_is_a_name_and_perhaps_a_header() {
        let mark = FolderMark::parse("NOBACKUP");
        assert_eq!(
            (mark.name.as_slice(), mark.header.as_slice()),
            (&b"NOBACKUP"[..], &b""[..])
        );
        let mark = FolderMark::parse("TAG:Signature: x");
        assert_eq!(mark.header, b"Signature: x");
    }
}
