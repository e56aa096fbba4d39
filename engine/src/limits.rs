//! Every bound of format and pipeline. Checked before a quantity is used; stated in `repo-format.md` § Limits.

/// Longest name of one entry, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 65_536;
/// Most JSON text beside one item, in bytes.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;
/// Longest symbolic link target, in bytes.
pub const LINK_BYTES_MAX: usize = 65_536;
/// Most extended attributes of one entry.
pub const XATTRS_MAX: usize = 4096;
/// Longest value of one extended attribute, in bytes.
pub const XATTR_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of all extended attributes of one entry that are written, names and values.
pub const XATTRS_BYTES: usize = 1024 * 1024;
/// Most bytes of one entry of a folder that are written: with what else a node holds they do not fill it.
pub const ENTRY_BYTES: usize = 2 * 1024 * 1024;
/// Longest user or group name, in bytes.
pub const OWNER_NAME_BYTES_MAX: usize = 256;

/// Most bytes of warnings, and of what was skipped, in what is kept of one capture.
pub const REPORT_BYTES: usize = 512 * 1024;

/// Largest chunk, in bytes.
pub const CHUNK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest decoded box (segment, record block, index), in bytes; an index is the largest.
pub const BOX_RAW_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Largest decoded segment or record block, in bytes.
pub const SEGMENT_RAW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes after which a segment of whole chunks is closed.
pub const SEGMENT_WHOLE_BYTES: usize = 1024 * 1024;
/// Bytes after which a segment of delta literals is closed.
pub const SEGMENT_DELTA_BYTES: usize = 128 * 1024;
/// Bytes after which a segment of nodes is closed.
pub const SEGMENT_NODES_BYTES: usize = 512 * 1024;

/// Fewest float32 that are split into byte planes as one run.
pub const FLOAT_RUN_MIN: usize = 16;

/// Bytes after which a pack is closed.
pub const PACK_TARGET_BYTES: usize = 16 * 1024 * 1024;
/// Largest pack, in bytes.
pub const PACK_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most boxes in one pack.
pub const PACK_BOXES_MAX: usize = 65_536;
/// Most sessions whose segments lie in one pack.
pub const PACK_SESSIONS_MAX: usize = 4096;
/// Most packs in one index segment.
pub const INDEX_PACKS_MAX: usize = 1_000_000;

/// Most records in one record block.
pub const BLOCK_RECORDS_MAX: usize = 4096;
/// Records after which a record block is closed.
pub const BLOCK_RECORDS: usize = 1024;
/// Extents after which a record block is closed.
pub const BLOCK_EXTENTS: usize = 32_768;
/// Most extents in one record block.
pub const BLOCK_EXTENTS_MAX: usize = 4_000_000;
/// Most extents that one chunk may resolve to.
pub const CHUNK_EXTENTS_MAX: usize = 1_000_000;
/// Depth at which a chunk's list is written resolved.
pub const DELTA_DEPTH: u8 = 16;
/// Deepest chain of bases that a reader follows.
pub const DELTA_DEPTH_MAX: u8 = 64;

/// Most chunks of one content.
pub const CONTENT_CHUNKS_MAX: usize = 1 << 25;
/// Most entries in one node of a list or tree.
pub const NODE_ENTRIES_MAX: usize = 65_536;
/// Largest node, in bytes.
pub const NODE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Highest level of the nodes that one list or folder is split into.
pub const NODE_LEVEL_MAX: u8 = 8;
/// Most nodes on top of each other that one list or folder is split into.
pub const NODE_LEVELS: u8 = NODE_LEVEL_MAX + 1;
/// Deepest nesting of folders. Trees are walked by recursion, on the stack of any thread.
pub const FOLDER_DEPTH_MAX: usize = 512;
/// Chunks that stand in the entry itself instead of a list.
pub const INLINE_CHUNKS_MAX: usize = 4;
/// Longest key of a record as kept in a list, in bytes.
pub const RECORD_KEY_BYTES: usize = 256;

/// Most bytes that frame, key and seal add to what an object holds.
pub const SEAL_BYTES_MAX: u64 = 1024;
/// Largest small record (snapshot, session, tombstone), in bytes of JSON.
pub const SMALL_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest config or key slot, in bytes.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// Most key slots that are tried.
pub const SLOTS_MAX: usize = 16;
/// Most argon2 memory that is accepted, in KiB.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Most argon2 passes that are accepted.
pub const ARGON2_PASSES_MAX: u32 = 10;
/// Most argon2 lanes that are accepted.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Bytes of a stream that are cut, hashed and aligned at a time.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a parent stream at hand for the aligner.
pub const PARENT_WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of neighbouring chunks that are read together, so that the segments that they share are opened once.
pub const READ_TOGETHER_BYTES: usize = 8 * 1024 * 1024;
/// Decoded segments kept for reading, in bytes.
pub const SEGMENT_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Decoded record blocks kept for reading, in bytes.
pub const BLOCK_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Entries of decoded folders kept for looking things up.
pub const FOLDER_CACHE_ENTRIES: usize = 32_768;

const _: () = assert!(XATTRS_BYTES < ENTRY_BYTES && ENTRY_BYTES * 2 <= NODE_BYTES_MAX);
const _: () = assert!(NODE_BYTES_MAX <= CHUNK_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MAX <= SEGMENT_RAW_BYTES_MAX);
const _: () = assert!(SEGMENT_WHOLE_BYTES + CHUNK_BYTES_MAX <= SEGMENT_RAW_BYTES_MAX);
const _: () = assert!(DELTA_DEPTH < DELTA_DEPTH_MAX);
const _: () = assert!(BLOCK_RECORDS <= BLOCK_RECORDS_MAX);
