//! What a capture emits, reuses, reports and refuses.

use std::fs;
use std::os::unix::fs::symlink;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    Attributes, CaptureReport, Meta, NodeKind, Sink, Source as _, SourceError, SourceErrorKind,
    StreamFacts, StreamSpec,
};
use keepstone_sources::files::{FilesRestoreOptions, FilesSettings, FilesSource};
use keepstone_testkit::memory::{MemoryCapture, MemorySink};

use super::tree::{
    Mount, Place, acl, as_user, capture, chmod, mode, restore_well, set_mtime, write,
};

/// Passes everything on, and does something whenever a stream begins or bytes come.
struct Watching<'a> {
    inner: MemorySink<'a>,
    began: &'a mut (dyn FnMut(&RepoPath) + Send),
    wrote: &'a mut (dyn FnMut() + Send),
}

impl Sink for Watching<'_> {
    fn entry(
        &mut self,
        path: &RepoPath,
        kind: NodeKind,
        meta: Meta,
        attributes: Attributes,
    ) -> Result<(), SourceError> {
        self.inner.entry(path, kind, meta, attributes)
    }

    fn reuse(&mut self, path: &RepoPath, meta: &Meta) -> Result<bool, SourceError> {
        self.inner.reuse(path, meta)
    }

    fn begin(&mut self, spec: StreamSpec) -> Result<(), SourceError> {
        (self.began)(&spec.path);
        self.inner.begin(spec)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        (self.wrote)();
        self.inner.write(bytes)
    }

    fn record(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), SourceError> {
        self.inner.record(key, bytes)
    }

    fn finish(&mut self, facts: StreamFacts) -> Result<(), SourceError> {
        self.inner.finish(facts)
    }

    fn abandon(&mut self) -> Result<(), SourceError> {
        self.inner.abandon()
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}

fn stream(source: &FilesSource, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
    let mut opened = source.open().unwrap();
    let report = opened.stream(sink);
    opened.close().unwrap();
    report
}

#[test]
fn unchanged_files_are_taken_from_the_parent_and_changed_ones_are_read() {
    let place = Place::new();
    for n in 0..500 {
        write(
            place.source().join(format!("d{}/f{n}", n % 7)),
            format!("content {n}"),
        );
    }
    write(place.source().join("large"), vec![3; 1 << 20]);
    let settings = FilesSettings::new([place.source()]);
    let first = capture(settings.clone());

    let changed = place.source().join("d3/f3");
    let before = fs::metadata(&changed).unwrap().modified().unwrap();
    fs::write(&changed, "CONTENT 3").unwrap();
    // Only the change time tells: size and modification time are as before.
    fs::File::options()
        .write(true)
        .open(&changed)
        .unwrap()
        .set_modified(before)
        .unwrap();
    write(place.source().join("d3/new"), "new");
    fs::rename(
        place.source().join("d4/f4"),
        place.source().join("d4/renamed"),
    )
    .unwrap();
    let mut sink = MemorySink::new(Some(&first));
    stream(&FilesSource::new(settings), &mut sink).unwrap();
    let read: Vec<_> = sink
        .items
        .iter()
        .filter(|(path, (info, _))| info.kind == NodeKind::File && !sink.reused.contains(path))
        .map(|(path, _)| path.clone())
        .collect();
    assert_eq!(
        read,
        [
            place.item("d3/f3"),
            place.item("d3/new"),
            place.item("d4/renamed")
        ]
    );
    assert_eq!(sink.items[&place.item("d3/f3")].1, b"CONTENT 3");
    assert_eq!(sink.reused.len(), 499);
}

#[test]
fn items_come_in_the_order_of_their_paths_whoever_is_quick() {
    let place = Place::new();
    for n in 0..3000 {
        let size = if n % 50 == 0 { 300_000 } else { n % 97 };
        write(
            place
                .source()
                .join(format!("d{}/e{}/f-{n}", n % 11, n % 13)),
            vec![b'x'; size],
        );
    }
    fs::create_dir(place.source().join("d1-empty")).unwrap();
    write(place.source().join("d1.file"), "");
    let mut paths = Vec::new();
    {
        let mut began = |path: &RepoPath| paths.push(path.clone());
        let mut wrote = || {};
        let mut sink = Watching {
            inner: MemorySink::new(None),
            began: &mut began,
            wrote: &mut wrote,
        };
        let mut settings = FilesSettings::new([place.source()]);
        settings.threads = 4;
        stream(&FilesSource::new(settings), &mut sink).unwrap();
    }
    assert_eq!(paths.len(), 3001);
    assert!(paths.is_sorted());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_kept_and_named() {
    let place = Place::new();
    let log = place.source().join("log");
    write(&log, vec![b'a'; 5 << 20]);
    let mut wrote = || {
        use std::io::Write as _;
        fs::File::options()
            .append(true)
            .open(&log)
            .unwrap()
            .write_all(b"more")
            .unwrap();
    };
    let mut sink = Watching {
        inner: MemorySink::new(None),
        began: &mut |_| {},
        wrote: &mut wrote,
    };
    let report = stream(
        &FilesSource::new(FilesSettings::new([place.source()])),
        &mut sink,
    )
    .unwrap();
    assert_eq!(report.skipped.len(), 1);
    assert_eq!(report.skipped[0].path, format!("/{}", place.item("log")));
    assert_eq!(report.skipped[0].reason, "changed while being read");
    // What was appended meanwhile is left for the next time.
    assert_eq!(sink.inner.items[&place.item("log")].1, vec![b'a'; 5 << 20]);

    let first = MemoryCapture {
        items: sink.inner.items,
        ..MemoryCapture::default()
    };
    let mut sink = MemorySink::new(Some(&first));
    stream(
        &FilesSource::new(FilesSettings::new([place.source()])),
        &mut sink,
    )
    .unwrap();
    assert_eq!(sink.reused, [], "a torn file is never taken for unchanged");
    assert!(sink.items[&place.item("log")].1.ends_with(b"more"));
}

#[test]
fn a_file_that_shrinks_or_vanishes_is_named() {
    let place = Place::new();
    for name in ["1 first", "2 shrinks", "3 vanishes", "4 stays"] {
        write(place.source().join(name), vec![b'a'; 1 << 20]);
    }
    let source = place.source();
    let mut began = |path: &RepoPath| match path.name().unwrap() {
        b"1 first" => fs::remove_file(source.join("3 vanishes")).unwrap(),
        b"2 shrinks" => fs::write(source.join("2 shrinks"), "short").unwrap(),
        _ => {}
    };
    let mut sink = Watching {
        inner: MemorySink::new(None),
        began: &mut began,
        wrote: &mut || {},
    };
    let report = stream(
        &FilesSource::new(FilesSettings::new([place.source()])),
        &mut sink,
    )
    .unwrap();
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|skipped| {
            (
                skipped.path.rsplit('/').next().unwrap(),
                skipped.reason.as_str(),
            )
        })
        .collect();
    assert_eq!(
        skipped,
        [
            ("2 shrinks", "changed while being read"),
            ("3 vanishes", "vanished while being read")
        ]
    );
    assert_eq!(sink.inner.items[&place.item("2 shrinks")].1, b"short");
    assert!(!sink.inner.items.contains_key(&place.item("3 vanishes")));
    assert!(sink.inner.items.contains_key(&place.item("4 stays")));
}

#[test]
fn a_file_that_cannot_be_read_is_left_out_and_named() {
    // Reading this at its beginning is an error of the device, even for root.
    let path = format!("/proc/{}/mem", std::process::id());
    let captured = MemoryCapture::of(&FilesSource::new(FilesSettings::new([&path]))).unwrap();
    assert_eq!(captured.report.skipped.len(), 1);
    assert_eq!(captured.report.skipped[0].path, path);
    assert!(
        !captured
            .paths()
            .iter()
            .any(|item| format!("/{item}") == path)
    );
}

#[test]
fn a_missing_or_relative_root_fails_the_capture() {
    let open = |path: &str| {
        let source = FilesSource::new(FilesSettings::new([path]));
        source.open().map(|_| ()).unwrap_err()
    };
    let missing = open("/nowhere/at/all");
    assert_eq!(missing.kind(), SourceErrorKind::Missing);
    assert_eq!(missing.to_string(), "cannot read /nowhere/at/all");
    assert_eq!(open("relative/path").kind(), SourceErrorKind::Settings);

    let place = Place::new();
    let source = FilesSource::new(FilesSettings::new([place.source()]));
    let mut opened = source.open().unwrap();
    fs::remove_dir(place.source()).unwrap();
    let error = opened.stream(&mut MemorySink::new(None)).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
}

#[test]
fn links_are_not_followed_and_roots_are_named_as_they_lie() {
    let place = Place::new();
    write(place.outside().join("secret"), "secret");
    write(place.source().join("real/file"), "file");
    symlink(place.outside(), place.source().join("way out")).unwrap();
    symlink(place.source().join("real"), place.source().join("alias")).unwrap();
    let captured = place.capture();
    assert!(!captured.paths().iter().any(|path| path.ends_with("secret")));

    let through = capture(FilesSettings::new([place.source().join("alias/file")]));
    assert!(through.items.contains_key(&place.item("real/file")));
    assert!(through.report.warnings[0].contains("where it really lies"));

    let link = capture(FilesSettings::new([place.source().join("alias")]));
    assert!(matches!(
        link.items[&place.item("alias")].0.kind,
        NodeKind::Link(_)
    ));
    assert!(link.report.warnings[0].contains("symbolic link"));
}

#[test]
fn an_error_of_the_sink_comes_back_unchanged_and_cancelling_ends_everything() {
    let place = Place::new();
    for n in 0..2000 {
        write(place.source().join(format!("{n}")), vec![b'a'; 1000]);
    }
    let source = FilesSource::new(FilesSettings::new([place.source()]));
    let mut sink = MemorySink::new(None);
    sink.fail_after_bytes = Some(100_000);
    let error = stream(&source, &mut sink).unwrap_err();
    assert_eq!(error.to_string(), "cannot keep the stream");

    let mut sink = MemorySink::new(None);
    sink.cancel = true;
    let error = stream(&source, &mut sink).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Cancelled);
}

#[test]
fn owners_have_names_and_the_report_counts() {
    let place = Place::new();
    write(place.source().join("file"), "12345");
    set_mtime(place.source().join("file"), 5, 6);
    let captured = place.capture();
    let meta = &captured.items[&place.item("file")].0.meta;
    assert_eq!(
        (meta.user.as_deref(), meta.group.as_deref()),
        (Some("root"), Some("root"))
    );
    assert_eq!(meta.mtime_ns, 5_000_000_006);
    let facts = &captured.report.collections;
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].records, facts[0].bytes), (2, 5));
    assert_eq!(facts[0].name, place.source().to_str().unwrap());
}

#[test]
fn what_a_user_may_not_read_is_named_and_never_deleted_for_it() {
    let place = Place::new();
    for name in ["open", "secret", "closed/inside"] {
        write(place.source().join(name), name);
    }
    chmod(place.source().join("secret"), 0o600);
    chmod(place.source().join("closed"), 0o700);
    chmod(place.source().parent().unwrap(), 0o711);
    let captured = as_user(12345, || {
        MemoryCapture::of(&FilesSource::new(FilesSettings::new([place.source()])))
    })
    .unwrap();
    let reasons: Vec<_> = captured
        .report
        .skipped
        .iter()
        .map(|skipped| {
            (
                skipped.path.rsplit('/').next().unwrap(),
                skipped.reason.as_str(),
            )
        })
        .collect();
    assert_eq!(
        reasons,
        [
            ("closed", "cannot list: permission denied"),
            ("secret", "permission denied")
        ]
    );
    assert!(
        captured.items.contains_key(&place.item("closed")),
        "the folder itself is known"
    );
    assert_eq!(captured.content(&place.item("open").to_string()), b"open");

    write(place.source().join("extra"), "extra");
    let mut options = FilesRestoreOptions::new("/");
    options.subpath = Some(place.item(""));
    options.sync = false;
    options.delete = true;
    restore_well(&captured, &options);
    assert!(!place.source().join("extra").exists());
    assert!(place.source().join("secret").exists());
    assert!(place.source().join("closed/inside").exists());
}

#[test]
fn attributes_beyond_what_can_be_kept_are_left_out_and_named() {
    let place = Place::new();
    let mount = Mount::tmpfs(&place.source().join("memory"), "64M");
    let swollen = mount.path().join("swollen");
    write(&swollen, "its content");
    for number in 0..5000 {
        let name = format!("user.{number}");
        rustix::fs::lsetxattr(&swollen, name, b"v", rustix::fs::XattrFlags::CREATE).unwrap();
    }
    write(mount.path().join("other"), "other");
    let settings = FilesSettings::new([place.source()]);
    let captured = MemoryCapture::of(&FilesSource::new(settings)).unwrap();
    let skipped: Vec<_> = captured.report.skipped.iter().collect();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert!(skipped[0].path.ends_with("memory/swollen"), "{skipped:?}");
    assert!(
        skipped[0].reason.starts_with("saved without"),
        "{skipped:?}"
    );
    restore_well(&captured, &place.options());
    let restored = place.restored().join("memory/swollen");
    assert_eq!(fs::read(restored).unwrap(), b"its content");
}

#[test]
fn who_may_read_a_file_does_not_depend_on_how_many_attributes_it_has() {
    let place = Place::new();
    let mount = Mount::tmpfs(&place.source().join("memory"), "64M");
    let swollen = mount.path().join("swollen");
    write(&swollen, "for one more user");
    std::os::unix::fs::chown(&swollen, Some(1000), Some(1001)).unwrap();
    let list = acl(1002, 6);
    xattr::set(&swollen, "system.posix_acl_access", &list).unwrap();
    for number in 0..5000 {
        xattr::set(&swollen, format!("user.{number}"), b"v").unwrap();
    }
    let settings = FilesSettings::new([place.source()]);
    let captured = MemoryCapture::of(&FilesSource::new(settings)).unwrap();
    let skipped: Vec<_> = captured.report.skipped.iter().collect();
    assert!(
        matches!(&skipped[..], [only] if only.reason.contains("without its user.* attributes")),
        "{skipped:?}"
    );
    restore_well(&captured, &place.options());
    let restored = place.restored().join("memory/swollen");
    let found: Vec<_> = xattr::list(&restored).unwrap().collect();
    assert_eq!(found, ["system.posix_acl_access"]);
    let found = xattr::get(&restored, "system.posix_acl_access").unwrap();
    assert_eq!(found, Some(list));
    assert_eq!(mode(&restored), 0o660);
}
