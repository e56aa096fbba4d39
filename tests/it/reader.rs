//! The second reader, written in Python from repo-format.md alone, restores what the engine has saved, bit for bit.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keepstone_engine::backend::Backend;
use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::compress::Codec;
use keepstone_engine::crypto::{KdfParameters, SlotInfo};
use keepstone_engine::forget::forget;
use keepstone_engine::id::SnapshotId;
use keepstone_engine::repo::{InitOptions, Repo, init, packs_that_exist, read_footer};
use keepstone_testkit::scripted::{
    Dice, Streams, an_hour_later, new_repo, prune_at, save, secret, table,
};
use keepstone_testkit::tools::{tool, workspace};

use crate::taken_back::taken_back;

const HOUR_NS: i64 = 3_600_000_000_000;

fn read_with_python(repository: &Path, how: &str, secret: &Path, id: SnapshotId, into: &Path) {
    let output = Command::new(tool("reader-venv/bin/python"))
        .arg(workspace().join("tests/reader/reader.py"))
        .args([
            repository.as_os_str(),
            how.as_ref(),
            secret.as_os_str(),
            "restore".as_ref(),
        ])
        .arg(id.to_string())
        .arg(into)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

fn assert_holds(folder: &Path, streams: &Streams) {
    for (path, bytes) in streams {
        let read = std::fs::read(folder.join("script").join(path)).unwrap();
        assert!(read == *bytes, "{path} differs");
    }
}

/// Points with vectors, of which a few are new in an hour: boxes of float planes, whole and of a delta.
fn vectors(hour: i64) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..600_i64 {
        let since = if number % 31 == hour % 31 { hour } else { 0 };
        out.extend_from_slice(format!("point {number}, as of {since}: ").as_bytes());
        let mut noise = blake3::Hasher::new()
            .update(&out[out.len() - 16..])
            .finalize_xof();
        for _ in 0..96 {
            let mut float = [0; 4];
            noise.fill(&mut float);
            float[3] = (float[3] & 0x80) | (0x3b + float[3] % 4);
            out.extend_from_slice(&float);
        }
    }
    out
}

/// Twenty hours, deep enough for resolved lists; a folder of many entries beside the table.
fn fill(repo: &Repo) -> Vec<(SnapshotId, Streams)> {
    let mut dice = Dice(11);
    let mut bytes = table(&mut dice, 6_000);
    let mut saved = Vec::new();
    for hour in 0..20 {
        let mut streams = Streams::from([
            ("db/table".to_owned(), bytes.clone()),
            ("db/vectors".to_owned(), vectors(hour)),
        ]);
        for number in 0..2_500 {
            streams.insert(
                format!("many/{number:05}"),
                format!("{number} {}", hour / 9).into_bytes(),
            );
        }
        saved.push((save(repo, &streams, hour * HOUR_NS).unwrap(), streams));
        bytes = an_hour_later(&mut dice, &bytes);
    }
    saved
}

/// Whether any box of the repository holds float planes.
fn has_planes(repo: &Repo) -> bool {
    let packs = packs_that_exist(repo).unwrap();
    let mut footers = packs
        .into_iter()
        .map(|(name, size)| read_footer(repo, name, size).unwrap().footer);
    footers.any(|footer| {
        footer
            .boxes
            .iter()
            .any(|place| place.header.codec == Codec::Planes)
    })
}

fn check_with(kdf: KdfParameters, how: &str) {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    let backend: Arc<dyn Backend> = Arc::new(LocalBackend::create(&repository).unwrap());
    let options = InitOptions {
        secret: secret(),
        kdf,
        info: SlotInfo::default(),
    };
    let repo = init(backend, options).unwrap();
    let saved = fill(&repo);
    assert!(has_planes(&repo), "the reader is to be shown float planes");
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, secret().as_slice()).unwrap();
    let (newest, streams) = saved.last().unwrap();
    let out = folder.path().join("newest");
    read_with_python(&repository, how, &secret_file, *newest, &out);
    assert_holds(&out, streams);
    // And once most of it is forgotten and pruned.
    let gone: Vec<_> = (0..19)
        .filter(|hour| hour % 6 != 1)
        .map(|hour| saved[hour].0)
        .collect();
    forget(&repo, &gone, "test", "host", 0).unwrap();
    let report = prune_at(&repo, 100 * HOUR_NS).unwrap();
    assert!(report.swept > 0, "{report:?}");
    for hour in [1, 13, 19] {
        let out = folder.path().join(format!("hour{hour}"));
        read_with_python(&repository, how, &secret_file, saved[hour].0, &out);
        assert_holds(&out, &saved[hour].1);
    }
}

#[test]
fn python_restores_deltas_and_what_a_prune_has_left_with_a_password() {
    check_with(KdfParameters::PASSWORD, "--password-file");
}

#[test]
fn python_restores_deltas_and_what_a_prune_has_left_with_a_raw_key() {
    check_with(KdfParameters::Raw, "--key-file");
}

#[test]
fn python_reads_edits_that_were_taken_back_after_a_prune() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        let backend: Arc<dyn Backend> = Arc::new(LocalBackend::create(&repository).unwrap());
        let repo = new_repo(backend.clone()).unwrap();
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, secret().as_slice()).unwrap();
        for (number, (id, streams)) in taken_back(&backend, &repo, seed).iter().enumerate() {
            let out = folder.path().join(number.to_string());
            read_with_python(&repository, "--key-file", &secret_file, *id, &out);
            assert_holds(&out, streams);
        }
    }
}
