//! Names and paths.

use keepstone_engine::backend::ObjectKey;
use keepstone_engine::id::{ChunkId, RepoId, SessionId};
use keepstone_engine::path::{RepoPath, check_component, percent_decode, percent_encode};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Paths inside a capture.
pub fn path(data: &[u8]) -> bool {
    let Ok(path) = RepoPath::parse(data) else {
        return false;
    };
    assert_eq!(RepoPath::parse(path.as_bytes()), Ok(path.clone()));
    for component in path.components() {
        assert_eq!(check_component(component), Ok(()));
    }
    if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
        assert!(path.starts_with(&parent));
        assert_eq!(parent.join(name), Ok(path.clone()));
    }
    true
}

pub fn path_seeds() -> Vec<Vec<u8>> {
    texts(&["", "/", "a", "/etc/app/a-b", "a/../b", "//", "späti/%2F"])
}

/// Names of database objects inside a path.
pub fn percent(data: &[u8]) -> bool {
    let Some(name) = percent_decode(data) else {
        return false;
    };
    let encoded = percent_encode(&name);
    assert_eq!(
        percent_decode(encoded.as_bytes()).as_deref(),
        Some(name.as_str())
    );
    true
}

pub fn percent_seeds() -> Vec<Vec<u8>> {
    texts(&["users", "a%2Fb", "%2E%2E", "sp%C3%A4ti", "%", "%zz"])
}

/// Ids as text.
pub fn id(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    if let Ok(id) = text.parse::<SessionId>() {
        assert!(id.matches_prefix(text));
        assert!(text.parse::<RepoId>().is_ok());
    }
    let chunk = text.parse::<ChunkId>();
    if let Ok(id) = &chunk {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    chunk.is_ok()
}

pub fn id_seeds() -> Vec<Vec<u8>> {
    texts(&["00", &"ab".repeat(16), &"0f".repeat(32)])
}

/// Paths of objects in a repository's folder.
pub fn object_key(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    if let Some(key) = ObjectKey::parse(text) {
        assert_eq!(key.path(), text, "an object has one name");
        return true;
    }
    false
}

pub fn object_key_seeds() -> Vec<Vec<u8>> {
    let id = "ab".repeat(16);
    let folders = ["sessions", "index", "end", "forgotten", "gc", "settled"];
    let mut seeds = texts(&["config", "config.copy", &format!("keys/{id}.1")]);
    seeds.extend(
        folders
            .iter()
            .map(|folder| format!("{folder}/{id}").into_bytes()),
    );
    seeds.push(format!("packs/ab/{id}-{id}-d").into_bytes());
    seeds
}
