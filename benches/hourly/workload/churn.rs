//! Which records an hour touches.

use keepstone_benches::rng::Rng;

/// The live records of one store and the dice that change them.
#[derive(Debug)]
pub struct Churn {
    /// The dice, also for content.
    pub rng: Rng,
    live: Vec<i64>,
    next_id: i64,
    first: i64,
}

/// What one hour does, by id.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Records that get new content.
    pub updated: Vec<i64>,
    /// Records that are new, ascending.
    pub inserted: Vec<i64>,
    /// Records that go.
    pub deleted: Vec<i64>,
}

impl Churn {
    /// An empty store that will start with so many records.
    pub fn new(rng: Rng, first: i64) -> Self {
        Self {
            rng,
            live: Vec::new(),
            next_id: 1,
            first,
        }
    }

    /// The first hour inserts everything; each later one updates 2 %, deletes 0.5 % and inserts 1 %.
    pub fn hour(&mut self, hour: u32) -> Changes {
        if hour == 0 {
            return Changes {
                inserted: self.insert(self.first),
                ..Changes::default()
            };
        }
        let count = self.live.len();
        let mut updated = Vec::with_capacity(count / 50);
        for place in 0..count / 50 {
            // The touched records gather in front, so that none is drawn twice.
            let drawn = place + self.rng.place(count - place);
            self.live.swap(place, drawn);
            updated.push(self.live[place]);
        }
        let deleted = (0..count / 200)
            .map(|_| {
                let drawn = self.rng.place(self.live.len());
                self.live.swap_remove(drawn)
            })
            .collect();
        let inserted = self.insert(count as i64 / 100);
        Changes {
            updated,
            inserted,
            deleted,
        }
    }

    fn insert(&mut self, count: i64) -> Vec<i64> {
        let ids: Vec<i64> = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        self.live.extend_from_slice(&ids);
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_touches_the_stated_shares() {
        let mut churn = Churn::new(Rng::new(1, "test"), 10_000);
        assert_eq!(churn.hour(0).inserted.len(), 10_000);
        let mut changes = churn.hour(1);
        assert_eq!(changes.updated.len(), 200);
        assert_eq!(changes.inserted.len(), 100);
        assert_eq!(changes.deleted.len(), 50);
        changes.updated.sort_unstable();
        changes.updated.dedup();
        assert_eq!(changes.updated.len(), 200, "no record is updated twice");
    }

    #[test]
    fn the_same_seed_makes_the_same_hours() {
        let hours = |seed| {
            let mut churn = Churn::new(Rng::new(seed, "test"), 1000);
            (0..5).map(|hour| churn.hour(hour)).collect::<Vec<_>>()
        };
        assert_eq!(hours(7), hours(7));
        assert_ne!(hours(7), hours(8));
    }
}
