//! The command line of `tandem server [FILE|-] [--directive value …]`, read as redis-server reads its own.
//!
//! Options become lines of redis.conf. A word after an option's name is its value even if it begins with
//! `--`; the one exception is `--save`, which may stand alone and then means no save points.

use crate::words::{quote, split};

/// What a command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invocation {
    /// The configuration file, if one is named.
    pub file: Option<String>,
    /// Configuration is also read from standard input (`-`).
    pub stdin: bool,
    /// The options, as lines of redis.conf.
    pub options: String,
}

/// Reads the words after the program's name (or after `server`).
pub fn read_args(args: &[String]) -> Invocation {
    let mut invocation = Invocation::default();
    let mut rest = args;
    if let Some((first, after)) = args.split_first() {
        if first == "-" {
            invocation.stdin = true;
            rest = after;
        } else if !first.starts_with("--") {
            // An empty word names no file: a variable that nobody filled in.
            invocation.file = Some(first.clone()).filter(|name| !name.is_empty());
            rest = after;
        }
    }
    if rest.first().is_some_and(|word| word == "-") {
        invocation.stdin = true;
        rest = &rest[1..];
    }
    invocation.options = option_lines(rest);
    invocation
}

fn option_lines(words: &[String]) -> String {
    let mut lines = String::new();
    let mut may_be_option = true;
    for (at, word) in words.iter().enumerate() {
        let Some(option) = word.strip_prefix("--").filter(|_| may_be_option) else {
            lines.push(' ');
            lines.push_str(&quote(word.as_bytes()));
            may_be_option = true;
            continue;
        };
        if !lines.is_empty() {
            lines.push('\n');
        }
        lines.push_str(option);
        may_be_option = split(option.as_bytes()).is_none_or(|parts| parts.len() > 1);
        let next_is_value = words.get(at + 1).is_some_and(|next| !next.starts_with("--"));
        if option.eq_ignore_ascii_case("save") && !next_is_value {
            lines.push_str(" \"\"");
            may_be_option = true;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &[&str]) -> String {
        read_args(&words.iter().map(|word| (*word).to_string()).collect::<Vec<_>>()).options
    }

    #[test]
    fn options_become_the_lines_that_redis_makes_of_them() {
        assert_eq!(lines(&["--save", ""]), "save \"\"");
        assert_eq!(lines(&["--save", "", "--save", "1", "1"]), "save \"\"\nsave \"1\" \"1\"");
        assert_eq!(lines(&["--save", "--appendonly", "yes"]), "save \"\"\nappendonly \"yes\"");
        assert_eq!(lines(&["--save"]), "save \"\"");
        assert_eq!(lines(&["--appendonly", "--maxmemory", "1gb"]), "appendonly \"--maxmemory\" \"1gb\"");
        assert_eq!(lines(&["--maxmemory 10mb", "--port", "1"]), "maxmemory 10mb\nport \"1\"");
        assert_eq!(lines(&["--requirepass", "a \"b"]), "requirepass \"a \\\"b\"");
        assert_eq!(lines(&["--port"]), "port");
    }

    #[test]
    fn a_file_or_standard_input_comes_first() {
        let args = |words: &[&str]| read_args(&words.iter().map(|w| (*w).to_string()).collect::<Vec<_>>());
        let both = args(&["/etc/x.conf", "-", "--port", "1"]);
        assert_eq!(
            (both.file.as_deref(), both.stdin, both.options.as_str()),
            (Some("/etc/x.conf"), true, "port \"1\"")
        );
        assert_eq!(args(&["-"]), Invocation { file: None, stdin: true, options: String::new() });
        assert_eq!(args(&[]), Invocation::default());
        let options = "appendonly \"yes\"".to_owned();
        assert_eq!(args(&["", "--appendonly", "yes"]), Invocation { file: None, stdin: false, options });
        assert_eq!(args(&["x.conf", "nodash"]).options, " \"nodash\"");
    }
}
