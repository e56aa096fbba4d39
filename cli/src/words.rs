//! Splits a command into words as a shell would, and does nothing else a shell does.

/// A quote was opened and not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quote is not closed")]
pub(crate) struct OpenQuote;

/// Splits at spaces; quotes group, a backslash takes the next character as it is.
pub(crate) fn split(text: &str) -> Result<Vec<String>, OpenQuote> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(OpenQuote)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(OpenQuote)? {
                        '"' => break,
                        '\\' => push_escaped(word, chars.next().ok_or(OpenQuote)?),
                        c => word.push(c),
                    }
                }
            }
            '\\' => {
                let next = chars.next().ok_or(OpenQuote)?;
                word.get_or_insert_default().push(next);
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Between double quotes a backslash stays unless it guards a character that means something there.
fn push_escaped(word: &mut String, c: char) {
    if !matches!(c, '"' | '\\' | '$' | '`') {
        word.push('\\');
    }
    word.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text).unwrap(), expected);
        check("", &[]);
        check("  mysqldump   --all ", &["mysqldump", "--all"]);
        check("sh -c 'a | b'", &["sh", "-c", "a | b"]);
        check(r#"a "b \"c\" \d" e\ f"#, &["a", r#"b "c" \d"#, "e f"]);
        check("a'b'\"c\" ''", &["abc", ""]);
        check("$HOME *", &["$HOME", "*"]);
        for open in ["'a", "\"a", "a\\"] {
            assert_eq!(split(open), Err(OpenQuote), "{open}");
        }
    }
}
