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
                let plural = if hit.len() == 1 { "" } else { "s" };
                write!(f, "; {} snapshot{plural} hit:", hit.len())?;
                for (number, (snapshot, path)) in hit.iter().take(3).enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    let short = snapshot.get(..8).unwrap_or(snapshot);
                    write!(f, "{comma} {short} at {path}")?;
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
