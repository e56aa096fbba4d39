//! Sweeping tombstones: settle the sessions that may rely on condemned packs, rescue what only they hold, delete them, and the
//! tombstone last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::reach::Reach;
use super::{PruneOptions, PruneReport, Waiting, apply, looking_again};
use crate::backend::{ObjectKey, ObjectKind, ObjectStat, PackName};
use crate::backup::{Builders, Cancel, load_for_writing};
use crate::crypto::{SessionKey, random};
use crate::error::{Error, Result};
use crate::id::{ObjectId, SessionId};
use crate::index::{self, IndexedPack};
use crate::repo::{Repo, packs_that_exist};
use crate::session::TombstoneRecord;
use crate::session::fence::{FenceDecision, decide};
use crate::snapshot::format::End;

/// Index segments above which they are merged.
const INDEXES_MAX: usize = 8;
/// Bytes of one merged index segment, about: what is larger is left as it is.
const MERGED_BYTES: usize = 64 * 1024 * 1024;

/// Sessions that have ended, or are settled for ever.
pub(super) fn ended(repo: &Repo) -> Result<BTreeSet<SessionId>> {
    let settled = repo.settled()?;
    let mut ended: BTreeSet<_> = settled
        .aborted
        .into_iter()
        .chain(settled.forgotten)
        .collect();
    for stat in repo.list(ObjectKind::End)? {
        if let ObjectKey::End(id) = stat.key {
            ended.insert(id);
        }
    }
    Ok(ended)
}

/// Sweeps every tombstone there is, as far as sessions allow.
pub(super) fn sweep_all(
    repo: &Repo,
    options: &PruneOptions<'_>,
    cancel: &Cancel,
    report: &mut PruneReport,
) -> Result<()> {
    // Step 1: the tombstones are seen to exist, then the sessions are listed.
    let tombstones = repo.tombstones()?;
    if tombstones.is_empty() {
        return Ok(());
    }
    let sessions = repo.sessions()?;
    // Step 2: every one of them is settled, fenced, or waited for.
    settle(repo, &sessions, options, report)?;
    if !report.waiting.is_empty() {
        report.waiting_packs = tombstones
            .values()
            .map(|tombstone| tombstone.packs.len() as u64)
            .sum();
        return Ok(());
    }
    // Steps 3 to 5: what is live now must not need the condemned.
    report.rescued += looking_again(|| rescue_all(repo, cancel))?;
    // Steps 6 and 7.
    let exists = packs_that_exist(repo)?;
    for (id, tombstone) in &tombstones {
        cancel.check()?;
        sweep(repo, *id, tombstone, &exists, report)?;
    }
    Ok(())
}

/// Ends the runs that are dead, so that what they wrote goes now and not only once something else is condemned.
pub(super) fn fence_dead(
    repo: &Repo,
    options: &PruneOptions<'_>,
    report: &mut PruneReport,
) -> Result<()> {
    settle(repo, &repo.sessions()?, options, report)?;
    // Whom a tombstone waits for is asked when there is one.
    report.waiting.clear();
    Ok(())
}

fn settle(
    repo: &Repo,
    sessions: &BTreeMap<SessionId, ObjectStat>,
    options: &PruneOptions<'_>,
    report: &mut PruneReport,
) -> Result<()> {
    let ended = ended(repo)?;
    let signs = last_signs(repo)?;
    for (id, stat) in sessions.iter().filter(|(id, _)| !ended.contains(id)) {
        let (record, decision) = match repo.session(*id) {
            Ok(Some(record)) => {
                let started = stat.stored_at_ns.unwrap_or(record.start_ns);
                let sign = signs.get(id).copied().unwrap_or(started).max(started);
                let decision = decide(&record, sign, &options.fence);
                (Some(record), decision)
            }
            Ok(None) => {
                fence_if_open(repo, *id, options, report)?;
                continue;
            }
            // Nobody can tell whose it is: only its age counts.
            Err(Error::Corrupt { .. }) => {
                let sign = stat.stored_at_ns.unwrap_or(options.fence.now_ns);
                let until_ns = sign.saturating_add(options.fence.fence_after_ns);
                let old = options.fence.now_ns >= until_ns;
                let fence = FenceDecision::Fence("its record is damaged and it is old".into());
                (
                    None,
                    if old {
                        fence
                    } else {
                        FenceDecision::Wait { until_ns }
                    },
                )
            }
            Err(error) => return Err(error),
        };
        match decision {
            FenceDecision::Wait { until_ns } => {
                report.waiting.push(Waiting {
                    session: *id,
                    record,
                    until_ns,
                });
            }
            FenceDecision::Fence(reason) => {
                fence(repo, *id, &reason, options)?;
                report.fenced.push((*id, reason));
            }
        }
    }
    Ok(())
}

/// A session whose record is gone was tidied away after its end; if there is none, nobody knows whom to wait for.
fn fence_if_open(
    repo: &Repo,
    id: SessionId,
    options: &PruneOptions<'_>,
    report: &mut PruneReport,
) -> Result<()> {
    if repo.has_ended(id)? {
        return Ok(());
    }
    let reason = "its record is gone, and it has no end";
    fence(repo, id, reason, options)?;
    report.fenced.push((id, reason.into()));
    Ok(())
}

/// Ends a session by an aborted record, unless it has committed: either way it is settled.
fn fence(repo: &Repo, id: SessionId, reason: &str, options: &PruneOptions<'_>) -> Result<()> {
    let end = End::Aborted {
        time_ns: options.fence.now_ns,
        host: options.fence.host.into(),
        reason: format!("fenced: {reason}"),
    };
    repo.put_end(id, &repo.seal_end(id, &end)).map(drop)
}

/// When the store last took a pack from each session, by its own time.
fn last_signs(repo: &Repo) -> Result<BTreeMap<SessionId, i64>> {
    let mut signs = BTreeMap::new();
    for stat in repo.list(ObjectKind::Pack)? {
        if let (ObjectKey::Pack(name), Some(at)) = (stat.key, stat.stored_at_ns) {
            let sign = signs.entry(name.session).or_insert(at);
            *sign = at.max(*sign);
        }
    }
    Ok(signs)
}

/// Copies out of condemned packs what live snapshots cannot be made without.
fn rescue_all(repo: &Repo, cancel: &Cancel) -> Result<u64> {
    let snapshots = repo.snapshots()?;
    let store = load_for_writing(repo)?;
    let ground = apply::ground(repo, store, SessionId(random()));
    let mut builders = Builders::new(Arc::clone(&ground));
    let mut rescued = 0;
    let store = Arc::clone(&ground.store);
    let mut reach = Reach::new(&store, cancel);
    for listed in &snapshots {
        reach.snapshot(&listed.snapshot, &mut |reached| {
            rescued += u64::from(apply::rescue(&ground, &mut builders, reached)?);
            Ok(())
        })?;
    }
    builders.flush()?;
    drop(builders);
    apply::finish(ground)?;
    Ok(rescued)
}

fn sweep(
    repo: &Repo,
    id: ObjectId,
    tombstone: &TombstoneRecord,
    exists: &BTreeMap<PackName, u64>,
    report: &mut PruneReport,
) -> Result<()> {
    for name in tombstone
        .packs
        .iter()
        .filter_map(|name| name.parse::<PackName>().ok())
    {
        let key = ObjectKey::pack(name);
        // Answered or seen absent: a deletion on its way after the tombstone is gone would hit what a new writer uses.
        repo.backend()
            .delete(&key)
            .map_err(Error::backend("delete", &key))?;
        if let Some(size) = exists.get(&name) {
            report.swept += 1;
            report.swept_bytes += size;
        }
    }
    let key = ObjectKey::tombstone(id);
    repo.backend()
        .delete(&key)
        .map_err(Error::backend("delete", &key))
}

/// Makes few index segments of many small ones, and drops from others what is gone: entries first, then which packs exist; the
/// segments read go last.
pub(super) fn merge_indexes(repo: &Repo) -> Result<()> {
    let listed = repo.list(ObjectKind::Index)?;
    let mut segments = Vec::new();
    for stat in &listed {
        let bytes = match repo.get_listed(stat) {
            Ok(bytes) => bytes,
            // Merged away meanwhile, or damaged, which is left for check to name.
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => continue,
            Err(error) => return Err(error),
        };
        // A damaged segment is left for check to name.
        if let Ok(packs) = index::format::open(repo.root(), repo.id(), &bytes) {
            segments.push((stat.key, packs));
        }
    }
    let exists = packs_that_exist(repo)?;
    let is_stale = |packs: &[IndexedPack]| packs.iter().any(|at| !exists.contains_key(&at.name));
    let is_small = |packs: &[IndexedPack]| packs.iter().map(weight).sum::<usize>() < MERGED_BYTES;
    let small = segments.iter().filter(|(_, packs)| is_small(packs)).count();
    segments.retain(|(_, packs)| is_stale(packs) || (small > INDEXES_MAX && is_small(packs)));
    let mut packs = BTreeMap::new();
    let mut read = Vec::with_capacity(segments.len());
    for (key, said) in segments {
        read.push(key);
        let live = said.into_iter().filter(|at| exists.contains_key(&at.name));
        packs.extend(live.map(|pack| (pack.name, pack)));
    }
    for packs in in_parts(packs.into_values()) {
        let session = SessionKey::generate(repo.root(), repo.id(), SessionId(random()));
        let bytes = index::format::seal(&session, repo.id(), 1, &packs);
        let key = ObjectKey::index(ObjectId(random()));
        repo.backend()
            .put_new(&key, &[&bytes])
            .map_err(Error::backend("write", &key))?;
    }
    for key in read {
        repo.backend()
            .delete(&key)
            .map_err(Error::backend("delete", &key))?;
    }
    Ok(())
}

/// Bytes that an index segment says of a pack, about.
fn weight(pack: &IndexedPack) -> usize {
    let chunks: usize = pack.footer.chunks.iter().map(Vec::len).sum();
    64 + pack.keys.keys.len() * 64 + pack.footer.boxes.len() * 32 + chunks * 32
}

/// Parts that are far below what a reader accepts of one index segment.
fn in_parts(packs: impl Iterator<Item = IndexedPack>) -> Vec<Vec<IndexedPack>> {
    let mut parts: Vec<Vec<IndexedPack>> = Vec::new();
    let mut size = MERGED_BYTES;
    for pack in packs {
        let more = weight(&pack);
        if size + more > MERGED_BYTES {
            parts.push(Vec::new());
            size = 0;
        }
        size += more;
        if let Some(part) = parts.last_mut() {
            part.push(pack);
        }
    }
    parts
}

/// A session record is not needed once its end exists.
pub(super) fn tidy_sessions(repo: &Repo) -> Result<()> {
    let sessions = repo.sessions()?;
    let ended = ended(repo)?;
    for id in sessions.into_keys().filter(|id| ended.contains(id)) {
        let key = ObjectKey::session(id);
        repo.backend()
            .delete(&key)
            .map_err(Error::backend("delete", &key))?;
    }
    Ok(())
}
