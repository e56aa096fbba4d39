//! Fitting: which extended attributes of an entry are kept where they are more than can be.
//!
//! Whoever may write to a file may put as many of his own on it. Who may read it must not come to depend on that:
//! its access control list stays, or its group gets no more than everybody.

use keepstone_engine::source::Meta;

use super::metadata::{ACL, narrowed};

/// Leaves out what does not fit, all that users may set first. Answers what was left out.
pub(super) fn fit(meta: &mut Meta) -> Option<&'static str> {
    if meta.xattrs_fit() {
        return None;
    }
    meta.xattrs.retain(|name, _| !name.starts_with(b"user."));
    if meta.xattrs_fit() {
        return Some(
            "saved without its user.* attributes, with which it has more than can be kept",
        );
    }
    let had_acl = meta.xattrs.contains_key(ACL);
    meta.xattrs.clear();
    if !had_acl {
        return Some("saved without its extended attributes, which are more than can be kept");
    }
    // Without the list, what the mode says of the group is the most that anybody on it may.
    meta.mode = narrowed(meta.mode);
    Some(
        "saved without its extended attributes, which are more than can be kept, its access control list among them: its \
         group gets no more than everybody",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(names: impl IntoIterator<Item = String>) -> Meta {
        let named = |name: String| (name.into_bytes(), b"v".to_vec());
        Meta {
            mode: 0o664,
            xattrs: names.into_iter().map(named).collect(),
            ..Meta::default()
        }
    }

    fn many(of: &str) -> impl Iterator<Item = String> {
        (0..5000).map(move |number| format!("{of}.{number}"))
    }

    fn names(meta: &Meta) -> Vec<String> {
        let names = meta.xattrs.keys();
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    #[test]
    fn what_fits_is_kept_whole() {
        let mut few = meta(["user.note".into(), "system.posix_acl_access".into()]);
        let before = few.clone();
        assert_eq!(fit(&mut few), None);
        assert_eq!(few, before);
    }

    #[test]
    fn what_users_may_set_goes_first() {
        let kept = [
            "security.capability",
            "system.posix_acl_access",
            "trusted.note",
        ];
        let mut swollen = meta(many("user").chain(kept.map(String::from)));
        assert!(fit(&mut swollen).is_some_and(|reason| reason.contains("user.*")));
        assert_eq!(names(&swollen), kept);
        assert_eq!(swollen.mode, 0o664);
    }

    #[test]
    fn a_group_gets_no_more_than_everybody_where_the_list_is_gone() {
        let acl = "system.posix_acl_access".to_owned();
        for (more, mode) in [(None, 0o664), (Some(acl), 0o644)] {
            let mut swollen = meta(many("trusted").chain(more));
            assert!(fit(&mut swollen).is_some());
            assert_eq!(names(&swollen), Vec::<String>::new());
            assert_eq!(swollen.mode, mode);
        }
    }
}
