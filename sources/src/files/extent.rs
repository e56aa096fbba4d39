//! The extent of a folder in a capture: whether all of it is there, or why not.
//!
//! It is kept beside the folder, so that a restore with `delete` never removes what the capture never saw.

use keepstone_engine::source::Attributes;

/// Name under which it is kept beside the folder. Absent: everything is there.
const ATTRIBUTE: &str = "content";

/// How much of a folder a capture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything that no pattern excludes.
    All,
    /// Only the way to a root.
    Ancestor,
    /// Nothing: another file system begins here.
    Mount,
    /// Only the mark that keeps the rest out, and the way to roots.
    Marked,
    /// Nothing but the way to roots: it could not be listed.
    Unreadable,
    /// Something that a later version of this program knows.
    Unknown,
}

impl Extent {
    /// As it is kept.
    pub(super) fn to_attributes(self) -> Attributes {
        let word = match self {
            Self::All => return Attributes::new(),
            Self::Ancestor => "ancestor",
            Self::Mount => "mount",
            Self::Marked => "marked",
            Self::Unreadable => "unreadable",
            Self::Unknown => "unknown",
        };
        Attributes::from_iter([(ATTRIBUTE.to_owned(), word.into())])
    }

    /// As it was kept.
    pub(super) fn of(attributes: &Attributes) -> Self {
        match attributes.get(ATTRIBUTE).map(|word| word.as_str()) {
            None => Self::All,
            Some(Some("ancestor")) => Self::Ancestor,
            Some(Some("mount")) => Self::Mount,
            Some(Some("marked")) => Self::Marked,
            Some(Some("unreadable")) => Self::Unreadable,
            Some(_) => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_read_as_it_was_kept() {
        use Extent::{All, Ancestor, Marked, Mount, Unknown, Unreadable};
        for extent in [All, Ancestor, Mount, Marked, Unreadable, Unknown] {
            assert_eq!(Extent::of(&extent.to_attributes()), extent);
        }
    }
}
