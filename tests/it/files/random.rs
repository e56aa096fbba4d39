//! Random trees, changed at random in the target, come back; and a dry run always tells the truth.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::tree::{Place, assert_same, chmod, restore_well, set_mtime, write};

#[derive(Debug, Clone)]
enum Deed {
    File(Vec<u8>, u32),
    Link(String),
    Dir(u32),
    HardLink(Vec<u8>),
    Remove,
    Time(i64),
}

/// A path of one to three short names out of few, so that deeds meet.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just(b"a".to_vec()),
        Just(b"b".to_vec()),
        Just(b"a-b".to_vec()),
        Just(b"\xff".to_vec()),
        Just(b"a b".to_vec()),
    ];
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

fn deed() -> impl Strategy<Value = Deed> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..50),
        (0usize..20_000).prop_map(|length| vec![0; length]),
    ];
    prop_oneof![
        4 => (content, 0u32..0o1000).prop_map(|(content, mode)| Deed::File(content, mode)),
        1 => "[a-z/.]{1,12}".prop_map(Deed::Link),
        2 => (0u32..0o1000).prop_map(Deed::Dir),
        1 => path().prop_map(Deed::HardLink),
        1 => Just(Deed::Remove),
        1 => any::<i32>().prop_map(|time| Deed::Time(time.into())),
    ]
}

/// Does what is possible and leaves the rest.
fn act(root: &Path, deeds: &[(Vec<u8>, Deed)]) {
    for (path, deed) in deeds {
        let path = root.join(super::tree::bytes(path));
        let clear = |path: &Path| {
            if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).ok();
            }
        };
        let is_reachable = |path: &Path| {
            let below = path.strip_prefix(root).unwrap();
            below.ancestors().skip(1).all(|above| {
                fs::symlink_metadata(root.join(above)).map_or(true, |meta| meta.is_dir())
            })
        };
        if !is_reachable(&path) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match deed {
            Deed::File(content, mode) => {
                clear(&path);
                write(&path, content);
                chmod(&path, *mode);
            }
            Deed::Link(target) => {
                clear(&path);
                symlink(target, &path).unwrap();
            }
            Deed::Dir(mode) => {
                clear(&path);
                fs::create_dir(&path).unwrap();
                chmod(&path, *mode);
            }
            Deed::HardLink(to) => {
                let to = root.join(super::tree::bytes(to));
                let is_file =
                    is_reachable(&to) && fs::symlink_metadata(&to).is_ok_and(|m| m.is_file());
                if to != path && is_file && fs::symlink_metadata(&path).is_err() {
                    fs::hard_link(to, &path).unwrap();
                }
            }
            Deed::Remove => clear(&path),
            Deed::Time(seconds) => {
                if fs::symlink_metadata(&path).is_ok() {
                    set_mtime(&path, *seconds, 5);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_random_tree_comes_back_over_any_other(
        make in prop::collection::vec((path(), deed()), 0..25),
        change in prop::collection::vec((path(), deed()), 0..25),
    ) {
        let place = Place::new();
        act(&place.source(), &make);
        let captured = place.capture();
        let mut options = place.options();
        restore_well(&captured, &options);
        assert_same(&place.source(), &place.restored());

        act(&place.restored(), &change);
        (options.delete, options.verify, options.dry_run) = (true, true, true);
        let said = restore_well(&captured, &options);
        options.dry_run = false;
        let done = restore_well(&captured, &options);
        prop_assert_eq!(said.changes, done.changes);
        assert_same(&place.source(), &place.restored());

        let again = restore_well(&captured, &options);
        prop_assert!(again.changes.iter().all(|change| change.act == keepstone_sources::files::Act::Unchanged));
    }
}
