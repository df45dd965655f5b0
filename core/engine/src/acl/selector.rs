//! One set of permissions: commands, key patterns, channel patterns.

use super::Denial;
use crate::table::{Command, Table};
use commands::{Channels, Flags, KeyAccess, Keys, Spec};
use std::collections::BTreeMap;

/// A key pattern and what it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) pattern: Vec<u8>,
}

/// One set of permissions.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    /// One bit a command index.
    allowed: Vec<u64>,
    /// Every command, also such that come later, before the rules below.
    all_commands: bool,
    /// The command rules in order, as they are shown behind `+@all` or `-@all`.
    rules: Vec<Vec<u8>>,
    /// First arguments with which a command is allowed that is not allowed as such (`+select|0`), by command index.
    first_args: BTreeMap<usize, Vec<Vec<u8>>>,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_keys: bool,
    pub(super) channels: Vec<Vec<u8>>,
    pub(super) all_channels: bool,
}

impl Selector {
    pub(super) fn new(all_channels: bool) -> Selector {
        Selector {
            allowed: Vec::new(),
            all_commands: false,
            rules: Vec::new(),
            first_args: BTreeMap::new(),
            keys: Vec::new(),
            all_keys: false,
            channels: Vec::new(),
            all_channels,
        }
    }

    pub(super) fn allow_everything(&mut self) {
        self.set_all_commands(true);
        self.all_keys = true;
        self.all_channels = true;
    }

    pub(super) fn set_all_commands(&mut self, allow: bool) {
        self.all_commands = allow;
        self.allowed.clear();
        self.first_args.clear();
        self.rules.clear();
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.all_commands && self.rules.is_empty() && self.all_keys && self.all_channels
    }

    /// Whether the command with this index is allowed whatever its arguments are.
    fn allows(&self, command: usize) -> bool {
        match self.allowed.get(command / 64) {
            Some(word) => word >> (command % 64) & 1 == 1,
            None => self.all_commands,
        }
    }

    fn allows_first(&self, command: usize, first: Option<&&[u8]>) -> bool {
        let Some(first) = first else { return false };
        (self.first_args.get(&command))
            .is_some_and(|all| all.iter().any(|known| known.eq_ignore_ascii_case(first)))
    }

    /// Sets the bit of a command and of all its subcommands.
    fn set_bits(&mut self, table: &Table, command: usize, allow: bool) {
        if self.allowed.is_empty() {
            let fill = if self.all_commands { u64::MAX } else { 0 };
            self.allowed = vec![fill; table.commands.len().div_ceil(64)];
        }
        let bit = 1 << (command % 64);
        if allow {
            self.allowed[command / 64] |= bit
        } else {
            self.allowed[command / 64] &= !bit
        }
        self.first_args.remove(&command);
        for sub in &table.commands[command].subcommands {
            self.set_bits(table, *sub, allow);
        }
    }

    /// Applies a rule to a command with all its subcommands, or to one subcommand.
    pub(super) fn set_command(&mut self, table: &Table, command: usize, allow: bool) {
        self.set_bits(table, command, allow);
        self.note_rule(allow, table.commands[command].spec.name.as_bytes());
    }

    /// Allows a command with this first argument only.
    pub(super) fn add_first_arg(&mut self, table: &Table, command: usize, first: &[u8]) {
        let known = self.first_args.entry(command).or_default();
        if !known.iter().any(|k| k == first) {
            known.push(first.to_vec());
        }
        self.note_rule(true, &[table.commands[command].spec.name.as_bytes(), b"|", first].concat());
    }

    /// Applies a rule to a category.
    pub(super) fn set_category(&mut self, table: &Table, category: &str, allow: bool) {
        for (index, command) in table.commands.iter().enumerate() {
            if command.spec.categories().contains(&category) {
                self.set_bits(table, index, allow);
            }
        }
        self.note_rule(allow, &[b"@", category.as_bytes()].concat());
    }

    /// Puts a rule last; those that it makes void, about the same command or its subcommands, are left out from now on.
    fn note_rule(&mut self, allow: bool, name: &[u8]) {
        self.rules.retain(|rule| {
            let rest = rule[1..].strip_prefix(name);
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"|"))
        });
        self.rules.push([if allow { b"+" } else { b"-" }, name].concat());
    }

    /// Whether this selector allows the request; if not, why, and at which argument.
    pub(super) fn check(&self, table: &Table, command: usize, argv: &[&[u8]]) -> Result<(), (Denial, usize)> {
        let Command { spec, keys, .. } = &table.commands[command];
        let free = spec.flags.has(Flags::NO_AUTH);
        if !free && !self.allows(command) && !self.allows_first(command, argv.get(1)) {
            return Err((Denial::Command(spec.name), 0));
        }
        if !self.all_keys && spec.keys != Keys::None && !spec.flags.has(Flags::PUBSUB) {
            for (at, used) in keys.find(argv).unwrap_or_default() {
                if !self.key_allowed(argv[at], used.access) {
                    return Err((Denial::Key(argv[at].to_vec()), at));
                }
            }
        }
        self.check_channels(spec, argv)
    }

    /// Whether the command is allowed and every key may be read: what a command needs that finds its keys while it runs.
    pub(super) fn reads_any_key(&self, command: usize) -> bool {
        self.allows(command) && (self.all_keys || self.keys.iter().any(|k| k.read && k.pattern == b"*"))
    }

    pub(super) fn key_allowed(&self, key: &[u8], access: KeyAccess) -> bool {
        let (read, write) = match access {
            KeyAccess::Read => (true, false),
            KeyAccess::Write => (false, true),
            KeyAccess::Both => (true, true),
            KeyAccess::Shallow => (false, false),
        };
        self.all_keys
            || (self.keys.iter()).any(|k| {
                (k.read || !read) && (k.write || !write) && base::glob::matches(&k.pattern, key, false)
            })
    }

    fn check_channels(&self, spec: &Spec, argv: &[&[u8]]) -> Result<(), (Denial, usize)> {
        let (end, are_patterns) = match spec.channels {
            Channels::None => return Ok(()),
            Channels::First => (2, false),
            Channels::All => (argv.len(), false),
            Channels::Patterns => (argv.len(), true),
        };
        for (at, name) in argv.iter().enumerate().take(end).skip(1) {
            if !self.channel_allowed(name, are_patterns) {
                return Err((Denial::Channel(name.to_vec()), at));
            }
        }
        Ok(())
    }

    /// Whether a channel, or a pattern of channels, may be used. A pattern must be granted as it is written.
    pub(super) fn channel_allowed(&self, name: &[u8], is_pattern: bool) -> bool {
        let fits = |granted: &Vec<u8>| {
            if is_pattern { granted == name } else { base::glob::matches(granted, name, false) }
        };
        self.all_channels || self.channels.iter().any(fits)
    }

    pub(super) fn describe_commands(&self) -> Vec<u8> {
        let all: &[u8] = if self.all_commands { b"+@all" } else { b"-@all" };
        let words: Vec<&[u8]> = core::iter::once(all).chain(self.rules.iter().map(Vec::as_slice)).collect();
        words.join(&b' ')
    }

    pub(super) fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let one = |k: &KeyPattern| {
            let mark: &[u8] = match (k.read, k.write) {
                // Read back, `~*` would be all keys, behind which no pattern may come.
                (true, true) if k.pattern == b"*" => b"%RW~",
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            };
            [mark, &k.pattern].concat()
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(&b' ')
    }

    pub(super) fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|c| [b"&", c.as_slice()].concat()).collect::<Vec<_>>().join(&b' ')
    }

    /// The selector as rules.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        let (keys, channels) = (self.describe_keys(), self.describe_channels());
        if !keys.is_empty() {
            parts.push(keys);
        }
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        if !channels.is_empty() {
            parts.push(channels);
        }
        parts.push(self.describe_commands());
        parts.join(&b' ')
    }

    /// The selector as one rule, in parentheses. A word is quoted that a reader would otherwise take for something else.
    pub(super) fn describe_in_parentheses(&self) -> Vec<u8> {
        let described = self.describe();
        let words: Vec<Vec<u8>> = described.split(|byte| *byte == b' ').map(quoted_if_needed).collect();
        [b"(", words.join(&b' ').as_slice(), b")"].concat()
    }
}

/// Readers of a selector know quotes, and take a word that ends in a parenthesis for its end.
fn quoted_if_needed(word: &[u8]) -> Vec<u8> {
    let special = word.ends_with(b")") || word.iter().any(|byte| matches!(byte, b'"' | b'\''));
    if special { config::quote(word).into_bytes() } else { word.to_vec() }
}
