//! What a source says it has counted is what it has handed over.

use std::sync::Arc;

use keepstone_engine::backup::{Cancel, SourceRun, backup};
use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::source::{
    CaptureReport, Consistency, Meta, OpenFacts, Opened, Profile, Sink, Source, SourceError,
    StreamFacts, StreamSpec,
};
use keepstone_testkit::scripted::{new_repo, options};

/// Emits three records and says that there were so many.
struct Counting(u64);

impl Source for Counting {
    fn kind(&self) -> &'static str {
        "counting"
    }

    fn address(&self) -> String {
        "counting:".into()
    }

    fn consistency(&self) -> Consistency {
        Consistency::PointInTime
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        Ok(Box::new(Self(self.0)))
    }
}

impl Opened for Counting {
    fn facts(&self) -> OpenFacts {
        OpenFacts::default()
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        for (name, told) in [("other", 3), ("records", self.0)] {
            sink.begin(StreamSpec {
                path: RepoPath::parse(name).unwrap(),
                profile: Profile::Records,
                meta: Meta::default(),
                size_hint_bytes: None,
            })?;
            for record in ["a", "b", "c"] {
                sink.record(record.as_bytes(), record.as_bytes())?;
            }
            sink.finish(StreamFacts {
                records: Some(told),
                ..StreamFacts::default()
            })?;
        }
        Ok(CaptureReport::default())
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

#[test]
fn a_stream_with_more_or_fewer_records_than_its_source_counted_is_not_committed() {
    let repo = new_repo(Arc::new(
        keepstone_engine::backend::memory::MemoryBackend::new(),
    ))
    .unwrap();
    let save = |told| {
        let source = Counting(told);
        let run = SourceRun {
            name: "counting".into(),
            source: &source,
        };
        let options = options("host", 1);
        backup(
            &repo,
            &[run],
            &options,
            &|| 1,
            &NoObserver,
            &Cancel::default(),
        )
    };
    for wrong in [2, 4, 6] {
        let error = save(wrong).unwrap_err();
        let expected = format!("stream records has 3 records, its source says {wrong}");
        assert_eq!(error.to_string(), expected);
    }
    assert!(repo.snapshots().unwrap().is_empty());
    save(3).unwrap();
    assert_eq!(repo.snapshots().unwrap().len(), 1);
}
