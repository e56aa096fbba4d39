//! Keepstone beside its peers on the same data in one run: new, unchanged, restored, checked, pruned.

mod data;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keepstone_benches::args::Args;
use keepstone_benches::disk;
use keepstone_benches::error::{Act as _, BenchError, Result};
use keepstone_benches::measure::{self, Cost, Task};
use keepstone_benches::report::{Lines, Row, machine, megabytes, seconds, table};
use keepstone_benches::tool::{Kind, Programs, Saved, Tool};

use self::data::Data;

const USAGE: &str = "usage: peers run [--option value]…
  --keepstone PROGRAM --tools keepstone,restic,borg --megabytes 1074 --files 30000 --rounds 3 --seed 1
  --out DIR for results, --scratch DIR for data and repositories; RESTIC_BIN names another restic";

/// Stands in the rows for what the machine needs without any tool.
const BARE: &str = "bare";

/// The steps in the order in which they are told.
const STEPS: [&str; 13] = [
    "new vectors",
    "unchanged stream",
    "restore vectors",
    "new text",
    "restore text",
    "check",
    "check --read-data",
    "new small files",
    "unchanged small files",
    "restore small files",
    "prune",
    "no-op",
    "restore no-op",
];

fn main() -> Result<()> {
    if measure::was_child()? {
        return Ok(());
    }
    let args = Args::from_process()?;
    match args.command.as_str() {
        "run" => run(args),
        _ => Err(BenchError::new(USAGE)),
    }
}

fn run(mut args: Args) -> Result<()> {
    let programs = Programs {
        keepstone: args.program("keepstone", "target/release/keepstone")?,
    };
    let out = args.path("out", "target/bench-results");
    let tools = args.list("tools", "keepstone,restic,borg");
    let rounds = args.get("rounds", 3_usize)?;
    let bytes = args.get("megabytes", 1074_u64)? * 1_000_000;
    let files = args.get("files", 30_000_u32)?;
    let seed = args.get("seed", 1)?;
    let scratch = args.scratch("peers")?;
    args.finish()?;

    let data = Data::make(&scratch.join("data"), seed, bytes, files)?;
    let mut bench = Bench {
        data,
        scratch: scratch.clone(),
        lines: Lines::create(&out.join("peers.jsonl"))?,
        rows: Vec::new(),
    };
    let mut versions = Vec::new();
    for round in 0..rounds {
        bench.bare()?;
        for at in 0..tools.len() {
            // Nobody always comes first.
            let name = &tools[(at + round) % tools.len()];
            let version = bench.tool(Kind::parse(name)?, &programs)?;
            if round == 0 {
                versions.push(version);
            }
        }
    }
    let report = bench.report(&versions.join("; "), rounds);
    fs::write(out.join("peers.md"), &report)?;
    println!("\n{report}");
    disk::fresh(&scratch)
}

struct Bench {
    data: Data,
    scratch: PathBuf,
    lines: Lines,
    rows: Vec<Row>,
}

impl Bench {
    fn put(&mut self, tool: &str, step: &str, cost: Cost, bytes: u64) -> Result<()> {
        let row = Row {
            tool: tool.to_owned(),
            step: step.to_owned(),
            hour: None,
            cost,
            bytes,
        };
        self.lines.put(&row)?;
        self.rows.push(row);
        Ok(())
    }

    fn saved(&mut self, tool: &Tool, step: &str, paths: &[PathBuf]) -> Result<Saved> {
        rustix::fs::sync();
        let saved = tool
            .backup(None, paths)
            .act(format!("{step} by {}", tool.kind.name()))?;
        self.put(tool.kind.name(), step, saved.cost, saved.added_bytes)?;
        Ok(saved)
    }

    fn restored(&mut self, tool: &Tool, step: &str, saved: &Saved, path: &Path) -> Result<()> {
        let target = self.scratch.join("target");
        rustix::fs::sync();
        let cost = tool
            .restore(&saved.id, &target)
            .act(format!("{step} by {}", tool.kind.name()))?;
        disk::expect_same(path, &target)?;
        disk::fresh(&target)?;
        self.put(tool.kind.name(), step, cost, disk::total(path)?)
    }

    /// What copying, reading and compressing cost by themselves.
    fn bare(&mut self) -> Result<()> {
        let vectors = self.data.vectors.join("vectors.bin");
        let text = self.data.text.join("text.txt");
        let copy = self.scratch.join("copy");
        let shell = |script: &str, from: &Path| {
            let words = ["-c", script, "sh"];
            Task::new("sh", &self.scratch)
                .args(words)
                .args([from, &copy])
                .run()
        };
        let copied = shell("cp \"$1\" \"$2\" && sync", &vectors)?.0;
        let read = shell("cat \"$1\" >/dev/null", &vectors)?.0;
        let packed = shell("zstd -q -3 -T2 -f \"$1\" -o \"$2\" && sync", &text)?.0;
        let packed_bytes = fs::metadata(&copy)?.len();
        fs::remove_file(&copy)?;
        let bytes = fs::metadata(&vectors)?.len();
        self.put(BARE, "new vectors", copied, bytes)?;
        self.put(BARE, "unchanged stream", read, 0)?;
        self.put(BARE, "restore vectors", copied, bytes)?;
        self.put(BARE, "new text", packed, packed_bytes)
    }

    /// All steps of one tool; answers its version.
    fn tool(&mut self, kind: Kind, programs: &Programs) -> Result<String> {
        let folder = self.scratch.join(kind.name());
        let start = || -> Result<Tool> {
            disk::fresh(&folder)?;
            let tool = Tool::new(kind, programs, &folder)?;
            tool.init()?;
            Ok(tool)
        };
        let tool = start()?;
        self.streams(&tool)?;
        let tool = start()?;
        self.text(&tool)?;
        let tool = start()?;
        self.small_files(&tool)?;
        let tool = start()?;
        self.nothing(&tool)?;
        let version = tool.version()?;
        disk::fresh(&folder)?;
        Ok(version)
    }

    fn streams(&mut self, tool: &Tool) -> Result<()> {
        let vectors = self.data.vectors.clone();
        self.saved(tool, "new vectors", std::slice::from_ref(&vectors))?;
        // As if it had been written again: it must be read, and nothing in it is new.
        let file = File::options()
            .append(true)
            .open(vectors.join("vectors.bin"))?;
        file.set_modified(SystemTime::now())?;
        let saved = self.saved(tool, "unchanged stream", std::slice::from_ref(&vectors))?;
        self.restored(tool, "restore vectors", &saved, &vectors)
    }

    fn text(&mut self, tool: &Tool) -> Result<()> {
        let text = self.data.text.clone();
        let saved = self.saved(tool, "new text", std::slice::from_ref(&text))?;
        self.restored(tool, "restore text", &saved, &text)?;
        for (step, read_data) in [("check", false), ("check --read-data", true)] {
            let cost = tool.check(read_data)?;
            self.put(tool.kind.name(), step, cost, tool.stored_bytes()?)?;
        }
        Ok(())
    }

    fn small_files(&mut self, tool: &Tool) -> Result<()> {
        let small = self.data.small.clone();
        let first = self.saved(tool, "new small files", std::slice::from_ref(&small))?;
        let second = self.saved(tool, "unchanged small files", std::slice::from_ref(&small))?;
        self.restored(tool, "restore small files", &second, &small)?;
        // Half of the folders stay needed.
        tool.backup(None, &self.data.half_of_small())?;
        rustix::fs::sync();
        let cost = tool.forget(&[first.id, second.id])?;
        self.put(tool.kind.name(), "prune", cost, tool.stored_bytes()?)
    }

    fn nothing(&mut self, tool: &Tool) -> Result<()> {
        let nothing = self.data.nothing.clone();
        tool.backup(None, std::slice::from_ref(&nothing))?;
        let saved = self.saved(tool, "no-op", std::slice::from_ref(&nothing))?;
        self.restored(tool, "restore no-op", &saved, &nothing)
    }

    fn report(&self, versions: &str, rounds: usize) -> String {
        let mut rows = Vec::new();
        for step in STEPS {
            let mut tools: Vec<&str> = Vec::new();
            for row in self.rows.iter().filter(|row| row.step == step) {
                if !tools.contains(&row.tool.as_str()) {
                    tools.push(&row.tool);
                }
            }
            tools.sort_by_key(|tool| (*tool == BARE, *tool));
            for tool in tools {
                let of = |row: &&Row| row.tool == tool && row.step == step;
                let costs: Vec<Cost> = self.rows.iter().filter(of).map(|row| row.cost).collect();
                let bytes = self.rows.iter().rfind(of).map_or(0, |row| row.bytes);
                let cost = Cost::median(&costs);
                rows.push(vec![
                    format!("{step}, {tool}"),
                    seconds(cost.wall_s),
                    seconds(cost.cpu_s),
                    megabytes(cost.peak_bytes),
                    megabytes(bytes),
                ]);
            }
        }
        let head = ["step, tool", "wall", "CPU", "peak", "bytes"];
        format!(
            "# peers\n\n{}. {versions}. Medians of {rounds}. Bytes: added by a backup, restored by a restore, in the \
             repository else. Bare: `cp` and `sync`, `cat`, `zstd -3 -T2` and `sync`.\n\n{}",
            machine(),
            table(&head, &rows)
        )
    }
}
