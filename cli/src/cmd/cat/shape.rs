//! What objects look like to people and scripts that have no JSON of their own: packs, nodes, key slots, chunks.
//!
//! For looking at, not for reading back: the bytes are specified in `repo-format.md`, this is not.

use keepstone_engine::Error;
use keepstone_engine::crypto::Slot;
use keepstone_engine::id::ChunkId;
use keepstone_engine::pack::Footer;
use keepstone_engine::snapshot::SourceDetails;
use keepstone_engine::tree::format::decode_node;
use keepstone_engine::tree::{Body, ChunkList, Entry, Node};
use serde_json::{Value, json};

use crate::time::rfc3339;

/// A key slot, without what it wraps.
pub(super) fn slot(id: &str, slot: &Slot) -> Value {
    let info = slot.info();
    json!({
        "id": id,
        "password": slot.is_password(),
        "created": rfc3339(info.created_ns),
        "label": info.host,
        "user": info.user,
    })
}

/// What a pack holds.
pub(super) fn footer(footer: &Footer) -> Value {
    let boxes = footer.boxes.iter().map(|place| {
        json!({
            "kind": format!("{:?}", place.header.kind).to_lowercase(),
            "session": place.header.session.to_string(),
            "counter": place.header.counter,
            "codec": format!("{:?}", place.header.codec).to_lowercase(),
            "offset": place.offset,
            "raw_bytes": place.header.raw_len,
            "stored_bytes": place.header.stored_len,
        })
    });
    let chunks = footer.chunks.iter().map(|chunks| {
        let names = chunks.iter().map(ToString::to_string);
        names.collect::<Vec<_>>()
    });
    json!({"boxes": boxes.collect::<Vec<_>>(), "chunks": chunks.collect::<Vec<_>>()})
}

/// What is kept like a node: one of a tree, or what a source said when it was captured.
pub(super) fn node_or_details(id: ChunkId, bytes: &[u8]) -> Result<Value, Error> {
    let failure = match decode_node(bytes) {
        Ok(found) => return Ok(node(id, &found)),
        Err(failure) => failure,
    };
    let details: SourceDetails = serde_json::from_slice(bytes).map_err(|_| Error::Corrupt {
        object: format!("node {id}"),
        source: failure,
    })?;
    Ok(
        json!({"id": id.to_string(), "kind": "details", "open": details.open, "report": details.report}),
    )
}

/// A node of a tree.
fn node(id: ChunkId, node: &Node) -> Value {
    let id = id.to_string();
    match node {
        Node::Folder(entries) => {
            let entries: Vec<_> = entries.iter().map(entry).collect();
            json!({"id": id, "kind": "folder", "entries": entries})
        }
        Node::FolderIndex { level, children } => {
            let children: Vec<_> = children.iter().map(ToString::to_string).collect();
            json!({"id": id, "kind": "folder_index", "level": level, "children": children})
        }
        Node::List { level, entries } => {
            let entries = entries
                .iter()
                .map(|entry| json!({"id": entry.id.to_string(), "bytes": entry.len}));
            json!({"id": id, "kind": "list", "level": level, "entries": entries.collect::<Vec<_>>()})
        }
    }
}

fn entry(entry: &Entry) -> Value {
    let name = String::from_utf8_lossy(&entry.name);
    match &entry.body {
        Body::Dir(root) => json!({"name": name, "folder": root.to_string()}),
        Body::File(content) => match &content.chunks {
            ChunkList::Inline(chunks) => {
                let chunks = chunks
                    .iter()
                    .map(|(id, len)| json!({"id": id.to_string(), "bytes": len}));
                json!({"name": name, "bytes": content.size_bytes, "chunks": chunks.collect::<Vec<_>>()})
            }
            ChunkList::Node(root) => {
                json!({"name": name, "bytes": content.size_bytes, "list": root.to_string()})
            }
        },
        Body::Other(kind) => json!({"name": name, "other": format!("{kind:?}")}),
    }
}

/// The content of a chunk in hexadecimal digits.
pub(super) fn chunk(id: ChunkId, bytes: &[u8]) -> Value {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    json!({"id": id.to_string(), "bytes": bytes.len(), "content_hex": hex})
}
