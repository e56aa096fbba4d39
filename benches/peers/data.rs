//! What is saved: two large files, many small ones, and nearly nothing.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use keepstone_benches::disk;
use keepstone_benches::error::{Act as _, Result};
use keepstone_benches::rng::Rng;

const FOLDERS: u32 = 100;

/// Folders, each saved by itself.
#[derive(Debug)]
pub struct Data {
    /// One file of normal float32.
    pub vectors: PathBuf,
    /// One file of words.
    pub text: PathBuf,
    /// Many small files in a hundred folders.
    pub small: PathBuf,
    /// One tiny file.
    pub nothing: PathBuf,
}

impl Data {
    /// Makes all of it below a folder.
    pub fn make(folder: &Path, seed: u64, bytes: u64, files: u32) -> Result<Self> {
        let at = |name: &str| -> Result<PathBuf> {
            disk::fresh(&folder.join(name))?;
            Ok(folder.join(name))
        };
        let data = Self {
            vectors: at("vectors")?,
            text: at("text")?,
            small: at("small")?,
            nothing: at("nothing")?,
        };
        let mut rng = Rng::new(seed, "vectors");
        fill(&data.vectors.join("vectors.bin"), bytes, |out| {
            rng.vector(4096, out);
        })?;
        let mut rng = Rng::new(seed, "text");
        fill(&data.text.join("text.txt"), bytes, |out| {
            let mut line = rng.text(2000);
            line.push('\n');
            out.extend_from_slice(line.as_bytes());
        })?;
        data.make_small(seed, files)?;
        fs::write(data.nothing.join("note.txt"), "nothing new\n")?;
        Ok(data)
    }

    /// Sizes as in a home folder: most of a few kilobytes, some of a hundred.
    fn make_small(&self, seed: u64, files: u32) -> Result<()> {
        let mut rng = Rng::new(seed, "small");
        for number in 0..files {
            let folder = self.small.join(format!("{:02}", number % FOLDERS));
            if number < FOLDERS {
                fs::create_dir(&folder)?;
            }
            let words = if rng.below(20) == 0 {
                4000 + rng.place(12_000)
            } else {
                20 + rng.place(800)
            };
            let path = folder.join(format!("{number:05}.txt"));
            fs::write(&path, rng.text(words)).act(format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Every other of the hundred folders.
    pub fn half_of_small(&self) -> Vec<PathBuf> {
        let name = |number| self.small.join(format!("{number:02}"));
        (0..FOLDERS)
            .step_by(2)
            .map(name)
            .filter(|path| path.exists())
            .collect()
    }
}

/// Writes pieces until a file has its size, so that memory stays small.
fn fill(path: &Path, bytes: u64, mut piece: impl FnMut(&mut Vec<u8>)) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut left = bytes;
    let mut out = Vec::new();
    while left > 0 {
        out.clear();
        piece(&mut out);
        out.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&out)?;
        left -= out.len() as u64;
    }
    file.flush()?;
    Ok(())
}
