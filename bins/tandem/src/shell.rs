//! `/bin/sh` of the container image, which has no shell: it understands what health checks say, and nothing else.
//!
//! `docker run --health-cmd "redis-cli ping"` and `CMD-SHELL` of compose files hand their text to `/bin/sh -c`. Understood is one
//! call of `redis-cli` or `tandem`, with quotes and variables in its words, then `| grep WORD` and `|| exit N` if they are there.
//! All other text is refused with a sentence: a check that cannot be made must not look like one that has passed.

use std::process::ExitCode;

use anyhow::{Context, bail};

/// How output is sent away that nobody wants.
const SILENCERS: [&str; 5] = [">/dev/null", "1>/dev/null", "2>/dev/null", "&>/dev/null", "2>&1"];

/// What stands between words.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Pipe,
    Or,
}

/// A check as it was said.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    command: Vec<String>,
    /// What the output must hold.
    wanted: Option<String>,
    /// The exit code when it fails.
    failure: u8,
}

/// Runs the check that stands behind `-c`.
pub(crate) fn run(words: &[String]) -> anyhow::Result<ExitCode> {
    const REFUSAL: &str = "this image has no shell; its /bin/sh understands the health checks that call redis-cli or \
                           tandem. Use a check of the form CMD, or the image's own";
    let [option, text, ..] = words else { bail!(REFUSAL) };
    let check = understand(text, &|name| std::env::var(name).ok()).filter(|_| option.ends_with('c'));
    let check = check.context(REFUSAL)?;
    let failed = Ok(ExitCode::from(check.failure));
    let Some((name, rest)) = check.command.split_first() else { bail!(REFUSAL) };
    if name == "tandem" {
        let code = crate::run_tool(rest.to_vec())?;
        return if code == ExitCode::SUCCESS { Ok(code) } else { failed };
    }
    let said = crate::client::answer(name, rest);
    crate::say(format!("{}{}", said.err, said.out).trim_end_matches('\n'));
    match check.wanted {
        // As in a shell, a filter's verdict is the only one behind a pipe.
        Some(wanted) if !said.out.contains(&wanted) => failed,
        None if !said.has_answer => failed,
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The check that a text says; none where it says more than a check.
fn understand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<Check> {
    let tokens = tokens(&text.replace("> /dev/null", ">/dev/null"), variable)?;
    let mut parts = tokens.split(|token| *token == Token::Or);
    let (doing, failing) = (parts.next()?, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let failure = match failing.map(words).as_deref() {
        None => 1,
        Some([exit, code]) if exit == "exit" => code.parse().ok()?,
        Some([word]) if word == "exit" || word == "false" => 1,
        Some(_) => return None,
    };
    let mut piped = doing.split(|token| *token == Token::Pipe).map(words);
    let (command, filter) = (piped.next()?, piped.next());
    let name = command.first()?.rsplit('/').next()?.to_owned();
    if piped.next().is_some() || !matches!(name.as_str(), "redis-cli" | "valkey-cli" | "tandem") {
        return None;
    }
    let wanted = match filter {
        None => None,
        Some(_) if name == "tandem" => return None,
        Some(filter) => Some(pattern_of(&filter)?),
    };
    let command = std::iter::once(name).chain(command.into_iter().skip(1)).collect();
    Some(Check { command, wanted, failure })
}

/// What `grep` looks for, where that is plain text.
fn pattern_of(filter: &[String]) -> Option<String> {
    let (grep, rest) = filter.split_first()?;
    let (pattern, options) = rest.split_last()?;
    let is_plain = pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" _:-".contains(&byte));
    let are_quiet =
        options.iter().all(|option| matches!(option.as_str(), "-q" | "-F" | "-qF" | "-Fq" | "-e"));
    (grep == "grep" && is_plain && are_quiet && !pattern.starts_with('-')).then(|| pattern.clone())
}

fn words(tokens: &[Token]) -> Vec<String> {
    let words = tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(word.clone()),
        Token::Pipe | Token::Or => None,
    });
    words.collect()
}

/// Splits a text as a shell does; none where it holds what only a shell can do.
fn tokens(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut is_plain = true;
    let mut rest = text.chars().peekable();
    loop {
        let next = rest.next();
        match (quote, next) {
            (Some(_), None) => return None,
            (Some(open), Some(close)) if open == close => quote = None,
            (None | Some('"'), Some('$')) => {
                word.get_or_insert_default().push_str(&variable(&name_of(&mut rest)?).unwrap_or_default());
            }
            (None | Some('"'), Some('\\')) => word.get_or_insert_default().push(rest.next()?),
            (None | Some('"'), Some('`')) => return None,
            (Some(_), Some(other)) => word.get_or_insert_default().push(other),
            (None, Some(open @ ('"' | '\''))) => {
                (quote, is_plain) = (Some(open), false);
                word.get_or_insert_default();
            }
            (None, None | Some(' ' | '\t' | '\n' | '|')) => {
                let done = word.take();
                let is_redirection = is_plain && done.as_deref().is_some_and(|word| word.contains('>'));
                match done {
                    Some(word) if is_redirection && !SILENCERS.contains(&word.as_str()) => return None,
                    done => found.extend(done.filter(|_| !is_redirection).map(Token::Word)),
                }
                is_plain = true;
                match next {
                    None => return Some(found),
                    Some('|') if rest.next_if_eq(&'|').is_some() => found.push(Token::Or),
                    Some('|') => found.push(Token::Pipe),
                    Some(_) => {}
                }
            }
            (None, Some(';' | '(' | ')' | '<' | '*' | '?' | '#' | '~')) => return None,
            (None, Some('&'))
                if !word.as_deref().is_some_and(|word| word.ends_with('>')) && rest.peek() != Some(&'>') =>
            {
                return None;
            }
            (None, Some(other)) => word.get_or_insert_default().push(other),
        }
    }
}

/// The name of a variable behind its `$`; none for what is not a plain name.
fn name_of(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let is_braced = rest.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(part) = rest.next_if(|part| part.is_ascii_alphanumeric() || *part == '_') {
        name.push(part);
    }
    let is_closed = !is_braced || rest.next() == Some('}');
    (is_closed && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Option<Check> {
        understand(text, &|name| (name == "REDIS_PASSWORD").then(|| "p w".to_owned()))
    }

    fn expected(command: &[&str], wanted: Option<&str>, failure: u8) -> Check {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Check { command, wanted: wanted.map(str::to_owned), failure }
    }

    #[test]
    fn checks_that_people_write_are_understood() {
        let ping = ["redis-cli", "ping"];
        for (text, command, wanted, failure) in [
            ("redis-cli ping", &ping[..], None, 1),
            ("redis-cli", &ping[..1], None, 1),
            ("redis-cli ping || exit 1", &ping, None, 1),
            ("redis-cli ping | grep PONG", &ping, Some("PONG"), 1),
            ("redis-cli info memory | grep used", &["redis-cli", "info", "memory"], Some("used"), 1),
            ("/usr/local/bin/redis-cli ping|grep -q 'PONG'||exit 3", &ping, Some("PONG"), 3),
            ("redis-cli ping > /dev/null 2>&1 || false", &ping, None, 1),
            ("redis-cli ping &>/dev/null", &ping, None, 1),
            ("redis-cli -a \"$REDIS_PASSWORD\" ping", &["redis-cli", "-a", "p w", "ping"], None, 1),
            (
                "redis-cli -a ${REDIS_PASSWORD} --raw incr ping",
                &["redis-cli", "-a", "p w", "--raw", "incr", "ping"],
                None,
                1,
            ),
            ("redis-cli -a '$REDIS_PASSWORD' ping", &["redis-cli", "-a", "$REDIS_PASSWORD", "ping"], None, 1),
            ("valkey-cli -a $NONE\"\" ping", &["valkey-cli", "-a", "", "ping"], None, 1),
            ("tandem health", &["tandem", "health"], None, 1),
        ] {
            assert_eq!(check(text), Some(expected(command, wanted, failure)), "{text}");
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused() {
        for text in [
            "",
            "ls",
            "true",
            "redis-cli ping; true",
            "redis-cli ping && true",
            "redis-cli ping & ",
            "redis-cli ping > /data/pong",
            "redis-cli ping 2> /data/pong",
            "test \"$(redis-cli ping)\" = PONG",
            "[ `redis-cli ping` = PONG ]",
            "redis-cli ping | grep 'P.NG'",
            "redis-cli ping | grep -v PONG",
            "redis-cli ping | wc -l",
            "redis-cli ping | grep PONG | grep PONG",
            "redis-cli ping || redis-cli ping || exit 1",
            "redis-cli -a \"open",
            "redis-cli -a ${X:-y} ping",
            "tandem health | grep healthy",
        ] {
            assert_eq!(check(text), None, "{text}");
        }
    }
}
