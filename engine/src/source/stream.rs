//! Items: what a source emits into a sink, and what a rebuild reads back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Digest, SourceError};
use crate::limits;
use crate::path::RepoPath;

/// Small named facts, kept as JSON text beside an item. At most 64 KiB as text; no secrets.
pub type Attributes = serde_json::Map<String, serde_json::Value>;

/// How a stream is cut into chunks; never changes within a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Arbitrary bytes: content-defined cuts.
    Bytes,
    /// A run of records: content-defined cuts that fall on record boundaries.
    Records,
    /// Pages of a fixed size that change in place: cuts at multiples of the chunk size.
    Pages,
}

/// What kind of thing an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A folder.
    Dir,
    /// Anything with content: a file, or a stream of a database.
    File,
    /// A symbolic link and its target bytes.
    Link(Vec<u8>),
    /// A further name of a file that was emitted before: the path of the first name.
    HardLink(RepoPath),
    /// A named pipe.
    Fifo,
    /// A socket: recorded, not rebuilt.
    Socket,
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A character device: major, minor.
    CharDevice(u32, u32),
}

/// What the file system says of an entry. Database streams leave it at the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky (12 bits).
    pub mode: u32,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Owner by name, where one is known.
    pub user: Option<String>,
    /// Group by name, where one is known.
    pub group: Option<String>,
    /// Modification time in nanoseconds since 1970, UTC.
    pub mtime_ns: i64,
    /// Extended attributes with their full names (`user.x`, `system.posix_acl_access`, …).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The file had holes: a rebuild may leave runs of zeros unwritten.
    pub sparse: bool,
    /// What tells an unchanged file without reading it.
    pub identity: Option<FileIdentity>,
}

impl Meta {
    /// Whether the extended attributes are few and small enough to be kept.
    pub fn xattrs_fit(&self) -> bool {
        let bytes: usize = self
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        self.xattrs.len() <= limits::XATTRS_MAX && bytes <= limits::XATTRS_BYTES
    }
}

/// What must be equal for a file to count as unchanged, beside its path and `mtime_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Change time in nanoseconds since 1970, UTC.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

/// What is said of a stream before its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSpec {
    /// Name of the stream within its source. Database object names are percent-encoded per component.
    pub path: RepoPath,
    /// How it is cut.
    pub profile: Profile,
    /// File system facts; default for database streams.
    pub meta: Meta,
    /// Size if it is known beforehand, for progress only.
    pub size_hint_bytes: Option<u64>,
}

/// What is said of a stream after its bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamFacts {
    /// Number of records, where the stream has records.
    pub records: Option<u64>,
    /// Digest over the canonical records, where the stream has records.
    pub digest: Option<Digest>,
    /// Facts a rebuild needs or a person wants.
    pub attributes: Attributes,
}

/// Facts of one collection, table or database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionFacts {
    /// Name for people, for example `app/public.users` or `db0`.
    pub name: String,
    /// Number of records.
    pub records: u64,
    /// Bytes of the canonical form.
    pub bytes: u64,
    /// Digest over the canonical records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Takes the items of one capture, in order. Paths are unique; a folder comes before what is in it.
///
/// A stream is `begin`, any number of `write` or `record`, `finish`. One stream at a time.
/// Calls block while the engine is busy: that is the back-pressure.
pub trait Sink: Send {
    /// Takes an item without content: a folder, link, device.
    fn entry(
        &mut self,
        path: &RepoPath,
        kind: NodeKind,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<(), SourceError>;

    /// Takes a whole file from the parent capture, unread, if its path, `mtime_ns`, identity and everything
    /// else in `meta` that shows on content are equal and its content is present. Answers whether it did.
    fn reuse(&mut self, path: &RepoPath, meta: &Meta) -> Result<bool, SourceError>;

    /// Starts a stream.
    fn begin(&mut self, spec: StreamSpec) -> Result<(), SourceError>;

    /// Takes bytes of the current stream. Any length; large pieces are cheaper.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError>;

    /// Takes one whole record of a `Profile::Records` stream: cuts fall only between records.
    /// `key` orders the stream (non-decreasing) or is empty.
    fn record(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), SourceError>;

    /// Ends the current stream: its end was proved.
    fn finish(&mut self, facts: StreamFacts) -> Result<(), SourceError>;

    /// Drops the current stream, for a file that could not be read to its end.
    fn abandon(&mut self) -> Result<(), SourceError>;

    /// Whether the user asked to stop. Long waits of a source should look at it.
    fn cancelled(&self) -> bool;
}

/// One item of a capture, as a rebuild sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemInfo {
    /// Name within the source.
    pub path: RepoPath,
    /// What it is.
    pub kind: NodeKind,
    /// File system facts.
    pub meta: Meta,
    /// How its content was cut; `Bytes` for items without content.
    pub profile: Profile,
    /// Size of the content in bytes.
    pub size_bytes: u64,
    /// What was said after the bytes, or beside the entry.
    pub facts: StreamFacts,
}

/// What a walk past damage comes to.
#[derive(Debug)]
pub enum Walked {
    /// An item.
    Item(Box<ItemInfo>),
    /// The items of this folder cannot be read; the folder itself came before.
    Lost(RepoPath, SourceError),
}

/// Reads one capture back. May be used from several threads.
pub trait Items: Send + Sync {
    /// Facts recorded when the source was opened.
    fn open_facts(&self) -> &super::OpenFacts;

    /// The report of the capture.
    fn report(&self) -> &super::CaptureReport;

    /// Visits every item in path order: a folder before what is in it. Stops at the first error.
    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError>;

    /// Like `walk`, but goes on behind folders whose items lie damaged in the repository, and tells them.
    fn walk_past_damage(
        &self,
        visit: &mut dyn FnMut(Walked) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.walk(&mut |item| visit(Walked::Item(Box::new(item))))
    }

    /// One item by name.
    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError>;

    /// Hands the verified content over in order, in pieces of any length.
    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError>;

    /// Hands the verified content from `offset` on over, in order; for resumed and partial reads.
    fn read_from(
        &self,
        path: &RepoPath,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError>;

    /// Whether the user asked to stop.
    fn cancelled(&self) -> bool;
}
