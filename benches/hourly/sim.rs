//! `hourly week` and `hourly thin`: many hours of a smaller set, made without servers.
//!
//! Three streams as in the measurements that the format rests on: rows of a table in the order of their keys, values
//! of a hash table in the order of hashes, and payloads between vectors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keepstone_benches::args::Args;
use keepstone_benches::churn::{Churn, Rates};
use keepstone_benches::disk::{self, Written};
use keepstone_benches::error::{Act as _, Result};
use keepstone_benches::measure::{Cost, median};
use keepstone_benches::report::{Lines, Row, machine, megabytes, table};
use keepstone_benches::rng::Rng;
use keepstone_benches::tool::{Kind, Programs, Tool};

use crate::contest::{DIFF, place, time_of};
use crate::files::diff;

const VECTOR_DIMENSIONS: usize = 384;

/// What is simulated.
struct Plan {
    name: &'static str,
    hours: u32,
    rates: Rates,
    records: usize,
    /// Thins after so many hours, by this policy.
    thin: Option<(u32, &'static [&'static str])>,
    with_diff: bool,
}

/// Whether only one core is used, and what opening and restoring are called then.
const ALL_CORES: (bool, &str, &str) = (false, "open", "restore");
const ONE_CORE: (bool, &str, &str) = (true, "open on one core", "restore on one core");

/// How often the newest hour is restored, and the repository opened for nothing but a list: a password is stretched either way.
const RESTORES: usize = 5;

/// `hourly week`: 168 hours, all kept; bytes ever written beside the sum of the diffs, and the newest restored.
pub fn week(mut args: Args) -> Result<()> {
    let plan = Plan {
        name: "hourly-week",
        hours: args.get("hours", 168)?,
        rates: Rates::HOURLY,
        records: args.get("records", 20_000)?,
        thin: None,
        with_diff: true,
    };
    run(args, &plan, "keepstone")
}

/// `hourly thin`: 35 days, thinned every day to 24 hourly, 7 daily and 4 weekly snapshots.
pub fn thin(mut args: Args) -> Result<()> {
    const KEEP: &[&str] = &[
        "--keep-hourly",
        "24",
        "--keep-daily",
        "7",
        "--keep-weekly",
        "4",
    ];
    let plan = Plan {
        name: "hourly-thin",
        hours: args.get("hours", 35 * 24)?,
        // A set that grew by half a percent an hour would be 66 times as large in the end.
        rates: Rates::STEADY,
        records: args.get("records", 6000)?,
        thin: Some((24, KEEP)),
        with_diff: false,
    };
    run(args, &plan, "keepstone,restic")
}

fn run(mut args: Args, plan: &Plan, tools: &str) -> Result<()> {
    let programs = Programs {
        keepstone: args.program("keepstone", "target/release/keepstone")?,
    };
    let out = args.path("out", "target/bench-results");
    let seed = args.get("seed", 1)?;
    let tools = args.list("tools", tools);
    let scratch = args.scratch(plan.name)?;
    args.finish()?;

    let mut lines = Lines::create(&out.join(format!("{}.jsonl", plan.name)))?;
    let mut contestants = Vec::new();
    for name in &tools {
        let tool = Tool::new(Kind::parse(name)?, &programs, &scratch.join(name))?;
        tool.init()?;
        contestants.push((tool, Written::default(), Vec::<Row>::new()));
    }
    let mut streams = Streams::new(seed, plan);
    let current = scratch.join("current");
    let [before, now] = ["before", "now"].map(|name| scratch.join(name));
    let mut diffs = Vec::new();
    for hour in 0..plan.hours {
        disk::fresh(&now)?;
        streams.advance(hour);
        streams.write(&now)?;
        if plan.with_diff && hour > 0 {
            let (cost, bytes) = diff(&before, &now, &scratch)?;
            diffs.push(row(DIFF, "backup", hour, cost, bytes));
            lines.put(&diffs.last())?;
        }
        place(&now, &current)?;
        for (tool, written, rows) in &mut contestants {
            rustix::fs::sync();
            let saved = tool.backup(Some(&time_of(hour)), std::slice::from_ref(&current))?;
            let bytes = written.look(tool.repository())?;
            rows.push(row(tool.kind.name(), "backup", hour, saved.cost, bytes));
            lines.put(&rows.last())?;
            if let Some((every, keep)) = plan.thin.filter(|(every, _)| (hour + 1) % every == 0) {
                let cost = tool.thin(keep).act(format!("thin after {every} hours"))?;
                written.look(tool.repository())?;
                rows.push(row(
                    tool.kind.name(),
                    "thin",
                    hour,
                    cost,
                    tool.stored_bytes()?,
                ));
                lines.put(&rows.last())?;
            }
            if hour + 1 == plan.hours {
                let target = scratch.join("target");
                let name = tool.kind.name();
                for (one_core, open, restore) in [ALL_CORES, ONE_CORE] {
                    tool.use_one_core(one_core)?;
                    for _ in 0..RESTORES {
                        rows.push(row(name, open, hour, tool.list()?, 0));
                        lines.put(&rows.last())?;
                        let cost = tool.restore(&saved.id, &target)?;
                        rows.push(row(name, restore, hour, cost, disk::total(&now)?));
                        lines.put(&rows.last())?;
                    }
                    disk::expect_same(&current, &target)?;
                }
                tool.use_one_core(false)?;
            }
        }
        if before.exists() {
            fs::remove_dir_all(&before)?;
        }
        fs::rename(&now, &before)?;
    }
    let report = report(plan, &diffs, &contestants)?;
    fs::write(out.join(format!("{}.md", plan.name)), &report)?;
    println!("\n{report}");
    disk::fresh(&scratch)
}

fn row(tool: &str, step: &str, hour: u32, cost: Cost, bytes: u64) -> Row {
    Row {
        tool: tool.to_owned(),
        step: step.to_owned(),
        hour: Some(hour),
        cost,
        bytes,
    }
}

fn report(plan: &Plan, diffs: &[Row], contestants: &[(Tool, Written, Vec<Row>)]) -> Result<String> {
    let later = |rows: &[Row]| -> u64 {
        let rows = rows
            .iter()
            .filter(|row| row.step == "backup" && row.hour > Some(0));
        rows.map(|row| row.bytes).sum()
    };
    let diff_bytes = later(diffs);
    let mut rows = Vec::new();
    for (tool, written, all) in contestants {
        let first = all.first().map_or(0, |row| row.bytes);
        // Everything that was ever written behind the first hour, by prunes as well.
        let ever = written.bytes - first;
        let [of_cpu, of_cpu_opened] = rates(all, ALL_CORES, |cost| cost.cpu_s);
        let [of_core, of_core_opened] = rates(all, ONE_CORE, |cost| cost.wall_s);
        let hours = all
            .iter()
            .filter(|row| row.step == "backup" && row.hour > Some(0));
        rows.push(vec![
            tool.kind.name().to_owned(),
            megabytes(first),
            megabytes(ever),
            if diff_bytes > 0 {
                format!("{:.2}", ever as f64 / diff_bytes as f64)
            } else {
                String::new()
            },
            megabytes(tool.stored_bytes()?),
            format!("{:.2} s", median(hours.clone().map(|row| row.cost.wall_s))),
            format!("{:.2} s", median(hours.map(|row| row.cost.cpu_s))),
            of_core,
            of_core_opened,
            of_cpu,
            of_cpu_opened,
            megabytes(
                all.iter()
                    .map(|row| row.cost.peak_bytes)
                    .max()
                    .unwrap_or_default(),
            ),
        ]);
    }
    let head = [
        "tool",
        "first hour",
        "written after it",
        "of the diffs",
        "repository",
        "wall of an hour",
        "CPU of an hour",
        "newest restored by one core in a second",
        "without opening",
        "by all in a CPU second",
        "without opening",
        "peak",
    ];
    let diffs = if plan.with_diff {
        let sum = megabytes(diff_bytes);
        format!(" Sum of `xdelta3 -9` after the first hour: {sum}.")
    } else {
        String::new()
    };
    Ok(format!(
        "# {}\n\n{} hours; {}.{diffs}\n\n{}",
        plan.name,
        plan.hours,
        machine(),
        table(&head, &rows)
    ))
}

/// Bytes that are restored in a second, with what opening takes and without it.
fn rates(
    rows: &[Row],
    (_, open, restore): (bool, &str, &str),
    what: fn(&Cost) -> f64,
) -> [String; 2] {
    let of_step =
        |step: &str| -> Vec<&Row> { rows.iter().filter(|row| row.step == step).collect() };
    let median_of = |rows: &[&Row]| median(rows.iter().map(|row| what(&row.cost)));
    let (restored, opened) = (of_step(restore), of_step(open));
    let bytes = restored.first().map_or(0, |row| row.bytes);
    let whole_s = median_of(&restored);
    let rate = |seconds: f64| format!("{:.0} MB", bytes as f64 / 1e6 / seconds);
    [rate(whole_s), rate(whole_s - median_of(&opened))]
}

/// The three streams, each in an order of its own.
struct Streams {
    streams: [Stream; 3],
}

struct Stream {
    name: &'static str,
    churn: Churn,
    records: BTreeMap<u64, Vec<u8>>,
    /// Where a record of this number lies.
    order: fn(i64) -> u64,
    make: fn(&mut Rng, i64) -> Vec<u8>,
}

impl Streams {
    fn new(seed: u64, plan: &Plan) -> Self {
        let stream = |name, records, order, make| Stream {
            name,
            churn: Churn::new(Rng::new(seed, name), plan.rates, records),
            records: BTreeMap::new(),
            order,
            make,
        };
        Self {
            streams: [
                stream("rows.sql", plan.records, by_id, sql_row),
                stream("keys.rdb", plan.records, by_hash, key_value),
                stream("points.bin", plan.records / 3, by_id, point),
            ],
        }
    }

    fn advance(&mut self, hour: u32) {
        for stream in &mut self.streams {
            let changes = stream.churn.hour(hour);
            for id in changes.updated.into_iter().chain(changes.inserted) {
                let record = (stream.make)(&mut stream.churn.rng, id);
                stream.records.insert((stream.order)(id), record);
            }
            for id in changes.deleted {
                stream.records.remove(&(stream.order)(id));
            }
        }
    }

    fn write(&self, folder: &Path) -> Result<()> {
        for stream in &self.streams {
            let bytes: Vec<u8> = stream.records.values().flatten().copied().collect();
            fs::write(folder.join(stream.name), bytes).act(format!("write {}", stream.name))?;
        }
        Ok(())
    }
}

fn by_id(id: i64) -> u64 {
    id.cast_unsigned()
}

fn by_hash(id: i64) -> u64 {
    Rng::new(id.cast_unsigned(), "hash").next_u64()
}

fn sql_row(rng: &mut Rng, id: i64) -> Vec<u8> {
    format!(
        "{id}\tu{}\t{}\t{{\"src\": \"{}\", \"tags\": [\"{}\"]}}\t{}\t2026-01-01 00:00:00+00\n",
        id % 997,
        rng.text(35),
        rng.text(4),
        rng.text(3),
        rng.unit()
    )
    .into_bytes()
}

/// A value as Redis packs it: short back references between what could not be packed.
fn key_value(rng: &mut Rng, id: i64) -> Vec<u8> {
    let mut record = format!("\0\rsession:{id}\u{3}A x").into_bytes();
    for _ in 0..44 {
        let word = rng.below(5000);
        let [low, high, ..] = word.to_le_bytes();
        record.extend([0x20 | (high & 3) << 5, high]);
        if rng.below(2) == 0 {
            record.extend(word.to_string().into_bytes());
        } else {
            record.extend([low, rng.below(256).to_le_bytes()[0]]);
        }
    }
    record.extend(format!("ts\" {}}}", rng.unit()).into_bytes());
    record
}

fn point(rng: &mut Rng, id: i64) -> Vec<u8> {
    let mut record = format!(
        "{{\"id\": {id}, \"payload\": {{\"importance\": {}, \"tags\": [\"t{}\"], \"text\": \"{}\"}}}}\n",
        rng.unit(),
        id % 7,
        rng.text(30)
    )
    .into_bytes();
    rng.vector(VECTOR_DIMENSIONS, &mut record);
    record
}
