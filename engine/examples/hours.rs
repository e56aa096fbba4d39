//! Backs up a folder of hourly dumps hour by hour and says what each hour cost. Usage: hours HOURS_DIR REPO_DIR
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring example"
)]
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keepstone_engine::backend::local::LocalBackend;
use keepstone_engine::backup::*;
use keepstone_engine::crypto::{KdfParameters, Secret, SlotInfo};
use keepstone_engine::path::RepoPath;
use keepstone_engine::progress::NoObserver;
use keepstone_engine::repo::*;
use keepstone_engine::restore::CapturedItems;
use keepstone_engine::session::SessionRecord;
use keepstone_engine::source::*;

struct Folder(PathBuf);
struct OpenedFolder(PathBuf);
impl Source for Folder {
    fn kind(&self) -> &'static str {
        "files"
    }
    fn address(&self) -> String {
        String::new()
    }
    fn consistency(&self) -> Consistency {
        Consistency::Fuzzy
    }
    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        Ok(Box::new(OpenedFolder(self.0.clone())))
    }
}
impl Opened for OpenedFolder {
    fn facts(&self) -> OpenFacts {
        OpenFacts::default()
    }
    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        let mut names: Vec<_> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        let mut buffer = vec![0; 1 << 20];
        for path in names {
            let spec = StreamSpec {
                path: RepoPath::parse(path.file_name().unwrap().to_str().unwrap()).unwrap(),
                profile: Profile::Bytes,
                meta: Meta::default(),
                size_hint_bytes: None,
            };
            sink.begin(spec)?;
            let mut file = std::fs::File::open(&path).unwrap();
            loop {
                let n = file.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                sink.write(&buffer[..n])?;
            }
            sink.finish(StreamFacts::default())?;
        }
        Ok(CaptureReport::default())
    }
    fn close(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}
fn cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}
fn rss() -> u64 {
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    s.lines()
        .find(|l| l.starts_with("VmHWM"))
        .and_then(|l| l.split_whitespace().nth(1))
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}
fn du(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            let m = e.metadata().unwrap();
            if m.is_dir() { du(&e.path()) } else { m.len() }
        })
        .sum()
}
fn main() {
    let args: Vec<_> = std::env::args().collect();
    let repo_dir = PathBuf::from(&args[2]);
    let secret = Secret::new(b"x".to_vec());
    let backend = Arc::new(LocalBackend::create(&repo_dir).unwrap());
    let repo = init(
        backend,
        InitOptions {
            secret,
            kdf: KdfParameters::Raw,
            info: SlotInfo::default(),
        },
    )
    .unwrap();
    let mut hours: Vec<_> = std::fs::read_dir(&args[1])
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    hours.sort();
    let mut now = 0;
    let mut before = du(&repo_dir);
    let mut history = WriterHistory::default();
    for hour in &hours {
        now += 3_600_000_000_000_i64;
        let source = Folder(hour.clone());
        let options = BackupOptions {
            session: SessionRecord {
                host: "h".into(),
                boot: String::new(),
                pid: 1,
                process_start: 0,
                writer: new_writer_id(),
                start_ns: now,
                program: "x".into(),
            },
            user: String::new(),
            zone: None,
            description: String::new(),
            label: String::new(),
            tags: vec![],
            set: None,
            partial: false,
            bases: Bases::AtHand,
            rebase: false,
            parallel: 2,
            time_ns: Some(now),
            skip_if_unchanged: false,
            dry_run: false,
            history: history.clone(),
        };
        let (t, c) = (std::time::Instant::now(), cpu());
        let report = backup(
            &repo,
            &[SourceRun {
                name: "files".into(),
                source: &source,
            }],
            &options,
            &|| now,
            &NoObserver,
            &Cancel::default(),
        )
        .unwrap();
        history = report.history;
        let size = du(&repo_dir);
        println!(
            "{} +{:.1} KB  wall {:.2} cpu {:.2} rss {} MB  {:?}",
            hour.display(),
            (size - before) as f64 / 1e3,
            t.elapsed().as_secs_f64(),
            cpu() - c,
            rss(),
            report.snapshot.sources[0].counts
        );
        before = size;
    }
    for (n, listed) in repo.snapshots().unwrap().iter().enumerate() {
        let (t, c) = (std::time::Instant::now(), cpu());
        let store = Arc::new(Store::load(&repo, &Usable::Indexed, false).unwrap());
        let items = CapturedItems::open(&store, &listed.snapshot.sources[0], 2, &Cancel::default())
            .unwrap();
        let mut bytes = 0;
        let mut names = vec![];
        items
            .walk(&mut |info| {
                names.push(info.path);
                Ok(())
            })
            .unwrap();
        let mut spent = 0.0;
        for name in names {
            let mut got = vec![];
            items
                .read(&name, &mut |b| {
                    got.extend_from_slice(b);
                    Ok(())
                })
                .unwrap();
            let t = std::time::Instant::now();
            assert!(
                got == std::fs::read(hours[n].join(name.to_string())).unwrap(),
                "differs"
            );
            spent += t.elapsed().as_secs_f64();
            bytes += got.len();
        }
        println!(
            "restore {n}: {:.0} MB in {:.2} s, cpu {:.2} (with {spent:.2} comparing)",
            bytes as f64 / 1e6,
            t.elapsed().as_secs_f64() - spent,
            cpu() - c
        );
    }
}
