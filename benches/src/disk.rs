//! Folders: how large, whether equal, copied.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};

use crate::error::{Act as _, BenchError, Result};

/// Files below a folder and their sizes, by path from it.
pub fn sizes(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    walk(folder, Path::new(""), &mut found).act(format!("walk {}", folder.display()))?;
    Ok(found)
}

fn walk(folder: &Path, below: &Path, found: &mut BTreeMap<PathBuf, u64>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let meta = entry.metadata()?;
        if meta.is_dir() {
            walk(&entry.path(), &path, found)?;
        } else {
            found.insert(path, meta.len());
        }
    }
    Ok(())
}

/// Bytes of all files below a folder; 0 if it is not there.
pub fn total(folder: &Path) -> Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    Ok(sizes(folder)?.values().sum())
}

/// Counts what was ever written to a repository whose files are never changed.
#[derive(Debug, Default)]
pub struct Written {
    seen: BTreeMap<PathBuf, u64>,
    /// Bytes of all files ever seen.
    pub bytes: u64,
}

impl Written {
    /// Looks again; answers how many bytes are new.
    pub fn look(&mut self, folder: &Path) -> Result<u64> {
        let now = sizes(folder)?;
        let is_new = |(path, size): &(&PathBuf, &u64)| self.seen.get(*path) != Some(size);
        let new: u64 = now.iter().filter(is_new).map(|(_, size)| size).sum();
        self.bytes += new;
        self.seen = now;
        Ok(new)
    }
}

/// Makes a folder, empty.
pub fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).act(format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).act(format!("make {}", folder.display()))
}

/// Writes the bytes of one file to another; no reflink, which would make the next reader's cache cold.
pub fn copy(from: &Path, to: &Path) -> Result<u64> {
    let act = || format!("copy {} to {}", from.display(), to.display());
    let mut source = fs::File::open(from).act(act())?;
    let mut target = fs::File::create(to).act(act())?;
    io::copy(&mut source, &mut target).act(act())
}

/// Refuses a restored folder that is not what was saved. Every tool lays the saved path below its target.
pub fn expect_same(saved: &Path, target: &Path) -> Result<()> {
    let target = target.join(saved.strip_prefix("/").unwrap_or(saved));
    for name in sizes(saved)?.keys() {
        let act = || format!("compare {}", target.join(name).display());
        if !same_bytes(&saved.join(name), &target.join(name)).act(act())? {
            let name = name.display();
            return Err(BenchError::new(format!(
                "{name} was restored with other bytes"
            )));
        }
    }
    Ok(())
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let mut one = io::BufReader::new(fs::File::open(one)?);
    let mut other = io::BufReader::new(fs::File::open(other)?);
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if left[..length] != right[..length] || (length == 0 && left.len() != right.len()) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        one.consume(length);
        other.consume(length);
    }
}
