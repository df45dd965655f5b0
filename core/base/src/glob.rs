//! Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]` and `\` as an escape, over bytes.
//!
//! A pattern of many stars is matched by going back to the last star only, so the work is bounded by
//! pattern length times text length, never exponential.

/// Whether the whole of `text` matches `pattern`. With `ignore_case`, ASCII letters match either case. The empty text matches
/// the empty pattern only, not `*`, as in Redis (which has short cuts for `*` in some places; so have our callers).
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if p < pattern.len()
            && let Some(next) = match_one(pattern, p, text[t], ignore_case)
        {
            p = next;
            t += 1;
            continue;
        }
        match star {
            Some((after, from)) => {
                p = after;
                t = from + 1;
                star = Some((after, t));
            }
            None => return false,
        }
    }
}

/// Matches one byte at `p` of the pattern; the position behind what matched, or `None`.
fn match_one(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => match_class(pattern, p + 1, byte, ignore_case),
        b'\\' if p + 1 < pattern.len() => same(pattern[p + 1], byte, ignore_case).then_some(p + 2),
        literal => same(literal, byte, ignore_case).then_some(p + 1),
    }
}

/// Matches a class whose content begins at `p`. A class without its closing bracket ends with the pattern.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, ignore_case: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let byte = fold(byte, ignore_case);
    let mut hit = false;
    loop {
        match pattern.get(p) {
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                hit |= fold(pattern[p + 1], ignore_case) == byte;
                p += 2;
            }
            Some(&low) if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() => {
                let (a, b) = (fold(low, ignore_case), fold(pattern[p + 2], ignore_case));
                hit |= (a.min(b)..=a.max(b)).contains(&byte);
                p += 3;
            }
            Some(&literal) => {
                hit |= fold(literal, ignore_case) == byte;
                p += 1;
            }
        }
    }
    (hit != negated).then_some(p)
}

fn same(a: u8, b: u8, ignore_case: bool) -> bool {
    fold(a, ignore_case) == fold(b, ignore_case)
}

fn fold(byte: u8, ignore_case: bool) -> u8 {
    if ignore_case { byte.to_ascii_lowercase() } else { byte }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn table() {
        let cases: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("?", "", false),
            ("h?llo", "hello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("a\\", "a\\", true),
            ("[abc", "b", true),
            ("**a", "xa", true),
            ("*a*b*", "xaybz", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), false), *want, "{pattern} {text}");
        }
        assert!(matches(b"HeL[L-L]o", b"hElLO", true));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes(), false));
    }
}
