//! Every bound of format and pipeline. Checked before a quantity is used; stated in `repo-format.md` § Limits.

/// Longest name of one entry, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;
/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 65_536;
/// Most JSON text beside one item, in bytes.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;
