//! A typed line as what it asks for. No I/O.

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    /// A command, and how often it is sent.
    Command(i64, Vec<Vec<u8>>),
    /// The words behind `help`.
    Help(Vec<Vec<u8>>),
    /// `:set …`, without the colon.
    Preference(Vec<Vec<u8>>),
    /// `connect HOST PORT`
    Connect(String, Vec<u8>),
    Clear,
    /// `restart`, which only a debugger has.
    Restart,
    Quit,
    /// Quotes that do not match.
    BadQuotes,
    /// A number of times that is none.
    BadCount,
}

/// What a line asks for.
pub(crate) fn understand(line: &[u8]) -> Said {
    let Some(mut words) = resp::split_inline(line) else { return Said::BadQuotes };
    let Some(first) = words.first() else { return Said::Nothing };
    if words.len() > 1 && is_number(first) {
        let times = std::str::from_utf8(first).ok().and_then(|text| text.parse().ok());
        return match times {
            Some(_) if asks_help(&words[1]) => Said::Help(words.split_off(2)),
            Some(times @ 1..) => Said::Command(times, words.split_off(1)),
            _ => Said::BadCount,
        };
    }
    let name = first.to_ascii_lowercase();
    match name.as_slice() {
        b"quit" | b"exit" => Said::Quit,
        _ if asks_help(first) => Said::Help(words.split_off(1)),
        b"clear" if words.len() == 1 => Said::Clear,
        b"restart" if words.len() == 1 => Said::Restart,
        b"connect" if words.len() == 3 => {
            Said::Connect(String::from_utf8_lossy(&words[1]).into_owned(), words.swap_remove(2))
        }
        [b':', ..] => {
            words[0].remove(0);
            Said::Preference(words)
        }
        _ => Said::Command(1, words),
    }
}

/// Whether a word is answered here and not by the server.
pub(crate) fn asks_help(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"help") || word == b"?"
}

fn is_number(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Whether a line holds a password, so that it must not be kept.
pub(crate) fn is_secret(line: &[u8]) -> bool {
    let Some(words) = resp::split_inline(line) else {
        // Nobody knows what it was meant to be.
        return line.to_ascii_lowercase().windows(4).any(|part| part == b"auth" || part == b"pass");
    };
    let skipped = usize::from(words.len() > 1 && words.first().is_some_and(|word| is_number(word)));
    let words: Vec<String> =
        words[skipped..].iter().map(|word| String::from_utf8_lossy(word).to_ascii_lowercase()).collect();
    let named = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["auth", ..] | ["acl", "setuser", ..] => true,
        ["config", "set", ..] => words.iter().any(|word| word.contains("pass") || word.contains("auth")),
        ["hello" | "migrate", ..] => named(&["auth", "auth2"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn lines_are_understood() {
        for (line, said) in [
            ("", Said::Nothing),
            ("  ", Said::Nothing),
            ("get a", Said::Command(1, words("get a"))),
            ("3 incr a", Said::Command(3, words("incr a"))),
            ("3", Said::Command(1, words("3"))),
            ("0 ping", Said::BadCount),
            ("-1 ping", Said::BadCount),
            ("99999999999999999999 ping", Said::BadCount),
            ("3x ping", Said::Command(1, words("3x ping"))),
            ("QUIT now", Said::Quit),
            ("exit", Said::Quit),
            ("2 help", Said::Help(vec![])),
            ("help @list", Said::Help(words("@list"))),
            ("clear", Said::Clear),
            ("clear x", Said::Command(1, words("clear x"))),
            (":set hints", Said::Preference(words("set hints"))),
            ("connect h 7", Said::Connect("h".to_owned(), b"7".to_vec())),
            ("connect h", Said::Command(1, words("connect h"))),
            ("get \"a", Said::BadQuotes),
        ] {
            assert_eq!(understand(line.as_bytes()), said, "{line}");
        }
    }

    #[test]
    fn passwords_are_not_kept() {
        for secret in [
            "auth x",
            "AUTH u x",
            "2 auth x",
            "acl setuser a >b",
            "config set requirepass x",
            "config set maxmemory 1 masterauth y",
            "hello 3 auth u p",
            "migrate h 1 k 0 1 AUTH x",
            "auth \"x",
        ] {
            assert!(is_secret(secret.as_bytes()), "{secret}");
        }
        for plain in ["get auth", "acl whoami", "config set maxmemory 1", "hello 3", "set pass x", ""] {
            assert!(!is_secret(plain.as_bytes()), "{plain}");
        }
    }
}
