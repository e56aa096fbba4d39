//! What is written can be read: what breaks a limit is refused, or left out and named, before anything is committed.

use std::sync::Arc;

use keepstone_engine::Error;
use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backup::{BackupReport, Cancel};
use keepstone_engine::check::{Level, check};
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::Repo;
use keepstone_engine::source::{CaptureReport, CollectionFacts, Meta, Skipped};
use keepstone_testkit::scripted::{
    ScriptedSource, Streams, new_repo, open_repo, options, prune_at, read_back, save_source,
};

fn saved(repo: &Repo, meta: Meta, report: CaptureReport) -> Result<BackupReport, Error> {
    let streams = Streams::from([("d/data".to_owned(), b"some bytes".to_vec())]);
    let source = ScriptedSource {
        streams,
        meta,
        report,
        ..ScriptedSource::default()
    };
    save_source(repo, &source, &options("host", 0))
}

fn assert_refused(meta: Meta, report: CaptureReport, named: &str) {
    let backend = Arc::new(MemoryBackend::new());
    let repo = new_repo(backend.clone()).unwrap();
    let refused = saved(&repo, meta, report).unwrap_err();
    let text = format!("{refused}: {:?}", std::error::Error::source(&refused));
    assert!(text.contains(named), "{text}");
    let repo = open_repo(backend).unwrap();
    assert!(repo.snapshots().unwrap().is_empty());
    prune_at(&repo, 0).unwrap();
}

#[test]
fn an_entry_that_nobody_could_read_is_refused() {
    let xattrs = |count: usize, bytes: usize| Meta {
        xattrs: (0..count)
            .map(|number| (format!("user.{number:05}").into_bytes(), vec![7; bytes]))
            .collect(),
        ..Meta::default()
    };
    assert_refused(xattrs(5000, 4), CaptureReport::default(), "data");
    assert_refused(xattrs(70, 65_536), CaptureReport::default(), "data");
    let meta = Meta {
        user: Some("u".repeat(300)),
        ..Meta::default()
    };
    assert_refused(meta, CaptureReport::default(), "data");
}

#[test]
fn more_collections_than_can_be_told_of_are_refused() {
    let table = |number: usize| CollectionFacts {
        name: format!("database/schema.a_table_with_a_long_name_{number}"),
        records: 1,
        bytes: 1,
        digest: None,
    };
    let report = CaptureReport {
        collections: (0..60_000).map(table).collect(),
        ..CaptureReport::default()
    };
    assert_refused(Meta::default(), report, "source script cannot be kept");
}

#[test]
fn a_long_report_is_kept_as_far_as_it_goes() {
    let backend = Arc::new(MemoryBackend::new());
    let repo = new_repo(backend.clone()).unwrap();
    let skipped = |number: usize| Skipped {
        path: format!("/{number}/{}", "x".repeat(400)),
        reason: "it is not there any more".into(),
    };
    let report = CaptureReport {
        warnings: vec!["w".repeat(1000); 5000],
        skipped: (0..10_000).map(skipped).collect(),
        ..CaptureReport::default()
    };
    let done = saved(&repo, Meta::default(), report).unwrap();
    assert_eq!(done.snapshot.sources[0].counts.skipped, 10_000);
    let (_, kept) = &done.details[0];
    assert!(kept.report.skipped.len() > 1000 && kept.report.warnings.len() > 400);
    assert_eq!(
        kept.report.skipped.len() as u64 + kept.report.unnamed,
        10_000
    );
    let last = kept.report.warnings.last().unwrap();
    assert!(last.ends_with("more warnings were given"), "{last}");
    let repo = open_repo(backend).unwrap();
    assert_eq!(read_back(&repo, done.id.unwrap()).unwrap().len(), 1);
    let report = check(&repo, Level::Data, 2, &NoObserver, &Cancel::default()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}
