//! Config, key slots and small records: each opens, and copies agree.

use std::collections::BTreeSet;

use super::{CheckReport, Consequence, damage};
use crate::backend::{ObjectKey, ObjectKind, ObjectStat};
use crate::crypto::format::decode_slot;
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::repo::Repo;
use crate::repo::format as config_format;
use crate::session::{ForgottenRecord, SettledRecord, TombstoneRecord};
use crate::snapshot::format::End;

pub(super) fn check(repo: &Repo, report: &mut CheckReport) -> Result<()> {
    check_config(repo, report)?;
    check_slots(repo, report)?;
    let ends = check_ends(repo, report)?;
    check_chains(repo, &ends, report)?;
    let forgotten = Error::unless_damaged(repo.forgotten())?.unwrap_or_default();
    let mut records = ends;
    for kind in [
        ObjectKind::Forgotten,
        ObjectKind::Session,
        ObjectKind::Tombstone,
        ObjectKind::Settled,
    ] {
        records.extend(repo.list(kind)?);
    }
    for stat in records {
        check_record(repo, &stat.key, &forgotten, report)?;
    }
    Ok(())
}

fn check_record(
    repo: &Repo,
    key: &ObjectKey,
    forgotten: &BTreeSet<SessionId>,
    report: &mut CheckReport,
) -> Result<()> {
    let opened = match *key {
        ObjectKey::End(id) => match repo.end(id) {
            // It was listed, and only one that is settled ever goes.
            Ok(None) if !repo.is_settled(id)? => Err(Error::Missing {
                object: key.to_string(),
            }),
            end => end.map(drop),
        },
        ObjectKey::Session(id) => repo.session(id).map(drop),
        ObjectKey::Forgotten(_) => repo.read_small::<ForgottenRecord>(key).map(drop),
        ObjectKey::Tombstone(_) => repo.read_small::<TombstoneRecord>(key).map(drop),
        _ => repo.read_small::<SettledRecord>(key).map(drop),
    };
    match opened {
        Ok(()) => {}
        Err(Error::Missing { .. }) if !matches!(key, ObjectKey::End(_)) => {}
        // It was given up.
        Err(_) if matches!(*key, ObjectKey::End(id) if forgotten.contains(&id)) => {}
        Err(error) => {
            let consequence = match *key {
                ObjectKey::End(id) => {
                    Consequence::Snapshots(vec![(id.to_string(), "the whole snapshot".into())])
                }
                _ => Consequence::Nothing,
            };
            report.add(key.to_string(), damage(error)?, consequence);
        }
    }
    Ok(())
}

/// How sessions ended, as listed; none if that is lost, which must not end the check: the rest may be whole, and a copy of
/// them may be put back.
fn check_ends(repo: &Repo, report: &mut CheckReport) -> Result<Vec<ObjectStat>> {
    let listed = repo
        .list(ObjectKind::End)
        .and_then(|ends| repo.check_ends().map(|()| ends));
    listed.or_else(|error| {
        let all = vec![("all".to_owned(), "every path".to_owned())];
        report.add("end/", damage(error)?, Consequence::Snapshots(all));
        Ok(Vec::new())
    })
}

fn check_config(repo: &Repo, report: &mut CheckReport) -> Result<()> {
    let expected = config_format::encode(repo.config());
    for copy in [false, true] {
        let key = ObjectKey::config(copy);
        let what = match repo.get(&key) {
            Ok(bytes) if bytes == expected => continue,
            Ok(_) => "is not what the key slots authenticate".into(),
            Err(error) => damage(error)?,
        };
        // The repository was opened: the other copy is good.
        report.add(key.to_string(), what, Consequence::Healed);
    }
    Ok(())
}

/// Every snapshot names its writer's previous one by its hash: one that is not there was removed behind our back.
fn check_chains(repo: &Repo, ends: &[ObjectStat], report: &mut CheckReport) -> Result<()> {
    if Error::unless_damaged(repo.settled())?.is_none_or(|settled| !settled.forgotten.is_empty()) {
        // Records of settled snapshots are gone for good reason.
        return Ok(());
    }
    let (mut hashes, mut named) = (BTreeSet::new(), Vec::new());
    for stat in ends {
        let Some(bytes) = Error::unless_damaged(repo.get_listed(stat))? else {
            // Which one it was, nobody can tell: it is named already.
            return Ok(());
        };
        hashes.insert(blake3::hash(&bytes).to_hex().to_string());
        match (stat.key, repo.open_end(&stat.key, &bytes)) {
            (ObjectKey::End(id), Ok(End::Committed(snapshot))) => {
                named.extend(snapshot.previous.map(|previous| (id, previous)));
            }
            (_, Err(_)) => return Ok(()),
            _ => {}
        }
    }
    for (id, previous) in named {
        if !hashes.contains(&previous) {
            let lost = vec![("unknown".into(), "the whole snapshot".into())];
            report.add(
                format!("the snapshot before {id}"),
                "was removed: its writer names it as the previous one",
                Consequence::Snapshots(lost),
            );
        }
    }
    Ok(())
}

fn check_slots(repo: &Repo, report: &mut CheckReport) -> Result<()> {
    let listed = repo.list(ObjectKind::Key)?;
    for stat in &listed {
        let ObjectKey::Key { slot, copy } = stat.key else {
            continue;
        };
        let twin = ObjectKey::key(slot, !copy);
        if !listed.iter().any(|other| other.key == twin) {
            report.add(twin.to_string(), "is missing", Consequence::Healed);
        }
        match repo.get(&stat.key) {
            Ok(bytes) => {
                if let Err(error) = decode_slot(&bytes) {
                    report.add(stat.key.to_string(), error.to_string(), Consequence::Healed);
                } else if repo.get(&twin).is_ok_and(|other| other != bytes) {
                    report.add(
                        stat.key.to_string(),
                        "differs from its copy",
                        Consequence::Healed,
                    );
                }
            }
            Err(error) => report.add(stat.key.to_string(), damage(error)?, Consequence::Healed),
        }
    }
    Ok(())
}
