//! Requests as text: the quoting of inline requests, and the encoding of commands for logs and peers.

/// Splits a line into arguments as redis-cli and `redis.conf` do: blanks separate; `"…"` with `\n \r \t \a \b \xHH`
/// escapes, `'…'` with `\'` only. `None` when quotes do not match or are followed by anything but a blank.
pub fn split_inline(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // A NUL is not white space; everything else that C's isspace knows is trimmed above, but for \x0b.
        if rest.is_empty() {
            return Some(out);
        }
        let (argument, after) = argument(rest)?;
        out.push(argument);
        rest = after;
    }
}

/// Reads one argument; what it says and the rest behind it.
fn argument(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [] => return Some((out, rest)),
            [c, ..] if c.is_ascii_whitespace() => return Some((out, rest)),
            [b'"', tail @ ..] => return double_quoted(tail, out),
            [b'\'', tail @ ..] => return single_quoted(tail, out),
            [c, tail @ ..] => {
                out.push(*c);
                rest = tail;
            }
        }
    }
}

fn double_quoted(mut rest: &[u8], mut out: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'"', tail @ ..] => return closed(tail).then_some((out, tail)),
            [b'\\', b'x', h, l, tail @ ..] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => {
                out.extend(base::hex::decode(&[*h, *l])?);
                rest = tail;
            }
            [b'\\', c, tail @ ..] => {
                out.push(match c {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = tail;
            }
            [c, tail @ ..] => {
                out.push(*c);
                rest = tail;
            }
        }
    }
}

fn single_quoted(mut rest: &[u8], mut out: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match rest {
            [] => return None,
            [b'\'', tail @ ..] => return closed(tail).then_some((out, tail)),
            [b'\\', b'\'', tail @ ..] => {
                out.push(b'\'');
                rest = tail;
            }
            [c, tail @ ..] => {
                out.push(*c);
                rest = tail;
            }
        }
    }
}

/// Whether a closing quote stands at the end of its argument.
fn closed(rest: &[u8]) -> bool {
    rest.first().is_none_or(u8::is_ascii_whitespace)
}

/// Appends a command as a RESP array of bulks, the form of requests, logs and replication.
pub fn push_command(out: &mut Vec<u8>, argv: &[&[u8]]) {
    push_command_header(out, argv.len());
    for argument in argv {
        push_bulk_header(out, argument.len());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends `*N\r\n`.
pub fn push_command_header(out: &mut Vec<u8>, args: usize) {
    out.push(b'*');
    base::number::push_u64(out, args as u64);
    out.extend_from_slice(b"\r\n");
}

/// Appends `$N\r\n`.
pub fn push_bulk_header(out: &mut Vec<u8>, len: usize) {
    out.push(b'$');
    base::number::push_u64(out, len as u64);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        let split = |line: &str| split_inline(line.as_bytes());
        assert_eq!(split(r#" a  "b c" 'd e' "#), Some(vec![b"a".to_vec(), b"b c".to_vec(), b"d e".to_vec()]));
        assert_eq!(
            split(r#""\x41\n\"" 'it\'s' ''"#),
            Some(vec![b"A\n\"".to_vec(), b"it's".to_vec(), b"".to_vec()])
        );
        assert_eq!(split(r#""a"#), None);
        assert_eq!(split(r#""a"b"#), None);
        assert_eq!(split(""), Some(vec![]));
    }

    #[test]
    fn commands_encode_as_requests() {
        let mut out = Vec::new();
        push_command(&mut out, &[b"SET", b"k", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }
}
