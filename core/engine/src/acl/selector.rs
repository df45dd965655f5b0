//! One set of permissions: commands, key patterns, channel patterns.

use super::Denial;
use crate::table::Table;
use commands::{KeyAccess, Keys, Spec};

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
    /// Every command, also such that come later.
    all_commands: bool,
    /// The command rules in order, as they are shown.
    pub(super) rules: Vec<String>,
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
            rules: vec!["-@all".to_owned()],
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
        self.rules = vec![if allow { "+@all".to_owned() } else { "-@all".to_owned() }];
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.all_commands && self.rules.len() == 1 && self.all_keys && self.all_channels
    }

    /// Whether the command with this index is allowed.
    pub(super) fn allows(&self, command: usize) -> bool {
        match self.allowed.get(command / 64) {
            Some(word) => word >> (command % 64) & 1 == 1,
            None => self.all_commands,
        }
    }

    /// Allows or forbids one command (its bit only).
    fn set_bit(&mut self, table: &Table, command: usize, allow: bool) {
        if self.allowed.is_empty() {
            let fill = if self.all_commands { u64::MAX } else { 0 };
            self.allowed = vec![fill; table.commands.len().div_ceil(64)];
        }
        let bit = 1 << (command % 64);
        if allow { self.allowed[command / 64] |= bit } else { self.allowed[command / 64] &= !bit }
    }

    /// Applies a rule to a command with all its subcommands, or to one subcommand.
    pub(super) fn set_command(&mut self, table: &Table, command: usize, allow: bool) {
        self.set_bit(table, command, allow);
        for sub in &table.commands[command].subcommands {
            self.set_bit(table, *sub, allow);
        }
        let name = table.commands[command].spec.name;
        self.rules.retain(|rule| {
            let bare = &rule[1..];
            bare != name && !bare.strip_prefix(name).is_some_and(|rest| rest.starts_with('|'))
        });
        self.push_rule(allow, name);
    }

    /// Applies a rule to a category.
    pub(super) fn set_category(&mut self, table: &Table, category: &str, allow: bool) {
        for (index, command) in table.commands.iter().enumerate() {
            if command.spec.categories().contains(&category) {
                self.set_bit(table, index, allow);
            }
        }
        let name = format!("@{category}");
        self.rules.retain(|rule| rule[1..] != name);
        self.push_rule(allow, &name);
    }

    fn push_rule(&mut self, allow: bool, name: &str) {
        self.rules.push(format!("{}{name}", if allow { '+' } else { '-' }));
    }

    /// Whether this selector allows the request, and if not, why.
    pub(super) fn check(&self, command: usize, spec: &Spec, argv: &[&[u8]]) -> Result<(), Denial> {
        if !self.allows(command) {
            return Err(Denial::Command(spec.name));
        }
        if !self.all_keys && spec.keys != Keys::None {
            for (at, access) in commands::found_keys(spec, argv).unwrap_or_default() {
                if !self.key_allowed(argv[at], access) {
                    return Err(Denial::Key(argv[at].to_vec()));
                }
            }
        }
        if !self.all_channels {
            self.check_channels(spec, argv)?;
        }
        Ok(())
    }

    pub(super) fn key_allowed(&self, key: &[u8], access: KeyAccess) -> bool {
        let (read, write) = match access {
            KeyAccess::Read => (true, false),
            KeyAccess::Write => (false, true),
            KeyAccess::Both => (true, true),
        };
        self.all_keys
            || (self.keys.iter()).any(|k| {
                (k.read || !read) && (k.write || !write) && base::glob::matches(&k.pattern, key, false)
            })
    }

    fn check_channels(&self, spec: &Spec, argv: &[&[u8]]) -> Result<(), Denial> {
        let (names, literal): (&[&[u8]], bool) = match spec.name {
            "publish" | "spublish" => (&argv[1..2.min(argv.len())], false),
            "subscribe" | "ssubscribe" => (&argv[1..], false),
            "psubscribe" => (&argv[1..], true),
            _ => return Ok(()),
        };
        for name in names {
            let fits = |pattern: &Vec<u8>| {
                if literal { pattern == name } else { base::glob::matches(pattern, name, false) }
            };
            if !self.channels.iter().any(fits) {
                return Err(Denial::Channel(name.to_vec()));
            }
        }
        Ok(())
    }

    pub(super) fn describe_keys(&self) -> String {
        if self.all_keys {
            return "~*".to_owned();
        }
        let one = |k: &KeyPattern| {
            let pattern = String::from_utf8_lossy(&k.pattern);
            match (k.read, k.write) {
                (true, true) => format!("~{pattern}"),
                (true, false) => format!("%R~{pattern}"),
                _ => format!("%W~{pattern}"),
            }
        };
        self.keys.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn describe_channels(&self) -> String {
        if self.all_channels {
            return "&*".to_owned();
        }
        self.channels.iter().map(|c| format!("&{}", String::from_utf8_lossy(c))).collect::<Vec<_>>().join(" ")
    }

    /// The selector as rules.
    pub(super) fn describe(&self) -> String {
        let mut parts = Vec::new();
        let keys = self.describe_keys();
        if !keys.is_empty() {
            parts.push(keys);
        }
        parts.push(if !self.all_channels && self.channels.is_empty() {
            "resetchannels".to_owned()
        } else if self.all_channels {
            "&*".to_owned()
        } else {
            format!("resetchannels {}", self.describe_channels())
        });
        parts.push(self.rules.join(" "));
        parts.join(" ")
    }
}
