//! A capture held in memory: a strict `Sink` that can be read back as `Items`, so that a source is tested without a
//! repository. Strict on purpose: it refuses what the engine refuses.

use std::collections::BTreeMap;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Attributes, CaptureReport, ItemInfo, Items, Meta, NodeKind, OpenFacts, Profile, Sink, Source,
    SourceError, SourceErrorKind, StreamFacts, StreamSpec,
};

/// One capture: items with their content.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryCapture {
    /// What `Opened::facts` said.
    pub open_facts: OpenFacts,
    /// What `Opened::stream` answered.
    pub report: CaptureReport,
    /// Items and their content by path.
    pub items: BTreeMap<RepoPath, (ItemInfo, Vec<u8>)>,
}

impl MemoryCapture {
    /// Opens, streams and closes a source.
    pub fn of(source: &dyn Source) -> Result<Self, SourceError> {
        Self::with_parent(source, None)
    }

    /// The same with an earlier capture whose unchanged files may be reused.
    pub fn with_parent(source: &dyn Source, parent: Option<&Self>) -> Result<Self, SourceError> {
        let mut opened = source.open()?;
        let mut sink = MemorySink::new(parent);
        let open_facts = opened.facts();
        let streamed = opened.stream(&mut sink);
        let closed = opened.close();
        let report = streamed?;
        closed?;
        assert!(sink.current.is_none(), "a stream was left open");
        Ok(Self {
            open_facts,
            report,
            items: sink.items,
        })
    }

    /// The content of one item.
    pub fn content(&self, path: &str) -> &[u8] {
        let path = RepoPath::parse(path).expect("a path");
        &self
            .items
            .get(&path)
            .unwrap_or_else(|| panic!("no item {path}"))
            .1
    }

    /// All paths as text.
    pub fn paths(&self) -> Vec<String> {
        self.items.keys().map(ToString::to_string).collect()
    }
}

/// Takes items as the engine does; may be told to fail after so many bytes.
#[derive(Debug, Default)]
pub struct MemorySink<'a> {
    /// What was taken.
    pub items: BTreeMap<RepoPath, (ItemInfo, Vec<u8>)>,
    /// Paths taken from the parent.
    pub reused: Vec<RepoPath>,
    /// Fails the write that passes this many bytes in all.
    pub fail_after_bytes: Option<u64>,
    /// What `cancelled` answers.
    pub cancel: bool,
    parent: Option<&'a MemoryCapture>,
    current: Option<(StreamSpec, Vec<u8>, Vec<u8>)>,
    taken_bytes: u64,
}

impl<'a> MemorySink<'a> {
    /// An empty sink.
    pub fn new(parent: Option<&'a MemoryCapture>) -> Self {
        Self {
            parent,
            ..Self::default()
        }
    }

    fn put(&mut self, info: ItemInfo, content: Vec<u8>) {
        if let Some(parent) = info.path.parent().filter(|parent| !parent.is_root()) {
            // A file source may start below the root; then none of the parents is an item.
            if let Some((above, _)) = self.items.get(&parent) {
                assert_eq!(
                    above.kind,
                    NodeKind::Dir,
                    "{parent} holds {} but is no folder",
                    info.path
                );
            }
        }
        let path = info.path.clone();
        assert!(
            self.items.insert(path.clone(), (info, content)).is_none(),
            "{path} was emitted twice"
        );
    }
}

impl Sink for MemorySink<'_> {
    fn entry(
        &mut self,
        path: &RepoPath,
        kind: NodeKind,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<(), SourceError> {
        assert!(self.current.is_none(), "entry {path} inside a stream");
        assert_ne!(kind, NodeKind::File, "files are streams");
        let facts = StreamFacts {
            attributes,
            ..StreamFacts::default()
        };
        let info = ItemInfo {
            path: path.clone(),
            kind,
            meta,
            profile: Profile::Bytes,
            size_bytes: 0,
            facts,
        };
        self.put(info, Vec::new());
        Ok(())
    }

    fn reuse(&mut self, path: &RepoPath, meta: &Meta) -> Result<bool, SourceError> {
        assert!(self.current.is_none(), "reuse of {path} inside a stream");
        let Some((info, content)) = self.parent.and_then(|parent| parent.items.get(path)) else {
            return Ok(false);
        };
        let same = info.kind == NodeKind::File
            && info.meta.identity.is_some()
            && info.meta.identity == meta.identity
            && info.meta.mtime_ns == meta.mtime_ns;
        if same {
            let info = ItemInfo {
                meta: meta.clone(),
                ..info.clone()
            };
            self.put(info, content.clone());
            self.reused.push(path.clone());
        }
        Ok(same)
    }

    fn begin(&mut self, spec: StreamSpec) -> Result<(), SourceError> {
        assert!(
            self.current.is_none(),
            "stream {} inside a stream",
            spec.path
        );
        assert!(!spec.path.is_root(), "a stream needs a name");
        self.current = Some((spec, Vec::new(), Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.taken_bytes += bytes.len() as u64;
        if self
            .fail_after_bytes
            .is_some_and(|limit| self.taken_bytes > limit)
        {
            return Err(
                SourceError::new(SourceErrorKind::Engine, "cannot keep the stream")
                    .because("the sink was told to fail"),
            );
        }
        self.current
            .as_mut()
            .expect("write outside a stream")
            .1
            .extend_from_slice(bytes);
        Ok(())
    }

    fn record(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), SourceError> {
        let (spec, _, last_key) = self.current.as_mut().expect("record outside a stream");
        assert_eq!(
            spec.profile,
            Profile::Records,
            "records in a stream of bytes"
        );
        assert!(
            key >= last_key.as_slice(),
            "keys of {} are not in order",
            spec.path
        );
        *last_key = key.to_vec();
        self.write(bytes)
    }

    fn finish(&mut self, facts: StreamFacts) -> Result<(), SourceError> {
        let (spec, content, _) = self.current.take().expect("finish outside a stream");
        let info = ItemInfo {
            path: spec.path,
            kind: NodeKind::File,
            meta: spec.meta,
            profile: spec.profile,
            size_bytes: content.len() as u64,
            facts,
        };
        self.put(info, content);
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), SourceError> {
        self.current.take().expect("abandon outside a stream");
        Ok(())
    }

    fn cancelled(&self) -> bool {
        self.cancel
    }
}

impl Items for MemoryCapture {
    fn open_facts(&self) -> &OpenFacts {
        &self.open_facts
    }

    fn report(&self) -> &CaptureReport {
        &self.report
    }

    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.items
            .values()
            .try_for_each(|(info, _)| visit(info.clone()))
    }

    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError> {
        Ok(self.items.get(path).map(|(info, _)| info.clone()))
    }

    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.read_from(path, 0, take)
    }

    fn read_from(
        &self,
        path: &RepoPath,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let (_, content) = self.items.get(path).ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::Missing,
                format!("the capture holds no item {path}"),
            )
        })?;
        // Odd pieces on purpose: nobody may rely on where they end.
        let offset = usize::try_from(offset)
            .expect("an offset in memory")
            .min(content.len());
        content[offset..].chunks(65_521).try_for_each(take)
    }

    fn cancelled(&self) -> bool {
        false
    }
}
