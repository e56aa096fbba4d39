//! Problems: every kind of damage, with its object and what stands on it.

use std::fmt;

/// One thing found wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object, as it is named in the repository.
    pub object: String,
    /// What is wrong with it, in lower case.
    pub what: String,
    /// What it means.
    pub consequence: Consequence,
}

/// What a problem means for the user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// Nothing is lost: it can be made anew from what is there, or a copy of it is good.
    Healed,
    /// These snapshots cannot be restored wholly: snapshot and the first path in it that is hit.
    Snapshots(Vec<(String, String)>),
    /// It is damaged, but no snapshot stands on it.
    Nothing,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)?;
        match &self.consequence {
            Consequence::Healed => write!(f, " (nothing is lost)"),
            Consequence::Nothing => write!(f, " (no snapshot stands on it)"),
            Consequence::Snapshots(hit) => {
                write!(f, "; {} snapshot(s) hit:", hit.len())?;
                for (snapshot, path) in hit.iter().take(3) {
                    write!(f, " {snapshot} at {path}")?;
                }
                if hit.len() > 3 {
                    write!(f, " and {} more", hit.len() - 3)
                } else {
                    Ok(())
                }
            }
        }
    }
}
