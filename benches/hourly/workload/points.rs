//! A vector file as an exporter of a vector store would write it: payload lines between float32 vectors.

use std::collections::BTreeMap;

use super::{Churn, StackOptions, moment};

const DIMENSIONS: usize = 384;

/// The points by id.
#[derive(Debug)]
pub struct Points {
    churn: Churn,
    records: BTreeMap<i64, Vec<u8>>,
}

impl Points {
    /// No points yet.
    pub fn new(options: &StackOptions) -> Self {
        Self {
            churn: options.churn("points", 16_000),
            records: BTreeMap::new(),
        }
    }

    /// Moves the points on to an hour.
    pub fn advance(&mut self, hour: u32) {
        let changes = self.churn.hour(hour);
        for id in &changes.deleted {
            self.records.remove(id);
        }
        // An updated record may have been deleted in the same hour.
        let updated = changes
            .updated
            .into_iter()
            .filter(|id| self.records.contains_key(id));
        for id in updated.chain(changes.inserted).collect::<Vec<_>>() {
            let record = self.record(id, hour);
            self.records.insert(id, record);
        }
    }

    fn record(&mut self, id: i64, hour: u32) -> Vec<u8> {
        let rng = &mut self.churn.rng;
        let line = format!(
            "{{\"id\": {id}, \"payload\": {{\"importance\": {}, \"tags\": [\"t{}\"], \"text\": \"{}\", \
             \"ts\": {}, \"user_id\": \"u{}\"}}}}\n",
            rng.unit(),
            id % 7,
            rng.text(30),
            moment(rng, hour),
            id % 97,
        );
        let mut record = line.into_bytes();
        rng.vector(DIMENSIONS, &mut record);
        record
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        self.records.values().flatten().copied().collect()
    }
}
