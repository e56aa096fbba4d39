//! Bytes of nodes. `repo-format.md` § Nodes. One value has one encoding: entries are sorted, names unique, numbers shortest.

use std::collections::BTreeMap;

use super::{Body, ChunkList, Content, Entry, ListEntry, Node};
use crate::codec::{Cursor, FormatError, put_bytes, put_signed, put_varint};
use crate::id::ChunkId;
use crate::limits;
use crate::path::{RepoPath, check_component};
use crate::source::{Attributes, Digest, FileIdentity, Meta, NodeKind, Profile, StreamFacts};

const LIST: u8 = 1;
const FOLDER: u8 = 2;
const FOLDER_INDEX: u8 = 3;

const KEYS: u64 = 1;

const HAS_OWNER_NAMES: u64 = 1;
const IS_SPARSE: u64 = 2;
const HAS_IDENTITY: u64 = 4;
const HAS_XATTRS: u64 = 8;
const HAS_RECORDS: u64 = 16;
const HAS_DIGEST: u64 = 32;
const HAS_ATTRIBUTES: u64 = 64;
const HAS_FILE_META: u64 = 128;
const FLAGS_KNOWN: u64 = 255;

/// Encodes a list node.
pub fn encode_list(level: u8, entries: &[ListEntry]) -> Vec<u8> {
    let keyed = entries.first().is_some_and(|entry| entry.keys.is_some());
    let mut out = vec![LIST, level];
    put_varint(&mut out, if keyed { KEYS } else { 0 });
    put_varint(&mut out, entries.len() as u64);
    entries
        .iter()
        .for_each(|entry| out.extend_from_slice(entry.id.as_bytes()));
    entries
        .iter()
        .for_each(|entry| put_varint(&mut out, entry.len));
    if keyed {
        for (first, last) in entries.iter().filter_map(|entry| entry.keys.as_ref()) {
            put_bytes(&mut out, first);
            put_bytes(&mut out, last);
        }
    }
    out
}

/// Encodes a leaf of a folder; entries are sorted by name.
pub fn encode_folder(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![FOLDER];
    put_varint(&mut out, entries.len() as u64);
    entries
        .iter()
        .for_each(|entry| out.extend_from_slice(entry));
    out
}

/// Encodes a node above the leaves of a folder.
pub fn encode_folder_index(level: u8, children: &[ChunkId]) -> Vec<u8> {
    let mut out = vec![FOLDER_INDEX, level];
    put_varint(&mut out, children.len() as u64);
    children
        .iter()
        .for_each(|child| out.extend_from_slice(child.as_bytes()));
    out
}

/// Decodes any node.
pub fn decode_node(bytes: &[u8]) -> Result<Node, FormatError> {
    let mut input = Cursor::new("node", bytes);
    let node = match input.byte()? {
        LIST => decode_list(&mut input)?,
        FOLDER => decode_folder(&mut input)?,
        FOLDER_INDEX => {
            let level = level(&mut input)?;
            let count = input.count(limits::NODE_ENTRIES_MAX, 32)?;
            let children = (0..count).map(|_| input.array().map(ChunkId));
            Node::FolderIndex {
                level,
                children: children.collect::<Result<_, _>>()?,
            }
        }
        other => return Err(input.problem(format!("unknown kind of node {other}"))),
    };
    input.finish()?;
    Ok(node)
}

fn level(input: &mut Cursor<'_>) -> Result<u8, FormatError> {
    let level = input.byte()?;
    if level > limits::NODE_LEVEL_MAX {
        return Err(input.problem(format!("level {level} is too high")));
    }
    Ok(level)
}

fn decode_list(input: &mut Cursor<'_>) -> Result<Node, FormatError> {
    let level = level(input)?;
    let flags = input.varint()?;
    if flags > KEYS {
        return Err(input.problem("unknown flags"));
    }
    let count = input.count(limits::NODE_ENTRIES_MAX, 33)?;
    let ids = (0..count)
        .map(|_| input.array().map(ChunkId))
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = Vec::with_capacity(count);
    for id in ids {
        let len = input.varint()?;
        if level == 0 && len > limits::CHUNK_BYTES_MAX as u64 {
            return Err(input.problem("chunk is too long"));
        }
        entries.push(ListEntry {
            id,
            len,
            keys: None,
        });
    }
    if flags & KEYS != 0 {
        for entry in &mut entries {
            let first = input.bytes(limits::RECORD_KEY_BYTES)?.to_vec();
            let last = input.bytes(limits::RECORD_KEY_BYTES)?.to_vec();
            entry.keys = Some((first, last));
        }
    }
    Ok(Node::List { level, entries })
}

fn decode_folder(input: &mut Cursor<'_>) -> Result<Node, FormatError> {
    let count = input.count(limits::NODE_ENTRIES_MAX, 4)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = decode_entry(input)?;
        if entries
            .last()
            .is_some_and(|before| before.name >= entry.name)
        {
            return Err(input.problem("entries are not sorted"));
        }
        entries.push(entry);
    }
    Ok(Node::Folder(entries))
}

/// Encodes one entry of a folder.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    put_bytes(&mut out, &entry.name);
    encode_body(&mut out, &entry.body);
    let attributes = if entry.facts.attributes.is_empty() {
        Vec::new()
    } else {
        serde_json::to_vec(&entry.facts.attributes).unwrap_or_default()
    };
    let (meta, facts) = (&entry.meta, &entry.facts);
    put_varint(&mut out, flags_of(meta, facts, &attributes));
    encode_meta(&mut out, meta);
    if let Some(records) = facts.records {
        put_varint(&mut out, records);
    }
    if let Some(digest) = facts.digest {
        out.extend_from_slice(&digest.0);
    }
    if !attributes.is_empty() {
        put_bytes(&mut out, &attributes);
    }
    out
}

/// An entry in fewer bytes than this breaks no limit.
const SMALL_ENTRY_BYTES: usize = limits::OWNER_NAME_BYTES_MAX;

/// Refuses an encoded entry that `decode_node` would refuse: what is written must be readable.
pub fn check_entry(encoded: &[u8]) -> Result<(), FormatError> {
    if encoded.len() <= SMALL_ENTRY_BYTES {
        return Ok(());
    }
    let mut input = Cursor::new("entry", encoded);
    if encoded.len() > limits::ENTRY_BYTES {
        return Err(input.problem(format!("has {} bytes, which are too many", encoded.len())));
    }
    decode_entry(&mut input)?;
    input.finish()
}

fn flags_of(meta: &Meta, facts: &StreamFacts, attributes: &[u8]) -> u64 {
    let flag = |set: bool, bit: u64| if set { bit } else { 0 };
    flag(has_file_meta(meta), HAS_FILE_META)
        | flag(meta.user.is_some() || meta.group.is_some(), HAS_OWNER_NAMES)
        | flag(meta.sparse, IS_SPARSE)
        | flag(meta.identity.is_some(), HAS_IDENTITY)
        | flag(!meta.xattrs.is_empty(), HAS_XATTRS)
        | flag(facts.records.is_some(), HAS_RECORDS)
        | flag(facts.digest.is_some(), HAS_DIGEST)
        | flag(!attributes.is_empty(), HAS_ATTRIBUTES)
}

fn has_file_meta(meta: &Meta) -> bool {
    meta.mode != 0 || meta.uid != 0 || meta.gid != 0 || meta.mtime_ns != 0
}

fn encode_meta(out: &mut Vec<u8>, meta: &Meta) {
    if has_file_meta(meta) {
        put_varint(out, meta.mode.into());
        put_varint(out, meta.uid.into());
        put_varint(out, meta.gid.into());
        put_signed(out, meta.mtime_ns);
    }
    if meta.user.is_some() || meta.group.is_some() {
        put_bytes(out, meta.user.as_deref().unwrap_or_default().as_bytes());
        put_bytes(out, meta.group.as_deref().unwrap_or_default().as_bytes());
    }
    if let Some(identity) = meta.identity {
        put_varint(out, identity.size_bytes);
        put_signed(out, identity.ctime_ns);
        put_varint(out, identity.inode);
    }
    if !meta.xattrs.is_empty() {
        put_varint(out, meta.xattrs.len() as u64);
        for (name, value) in &meta.xattrs {
            put_bytes(out, name);
            put_bytes(out, value);
        }
    }
}

fn encode_body(out: &mut Vec<u8>, body: &Body) {
    match body {
        Body::Dir(root) => {
            out.push(1);
            out.extend_from_slice(root.as_bytes());
        }
        Body::File(content) => encode_content(out, content),
        Body::Other(kind) => match kind {
            NodeKind::Link(target) => {
                out.push(4);
                put_bytes(out, target);
            }
            NodeKind::HardLink(path) => {
                out.push(5);
                put_bytes(out, path.as_bytes());
            }
            NodeKind::Fifo => out.push(6),
            NodeKind::Socket => out.push(7),
            NodeKind::BlockDevice(major, minor) | NodeKind::CharDevice(major, minor) => {
                out.push(if matches!(kind, NodeKind::BlockDevice(..)) {
                    8
                } else {
                    9
                });
                put_varint(out, (*major).into());
                put_varint(out, (*minor).into());
            }
            // Folders and files are bodies of their own; an empty fifo would be a lie, so say nothing usable.
            NodeKind::Dir | NodeKind::File => out.push(0),
        },
    }
}

fn encode_content(out: &mut Vec<u8>, content: &Content) {
    let profile = match content.profile {
        Profile::Bytes => 0,
        Profile::Records => 1,
        Profile::Pages => 2,
    };
    match &content.chunks {
        ChunkList::Inline(chunks) => {
            out.extend_from_slice(&[2, profile]);
            put_varint(out, content.size_bytes);
            put_varint(out, chunks.len() as u64);
            for (id, len) in chunks {
                out.extend_from_slice(id.as_bytes());
                put_varint(out, (*len).into());
            }
        }
        ChunkList::Node(root) => {
            out.extend_from_slice(&[3, profile]);
            put_varint(out, content.size_bytes);
            out.extend_from_slice(root.as_bytes());
        }
    }
}

fn decode_entry(input: &mut Cursor<'_>) -> Result<Entry, FormatError> {
    let name = input.bytes(limits::NAME_BYTES_MAX)?.to_vec();
    check_component(&name).map_err(|error| input.problem(error.to_string()))?;
    let body = decode_body(input)?;
    let flags = input.varint()?;
    if flags & !FLAGS_KNOWN != 0 {
        return Err(input.problem("unknown flags"));
    }
    let meta = decode_meta(input, flags)?;
    let mut facts = StreamFacts::default();
    if flags & HAS_RECORDS != 0 {
        facts.records = Some(input.varint()?);
    }
    if flags & HAS_DIGEST != 0 {
        facts.digest = Some(Digest(input.array()?));
    }
    if flags & HAS_ATTRIBUTES != 0 {
        let json = input.bytes(limits::ATTRIBUTES_BYTES_MAX)?;
        facts.attributes = serde_json::from_slice::<Attributes>(json)
            .map_err(|error| input.problem(format!("attributes: {error}")))?;
    }
    Ok(Entry {
        name,
        body,
        meta,
        facts,
    })
}

fn decode_meta(input: &mut Cursor<'_>, flags: u64) -> Result<Meta, FormatError> {
    let mut meta = Meta {
        sparse: flags & IS_SPARSE != 0,
        ..Meta::default()
    };
    if flags & HAS_FILE_META != 0 {
        meta.mode = input.varint_u32()?;
        if meta.mode > 0o7777 {
            return Err(input.problem("mode has more than twelve bits"));
        }
        meta.uid = input.varint_u32()?;
        meta.gid = input.varint_u32()?;
        meta.mtime_ns = input.signed()?;
    }
    if flags & HAS_OWNER_NAMES != 0 {
        let some = |text: String| (!text.is_empty()).then_some(text);
        meta.user = some(input.text(limits::OWNER_NAME_BYTES_MAX)?);
        meta.group = some(input.text(limits::OWNER_NAME_BYTES_MAX)?);
    }
    if flags & HAS_IDENTITY != 0 {
        let (size_bytes, ctime_ns, inode) = (input.varint()?, input.signed()?, input.varint()?);
        meta.identity = Some(FileIdentity {
            size_bytes,
            ctime_ns,
            inode,
        });
    }
    if flags & HAS_XATTRS != 0 {
        let count = input.count(limits::XATTRS_MAX, 2)?;
        let mut xattrs = BTreeMap::new();
        for _ in 0..count {
            let name = input.bytes(limits::NAME_BYTES_MAX)?.to_vec();
            xattrs.insert(name, input.bytes(limits::XATTR_BYTES_MAX)?.to_vec());
        }
        meta.xattrs = xattrs;
    }
    Ok(meta)
}

fn decode_body(input: &mut Cursor<'_>) -> Result<Body, FormatError> {
    Ok(match input.byte()? {
        1 => Body::Dir(ChunkId(input.array()?)),
        2 => {
            let (profile, size_bytes) = (decode_profile(input)?, input.varint()?);
            let count = input.count(limits::INLINE_CHUNKS_MAX, 33)?;
            let mut chunks = Vec::with_capacity(count);
            for _ in 0..count {
                let id = ChunkId(input.array()?);
                let len = input.at_most(limits::CHUNK_BYTES_MAX)?;
                chunks.push((id, crate::codec::len_u32(len)));
            }
            let sum: u64 = chunks.iter().map(|(_, len)| u64::from(*len)).sum();
            if sum != size_bytes {
                return Err(input.problem("chunks do not sum up to the size"));
            }
            Body::File(Content {
                profile,
                size_bytes,
                chunks: ChunkList::Inline(chunks),
            })
        }
        3 => {
            let (profile, size_bytes) = (decode_profile(input)?, input.varint()?);
            let chunks = ChunkList::Node(ChunkId(input.array()?));
            Body::File(Content {
                profile,
                size_bytes,
                chunks,
            })
        }
        4 => Body::Other(NodeKind::Link(
            input.bytes(limits::LINK_BYTES_MAX)?.to_vec(),
        )),
        5 => {
            let path = RepoPath::parse(input.bytes(limits::PATH_BYTES_MAX)?);
            let path = path.map_err(|error| input.problem(error.to_string()))?;
            Body::Other(NodeKind::HardLink(path))
        }
        6 => Body::Other(NodeKind::Fifo),
        7 => Body::Other(NodeKind::Socket),
        8 => Body::Other(NodeKind::BlockDevice(
            input.varint_u32()?,
            input.varint_u32()?,
        )),
        9 => Body::Other(NodeKind::CharDevice(
            input.varint_u32()?,
            input.varint_u32()?,
        )),
        other => return Err(input.problem(format!("unknown kind of entry {other}"))),
    })
}

fn decode_profile(input: &mut Cursor<'_>) -> Result<Profile, FormatError> {
    Ok(match input.byte()? {
        0 => Profile::Bytes,
        1 => Profile::Records,
        2 => Profile::Pages,
        other => return Err(input.problem(format!("unknown profile {other}"))),
    })
}
