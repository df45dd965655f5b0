//! Users and what they may do: the state, the check before a call, and the log of denials.
//!
//! A user is enabled or not, has secrets, and has selectors (the root one and further ones); a request passes if one selector allows
//! its command, all of its keys and all of its channels.

mod commands;
mod rules;
mod selector;

pub(crate) use self::commands::COMMANDS;
use self::selector::Selector;
use crate::table::Table;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use subtle::ConstantTimeEq;

/// The index of the user that clients are before they authenticate.
pub(crate) const DEFAULT_USER: usize = 0;

/// A password as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// SHA-256 of the password, 64 lower-case hexadecimal digits, as Redis' own ACL files have it.
    Sha256(String),
    /// An argon2id record (PHC string).
    Argon2id(String),
}

impl Secret {
    /// As ACL LIST and the ACL file show it.
    pub(crate) fn rule(&self) -> String {
        match self {
            Secret::Sha256(hex) => format!("#{hex}"),
            Secret::Argon2id(record) => format!("{}{record}", rules::ARGON2ID),
        }
    }
}

/// SHA-256 of a password, as [`Secret::Sha256`] holds it.
pub fn digest_of(password: &[u8]) -> String {
    base::hex::encode(&Sha256::digest(password))
}

/// One user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: Vec<u8>,
    pub(crate) enabled: bool,
    pub(crate) nopass: bool,
    pub(crate) skip_sanitize: bool,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) root: Selector,
    pub(crate) selectors: Vec<Selector>,
}

impl User {
    fn new(name: &[u8], channels_open: bool) -> User {
        User {
            name: name.to_vec(),
            enabled: false,
            nopass: false,
            skip_sanitize: true,
            secrets: Vec::new(),
            root: Selector::new(channels_open),
            selectors: Vec::new(),
        }
    }

    fn is_unlimited(&self) -> bool {
        self.root.is_unlimited()
    }

    /// The user as one line of the ACL file.
    pub(crate) fn line(&self) -> String {
        let mut out = format!(
            "user {} {}",
            String::from_utf8_lossy(&self.name),
            if self.enabled { "on" } else { "off" }
        );
        if self.nopass {
            out.push_str(" nopass");
        }
        if !self.skip_sanitize {
            out.push_str(" sanitize-payload");
        }
        self.secrets.iter().for_each(|s| out.push_str(&format!(" {}", s.rule())));
        out.push_str(&format!(" {}", self.root.describe()));
        self.selectors.iter().for_each(|s| out.push_str(&format!(" ({})", s.describe())));
        out
    }
}

/// What a user was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Command(&'static str),
    Key(Vec<u8>),
    Channel(Vec<u8>),
    Auth(Vec<u8>),
}

impl Denial {
    /// Which counter it raises: auth, command, key, channel.
    pub(crate) fn counter(&self) -> usize {
        match self {
            Denial::Auth(_) => 0,
            Denial::Command(_) => 1,
            Denial::Key(_) => 2,
            Denial::Channel(_) => 3,
        }
    }

    fn reason(&self) -> &'static str {
        ["auth", "command", "key", "channel"][self.counter()]
    }

    fn object(&self) -> Vec<u8> {
        match self {
            Denial::Command(name) => name.as_bytes().to_vec(),
            Denial::Key(bytes) | Denial::Channel(bytes) | Denial::Auth(bytes) => bytes.clone(),
        }
    }
}

/// One entry of ACL LOG; alike denials within a minute are counted, not repeated.
#[derive(Debug)]
struct LogEntry {
    id: u64,
    count: u64,
    reason: &'static str,
    context: &'static str,
    object: Vec<u8>,
    username: Vec<u8>,
    client: String,
    created_ms: i64,
    updated_ms: i64,
}

/// Whether a password lets somebody in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No,
    /// One of these argon2id records has to be asked.
    Ask(Vec<String>),
}

/// All users.
#[derive(Debug)]
pub struct Acl {
    users: Vec<Option<User>>,
    log: VecDeque<LogEntry>,
    log_max: usize,
    next_log_id: u64,
    /// `acl-pubsub-default allchannels`.
    pub(crate) channels_open: bool,
}

impl Acl {
    /// The default user alone, with these secrets (none: no password is needed) and every permission.
    pub fn new(secrets: Vec<Secret>) -> Acl {
        let mut user = User::new(b"default", true);
        user.enabled = true;
        user.nopass = secrets.is_empty();
        user.secrets = secrets;
        user.root.allow_everything();
        Acl {
            users: vec![Some(user)],
            log: VecDeque::new(),
            log_max: 128,
            next_log_id: 0,
            channels_open: false,
        }
    }

    /// Replaces the default user's secrets; none: no password is needed.
    pub fn set_default_secrets(&mut self, secrets: Vec<Secret>) {
        if let Some(user) = &mut self.users[DEFAULT_USER] {
            user.nopass = secrets.is_empty();
            user.secrets = secrets;
        }
    }

    /// Whether clients are let in without authenticating.
    pub fn default_is_open(&self) -> bool {
        self.users[DEFAULT_USER].as_ref().is_some_and(|u| u.enabled && u.nopass)
    }

    pub(crate) fn set_log_max(&mut self, entries: usize) {
        self.log_max = entries;
        self.log.truncate(entries);
    }

    #[inline]
    pub(crate) fn is_unlimited(&self, user: usize) -> bool {
        self.users.get(user).is_some_and(|u| u.as_ref().is_some_and(User::is_unlimited))
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.users.iter().position(|u| u.as_ref().is_some_and(|u| u.name == name))
    }

    pub(crate) fn user(&self, index: usize) -> Option<&User> {
        self.users.get(index)?.as_ref()
    }

    pub(crate) fn name(&self, user: usize) -> &[u8] {
        self.user(user).map_or(b"(deleted)", |u| &u.name)
    }

    /// All users in the order of their names.
    pub(crate) fn sorted(&self) -> Vec<&User> {
        let mut all: Vec<&User> = self.users.iter().flatten().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The lines of an ACL file.
    pub fn lines(&self) -> Vec<String> {
        self.sorted().into_iter().map(User::line).collect()
    }

    fn delete(&mut self, index: usize) {
        self.users[index] = None;
    }

    /// Whether `password` lets somebody in as `name`.
    pub(crate) fn verify(&self, name: &[u8], password: &[u8]) -> (Option<usize>, Verdict) {
        let Some(index) = self.find(name) else { return (None, Verdict::No) };
        let Some(user) = self.user(index).filter(|u| u.enabled) else { return (None, Verdict::No) };
        if user.nopass {
            return (Some(index), Verdict::Yes);
        }
        let digest = digest_of(password);
        let mut records = Vec::new();
        for secret in &user.secrets {
            match secret {
                Secret::Sha256(hex) if bool::from(hex.as_bytes().ct_eq(digest.as_bytes())) => {
                    return (Some(index), Verdict::Yes);
                }
                Secret::Sha256(_) => {}
                Secret::Argon2id(record) => records.push(record.clone()),
            }
        }
        (Some(index), if records.is_empty() { Verdict::No } else { Verdict::Ask(records) })
    }

    /// Whether the user may run `argv`.
    pub(crate) fn check(
        &self,
        user: usize,
        table: &Table,
        command: usize,
        argv: &[&[u8]],
    ) -> Result<(), Denial> {
        let spec = table.commands[command].spec;
        let Some(user) = self.user(user) else { return Err(Denial::Command(spec.name)) };
        let mut worst = Denial::Command(spec.name);
        for selector in core::iter::once(&user.root).chain(&user.selectors) {
            match selector.check(command, spec, argv) {
                Ok(()) => return Ok(()),
                Err(denial) if denial.counter() >= worst.counter() => worst = denial,
                Err(_) => {}
            }
        }
        // AUTH and its like must always be possible.
        if spec.flags.has(::commands::Flags::NO_AUTH) { Ok(()) } else { Err(worst) }
    }

    /// Notes a denial.
    pub(crate) fn note(
        &mut self,
        denial: &Denial,
        context: &'static str,
        username: &[u8],
        client: String,
        now_ms: i64,
    ) {
        const SAME_MS: i64 = 60_000;
        let (reason, object) = (denial.reason(), denial.object());
        let same = |e: &&mut LogEntry| {
            e.reason == reason
                && e.context == context
                && e.object == object
                && e.username == username
                && now_ms - e.updated_ms <= SAME_MS
        };
        if let Some(entry) = self.log.iter_mut().find(same) {
            entry.count += 1;
            entry.updated_ms = now_ms;
            entry.client = client;
            return;
        }
        if self.log_max == 0 {
            return;
        }
        let id = self.next_log_id;
        self.next_log_id += 1;
        let username = username.to_vec();
        self.log.push_front(LogEntry {
            id,
            count: 1,
            reason,
            context,
            object,
            username,
            client,
            created_ms: now_ms,
            updated_ms: now_ms,
        });
        self.log.truncate(self.log_max);
    }
}

/// A request whose `>password` rules (or `requirepass` value) are replaced by argon2id records, in order.
pub(crate) fn with_records(mut argv: Vec<Vec<u8>>, records: &[String]) -> Vec<Vec<u8>> {
    let mut records = records.iter();
    let is_config = argv.first().is_some_and(|a| a.eq_ignore_ascii_case(b"config"));
    for i in 0..argv.len() {
        let wanted = if is_config {
            i >= 3 && argv[i - 1].eq_ignore_ascii_case(b"requirepass") && !argv[i].is_empty()
        } else {
            i >= 3 && argv[i].starts_with(b">")
        };
        if wanted && let Some(record) = records.next() {
            argv[i] = format!("{}{record}", rules::ARGON2ID).into_bytes();
        }
    }
    argv
}

/// The argon2id record in a value that [`with_records`] has replaced.
pub(crate) fn record_in(value: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(value).ok()?;
    text.strip_prefix(rules::ARGON2ID).filter(|r| r.starts_with("$argon2id$")).map(str::to_owned)
}
