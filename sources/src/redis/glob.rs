//! Key patterns as the server understands them: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, `\x`, over bytes.

/// Whether the whole name matches the pattern.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Where to go on after a mismatch: behind the last star, with one more byte given to it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            retry = Some((rest, name));
            pattern = rest;
            continue;
        }
        if pattern.is_empty() && name.is_empty() {
            return true;
        }
        if let Some((byte, rest)) = name.split_first()
            && let Some(after) = match_one(pattern, *byte)
        {
            (pattern, name) = (after, rest);
            continue;
        }
        let Some((behind, from)) = retry else {
            return false;
        };
        let Some((_, fewer)) = from.split_first() else {
            return false;
        };
        retry = Some((behind, fewer));
        (pattern, name) = (behind, fewer);
    }
}

/// The pattern behind its first element if that element matches the byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => match_class(rest, byte),
        b'\\' => match rest.split_first() {
            Some((escaped, rest)) => (*escaped == byte).then_some(rest),
            None => (byte == b'\\').then_some(rest),
        },
        literal => (*literal == byte).then_some(rest),
    }
}

fn match_class(class: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut class) = match class.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    loop {
        match class {
            // A class that is never closed ends with the pattern, as on the server.
            [] => break,
            [b']', rest @ ..] => {
                class = rest;
                break;
            }
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                class = rest;
            }
            [from, b'-', to, rest @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                class = rest;
            }
            [one, rest @ ..] => {
                found |= *one == byte;
                class = rest;
            }
        }
    }
    (found != negated).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_on_the_server() {
        let yes = [
            ("*", ""),
            ("*", "anything"),
            ("user:*", "user:1"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[a-c]llo", "hbllo"),
            ("h[c-a]llo", "hbllo"),
            ("a\\*b", "a*b"),
            ("*:*:end", "a:b:c:end"),
            ("[\\]]", "]"),
            ("a*b*c", "aXbYbZc"),
        ];
        for (pattern, name) in yes {
            assert!(
                matches(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
        let no = [
            ("", "a"),
            ("user:*", "users:1"),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("a\\*b", "axb"),
            ("a*b", "abc"),
            ("[a-c]", "d"),
        ];
        for (pattern, name) in no {
            assert!(
                !matches(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = "a*".repeat(40) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(4_000).as_bytes()));
    }
}
