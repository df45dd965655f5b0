//! Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]` and `\` as an escape, over bytes.
//!
//! Two ways of matching. The plain one goes back to the last star only and needs no memory; what it does in the worst case is pattern
//! length times text length, which for a long key and a pattern made for it is a minute. So it counts its steps, and when these are
//! more than an honest pattern takes, `segments` matches anew: what stands between two stars is looked for from left to right, plain
//! bytes in linear time, anything else 64 positions at once, up to a bound.

mod segments;

/// Steps of the plain way for each byte of pattern and text together, and in any case.
const STEPS_PER_BYTE: usize = 4;
const STEPS_MIN: usize = 4096;

/// Patterns and texts longer than this are matched by `segments` at once: the plain way would only lose its steps.
const LONG_BYTES: usize = 512;

/// What one command may spend on patterns that take long, some ten milliseconds. Honest ones take nothing of it; what is over when it
/// is used up matches nothing.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    words_left: usize,
}

impl Default for Work {
    fn default() -> Work {
        Work { words_left: segments::WORDS_MAX }
    }
}

/// As [`matches_within`], for one pair of pattern and text.
pub fn matches(pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    matches_within(&mut Work::default(), pattern, text, ignore_case)
}

/// Whether the whole of `text` matches `pattern`. With `ignore_case`, ASCII letters match either case. The empty text matches
/// the empty pattern only, not `*`, as in Redis (which has short cuts for `*` in some places; so have our callers). Patterns whose
/// work on this text is beyond all measure match nothing, as Redis has it for patterns of too many stars.
pub fn matches_within(work: &mut Work, pattern: &[u8], text: &[u8], ignore_case: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    if pattern.len() > LONG_BYTES && text.len() > LONG_BYTES {
        return segments::matches(pattern, text, ignore_case, &mut work.words_left);
    }
    let steps_max = STEPS_PER_BYTE * (pattern.len() + text.len()) + STEPS_MIN;
    match plainly(pattern, text, ignore_case, steps_max) {
        Some(verdict) => verdict,
        None => segments::matches(pattern, text, ignore_case, &mut work.words_left),
    }
}

/// The plain way; `None` when it takes too many steps.
fn plainly(pattern: &[u8], text: &[u8], ignore_case: bool, steps_max: usize) -> Option<bool> {
    let (mut p, mut t, mut steps) = (0, 0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return Some(p == pattern.len());
        }
        if p < pattern.len() {
            let (is_hit, next) = match_one(pattern, p, text[t], ignore_case);
            steps += next - p;
            if steps > steps_max {
                return None;
            }
            if is_hit {
                p = next;
                t += 1;
                continue;
            }
        }
        let Some((after, from)) = star else { return Some(false) };
        p = after;
        t = from + 1;
        star = Some((after, t));
    }
}

/// Matches one byte at `p` of the pattern; whether it does, and the position behind what stands there.
fn match_one(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> (bool, usize) {
    match pattern[p] {
        b'?' => (true, p + 1),
        b'[' => match_class(pattern, p + 1, byte, ignore_case),
        b'\\' if p + 1 < pattern.len() => (same(pattern[p + 1], byte, ignore_case), p + 2),
        literal => (same(literal, byte, ignore_case), p + 1),
    }
}

/// Matches a class whose content begins at `p`. A class without its closing bracket ends with the pattern.
fn match_class(pattern: &[u8], p: usize, byte: u8, ignore_case: bool) -> (bool, usize) {
    let byte = fold(byte, ignore_case);
    let mut hit = false;
    let (is_negated, next) = read_class(pattern, p, |low, high| {
        let (a, b) = (fold(low, ignore_case), fold(high, ignore_case));
        hit |= (a.min(b)..=a.max(b)).contains(&byte);
    });
    (hit != is_negated, next)
}

/// Tells each range of a class whose content begins at `p`; whether it is negated, and the position behind it.
fn read_class(pattern: &[u8], mut p: usize, mut range: impl FnMut(u8, u8)) -> (bool, usize) {
    let is_negated = pattern.get(p) == Some(&b'^');
    if is_negated {
        p += 1;
    }
    loop {
        match pattern.get(p) {
            None => return (is_negated, p),
            Some(b']') => return (is_negated, p + 1),
            Some(b'\\') if p + 1 < pattern.len() => {
                range(pattern[p + 1], pattern[p + 1]);
                p += 2;
            }
            Some(&low) if pattern.get(p + 1) == Some(&b'-') && p + 2 < pattern.len() => {
                range(low, pattern[p + 2]);
                p += 3;
            }
            Some(&literal) => {
                range(literal, literal);
                p += 1;
            }
        }
    }
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
    fn both_ways_agree() {
        // Small alphabets, so that much matches.
        let mut state = 1u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let (mut hits, rounds) = (0, 20_000);
        for _ in 0..rounds {
            let pattern: Vec<u8> = (0..next(12)).map(|_| b"aAb*?[]^-\\*ab"[next(13)]).collect();
            let text: Vec<u8> = (0..1 + next(9)).map(|_| b"aAb-]\\"[next(6)]).collect();
            for ignore_case in [false, true] {
                let plain = super::plainly(&pattern, &text, ignore_case, usize::MAX).unwrap();
                let other = super::segments::matches(&pattern, &text, ignore_case, &mut { usize::MAX });
                let shown = (String::from_utf8_lossy(&pattern), String::from_utf8_lossy(&text));
                assert_eq!(plain, other, "{shown:?} {ignore_case}");
                hits += usize::from(plain);
            }
        }
        assert!(hits > rounds / 20, "{hits}");
    }

    #[test]
    fn a_pattern_made_to_take_long_does_not() {
        let began = std::time::Instant::now();
        let key = "a".repeat(300_000);
        for pattern in [
            format!("*{}b", "a".repeat(150_000)),
            format!("*{}b*", "a".repeat(150_000)),
            format!("*{}b*", "?".repeat(150_000)),
            format!("*{}b", "a*".repeat(70_000)),
            format!("*[{}b]c*", "c".repeat(150_000)),
            format!("*{}b*", "[^b]".repeat(40_000)),
            format!("*{}b*", "a?".repeat(500)),
        ] {
            assert!(!matches(pattern.as_bytes(), key.as_bytes(), false));
            assert!(!matches(pattern.as_bytes(), key.as_bytes(), true));
        }
        // What is long and plain still matches.
        let found = format!("{key}b{key}");
        assert!(matches(format!("*{}b*", "a".repeat(150_000)).as_bytes(), found.as_bytes(), false));
        assert!(matches(format!("*{}b*", "a?".repeat(500)).as_bytes(), found.as_bytes(), false));
        // The plain way alone takes minutes for these.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn many_dear_pairs_share_what_may_be_spent() {
        let (mut work, began) = (super::Work::default(), std::time::Instant::now());
        let (pattern, key) = (format!("*{}b*", "a?".repeat(1500)), "a".repeat(300_000));
        for _ in 0..200 {
            assert!(!super::matches_within(&mut work, pattern.as_bytes(), key.as_bytes(), false));
        }
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        // An honest one is not touched by that.
        assert!(super::matches_within(&mut work, b"user:*:[0-9]?", b"user:ann:42", false));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "a*".repeat(60) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(5000).as_bytes(), false));
    }
}
