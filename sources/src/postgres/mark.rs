//! The mark of what a restore made: an ending of the comment on a database or a role.
//!
//! A comment moves with a database when it is renamed, changes in one transaction with other things, and may be set
//! by whoever may make databases. A capture takes the mark off, and so does the end of a restore.

use super::sql::{ident, literal};

/// What a mark begins with, after the comment proper.
const BEGIN: &str = "[made by keepstone restore ";

/// The statement that comments on a database or role; an empty comment is none.
pub(crate) fn comment_on(what: &str, name: &str, comment: Option<&str>) -> String {
    let comment = comment.filter(|comment| !comment.is_empty());
    let value = comment.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON {what} {} IS {value};", ident(name))
}

/// A comment with the mark of a restore.
pub(crate) fn marked(comment: Option<&str>, id: &str) -> String {
    let line = if comment.is_some() { "\n" } else { "" };
    format!("{}{line}{BEGIN}{id}]", comment.unwrap_or_default())
}

/// A comment without its mark, and the id of the restore that made it.
pub(crate) fn unmarked(comment: &str) -> (Option<&str>, Option<&str>) {
    let whole = || (Some(comment).filter(|comment| !comment.is_empty()), None);
    let Some((before, mark)) = comment.rsplit_once(BEGIN) else {
        return whole();
    };
    match mark.strip_suffix(']') {
        Some(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let before = before.strip_suffix('\n').unwrap_or(before);
            (Some(before).filter(|before| !before.is_empty()), Some(id))
        }
        _ => whole(),
    }
}

/// The comment proper of what may carry a mark.
pub(crate) fn proper(comment: Option<&str>) -> Option<String> {
    comment
        .and_then(|comment| unmarked(comment).0)
        .map(ToOwned::to_owned)
}

/// The id in the mark of what may carry one.
pub(crate) fn id_of(comment: Option<&str>) -> Option<String> {
    comment
        .and_then(|comment| unmarked(comment).1)
        .map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_off_as_it_went_on() {
        for comment in [
            None,
            Some("mine"),
            Some("two\nlines\n"),
            Some("[made by keepstone restore"),
        ] {
            let with = marked(comment, "0a1b");
            assert_eq!(unmarked(&with), (comment, Some("0a1b")), "{with}");
        }
        assert_eq!(unmarked(""), (None, None));
        assert_eq!(unmarked("x [made by keepstone restore me]").1, None);
        assert_eq!(
            comment_on("ROLE", "a", None),
            "COMMENT ON ROLE \"a\" IS NULL;"
        );
    }
}
