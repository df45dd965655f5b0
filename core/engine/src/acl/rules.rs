//! The rules of ACL SETUSER, applied one after the other to a copy of the user, which replaces it only if all are good.

use super::selector::{KeyPattern, Selector};
use super::{Acl, DEFAULT_USER, Secret, User, digest_of};
use crate::durability::Durability;
use crate::table::Table;
use base::limits::RECORDS_MAX;

/// What stands before an argon2id record in a rule.
pub(crate) const ARGON2ID: &str = "argon2id:";

/// What stands before the word that says what a user's writes wait for.
pub(super) const DURABILITY: &str = "durability=";

const UNKNOWN: &str = "Syntax error";

const UNKNOWN_COMMAND: &str = "Unknown command or category name in ACL";

impl Acl {
    /// Creates or changes a user. Nothing changes when a rule is bad.
    ///
    /// # Errors
    /// The error reply.
    pub(crate) fn set_user(&mut self, table: &Table, name: &[u8], rules: &[&[u8]]) -> Result<(), String> {
        let rules = joined(rules).map_err(|at| {
            let start = String::from_utf8_lossy(at).into_owned();
            format!("ERR Unmatched parenthesis in acl selector starting at '{start}'.")
        })?;
        self.apply_rules(table, name, &rules).map_err(|(rule, why)| {
            format!("ERR Error in ACL SETUSER modifier '{}': {why}", String::from_utf8_lossy(&rule))
        })
    }

    /// As [`Acl::set_user`], with whole selectors; the error is the bad rule and what is wrong with it.
    pub(super) fn apply_rules(
        &mut self,
        table: &Table,
        name: &[u8],
        rules: &[Vec<u8>],
    ) -> Result<(), (Vec<u8>, String)> {
        let index = self.find(name);
        let mut user = match index.and_then(|i| self.user(i)) {
            Some(user) => user.clone(),
            None => User::new(name, self.channels_open),
        };
        for rule in rules {
            apply(&mut user, table, rule, self.channels_open).map_err(|why| (rule.clone(), why))?;
        }
        self.default_has_rules |= index == Some(DEFAULT_USER);
        self.put(user);
        Ok(())
    }
}

/// Selectors may be written with blanks: `(+get ~a)` comes as several arguments and is one rule. The error is the argument that opens
/// a selector which nothing closes.
pub(super) fn joined<'a>(rules: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(Vec<u8>, &'a [u8])> = None;
    for rule in rules {
        let (text, start) = match open.take() {
            Some((begun, start)) => ([&begun, b" ".as_slice(), rule].concat(), start),
            None => (rule.to_vec(), *rule),
        };
        if text.starts_with(b"(") && !text.ends_with(b")") {
            open = Some((text, start));
        } else {
            out.push(text);
        }
    }
    match open {
        Some((_, start)) => Err(start),
        None => Ok(out),
    }
}

fn apply(user: &mut User, table: &Table, rule: &[u8], channels_open: bool) -> Result<(), String> {
    let lower = rule.to_ascii_lowercase();
    match lower.as_slice() {
        b"on" => user.enabled = true,
        b"off" => user.enabled = false,
        b"nopass" => {
            user.nopass = true;
            user.secrets.clear();
        }
        b"resetpass" => {
            user.nopass = false;
            user.secrets.clear();
        }
        b"skip-sanitize-payload" => user.skip_sanitize = true,
        b"sanitize-payload" => user.skip_sanitize = false,
        word if word.starts_with(DURABILITY.as_bytes()) => {
            user.durability = Durability::named(&word[DURABILITY.len()..])
                .ok_or("What writes wait for is default, everysec, always or replicated")?;
        }
        b"clearselectors" => user.selectors.clear(),
        b"reset" => *user = User::new(&user.name, channels_open),
        [b'(', ..] => user.selectors.push(parsed(table, rule, channels_open)?),
        _ => return secret(user, rule).unwrap_or_else(|| permission(&mut user.root, table, rule)),
    }
    Ok(())
}

/// A selector in its parentheses.
fn parsed(table: &Table, rule: &[u8], channels_open: bool) -> Result<Selector, String> {
    let inner = rule.strip_prefix(b"(").and_then(|r| r.strip_suffix(b")")).ok_or(UNKNOWN)?;
    let mut selector = Selector::new(channels_open);
    for word in resp::split_inline(inner.trim_ascii()).ok_or(UNKNOWN)? {
        permission(&mut selector, table, &word)?;
    }
    Ok(selector)
}

/// Rules about passwords; `None` when it is another rule.
fn secret(user: &mut User, rule: &[u8]) -> Option<Result<(), String>> {
    if let Some(record) = super::record_in(rule) {
        return Some(add_record(user, record));
    }
    let (mark, text) = rule.split_first()?;
    let remove = |user: &mut User, secret: Secret| {
        let before = user.secrets.len();
        user.secrets.retain(|s| *s != secret);
        if user.secrets.len() < before {
            Ok(())
        } else {
            Err("The password you are trying to remove from the user does not exist".to_owned())
        }
    };
    Some(match mark {
        b'>' => {
            add_secret(user, Secret::Sha256(digest_of(text)));
            Ok(())
        }
        b'<' => match super::record_in(text) {
            Some(record) => remove(user, Secret::Argon2id(record)),
            None => remove(user, Secret::Sha256(digest_of(text))),
        },
        b'#' | b'!' => match hash_text(text) {
            Some(hex) if *mark == b'#' => {
                add_secret(user, Secret::Sha256(hex));
                Ok(())
            }
            Some(hex) => remove(user, Secret::Sha256(hex)),
            None => Err("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters".to_owned()),
        },
        _ => return None,
    })
}

fn hash_text(text: &[u8]) -> Option<String> {
    let good = text.len() == 64 && text.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    good.then(|| String::from_utf8_lossy(text).into_owned())
}

fn add_record(user: &mut User, record: String) -> Result<(), String> {
    super::check_record(&record)?;
    add_secret(user, Secret::Argon2id(record));
    if user.secrets.iter().filter(|secret| matches!(secret, Secret::Argon2id(_))).count() > RECORDS_MAX {
        return Err(format!(
            "A user can have at most {RECORDS_MAX} passwords of this kind: each is tried at a log-in"
        ));
    }
    Ok(())
}

fn add_secret(user: &mut User, secret: Secret) {
    user.nopass = false;
    if !user.secrets.contains(&secret) {
        user.secrets.push(secret);
    }
}

/// Rules about commands, keys and channels.
fn permission(selector: &mut Selector, table: &Table, rule: &[u8]) -> Result<(), String> {
    match rule.to_ascii_lowercase().as_slice() {
        b"allcommands" | b"+@all" => selector.set_all_commands(true),
        b"nocommands" | b"-@all" => selector.set_all_commands(false),
        b"allkeys" | b"~*" => {
            selector.all_keys = true;
            selector.keys.clear();
        }
        b"resetkeys" => {
            selector.all_keys = false;
            selector.keys.clear();
        }
        b"allchannels" | b"&*" => {
            selector.all_channels = true;
            selector.channels.clear();
        }
        b"resetchannels" => {
            selector.all_channels = false;
            selector.channels.clear();
        }
        _ => return pattern_or_command(selector, table, rule),
    }
    Ok(())
}

fn pattern_or_command(selector: &mut Selector, table: &Table, rule: &[u8]) -> Result<(), String> {
    match rule {
        [b'~', pattern @ ..] => add_key(selector, true, true, pattern),
        [b'%', ..] if selector.all_keys => Err(AFTER_ALL_KEYS.to_owned()),
        [b'%', rest @ ..] => {
            // Without one the pattern is empty, as in Redis: it matches no key but the empty one.
            let tilde = rest.iter().position(|c| *c == b'~').unwrap_or(rest.len());
            let (read, write) = match rest[..tilde].to_ascii_lowercase().as_slice() {
                b"r" => (true, false),
                b"w" => (false, true),
                b"rw" | b"wr" => (true, true),
                _ => return Err(UNKNOWN.to_owned()),
            };
            add_key(selector, read, write, rest.get(tilde + 1..).unwrap_or_default())
        }
        [b'&', pattern @ ..] => add_channel(selector, pattern),
        [mark @ (b'+' | b'-'), b'@', category @ ..] => {
            let category = String::from_utf8_lossy(category).to_ascii_lowercase();
            if !super::commands::CATEGORIES.contains(&category.as_str()) {
                return Err(UNKNOWN_COMMAND.to_owned());
            }
            selector.set_category(table, &category, *mark == b'+');
            Ok(())
        }
        [b'+', name @ ..] if name.contains(&b'|') => add_sub(selector, table, name),
        [mark @ (b'+' | b'-'), name @ ..] => {
            let command = table.find_original(name).ok_or(UNKNOWN_COMMAND)?;
            selector.set_command(table, command, *mark == b'+');
            Ok(())
        }
        _ => Err(UNKNOWN.to_owned()),
    }
}

/// `+command|word`: a subcommand where the command has such, otherwise a first argument.
fn add_sub(selector: &mut Selector, table: &Table, name: &[u8]) -> Result<(), String> {
    let bar = name.iter().rposition(|c| *c == b'|').unwrap_or(name.len());
    let command = table.find_original(&name[..bar]).ok_or(UNKNOWN_COMMAND)?;
    let word = name.get(bar + 1..).unwrap_or_default();
    if table.commands[command].parent.is_some() {
        return Err("Allowing first-arg of a subcommand is not supported".to_owned());
    }
    // A line of an ACL file could not say a word with blanks.
    if word.is_empty() || has_blanks(word) {
        return Err(UNKNOWN.to_owned());
    }
    if table.commands[command].subcommands.is_empty() {
        selector.add_first_arg(table, command, &word.to_ascii_lowercase());
        return Ok(());
    }
    let sub = table.find_sub(command, word).ok_or(UNKNOWN_COMMAND)?;
    selector.set_command(table, sub, true);
    Ok(())
}

fn has_blanks(pattern: &[u8]) -> bool {
    pattern.iter().any(|c| c.is_ascii_whitespace() || matches!(c, 0 | 11))
}

const AFTER_ALL_KEYS: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns";
const AFTER_ALL_CHANNELS: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels";

fn add_channel(selector: &mut Selector, pattern: &[u8]) -> Result<(), String> {
    if selector.all_channels {
        return Err(AFTER_ALL_CHANNELS.to_owned());
    }
    if has_blanks(pattern) {
        return Err(UNKNOWN.to_owned());
    }
    if !selector.channels.iter().any(|c| c == pattern) {
        selector.channels.push(pattern.to_vec());
    }
    Ok(())
}

fn add_key(selector: &mut Selector, read: bool, write: bool, pattern: &[u8]) -> Result<(), String> {
    if selector.all_keys {
        return Err(AFTER_ALL_KEYS.to_owned());
    }
    if has_blanks(pattern) {
        return Err(UNKNOWN.to_owned());
    }
    match selector.keys.iter_mut().find(|k| k.pattern == pattern) {
        Some(known) => {
            known.read |= read;
            known.write |= write;
        }
        None => selector.keys.push(KeyPattern { read, write, pattern: pattern.to_vec() }),
    }
    Ok(())
}
