//! Lines into words and words into lines, with the quoting that redis.conf, redis-cli and inline requests
//! share.
//!
//! Double quotes know `\n \r \t \b \a`, `\xNN` and any escaped character as itself; single quotes know only
//! `\'`. A closing quote must be followed by a blank or the end of the line.

/// The words of a line, or `None` when its quotes do not balance.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() || rest[0] == 0 {
            return Some(words);
        }
        let (word, used) = one_word(rest)?;
        words.push(word);
        rest = &rest[used..];
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn one_word(line: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = quoted(line, at, &mut word)?;
                return Some((word, at));
            }
            0 => break,
            _ if is_blank(byte) => break,
            _ => word.push(byte),
        }
        at += 1;
    }
    Some((word, at))
}

/// Reads from the opening quote at `open`; returns the place after the closing one.
fn quoted(line: &[u8], open: usize, word: &mut Vec<u8>) -> Option<usize> {
    let quote = line[open];
    let mut at = open + 1;
    loop {
        let byte = *line.get(at)?;
        if byte == quote {
            let next = line.get(at + 1).copied();
            return next.is_none_or(|next| is_blank(next) || next == 0).then_some(at + 1);
        }
        if byte == b'\\' && quote == b'"' {
            at += escape(&line[at..], word)?;
        } else if byte == b'\\' && line.get(at + 1) == Some(&b'\'') {
            word.push(b'\'');
            at += 2;
        } else {
            word.push(byte);
            at += 1;
        }
    }
}

/// Reads one backslash escape; returns its length.
fn escape(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let letter = *text.get(1)?;
    if letter == b'x'
        && let (Some(high), Some(low)) = (hex(text.get(2)), hex(text.get(3)))
    {
        word.push(high << 4 | low);
        return Some(4);
    }
    word.push(match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    });
    Some(2)
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    digit.and_then(|digit| (*digit as char).to_digit(16)).map(|value| value as u8)
}

/// The word in double quotes, so that [`split`] gives it back unchanged.
pub fn quote(word: &[u8]) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for &byte in word {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(byte as char);
            }
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            b' '..=b'~' => text.push(byte as char),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

/// The word as it is, or quoted where a reader would otherwise split or lose it.
pub(crate) fn quote_if_needed(word: &[u8]) -> String {
    let plain = !word.is_empty()
        && word.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#'));
    if plain { String::from_utf8_lossy(word).into_owned() } else { quote(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        Some(split(line.as_bytes())?.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect())
    }

    #[test]
    fn quotes_and_escapes_are_read_as_redis_reads_them() {
        assert_eq!(words("  a  b\tc "), Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(
            words(r#"x "a\x41\n\q" 'it\'s \n'"#),
            Some(vec!["x".into(), "aA\nq".into(), "it's \\n".into()])
        );
        assert_eq!(words(r#"x """#), Some(vec!["x".into(), String::new()]));
        for unbalanced in [r#"dir "abc"#, "dir 'abc'x", "'", r#""\"#] {
            assert_eq!(words(unbalanced), None, "{unbalanced}");
        }
    }

    #[test]
    fn any_bytes_survive_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split(quote(&all).as_bytes()), Some(vec![all]));
        assert_eq!(quote_if_needed(b"a-b"), "a-b");
        assert_eq!(quote_if_needed(b""), "\"\"");
        assert_eq!(quote_if_needed(b"a b"), "\"a b\"");
    }
}
