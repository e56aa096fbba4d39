//! Honest trees that are as deep as they may be: what is saved is read, checked and pruned.

use std::sync::Arc;

use keepstone_engine::backend::memory::MemoryBackend;
use keepstone_engine::backup::Cancel;
use keepstone_engine::check::{Level, check};
use keepstone_engine::limits;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::{Repo, Store, Usable};
use keepstone_engine::source::Meta;
use keepstone_testkit::scripted::{
    ScriptedSource, Streams, new_repo, options, prune_at, read_back, read_listed, save, save_source,
};

use super::forge::{chain, deep_path};
use super::says;

fn assert_clean(repo: &Repo) {
    let report = check(repo, Level::Data, 1, &NoObserver, &Cancel::default()).unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}

#[test]
fn an_honest_tree_is_as_deep_as_it_may_be_or_refused_when_it_is_saved() {
    let repo = new_repo(Arc::new(MemoryBackend::new())).unwrap();
    let deep = |depth| Streams::from([(deep_path(depth).to_string(), b"deep".to_vec())]);
    let id = save(&repo, &deep(limits::FOLDER_DEPTH_MAX), 0).unwrap();
    prune_at(&repo, 1).unwrap();
    let listed = repo.snapshots().unwrap().remove(0);
    assert_eq!(listed.id, id);
    let read = read_listed(&repo, &listed).unwrap();
    assert!(read == deep(limits::FOLDER_DEPTH_MAX));
    let error = save(&repo, &deep(limits::FOLDER_DEPTH_MAX + 1), 2).unwrap_err();
    says(&chain(&error), "too deep");
    assert_eq!(repo.snapshots().unwrap().len(), 1);
}

#[test]
fn an_empty_folder_lies_no_deeper_than_it_can_be_read() {
    let repo = new_repo(Arc::new(MemoryBackend::new())).unwrap();
    let saved = |depth| {
        let source = ScriptedSource {
            folders: (1..=depth).map(deep_path).collect(),
            ..ScriptedSource::default()
        };
        save_source(&repo, &source, &options("host", 0))
    };
    saved(limits::FOLDER_DEPTH_MAX - 1).unwrap();
    let error = saved(limits::FOLDER_DEPTH_MAX).unwrap_err();
    says(&chain(&error), "too deep");
    assert_clean(&repo);
    let listed = repo.snapshots().unwrap().remove(0);
    let store = Store::load(&repo, &Usable::Indexed, true).unwrap();
    let root = listed.snapshot.sources[0].root.unwrap();
    let mut folders = 0;
    store
        .walk(root, &Default::default(), &mut |_, _| {
            folders += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(folders, limits::FOLDER_DEPTH_MAX - 1);
}

#[test]
fn deep_folders_that_are_all_split_are_read_checked_and_pruned() {
    let repo = new_repo(Arc::new(MemoryBackend::new())).unwrap();
    // Six entries of 60 KiB are more than one node of a folder holds.
    let mut source = ScriptedSource {
        meta: Meta {
            xattrs: [(b"user.large".to_vec(), vec![b'x'; 60_000])].into(),
            ..Meta::default()
        },
        ..ScriptedSource::default()
    };
    for depth in 1..300 {
        let folder = deep_path(depth);
        source
            .streams
            .extend((0..6).map(|number| (format!("{folder}/{number}"), vec![])));
    }
    let report = save_source(&repo, &source, &options("host", 0)).unwrap();
    assert_clean(&repo);
    prune_at(&repo, 1).unwrap();
    assert!(read_back(&repo, report.id.unwrap()).unwrap() == source.streams);
}
