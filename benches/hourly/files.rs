//! `hourly files`: the same five dump files to every tool, hour by hour.

use std::path::{Path, PathBuf};

use keepstone_benches::args::Args;
use keepstone_benches::disk;
use keepstone_benches::error::{BenchError, Result};
use keepstone_benches::measure::{Cost, Task};
use keepstone_benches::tool::{Kind, Programs, Tool};
use keepstone_testkit::servers::minio::Minio;

use crate::contest::{Contest, DIFF, place, time_of};

/// Runs the command.
pub fn run(mut args: Args) -> Result<()> {
    let programs = Programs {
        keepstone: args.program("keepstone", "target/release/keepstone")?,
    };
    let hours_folder = args.path("hours-dir", "target/hours");
    let out = args.path("out", "target/bench-results");
    let tools = args.list("tools", "xdelta3,keepstone,restic,borg");
    let hours = args.get("hours", 12_usize)?;
    let cold = args.get("cold", false)?;
    let on_minio = args.get("minio", false)?;
    let name = match (cold, on_minio) {
        (false, false) => "hourly-files",
        (true, false) => "hourly-files-cold",
        (false, true) => "hourly-files-minio",
        (true, true) => "hourly-files-minio-cold",
    };
    let scratch = args.scratch(name)?;
    args.finish()?;

    let folders: Vec<PathBuf> = (0..hours)
        .map(|hour| hours_folder.join(format!("h{hour:02}")))
        .collect();
    if let Some(missing) = folders.iter().find(|folder| !folder.is_dir()) {
        return Err(BenchError::new(format!(
            "no folder {}: run `hourly generate` first",
            missing.display()
        )));
    }
    // Tools change folders.
    let folders: Vec<PathBuf> = folders
        .iter()
        .map(|folder| folder.canonicalize())
        .collect::<std::io::Result<_>>()?;
    let mut contest = Contest::new(name, &tools, &programs, &scratch, &out)?;
    let mut minio = None;
    if on_minio {
        let server = Minio::start();
        contest
            .contestants
            .retain_mut(|contestant| keep_on(&server, &mut contestant.tool));
        minio = Some(server);
    }
    contest.init()?;
    let current = scratch.join("current");
    let with_diff = tools.iter().any(|tool| tool == "xdelta3");
    for (hour, folder) in (0_u32..).zip(&folders) {
        // The first hour has nothing to differ from.
        if let Some(before) = hour.checked_sub(1).filter(|_| with_diff) {
            let (cost, bytes) = diff(&folders[before as usize], folder, &scratch)?;
            contest.put(DIFF, "backup", Some(hour), cost, bytes)?;
        }
        place(folder, &current)?;
        contest.hour(hour, |tool| {
            if cold {
                tool.empty_cache()?;
            }
            Ok(vec![tool.backup(
                Some(&time_of(hour)),
                std::slice::from_ref(&current),
            )?])
        })?;
    }
    contest.finish(&folders, &current, &scratch)?;
    contest.report()?;
    drop(minio);
    disk::fresh(&scratch)
}

/// Moves a tool's repository to the server; false if the tool cannot keep one there.
fn keep_on(server: &Minio, tool: &mut Tool) -> bool {
    let name = tool.kind.name();
    let stored_at = server.bucket_folder().join(name);
    tool.keep_at(server.url(name), &server.environment(), stored_at);
    tool.kind != Kind::Borg
}

/// The least that an hour could cost: a binary diff of every file against the hour before.
pub fn diff(before: &Path, now: &Path, scratch: &Path) -> Result<(Cost, u64)> {
    let mut whole = Cost::default();
    let mut bytes = 0;
    let out = scratch.join("diff");
    for name in disk::sizes(now)?.keys() {
        let task = Task::new("xdelta3", scratch).args(["-9", "-e", "-f", "-B", "268435456", "-s"]);
        let (cost, _) = task
            .args([before.join(name), now.join(name), out.clone()])
            .run()?;
        whole = whole.then(cost);
        bytes += std::fs::metadata(&out)?.len();
    }
    Ok((whole, bytes))
}
