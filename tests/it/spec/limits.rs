//! The limits of the document are those of the code, and none is missing.

use std::collections::BTreeMap;

use keepstone_engine::limits;
use keepstone_testkit::tools::workspace;

/// Every limit of the format, as the code has it.
fn in_code() -> BTreeMap<&'static str, u64> {
    macro_rules! table {
        ($($name:ident)*) => {
            BTreeMap::from([$((stringify!($name), limits::$name as u64)),*])
        };
    }
    table! {
        NAME_BYTES_MAX PATH_BYTES_MAX LINK_BYTES_MAX ATTRIBUTES_BYTES_MAX XATTRS_MAX XATTR_BYTES_MAX
        OWNER_NAME_BYTES_MAX CHUNK_BYTES_MAX SEGMENT_RAW_BYTES_MAX BOX_RAW_BYTES_MAX PACK_BYTES_MAX
        PACK_BOXES_MAX PACK_SESSIONS_MAX INDEX_PACKS_MAX BLOCK_RECORDS_MAX BLOCK_EXTENTS_MAX
        CHUNK_EXTENTS_MAX DELTA_DEPTH_MAX NODE_ENTRIES_MAX NODE_BYTES_MAX NODE_LEVEL_MAX
        FOLDER_DEPTH_MAX INLINE_CHUNKS_MAX RECORD_KEY_BYTES SMALL_RECORD_BYTES_MAX CONFIG_BYTES_MAX
        SLOTS_MAX CONTENT_CHUNKS_MAX SEAL_BYTES_MAX ARGON2_MEMORY_KIB_MAX ARGON2_PASSES_MAX ARGON2_LANES_MAX
    }
}

/// Every limit that the document states.
fn in_document() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(workspace().join("repo-format.md")).unwrap();
    let (_, section) = text.split_once("### Limits\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut found = BTreeMap::new();
    for row in section.lines().filter(|line| line.ends_with("` |")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, most, name] = cells.as_slice() else {
            panic!("a row of three cells: {row}")
        };
        let name = name.trim_matches('`').to_owned();
        assert!(found.insert(name, number(most)).is_none(), "twice: {row}");
    }
    found
}

fn number(text: &str) -> u64 {
    let (digits, unit) = text.split_once(' ').unwrap_or((text, "bytes"));
    let unit = match unit {
        "bytes" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        other => panic!("unknown unit {other}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

#[test]
fn the_table_of_limits_agrees_with_the_code() {
    let code: BTreeMap<_, _> = in_code()
        .into_iter()
        .map(|(name, most)| (name.to_owned(), most))
        .collect();
    assert_eq!(in_document(), code);
}

#[test]
fn every_limit_of_the_code_is_in_the_table() {
    let text = std::fs::read_to_string(workspace().join("engine/src/limits.rs")).unwrap();
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let (code, document) = (in_code(), in_document());
    let missing: Vec<_> = names
        .filter(|name| name.ends_with("_MAX"))
        .filter(|name| !code.contains_key(name) || !document.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
