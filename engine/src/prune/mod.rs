//! prune(): mark, plan, apply, sweep. Stops nobody, and any number may run.
//!
//! What is condemned is chosen freely and can harm nobody; what is deleted is decided again in the sweep, from what is there
//! then: every session that began before a tombstone was seen is settled, and everything that a live snapshot stands on
//! can be made without the condemned packs (`ARCHITECTURE.md` § Sessions).

mod apply;
mod mark;
pub mod plan;
pub mod reach;
mod sweep;
mod twins;

pub(crate) use apply::{finish as finish_copies, ground as ground_for_copies, rescue};
pub use mark::{Marked, MarkedRecord, mark};

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::PackName;
use crate::backup::{Cancel, load_for_writing};
use crate::crypto::BoxKind;
use crate::error::{Error, Result};
use crate::id::{ObjectId, SessionId};
use crate::progress::{Event, Observer};
use crate::repo::{Repo, Store, packs_that_exist};
use crate::segment::SegmentId;
use crate::session::fence::FenceView;
use crate::session::{SessionRecord, TombstoneRecord};
use plan::{BoxView, PackView, Plan};

/// How often something is done again because another prune has moved what it needs.
const LOOKS_AGAIN: u32 = 3;

/// How a prune is made.
pub struct PruneOptions<'a> {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// When silent sessions are fenced, and what is known of this host.
    pub fence: FenceView<'a>,
}

/// A session that a sweep waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The session.
    pub session: SessionId,
    /// Who it is; none if its record is unreadable.
    pub record: Option<SessionRecord>,
    /// When it may be fenced if it stays silent: nanoseconds since 1970, UTC.
    pub until_ns: i64,
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Live snapshots that were looked at.
    pub snapshots: u64,
    /// Packs before, and their bytes.
    pub packs: u64,
    /// Bytes of all packs before.
    pub bytes: u64,
    /// Bytes of boxes in packs that hold nothing live or are mostly dead, but were not worth rewriting.
    pub kept_dead_bytes: u64,
    /// Packs condemned now.
    pub condemned: u64,
    /// Bytes of the packs condemned now.
    pub condemned_bytes: u64,
    /// Bytes written anew for what is live in them.
    pub written_bytes: u64,
    /// Packs deleted, condemned now or before.
    pub swept: u64,
    /// Bytes of the packs deleted.
    pub swept_bytes: u64,
    /// Chunks that had to be copied in the sweep.
    pub rescued: u64,
    /// Sessions fenced, and why.
    pub fenced: Vec<(SessionId, String)>,
    /// Sessions that tombstones wait for.
    pub waiting: Vec<Waiting>,
    /// Packs that are condemned and wait.
    pub waiting_packs: u64,
}

/// Condemns what is not needed and sweeps what can be swept.
pub fn prune(
    repo: &Repo,
    options: &PruneOptions<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
) -> Result<PruneReport> {
    let mut report = PruneReport::default();
    observer.event(Event::Phase {
        name: "finding what is needed",
    });
    if !repo.has_committed()? {
        repo.check_ends()?;
        // Nobody has committed yet, or what says so is lost: whichever it is, what is there may be needed.
        let exists = packs_that_exist(repo)?;
        report.packs = exists.len() as u64;
        report.bytes = exists.values().sum();
        return Ok(report);
    }
    if !options.dry_run {
        sweep::fence_dead(repo, options, &mut report)?;
    }
    looking_again(|| condemn(repo, options, observer, cancel, &mut report))?;
    if options.dry_run {
        return Ok(report);
    }
    observer.event(Event::Phase {
        name: "removing packs",
    });
    sweep::sweep_all(repo, options, cancel, &mut report)?;
    sweep::merge_indexes(repo)?;
    sweep::tidy_sessions(repo)?;
    Ok(report)
}

/// Does something for which another prune may take away what was found before it is read. What that needed it has moved:
/// whoever looks again finds it.
fn looking_again<T>(mut act: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..LOOKS_AGAIN {
        match act() {
            Err(Error::Missing { .. } | Error::MissingChunk { .. }) => {}
            other => return other,
        }
    }
    act()
}

/// Condemns packs, after a copy of what is live in them.
fn condemn(
    repo: &Repo,
    options: &PruneOptions<'_>,
    observer: &dyn Observer,
    cancel: &Cancel,
    report: &mut PruneReport,
) -> Result<()> {
    let snapshots = repo.snapshots()?;
    report.snapshots = snapshots.len() as u64;
    let tombstones = repo.tombstones()?;
    let store = load_for_writing(repo)?;
    let exists = packs_that_exist(repo)?;
    report.packs = exists.len() as u64;
    report.bytes = exists.values().sum();
    let open = open_sessions(repo)?;
    let condemned = condemned_packs(&tombstones);
    let (marked, plan) = loop {
        let generation = store.generation();
        let marked = mark(&store, &snapshots, cancel)?;
        if store.generation() != generation {
            // Another prune has moved what was read: places that were noted before are numbered otherwise now.
            continue;
        }
        let views = pack_views(&store, &marked, &exists);
        let plan = plan::decide(&views, &open, &condemned);
        report.kept_dead_bytes = dead_bytes(&views, &plan);
        // A dry run is not to read what it is asked about.
        if options.dry_run || twins::are_sound(&store, &marked, &plan, cancel)? {
            break (marked, plan);
        }
    };
    report.condemned = plan.condemned.len() as u64;
    report.condemned_bytes = plan.condemned_bytes;
    report.written_bytes = plan.written_bytes;
    if options.dry_run || plan.condemned.is_empty() {
        return Ok(());
    }
    observer.event(Event::Phase {
        name: "copying what is still needed",
    });
    report.written_bytes = apply::apply(repo, store, &marked, &plan, cancel)?;
    cancel.check()?;
    apply::condemn(repo, &plan, options)
}

/// Sessions without an end.
fn open_sessions(repo: &Repo) -> Result<BTreeSet<SessionId>> {
    let sessions = repo.sessions()?;
    let ended = sweep::ended(repo)?;
    Ok(sessions
        .into_keys()
        .filter(|id| !ended.contains(id))
        .collect())
}

fn condemned_packs(tombstones: &BTreeMap<ObjectId, TombstoneRecord>) -> BTreeSet<PackName> {
    let names = tombstones.values().flat_map(|tombstone| &tombstone.packs);
    names.filter_map(|name| name.parse().ok()).collect()
}

fn pack_views(store: &Store, marked: &Marked, exists: &BTreeMap<PackName, u64>) -> Vec<PackView> {
    let mut live_records: BTreeMap<u32, u64> = BTreeMap::new();
    for record in marked.records.values() {
        *live_records.entry(record.at.block).or_default() += 1;
    }
    store.with_index(|index| {
        let mut boxes: BTreeMap<u32, Vec<BoxView>> = BTreeMap::new();
        for (id, place) in index.segment_places() {
            let header = &place.header;
            let (stored, raw) = (u64::from(header.stored_len), u64::from(header.raw_len));
            let live = marked.live_bytes(id);
            let view = BoxView::Segment {
                id,
                stored,
                raw,
                live,
            };
            boxes.entry(place.pack).or_default().push(view);
        }
        let mut records: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, at) in index.chunks() {
            *records.entry(at.block).or_default() += 1;
        }
        for (place, block) in index.blocks().iter().zip(0..) {
            debug_assert_eq!(place.header.kind, BoxKind::Records);
            boxes.entry(place.pack).or_default().push(BoxView::Records {
                block,
                stored: u64::from(place.header.stored_len),
                records: records.get(&block).copied().unwrap_or(0),
                live: live_records.get(&block).copied().unwrap_or(0),
            });
        }
        let packs = index.packs().iter().zip(0_u32..);
        let views = packs.filter_map(|(pack, number)| {
            let size_bytes = *exists.get(&pack.name)?;
            let boxes = boxes.remove(&number).unwrap_or_default();
            Some(PackView {
                name: pack.name,
                size_bytes,
                boxes,
            })
        });
        views.collect()
    })
}

/// Stored bytes of dead segments in packs that stay.
fn dead_bytes(views: &[PackView], plan: &Plan) -> u64 {
    let stay = views
        .iter()
        .filter(|view| !plan.condemned.contains(&view.name));
    let boxes = stay.flat_map(|view| &view.boxes);
    boxes
        .map(|view| match view {
            BoxView::Segment {
                stored, live: 0, ..
            }
            | BoxView::Records {
                stored, live: 0, ..
            } => *stored,
            _ => 0,
        })
        .sum()
}

/// Where the live ranges of rewritten segments lie now, by segment, in order.
type Copies = BTreeMap<SegmentId, Vec<apply::CopiedRange>>;
