//! Which records an hour touches.

use crate::rng::Rng;

/// How many records of a thousand an hour touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Get new content.
    pub updated: usize,
    /// Are new.
    pub inserted: usize,
    /// Go.
    pub deleted: usize,
}

impl Rates {
    /// What an hour of every bench does unless it says otherwise: 2 %, 1 % and 0.5 %.
    pub const HOURLY: Self = Self {
        updated: 20,
        inserted: 10,
        deleted: 5,
    };
    /// The same updates in a store that does not grow.
    pub const STEADY: Self = Self {
        updated: 20,
        inserted: 5,
        deleted: 5,
    };
}

/// The live records of one store and the dice that change them.
#[derive(Debug)]
pub struct Churn {
    /// The dice, also for content.
    pub rng: Rng,
    rates: Rates,
    live: Vec<i64>,
    next_id: i64,
    first: usize,
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
    pub fn new(rng: Rng, rates: Rates, first: usize) -> Self {
        Self {
            rng,
            rates,
            live: Vec::new(),
            next_id: 1,
            first,
        }
    }

    /// The first hour inserts everything; each later one goes by the rates.
    pub fn hour(&mut self, hour: u32) -> Changes {
        if hour == 0 {
            return Changes {
                inserted: self.insert(self.first),
                ..Changes::default()
            };
        }
        let count = self.live.len();
        let touched = |rate: usize| count * rate / 1000;
        let mut updated = Vec::with_capacity(touched(self.rates.updated));
        for place in 0..touched(self.rates.updated) {
            // The touched records gather in front, so that none is drawn twice.
            let drawn = place + self.rng.place(count - place);
            self.live.swap(place, drawn);
            updated.push(self.live[place]);
        }
        let deleted = (0..touched(self.rates.deleted))
            .map(|_| {
                let drawn = self.rng.place(self.live.len());
                self.live.swap_remove(drawn)
            })
            .collect();
        let inserted = self.insert(touched(self.rates.inserted));
        Changes {
            updated,
            inserted,
            deleted,
        }
    }

    fn insert(&mut self, count: usize) -> Vec<i64> {
        let ids: Vec<i64> = (self.next_id..).take(count).collect();
        self.next_id += count as i64;
        self.live.extend_from_slice(&ids);
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_touches_the_stated_shares() {
        let mut churn = Churn::new(Rng::new(1, "test"), Rates::HOURLY, 10_000);
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
            let mut churn = Churn::new(Rng::new(seed, "test"), Rates::HOURLY, 1000);
            (0..5).map(|hour| churn.hour(hour)).collect::<Vec<_>>()
        };
        assert_eq!(hours(7), hours(7));
        assert_ne!(hours(7), hours(8));
    }
}
