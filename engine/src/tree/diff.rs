//! The difference of two folders, entry by entry; pure.

use std::cmp::Ordering;

use super::{Body, Entry};

/// How one name differs.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<'a> {
    /// Only in the second folder.
    Added(&'a Entry),
    /// Only in the first folder.
    Removed(&'a Entry),
    /// In both, with another content, target or kind.
    Modified(&'a Entry, &'a Entry),
    /// In both, with the same content and other metadata.
    MetadataOnly(&'a Entry, &'a Entry),
    /// Two folders with different nodes: to be compared in turn.
    Folder(&'a Entry, &'a Entry),
}

/// Compares two sorted folders. Equal entries are left out; equal folders are never entered.
pub fn diff<'a>(before: &'a [Entry], after: &'a [Entry]) -> Vec<Change<'a>> {
    let (mut left, mut right) = (before.iter().peekable(), after.iter().peekable());
    let mut changes = Vec::new();
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        match order {
            Ordering::Less => changes.extend(left.next().map(Change::Removed)),
            Ordering::Greater => changes.extend(right.next().map(Change::Added)),
            Ordering::Equal => {
                if let Some((a, b)) = left.next().zip(right.next()) {
                    changes.extend(compare(a, b));
                }
            }
        }
    }
}

fn compare<'a>(a: &'a Entry, b: &'a Entry) -> Option<Change<'a>> {
    if a == b {
        return None;
    }
    Some(match (&a.body, &b.body) {
        (Body::Dir(x), Body::Dir(y)) if x != y => Change::Folder(a, b),
        (x, y) if x == y => Change::MetadataOnly(a, b),
        _ => Change::Modified(a, b),
    })
}
