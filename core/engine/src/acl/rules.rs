//! The rules of ACL SETUSER, applied one after the other to a copy of the user, which replaces it only if all are good.

use super::selector::{KeyPattern, Selector};
use super::{Acl, Secret, User, digest_of};
use crate::table::Table;

/// What stands before an argon2id record in a rule.
pub(crate) const ARGON2ID: &str = "argon2id:";

const UNKNOWN: &str = "Syntax error";

impl Acl {
    /// Creates or changes a user. Nothing changes when a rule is bad.
    ///
    /// # Errors
    /// The error reply.
    pub(crate) fn set_user(&mut self, table: &Table, name: &[u8], rules: &[&[u8]]) -> Result<(), String> {
        let index = self.find(name);
        let mut user = match index.and_then(|i| self.user(i)) {
            Some(user) => user.clone(),
            None => User::new(name, self.channels_open),
        };
        let rules = joined(rules)?;
        for rule in &rules {
            apply(&mut user, table, rule, self.channels_open).map_err(|why| {
                format!("ERR Error in ACL SETUSER modifier '{}': {why}", String::from_utf8_lossy(rule))
            })?;
        }
        match index {
            Some(index) => self.users[index] = Some(user),
            None => self.users.push(Some(user)),
        }
        Ok(())
    }
}

/// Selectors may be written with blanks: `(+get ~a)` comes as several arguments and is one rule.
fn joined(rules: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for rule in rules {
        let mut text = match open.take() {
            Some(mut begun) => {
                begun.push(b' ');
                begun
            }
            None => Vec::new(),
        };
        text.extend_from_slice(rule);
        if text.starts_with(b"(") && !text.ends_with(b")") { open = Some(text) } else { out.push(text) }
    }
    match open {
        Some(_) => Err("ERR Unmatched parenthesis in acl selector starting at '('.".to_owned()),
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
        b"clearselectors" => user.selectors.clear(),
        b"reset" => *user = User::new(&user.name, channels_open),
        _ if rule.starts_with(b"(") => {
            let mut selector = Selector::new(channels_open);
            for inner in rule[1..rule.len() - 1].split(|c| *c == b' ').filter(|r| !r.is_empty()) {
                permission(&mut selector, table, inner)?;
            }
            user.selectors.push(selector);
        }
        _ => return secret(user, rule).unwrap_or_else(|| permission(&mut user.root, table, rule)),
    }
    Ok(())
}

/// Rules about passwords; `None` when it is another rule.
fn secret(user: &mut User, rule: &[u8]) -> Option<Result<(), String>> {
    if let Some(record) = super::record_in(rule) {
        add_secret(user, Secret::Argon2id(record));
        return Some(Ok(()));
    }
    let (mark, text) = rule.split_first()?;
    let remove = |user: &mut User, hex: String| {
        let before = user.secrets.len();
        user.secrets.retain(|s| *s != Secret::Sha256(hex.clone()));
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
        b'<' => remove(user, digest_of(text)),
        b'#' | b'!' => match hash_text(text) {
            Some(hex) if *mark == b'#' => {
                add_secret(user, Secret::Sha256(hex));
                Ok(())
            }
            Some(hex) => remove(user, hex),
            None => Err("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters".to_owned()),
        },
        _ => return None,
    })
}

fn hash_text(text: &[u8]) -> Option<String> {
    let good = text.len() == 64 && text.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    good.then(|| String::from_utf8_lossy(text).into_owned())
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
        [b'%', ..] => {
            let tilde = rule.iter().position(|c| *c == b'~').ok_or(UNKNOWN)?;
            let letters = rule[1..tilde].to_ascii_lowercase();
            if letters.is_empty() || letters.iter().any(|c| !matches!(c, b'r' | b'w')) {
                return Err(UNKNOWN.to_owned());
            }
            add_key(selector, letters.contains(&b'r'), letters.contains(&b'w'), &rule[tilde + 1..])
        }
        [b'&', pattern @ ..] => {
            if selector.all_channels {
                return Err("Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels".to_owned());
            }
            if !selector.channels.iter().any(|c| c == pattern) {
                selector.channels.push(pattern.to_vec());
            }
            Ok(())
        }
        [mark @ (b'+' | b'-'), b'@', category @ ..] => {
            let category = String::from_utf8_lossy(category).to_ascii_lowercase();
            if !super::commands::CATEGORIES.contains(&category.as_str()) {
                return Err("Unknown command or category name in ACL".to_owned());
            }
            selector.set_category(table, &category, *mark == b'+');
            Ok(())
        }
        [mark @ (b'+' | b'-'), name @ ..] => {
            let command = table.find_full(name).ok_or("Unknown command or category name in ACL")?;
            selector.set_command(table, command, *mark == b'+');
            Ok(())
        }
        _ => Err(UNKNOWN.to_owned()),
    }
}

fn add_key(selector: &mut Selector, read: bool, write: bool, pattern: &[u8]) -> Result<(), String> {
    if selector.all_keys {
        return Err("Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns".to_owned());
    }
    if pattern.iter().any(|c| c.is_ascii_whitespace() || *c == 0) {
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
