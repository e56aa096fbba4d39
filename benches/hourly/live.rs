//! `hourly live`: Keepstone's own sources beside what restic can do, dumps through a pipe.

use std::fs;
use std::path::PathBuf;

use keepstone_benches::args::Args;
use keepstone_benches::disk;
use keepstone_benches::error::{Act as _, Result};
use keepstone_benches::tool::{Kind, Programs, Saved, Tool};

use crate::contest::{Contest, time_of};
use crate::workload::{Stack, StackOptions};

/// Runs the command.
pub fn run(mut args: Args) -> Result<()> {
    let programs = Programs {
        keepstone: args.program("keepstone", "target/release/keepstone")?,
    };
    let out = args.path("out", "target/bench-results");
    let tools = args.list("tools", "keepstone,restic");
    let hours = args.get("hours", 12_u32)?;
    let options = StackOptions::from_args(&mut args)?;
    let scratch = args.scratch("hourly-live")?;
    args.finish()?;

    let mut stack = Stack::start(&options)?;
    let mut contest = Contest::new("hourly-live", &tools, &programs, &scratch, &out)?;
    contest.init()?;
    for hour in 0..hours {
        stack.advance(hour)?;
        fs::write(stack.files().join("points.bin"), stack.points_bytes())
            .act("write points.bin")?;
        let time = time_of(hour);
        contest.hour(hour, |tool| save(tool, &stack, &time))?;
    }
    contest.report()?;
    stack.stop()?;
    disk::fresh(&scratch)
}

fn save(tool: &Tool, stack: &Stack, time: &str) -> Result<Vec<Saved>> {
    let files = ["points.bin", "app.log"].map(|name| stack.files().join(name));
    if tool.kind == Kind::Keepstone {
        let mut sources: Vec<PathBuf> = stack.addresses().into_iter().map(PathBuf::from).collect();
        sources.extend(files);
        return Ok(vec![tool.backup(Some(time), &sources)?]);
    }
    let mut saved = Vec::new();
    for (name, command) in stack.dump_commands() {
        saved.push(tool.backup_command(name, time, &command)?);
    }
    // The file of SQLite as it lies there: nobody writes while the bench copies it.
    let database = stack.files().join("app.db");
    saved.push(tool.backup(Some(time), &[&[database], files.as_slice()].concat())?);
    Ok(saved)
}
