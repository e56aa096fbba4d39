//! A sink that has something happen while a capture comes.

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Attributes, Meta, NodeKind, Sink, SourceError, StreamFacts, StreamSpec,
};
use keepstone_testkit::memory::MemorySink;

/// A sink that tells when a table comes, and when a record.
pub(super) struct Noticing<'a> {
    pub(super) sink: MemorySink<'a>,
    pub(super) notice: &'a mut (dyn FnMut() + Send),
    pub(super) record: &'a mut (dyn FnMut() + Send),
}

impl Sink for Noticing<'_> {
    fn entry(
        &mut self,
        path: &RepoPath,
        kind: NodeKind,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<(), SourceError> {
        self.sink.entry(path, kind, meta, attributes)
    }

    fn reuse(&mut self, path: &RepoPath, meta: &Meta) -> Result<bool, SourceError> {
        self.sink.reuse(path, meta)
    }

    fn begin(&mut self, spec: StreamSpec) -> Result<(), SourceError> {
        if spec.path.components().nth(1) == Some(b"table") {
            (self.notice)();
        }
        self.sink.begin(spec)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.sink.write(bytes)
    }

    fn record(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), SourceError> {
        (self.record)();
        self.sink.record(key, bytes)
    }

    fn finish(&mut self, facts: StreamFacts) -> Result<(), SourceError> {
        self.sink.finish(facts)
    }

    fn abandon(&mut self) -> Result<(), SourceError> {
        self.sink.abandon()
    }

    fn cancelled(&self) -> bool {
        self.sink.cancelled()
    }
}
