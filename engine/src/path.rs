//! Paths inside a capture: relative, normalised, bytes; the only path type in the repository.
//!
//! Invariant: components are not empty, not `.` or `..`, and hold no `/` and no NUL. The empty path is the root.

use std::fmt;

use crate::limits;

/// A relative path of checked components, ordered so that a folder comes directly before what is in it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RepoPath {
    bytes: Vec<u8>,
}

/// Why bytes are no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// An empty component, `.` or `..`, a slash or a NUL inside a name.
    #[error("path component is empty, `.`, `..`, or holds a slash or NUL")]
    Component,
    /// Longer than the format allows.
    #[error("path is longer than {} bytes", limits::PATH_BYTES_MAX)]
    TooLong,
}

impl RepoPath {
    /// The root: no components.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses `a/b/c`. A leading slash is dropped; anything else that is not normal is refused.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let text = text.as_ref();
        let text = text.strip_prefix(b"/").unwrap_or(text);
        let mut path = Self::root();
        if text.is_empty() {
            return Ok(path);
        }
        for component in text.split(|byte| *byte == b'/') {
            path = path.join(component)?;
        }
        Ok(path)
    }

    /// Adds one component.
    pub fn join(&self, component: &[u8]) -> Result<Self, PathError> {
        check_component(component)?;
        let mut bytes = Vec::with_capacity(self.bytes.len() + 1 + component.len());
        bytes.extend_from_slice(&self.bytes);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(component);
        if bytes.len() > limits::PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self { bytes })
    }

    /// Adds all components of another path.
    pub fn join_path(&self, other: &Self) -> Result<Self, PathError> {
        other
            .components()
            .try_fold(self.clone(), |path, component| path.join(component))
    }

    /// Makes a stream name from database object names, each percent-encoded into one component.
    pub fn of_names(names: &[&str]) -> Result<Self, PathError> {
        names.iter().try_fold(Self::root(), |path, name| {
            path.join(percent_encode(name).as_bytes())
        })
    }

    /// The components from the root on.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.bytes
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// The last component; none for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// Everything but the last component; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let name = self.name()?;
        let end = self.bytes.len() - name.len();
        Some(Self {
            bytes: self
                .bytes
                .get(..end.saturating_sub(1))
                .unwrap_or_default()
                .to_vec(),
        })
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &Self) -> bool {
        other.is_root()
            || self
                .bytes
                .strip_prefix(other.bytes.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The bytes, components joined by slashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Checks the name of one entry.
pub fn check_component(component: &[u8]) -> Result<(), PathError> {
    let bad = component.is_empty()
        || component == b"."
        || component == b".."
        || component.contains(&b'/')
        || component.contains(&0);
    if bad {
        return Err(PathError::Component);
    }
    if component.len() > limits::NAME_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    Ok(())
}

/// Encodes everything but letters, digits and `-_.$` as `%XX`, and a name of only dots wholly.
pub fn percent_encode(name: &str) -> String {
    let only_dots = name.bytes().all(|byte| byte == b'.');
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || (b"-_.$".contains(&byte) && !only_dots);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].into_iter().filter_map(hex_digit));
        }
    }
    out
}

fn hex_digit(value: u8) -> Option<char> {
    char::from_digit(value.into(), 16).map(|digit| digit.to_ascii_uppercase())
}

/// Undoes `percent_encode`; none if the text is not of its form or not UTF-8.
pub fn percent_decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (hex, tail) = tail.split_at_checked(2)?;
            let [high, low] = hex else { return None };
            let digit = |byte: u8| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            out.push(digit(*high)? << 4 | digit(*low)?);
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(out).ok()
}

impl Ord for RepoPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for RepoPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RepoPath({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_climb_or_are_not_normal_are_refused() {
        for bad in ["..", "a/../b", "./a", "a//b", "a/", "a\0b"] {
            assert!(RepoPath::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            RepoPath::parse("/etc/app").unwrap(),
            RepoPath::parse("etc/app").unwrap()
        );
    }

    #[test]
    fn a_folder_comes_directly_before_what_is_in_it() {
        let mut paths: Vec<_> = ["a-b", "a/c", "a", "a/b/c", "b"]
            .iter()
            .map(|p| RepoPath::parse(p).unwrap())
            .collect();
        paths.sort();
        let text: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a", "a/b/c", "a/c", "a-b", "b"]);
    }

    #[test]
    fn object_names_round_trip() {
        for name in ["users", "a/b", "..", "späti", "a b%"] {
            let encoded = percent_encode(name);
            check_component(encoded.as_bytes()).unwrap();
            assert_eq!(percent_decode(encoded.as_bytes()).as_deref(), Some(name));
        }
        for bad in ["%+f", "%f", "%", "% f", "%gg"] {
            assert_eq!(percent_decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn parent_and_name_take_a_path_apart() {
        let path = RepoPath::parse("a/b/c").unwrap();
        assert_eq!(path.name(), Some(b"c".as_slice()));
        assert_eq!(path.parent().unwrap().to_string(), "a/b");
        assert!(RepoPath::parse("a").unwrap().parent().unwrap().is_root());
        assert!(path.starts_with(&RepoPath::parse("a/b").unwrap()));
        assert!(
            !RepoPath::parse("ab")
                .unwrap()
                .starts_with(&RepoPath::parse("a").unwrap())
        );
    }
}
