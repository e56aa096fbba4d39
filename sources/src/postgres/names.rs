//! Names of databases that a restore makes and keeps beside the live ones.

use std::fmt::Write as _;

use keepstone_engine::source::{SourceError, SourceErrorKind};

use super::sql;

/// Word in the name of a database that is being rebuilt.
pub(crate) const STAGED: &str = "keepstone";
/// Word in the name of a database that was replaced and is kept.
pub(crate) const BEFORE: &str = "before";
/// Longest name that a server keeps whole, in bytes.
const NAME_BYTES_MAX: usize = 63;
/// How much of its hash stands for the end of a name.
const HASH_DIGITS: usize = 12;

/// `<name>__<word>_<id>`. Where that would be too long, the name is cut, and digits of its hash tell it from others that
/// begin alike.
pub(crate) fn beside(name: &str, word: &str, id: &str) -> String {
    let mut ending = ending(word, id);
    if name.len() + ending.len() > NAME_BYTES_MAX {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        ending.insert_str(0, hash.get(..HASH_DIGITS).unwrap_or_default());
        ending.insert(0, '_');
    }
    let room = NAME_BYTES_MAX.saturating_sub(ending.len());
    let end = (0..=room.min(name.len()))
        .rev()
        .find(|end| name.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}{ending}", name.get(..end).unwrap_or_default())
}

/// What `beside` puts at the end of a name.
pub(crate) fn ending(word: &str, id: &str) -> String {
    format!("__{word}_{id}")
}

/// Whether a database of this name was once live under the other and is kept.
pub(crate) fn was(name: &str, live: &str) -> bool {
    let id = name.rsplit_once(&ending(BEFORE, ""));
    id.is_some_and(|(_, id)| beside(live, BEFORE, id) == name)
}

/// So many random bytes in hexadecimal.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, SourceError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        SourceError::new(SourceErrorKind::Other, "cannot draw a random name").because(error)
    })?;
    let mut text = String::with_capacity(2 * BYTES);
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Whether a name can be one of a database.
pub(crate) fn is_database_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains('\0')
}

/// The statement that renames a database.
pub(crate) fn rename(from: &str, to: &str) -> String {
    format!(
        "ALTER DATABASE {} RENAME TO {}",
        sql::ident(from),
        sql::ident(to)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_a_name() {
        assert_eq!(beside("app", STAGED, "0a1b2c3d"), "app__keepstone_0a1b2c3d");
        let long = beside(&"ä".repeat(31), STAGED, "0a1b2c3d");
        assert!(long.len() <= 63 && is_database_name(&long));
        assert!(long.starts_with("ää") && long.ends_with("__keepstone_0a1b2c3d"));
        let kept = beside(&"ä".repeat(31), BEFORE, "0a1b2c3d");
        assert!(was(&kept, &"ä".repeat(31)) && !was(&kept, "ä"));
        // Two names of which only the same beginning is left.
        let [one, two] = [1, 2].map(|n| format!("{}{n}", "x".repeat(60)));
        let [kept, other] = [&one, &two].map(|name| beside(name, BEFORE, "0a1b2c3d"));
        assert!(kept != other && was(&kept, &one) && !was(&kept, &two));
        assert!(!was("app", "app") && !was("app__keepstone_0a1b2c3d", "app"));
    }
}
