//! Several tools doing the same, hour by hour, and what is said of it in the end.

use std::fs;
use std::path::{Path, PathBuf};

use keepstone_benches::disk;
use keepstone_benches::error::{Act as _, Result};
use keepstone_benches::measure::{Cost, median};
use keepstone_benches::plot::{Series, bytes_by_hour};
use keepstone_benches::report::{Lines, Row, machine, megabytes, seconds, table};
use keepstone_benches::tool::{Kind, Programs, Saved, Tool};

/// Stands in the rows for the diff that is measured beside the tools.
pub const DIFF: &str = "xdelta3 -9";

/// A contestant and the snapshots it has made.
#[derive(Debug)]
pub struct Contestant {
    /// The tool.
    pub tool: Tool,
    /// Its snapshots, oldest first.
    pub ids: Vec<String>,
}

/// All of them, and the results so far.
#[derive(Debug)]
pub struct Contest {
    name: String,
    out: PathBuf,
    lines: Lines,
    rows: Vec<Row>,
    /// The contestants.
    pub contestants: Vec<Contestant>,
}

impl Contest {
    /// Makes a repository for every tool below a folder; results go to another.
    pub fn new(
        name: &str,
        tools: &[String],
        programs: &Programs,
        scratch: &Path,
        out: &Path,
    ) -> Result<Self> {
        let mut contest = Self {
            name: name.to_owned(),
            out: out.to_path_buf(),
            lines: Lines::create(&out.join(format!("{name}.jsonl")))?,
            rows: Vec::new(),
            contestants: Vec::new(),
        };
        for name in tools.iter().filter(|name| *name != "xdelta3") {
            let kind = Kind::parse(name)?;
            let tool = Tool::new(kind, programs, &scratch.join(name))?;
            contest.contestants.push(Contestant {
                tool,
                ids: Vec::new(),
            });
        }
        Ok(contest)
    }

    /// Makes the repositories.
    pub fn init(&self) -> Result<()> {
        for contestant in &self.contestants {
            contestant.tool.init()?;
        }
        Ok(())
    }

    /// Keeps a result.
    pub fn put(
        &mut self,
        tool: &str,
        step: &str,
        hour: Option<u32>,
        cost: Cost,
        bytes: u64,
    ) -> Result<()> {
        let row = Row {
            tool: tool.to_owned(),
            step: step.to_owned(),
            hour,
            cost,
            bytes,
        };
        self.lines.put(&row)?;
        self.rows.push(row);
        Ok(())
    }

    /// Lets every tool save the hour; `save` answers the snapshots that make the hour up.
    pub fn hour(&mut self, hour: u32, save: impl Fn(&Tool) -> Result<Vec<Saved>>) -> Result<()> {
        for at in 0..self.contestants.len() {
            // What others have written is not this one's to wait for.
            rustix::fs::sync();
            let Contestant { tool, ids } = &mut self.contestants[at];
            let name = tool.kind.name();
            let saved = save(tool).act(format!("save hour {hour} by {name}"))?;
            let cost = saved
                .iter()
                .fold(Cost::default(), |cost, saved| cost.then(saved.cost));
            let added = saved.iter().map(|saved| saved.added_bytes).sum();
            ids.extend(saved.into_iter().last().map(|saved| saved.id));
            self.put(name, "backup", Some(hour), cost, added)?;
        }
        Ok(())
    }

    /// Restores the newest and the second hour (compared with their folders), checks, and prunes after every other
    /// hour was forgotten.
    pub fn finish(
        &mut self,
        hour_folders: &[PathBuf],
        current: &Path,
        scratch: &Path,
    ) -> Result<()> {
        let target = scratch.join("target");
        for at in 0..self.contestants.len() {
            let name = self.contestants[at].tool.kind.name();
            let stored = self.contestants[at].tool.stored_bytes()?;
            let last = hour_folders.len().saturating_sub(1);
            for (step, hour) in [("restore newest", last), ("restore second", last.min(1))] {
                place(&hour_folders[hour], current)?;
                rustix::fs::sync();
                let contestant = &self.contestants[at];
                let cost = contestant.tool.restore(&contestant.ids[hour], &target)?;
                disk::expect_same(current, &target).act(format!("{step} hour by {name}"))?;
                self.put(name, step, None, cost, stored)?;
            }
            let cost = self.contestants[at].tool.check(true)?;
            self.put(name, "check", None, cost, stored)?;
            let Contestant { tool, ids } = &self.contestants[at];
            let thinned: Vec<String> = ids.iter().step_by(2).cloned().collect();
            let cost = tool.forget(&thinned)?;
            let after = tool.stored_bytes()?;
            self.put(name, "prune", None, cost, after)?;
            let Contestant { tool, ids } = &self.contestants[at];
            if let Some(kept) = ids.iter().skip(1).step_by(2).next_back() {
                tool.restore(kept, &target)
                    .act(format!("restore after the prune by {name}"))?;
            }
            disk::fresh(&target)?;
        }
        Ok(())
    }

    /// Writes the table and the plot beside the lines.
    pub fn report(&self) -> Result<()> {
        let report = format!(
            "# {}\n\n{}. {}.\n\n{}\n{}",
            self.name,
            machine(),
            self.versions(),
            self.summary(),
            self.by_hour()
        );
        fs::write(self.out.join(format!("{}.md", self.name)), &report)?;
        let title = format!("bytes added by an hour ({})", self.name);
        let svg = bytes_by_hour(&title, &self.series());
        fs::write(self.out.join(format!("{}.svg", self.name)), svg)?;
        println!("\n{report}");
        Ok(())
    }

    fn versions(&self) -> String {
        let version = |contestant: &Contestant| contestant.tool.version().unwrap_or_default();
        self.contestants
            .iter()
            .map(version)
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.tool.as_str()) {
                names.push(&row.tool);
            }
        }
        names
    }

    fn of<'a>(&'a self, tool: &'a str, step: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows
            .iter()
            .filter(move |row| row.tool == tool && row.step == step)
    }

    /// The rows of the hours after the first.
    fn deltas<'a>(&'a self, tool: &'a str) -> impl Iterator<Item = &'a Row> {
        self.of(tool, "backup")
            .filter(|row| row.hour.is_some_and(|hour| hour > 0))
    }

    fn mean_added(&self, tool: &str) -> f64 {
        let (sum, count) = self
            .deltas(tool)
            .fold((0, 0), |(sum, count), row| (sum + row.bytes, count + 1));
        sum as f64 / f64::from(count.max(1))
    }

    fn summary(&self) -> String {
        let head = [
            "tool",
            "first hour",
            "an hour, mean",
            "worst",
            "of the diff",
            "wall",
            "CPU",
            "peak",
            "repository",
            "restore newest",
            "restore second",
            "check",
            "prune",
            "after",
        ];
        let diff = self.mean_added(DIFF);
        let mut rows = Vec::new();
        for tool in self.names() {
            let wall = |step| {
                self.of(tool, step)
                    .map(|row| row.cost.wall_s)
                    .next()
                    .map(seconds)
            };
            let bytes = |step| {
                self.of(tool, step)
                    .map(|row| row.bytes)
                    .next()
                    .map(megabytes)
            };
            let peak = self
                .rows
                .iter()
                .filter(|row| row.tool == tool)
                .map(|row| row.cost.peak_bytes)
                .max();
            let ratio = self.mean_added(tool) / diff;
            rows.push(vec![
                tool.to_owned(),
                bytes("backup").unwrap_or_default(),
                megabytes(self.mean_added(tool) as u64),
                megabytes(
                    self.deltas(tool)
                        .map(|row| row.bytes)
                        .max()
                        .unwrap_or_default(),
                ),
                if ratio.is_finite() {
                    format!("{ratio:.2}")
                } else {
                    String::new()
                },
                seconds(median(self.deltas(tool).map(|row| row.cost.wall_s))),
                seconds(median(self.deltas(tool).map(|row| row.cost.cpu_s))),
                megabytes(peak.unwrap_or_default()),
                bytes("check").unwrap_or_default(),
                wall("restore newest").unwrap_or_default(),
                wall("restore second").unwrap_or_default(),
                wall("check").unwrap_or_default(),
                wall("prune").unwrap_or_default(),
                bytes("prune").unwrap_or_default(),
            ]);
        }
        table(&head, &rows)
    }

    fn by_hour(&self) -> String {
        let names = self.names();
        let mut head = vec!["hour"];
        head.extend(&names);
        let hours = self
            .rows
            .iter()
            .filter_map(|row| row.hour)
            .max()
            .unwrap_or_default();
        let cell = |tool, hour| {
            let row = self.of(tool, "backup").find(|row| row.hour == Some(hour));
            row.map(|row| megabytes(row.bytes)).unwrap_or_default()
        };
        let rows: Vec<Vec<String>> = (0..=hours)
            .map(|hour| {
                let cells = names.iter().map(|tool| cell(tool, hour));
                std::iter::once(hour.to_string()).chain(cells).collect()
            })
            .collect();
        table(&head, &rows)
    }

    fn series(&self) -> Vec<Series> {
        let point = |row: &Row| (f64::from(row.hour.unwrap_or_default()), row.bytes as f64);
        let line = |tool: &str| Series {
            name: tool.to_owned(),
            points: self.deltas(tool).map(point).collect(),
        };
        self.names().into_iter().map(line).collect()
    }
}

/// Makes the files of an hour the current ones, at paths that stay the same.
pub fn place(hour: &Path, current: &Path) -> Result<()> {
    fs::create_dir_all(current)?;
    for name in disk::sizes(hour)?.keys() {
        let path = current.join(name);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        disk::copy(&hour.join(name), &path)?;
    }
    Ok(())
}

/// The time that an hour is saved as.
pub fn time_of(hour: u32) -> String {
    let (day, hour_of_day) = (hour / 24, hour % 24);
    // From 2026-01-01 on, through January and February.
    let (month, day) = if day < 31 {
        (1, day + 1)
    } else {
        (2, day - 30)
    };
    format!("2026-{month:02}-{day:02} {hour_of_day:02}:05:00")
}
