//! Glob patterns: any pattern against any text ends soon and agrees with a slow matcher that is easy to believe.

use base::glob::matches;

/// Longest pattern and text for the slow matcher, bytes.
const COMPARED_BYTES_MAX: usize = 200;

/// The first byte is where the pattern ends and the text begins.
pub fn run(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let (pattern, text) = rest.split_at(usize::from(length).min(rest.len()));
    let found = matches(pattern, text, false);
    matches(pattern, text, true);
    let plain = !pattern.iter().any(|b| b"*?[\\".contains(b));
    if plain {
        assert_eq!(found, pattern == text, "a pattern without signs is a text");
    }
    // Nothing but an empty pattern matches an empty text, as in Redis; the slow matcher knows no exceptions.
    let is_short = pattern.len() <= COMPARED_BYTES_MAX && (1..=COMPARED_BYTES_MAX).contains(&text.len());
    if is_short && !pattern.contains(&b'[') {
        assert_eq!(found, slow(pattern, text), "the slow matcher says otherwise");
    }
}

/// Patterns without classes, by a table of which prefixes match which.
fn slow(pattern: &[u8], text: &[u8]) -> bool {
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; text.len() + 1];
        match pattern[at] {
            b'*' => {
                let mut any = false;
                for (i, was) in row.iter().enumerate() {
                    any |= was;
                    next[i] = any;
                }
            }
            sign => {
                let escaped = sign == b'\\' && at + 1 < pattern.len();
                at += usize::from(escaped);
                let wanted = pattern[at];
                for (i, &got) in text.iter().enumerate() {
                    next[i + 1] = row[i] && ((sign == b'?' && !escaped) || got == wanted);
                }
            }
        }
        row = next;
        at += 1;
    }
    row[text.len()]
}
