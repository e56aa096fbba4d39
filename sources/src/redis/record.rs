//! Records: one key with its value and expiry, in the one form that equal data always has.
//!
//! Members of sets and fields of hashes are sorted, sorted sets go by score and then member, lists and streams keep
//! their order, integers are the decimal text that clients see, expiries are absolute. What a server does for its own
//! sake (hash order, compact encodings, compression, idle times) is gone. The bytes are in `format`.

use std::cmp::Ordering;
use std::ops::Range;

/// Many byte strings in one buffer: eight bytes of overhead each instead of an allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    /// No strings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one string.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all strings together.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The string at a position; empty beyond the end.
    pub fn get(&self, at: usize) -> &[u8] {
        let start = at
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        self.ends
            .get(at)
            .and_then(|end| self.bytes.get(start..*end))
            .unwrap_or_default()
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        (0..self.len()).map(|at| self.get(at))
    }

    /// The strings at these positions, in order.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> + '_ {
        range.map(|at| self.get(at))
    }

    /// Fields and values, taken two by two.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + '_ {
        (0..self.len() / 2).map(|pair| (self.get(2 * pair), self.get(2 * pair + 1)))
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(strings: I) -> Self {
        let mut all = Self::new();
        strings.into_iter().for_each(|one| all.push(one.as_ref()));
        all
    }
}

/// One key with everything that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Name of the key.
    pub key: Vec<u8>,
    /// When it expires, in milliseconds since 1970; none: never.
    pub expires_ms: Option<u64>,
    /// What it holds, in canonical order.
    pub value: Value,
}

/// What a key holds. Built by the functions below, which put everything into canonical order.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// A list in its order.
    List(Strings),
    /// A set, sorted.
    Set(Strings),
    /// A sorted set by score, then member.
    SortedSet {
        /// The members.
        members: Strings,
        /// Their scores.
        scores: Vec<f64>,
    },
    /// A hash, sorted by field.
    Hash {
        /// Fields and values in turn.
        pairs: Strings,
        /// When each field expires in milliseconds since 1970, 0 for never; empty when no field ever does.
        expiries: Vec<u64>,
    },
    /// A stream.
    Stream(Box<Stream>),
}

/// Place of an entry in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Milliseconds part.
    pub ms: u64,
    /// Sequence part.
    pub seq: u64,
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// How much a server knows of its streams; later ones know more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StreamDetail {
    /// Entries, groups and pending entries (before Redis 7.0).
    Basic,
    /// Also how many entries were ever added and read, and the greatest deleted one (7.0).
    Offsets,
    /// Also when a consumer was last given something (7.2).
    Activity,
}

/// A stream with its consumer groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// How much was known; fields below it are zero.
    pub detail: StreamDetail,
    /// The entries in order.
    pub entries: Entries,
    /// Last id ever given.
    pub last_id: StreamId,
    /// Greatest id ever deleted.
    pub max_deleted_id: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
    /// Consumer groups, sorted by name.
    pub groups: Vec<Group>,
}

/// Entries of a stream: ids, and the fields and values of all of them in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    ids: Vec<StreamId>,
    ends: Vec<usize>,
    strings: Strings,
}

impl Entries {
    /// Appends a field or a value of the entry that `close` will end.
    pub fn push_string(&mut self, string: &[u8]) {
        self.strings.push(string);
    }

    /// Ends an entry.
    pub fn close(&mut self, id: StreamId) {
        self.ids.push(id);
        self.ends.push(self.strings.len());
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Bytes of fields and values together.
    pub fn size_bytes(&self) -> usize {
        self.strings.size_bytes()
    }

    /// Id of the first entry; `0-0` without one.
    pub fn first_id(&self) -> StreamId {
        self.ids.first().copied().unwrap_or_default()
    }

    /// Each entry: its id, its fields and values in turn.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, Vec<&[u8]>)> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.ids
            .iter()
            .zip(starts.zip(&self.ends))
            .map(|(id, (start, end))| (*id, self.strings.range(start..*end).collect()))
    }
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// Last id that was delivered.
    pub last_id: StreamId,
    /// Entries ever read; all ones when the server cannot know.
    pub entries_read: u64,
    /// Consumers, sorted by name.
    pub consumers: Vec<Consumer>,
}

/// A consumer and what it has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Vec<u8>,
    /// When it last asked, in milliseconds since 1970.
    pub seen_ms: i64,
    /// When it was last given something; -1 for never.
    pub active_ms: i64,
    /// Delivered and not acknowledged, by id.
    pub pending: Vec<Pending>,
}

/// One entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub id: StreamId,
    /// When it was last delivered, in milliseconds since 1970.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Something occurs twice that can occur only once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {0} occurs twice")]
pub struct Twice(pub &'static str);

impl Value {
    /// A set out of members in any order.
    pub fn set(members: &Strings) -> Result<Self, Twice> {
        let order = order_by(members.len(), |a, b| members.get(a).cmp(members.get(b)));
        if adjacent(&order, |a, b| members.get(a) == members.get(b)) {
            return Err(Twice("member"));
        }
        Ok(Self::Set(order.iter().map(|at| members.get(*at)).collect()))
    }

    /// A sorted set out of members in any order. A negative zero becomes zero: the server does not keep it either.
    pub fn sorted_set(members: &Strings, scores: &[f64]) -> Result<Self, Twice> {
        let score = |at: usize| scores.get(at).copied().unwrap_or_default() + 0.0;
        let order = order_by(members.len(), |a, b| {
            let by_score = score(a).total_cmp(&score(b));
            by_score.then_with(|| members.get(a).cmp(members.get(b)))
        });
        // The same member under two scores would not be adjacent.
        let by_name = order_by(members.len(), |a, b| members.get(a).cmp(members.get(b)));
        if adjacent(&by_name, |a, b| members.get(a) == members.get(b)) {
            return Err(Twice("member"));
        }
        Ok(Self::SortedSet {
            members: order.iter().map(|at| members.get(*at)).collect(),
            scores: order.iter().map(|at| score(*at)).collect(),
        })
    }

    /// A hash out of fields and values in any order, with an expiry for each field or with none at all.
    pub fn hash(pairs: &Strings, expiries: &[u64]) -> Result<Self, Twice> {
        let field = |pair: usize| pairs.get(2 * pair);
        let order = order_by(pairs.len() / 2, |a, b| field(a).cmp(field(b)));
        if adjacent(&order, |a, b| field(a) == field(b)) {
            return Err(Twice("field"));
        }
        let any_expires = expiries.iter().any(|at| *at != 0);
        let expiry = |pair: usize| expiries.get(pair).copied().unwrap_or(0);
        Ok(Self::Hash {
            pairs: order
                .iter()
                .flat_map(|pair| [field(*pair), pairs.get(2 * pair + 1)])
                .collect(),
            expiries: order
                .iter()
                .filter(|_| any_expires)
                .map(|pair| expiry(*pair))
                .collect(),
        })
    }

    /// How many elements it has: what a server keeps an allocation for.
    pub fn elements(&self) -> usize {
        match self {
            Self::String(_) => 1,
            Self::List(strings) | Self::Set(strings) => strings.len(),
            Self::SortedSet { members, .. } => members.len(),
            Self::Hash { pairs, .. } => pairs.len(),
            Self::Stream(stream) => stream.entries.len(),
        }
    }

    /// Bytes of its strings, about what a dump of it takes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::String(string) => string.len(),
            Self::List(strings) | Self::Set(strings) => strings.size_bytes(),
            Self::SortedSet { members, scores } => members.size_bytes() + 8 * scores.len(),
            Self::Hash { pairs, expiries } => pairs.size_bytes() + 8 * expiries.len(),
            Self::Stream(stream) => stream.entries.size_bytes(),
        }
    }
}

impl Record {
    /// The moment from which on the record is no longer what it was: its own expiry or that of a field.
    pub fn first_expiry_ms(&self) -> Option<u64> {
        let of_fields = match &self.value {
            Value::Hash { expiries, .. } => expiries.iter().copied().filter(|at| *at != 0).min(),
            _ => None,
        };
        match (self.expires_ms, of_fields) {
            (Some(key), Some(field)) => Some(key.min(field)),
            (key, field) => key.or(field),
        }
    }

    /// The record as it is at a moment: without fields that have expired, and not at all if it has itself.
    pub fn at(mut self, now_ms: u64) -> Option<Self> {
        if self.expires_ms.is_some_and(|at| at <= now_ms) {
            return None;
        }
        let gone = |at: &u64| *at != 0 && *at <= now_ms;
        if let Value::Hash { pairs, expiries } = &self.value
            && expiries.iter().any(gone)
        {
            let mut left = Strings::new();
            let mut left_expiries = Vec::new();
            for ((field, value), at) in pairs.pairs().zip(expiries).filter(|(_, at)| !gone(at)) {
                left.push(field);
                left.push(value);
                left_expiries.push(*at);
            }
            if left.is_empty() {
                return None;
            }
            if left_expiries.iter().all(|at| *at == 0) {
                left_expiries.clear();
            }
            self.value = Value::Hash {
                pairs: left,
                expiries: left_expiries,
            };
        }
        Some(self)
    }

    /// Forgets what a server of lesser detail could not know of a stream.
    pub fn lower_to(&mut self, detail: StreamDetail) {
        let Value::Stream(stream) = &mut self.value else {
            return;
        };
        if stream.detail <= detail {
            return;
        }
        stream.detail = detail;
        for group in &mut stream.groups {
            for consumer in &mut group.consumers {
                consumer.active_ms = 0;
            }
        }
        if detail < StreamDetail::Offsets {
            stream.max_deleted_id = StreamId::default();
            stream.entries_added = 0;
            stream
                .groups
                .iter_mut()
                .for_each(|group| group.entries_read = 0);
        }
    }
}

fn order_by(len: usize, compare: impl Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_unstable_by(|a, b| compare(*a, *b));
    order
}

fn adjacent(order: &[usize], same: impl Fn(usize, usize) -> bool) -> bool {
    order
        .iter()
        .zip(order.iter().skip(1))
        .any(|(a, b)| same(*a, *b))
}
