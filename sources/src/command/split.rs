//! Splitting a text into arguments by the quoting rules of a POSIX shell, and by nothing else of it.
//!
//! What a shell would act on is refused rather than passed on, so that nobody believes in a pipe that is not there.

/// What a shell acts on where it is not quoted.
const SHELL_OUTSIDE: &str = "|&;<>$`";
/// What a shell acts on even between double quotes.
const SHELL_IN_DOUBLE: &str = "$`";

/// Splits a command line into its arguments; the error says what is wrong with it.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut arguments = Vec::new();
    // `None` between arguments, so that `''` makes an empty argument and a blank makes none.
    let mut current: Option<String> = None;
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            ' ' | '\t' | '\n' | '\r' => arguments.extend(current.take()),
            '\'' => single_quoted(&mut rest, current.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, current.get_or_insert_default())?,
            '\\' => {
                let next = rest.next().ok_or("it ends in a backslash")?;
                current.get_or_insert_default().push(next);
            }
            _ if SHELL_OUTSIDE.contains(letter) => return Err(needs_shell(letter)),
            _ => current.get_or_insert_default().push(letter),
        }
    }
    arguments.extend(current);
    Ok(arguments)
}

fn single_quoted(rest: &mut std::str::Chars<'_>, out: &mut String) -> Result<(), String> {
    for letter in rest {
        if letter == '\'' {
            return Ok(());
        }
        out.push(letter);
    }
    Err("a single quote is not closed".into())
}

fn double_quoted(rest: &mut std::str::Chars<'_>, out: &mut String) -> Result<(), String> {
    while let Some(letter) = rest.next() {
        match letter {
            '"' => return Ok(()),
            '\\' => match rest.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => out.push(next),
                Some(next) => out.extend(['\\', next]),
                None => break,
            },
            _ if SHELL_IN_DOUBLE.contains(letter) => return Err(needs_shell(letter)),
            _ => out.push(letter),
        }
    }
    Err("a double quote is not closed".into())
}

fn needs_shell(letter: char) -> String {
    format!(
        "`{letter}` means something to a shell only, and none is used: put it between single quotes, or ask for a shell"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_as_a_shell_splits_them() {
        let cases: [(&str, &[&str]); 9] = [
            (
                "mysqldump --all-databases",
                &["mysqldump", "--all-databases"],
            ),
            ("  a\t b\n", &["a", "b"]),
            ("", &[]),
            ("a '' b", &["a", "", "b"]),
            (r#"a 'b "c" $d \e' f"#, &["a", r#"b "c" $d \e"#, "f"]),
            (r#"a "b 'c' \$d \"e\" \f""#, &["a", r#"b 'c' $d "e" \f"#]),
            (r"a\ b \'c \$d", &["a b", "'c", "$d"]),
            (r#"--where='id > 3'"x"y"#, &["--where=id > 3xy"]),
            ("früh *.sql ~ #x {a}", &["früh", "*.sql", "~", "#x", "{a}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_only_a_shell_understands_is_refused() {
        for text in [
            "a | b", "a > b", "a; b", "a && b", "a $HOME", "a `b`", "a \"$b\"",
        ] {
            assert!(split(text).unwrap_err().contains("shell"), "{text}");
        }
        for text in ["a 'b", "a \"b", "a \\", "a \"b\\"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
