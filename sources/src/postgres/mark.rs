//! Marks: an ending of the comment on a database or a role that says which restore made it, and for which others it
//! stands.
//!
//! A restore replaces what an earlier one made, and where that is dropped nothing of the earlier one is left but what it
//! kept. What is live then stands for the earlier one: what that kept is not all there is, and may be dropped. It may
//! not be put in the place of what is live, which the earlier restore has not made.
//!
//! A comment moves with a database when it is renamed, changes in one transaction with other things, and may be set
//! by whoever may make databases. A capture takes the mark off, and so does the end of a restore.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::sql::{ident, literal};

/// What the mark of the restore that made what bears it begins with.
const MADE: &str = "made by keepstone restore ";
/// What the mark of a restore begins with that what bears it stands for.
const STANDS: &str = "stands for keepstone restore ";

/// A comment and the marks at its end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Marked {
    /// The comment proper.
    pub(crate) proper: Option<String>,
    /// Id of the restore that made what bears the comment.
    pub(crate) made: Option<String>,
    /// Ids of restores of which nothing is left but what they kept, and which this comes after.
    pub(crate) stands_for: BTreeSet<String>,
}

impl Marked {
    /// Takes a comment apart. No comment has no marks.
    pub(crate) fn parse(comment: Option<&str>) -> Self {
        let mut marked = Self::default();
        let mut left = comment.unwrap_or_default();
        while let Some((before, mark)) = left.rsplit_once('[') {
            let id = |begin: &str| {
                let id = mark.strip_prefix(begin)?.strip_suffix(']')?;
                let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
                is_id.then(|| id.to_owned())
            };
            if let Some(id) = id(MADE) {
                marked.made = Some(id);
            } else if let Some(id) = id(STANDS) {
                marked.stands_for.insert(id);
            } else {
                break;
            }
            left = before;
        }
        if marked.is_marked() {
            left = left.strip_suffix('\n').unwrap_or(left);
        }
        marked.proper = Some(left)
            .filter(|proper| !proper.is_empty())
            .map(ToOwned::to_owned);
        marked
    }

    /// The comment with its marks.
    pub(crate) fn comment(&self) -> Option<String> {
        if !self.is_marked() {
            return self.proper.clone();
        }
        let mut comment = self.proper.clone().unwrap_or_default();
        if self.proper.is_some() {
            comment.push('\n');
        }
        let stands = self.stands_for.iter().map(|id| (STANDS, id));
        for (begin, id) in self.made.iter().map(|id| (MADE, id)).chain(stands) {
            // Writing into a string does not fail.
            let _ = write!(comment, "[{begin}{id}]");
        }
        Some(comment)
    }

    /// Whether it was made by this restore, or stands for it.
    pub(crate) fn bears(&self, id: &str) -> bool {
        self.made.as_deref() == Some(id) || self.stands_for.contains(id)
    }

    /// Every restore that it was made by or stands for.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &String> {
        self.made.iter().chain(&self.stands_for)
    }

    /// The same without a restore.
    pub(crate) fn without(mut self, id: &str) -> Self {
        self.made = self.made.filter(|made| made != id);
        self.stands_for.remove(id);
        self
    }

    fn is_marked(&self) -> bool {
        self.ids().next().is_some()
    }
}

/// The statement that comments on a database or role; an empty comment is none.
pub(crate) fn comment_on(what: &str, name: &str, comment: Option<&str>) -> String {
    let comment = comment.filter(|comment| !comment.is_empty());
    let value = comment.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON {what} {} IS {value};", ident(name))
}

/// A comment with the mark of the restore that makes what bears it.
pub(crate) fn marked(comment: Option<&str>, id: &str) -> String {
    let marked = Marked {
        proper: comment.map(ToOwned::to_owned),
        made: Some(id.to_owned()),
        ..Marked::default()
    };
    marked.comment().unwrap_or_default()
}

/// The mark alone of the restore that makes what bears it.
pub(crate) fn mark(id: &str) -> String {
    format!("[{MADE}{id}]")
}

/// The comment proper of what may carry marks.
pub(crate) fn proper(comment: Option<&str>) -> Option<String> {
    Marked::parse(comment).proper
}

/// The id of the restore that made what bears the comment.
pub(crate) fn id_of(comment: Option<&str>) -> Option<String> {
    Marked::parse(comment).made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_off_as_they_went_on() {
        for proper in [
            None,
            Some("mine"),
            Some("two\nlines\n"),
            Some("[made by keepstone restore"),
            Some("[made by keepstone restore 0a1b]"),
        ] {
            let with = marked(proper, "0a1b");
            let mut parsed = Marked::parse(Some(&with));
            assert_eq!(parsed.proper.as_deref(), proper, "{with}");
            assert_eq!(id_of(Some(&with)).as_deref(), Some("0a1b"), "{with}");
            for id in ["2c3d", "4e5f"] {
                parsed.stands_for.insert(id.to_owned());
                assert_eq!(Marked::parse(parsed.comment().as_deref()), parsed);
            }
            let left = parsed.without("0a1b").without("2c3d");
            assert!(left.bears("4e5f") && !left.bears("0a1b") && left.made.is_none());
            assert_eq!(Marked::parse(left.comment().as_deref()), left);
            assert_eq!(left.without("4e5f").comment().as_deref(), proper, "{with}");
        }
        assert_eq!(Marked::parse(Some("")), Marked::default());
        assert_eq!(Marked::parse(None).comment(), None);
        assert_eq!(id_of(Some("x [made by keepstone restore me]")), None);
        assert_eq!(
            comment_on("ROLE", "a", None),
            "COMMENT ON ROLE \"a\" IS NULL;"
        );
    }
}
