//! Rust source as the rules see it: code without comments, literals and test modules, and the functions in it.
//!
//! This is no parser. It knows comments, strings, characters and braces, which is enough to tell code from talk and to
//! find where a function ends. Line numbers stay those of the file, because what is removed leaves its line breaks.

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines with code from the one with `fn` to the one with the closing brace, both included. What explains a step
    /// makes a function no longer.
    pub lines: usize,
}

/// The code of a file: comments, the insides of literals, and `#[cfg(test)]` items are blanks.
pub fn code(text: &str) -> String {
    without_tests(&without_talk(text))
}

/// Every function with a body in what [`code`] returned.
pub fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body_of(bytes, at) else { continue };
        let end = closing(bytes, open);
        if name.is_empty() {
            continue; // a function pointer's type
        }
        let lines = code[at..=end].lines().filter(|line| !line.trim().is_empty()).count();
        found.push(Function { name, line: line_of(code, at), lines });
    }
    found
}

/// Where `word` stands as a word of its own.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        edge(code[..*at].chars().next_back()) && edge(code[at + word.len()..].chars().next())
    })
}

/// The line that holds byte `at`, counted from 1.
pub fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The brace that opens the body of the function at `at`; none for a declaration that ends in a semicolon.
fn body_of(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (i, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(i),
            b';' if depth == 0 => return None,
            _ if depth < 0 => return None,
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`, or the end of the text.
fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0;
    for (i, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return i;
        }
    }
    bytes.len().saturating_sub(1)
}

/// Blanks for every item that follows `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let end = match body_of(code.as_bytes(), at) {
            Some(open) => closing(code.as_bytes(), open),
            None => code[at..].find(';').map_or(code.len() - 1, |length| at + length),
        };
        blank(&mut out[at..=end]);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// Blanks for comments and for what literals hold.
fn without_talk(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        let end = talk_end(text.as_bytes(), at);
        if end > at {
            blank(&mut out[at..end]);
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn talk_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_end(bytes, at),
        [b'r', b'"' | b'#', ..] if starts_word(bytes, at) => raw_string_end(bytes, at),
        [b'"', ..] => quoted_end(bytes, at, b'"'),
        [b'\'', b'\\', ..] => quoted_end(bytes, at, b'\''),
        [b'\'', _, b'\'', ..] => at + 3,
        [b'\'', first, ..] if *first >= 0x80 => quoted_end(bytes, at, b'\''),
        _ => at,
    }
}

/// Whether a word may begin here; `b` before a raw string is part of its prefix.
fn starts_word(bytes: &[u8], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    let part = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    !part(before(1)) || (before(1) == Some(b'b') && !part(before(2)))
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < bytes.len() {
        match &bytes[i..i + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return at; // a raw identifier
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = at + hashes + 2;
    bytes[body..]
        .windows(close.len())
        .position(|w| w == close)
        .map_or(bytes.len(), |n| body + n + close.len())
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut i = at + 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talk_is_no_code() {
        let text = "let a = \"fn x() {\"; // fn y() {\n/* fn /* z */ { */ let c = '{'; let r = r#\"fn \"w\" {\"#; 'a: loop {}";
        let seen = code(text);
        assert!(!seen.contains("fn"), "{seen}");
        assert_eq!(seen.matches('{').count(), 1);
        assert_eq!(seen.lines().count(), text.lines().count());
    }

    #[test]
    fn test_modules_are_no_code() {
        let seen = code(
            "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() { unsafe {} }\n}\n#[cfg(test)]\nmod more;\nfn c() {}\n",
        );
        let names: Vec<_> = functions(&seen).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn functions_have_names_and_lengths() {
        let text =
            "trait T { fn none(&self); }\nfn one() -> [u8; 3] {\n\n  if x { y }\n}\ntype F = fn(u8) -> u8;\n";
        assert_eq!(functions(text), [Function { name: "one".into(), line: 2, lines: 3 }]);
    }
}
