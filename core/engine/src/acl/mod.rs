//! Users and what they may do: the state, the check before a call, and the log of denials.
//!
//! A user is enabled or not, has secrets, and has selectors (the root one and further ones); a request passes if one selector allows
//! its command, all of its keys and all of its channels.

mod commands;
mod file;
mod log;
mod passwords;
mod proofs;
mod records;
mod rules;
mod selector;

pub(crate) use self::commands::COMMANDS;
pub(crate) use self::passwords::record_in;
pub use self::proofs::Proof;
pub(crate) use self::proofs::Proofs;
pub use self::records::check_record;
use self::selector::Selector;
use crate::durability::Durability;
use crate::table::Table;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// The index of the user that clients are before they authenticate.
pub(crate) const DEFAULT_USER: usize = 0;

/// The index of no user: the server itself, which replays its log and removes what it has moved away. It may do everything,
/// whatever becomes of the users.
pub(crate) const SERVER_USER: usize = usize::MAX - 1;

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
    /// What replies to writes wait for on connections that have not chosen.
    pub(crate) durability: Durability,
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
            skip_sanitize: false,
            durability: Durability::Configured,
            secrets: Vec::new(),
            root: Selector::new(channels_open),
            selectors: Vec::new(),
        }
    }

    fn is_unlimited(&self) -> bool {
        self.root.is_unlimited()
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        core::iter::once(&self.root).chain(&self.selectors)
    }

    /// The rule that says what its writes wait for, where that is not what is configured: one that Redis does not know.
    pub(crate) fn durability_rule(&self) -> Option<String> {
        let is_chosen = self.durability != Durability::Configured;
        is_chosen.then(|| format!("{}{}", rules::DURABILITY, self.durability.name()))
    }

    /// The user as one line of the ACL file.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut out = [b"user ", self.name.as_slice()].concat();
        out.extend_from_slice(if self.enabled { b" on" } else { b" off" });
        if self.nopass {
            out.extend_from_slice(b" nopass");
        }
        out.extend_from_slice(if self.skip_sanitize {
            b" skip-sanitize-payload"
        } else {
            b" sanitize-payload".as_slice()
        });
        out.extend(self.durability_rule().into_iter().flat_map(|rule| format!(" {rule}").into_bytes()));
        self.secrets.iter().for_each(|s| out.extend_from_slice(format!(" {}", s.rule()).as_bytes()));
        out.push(b' ');
        out.extend_from_slice(&self.root.describe());
        for selector in &self.selectors {
            out.push(b' ');
            out.extend_from_slice(&selector.describe_in_parentheses());
        }
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

/// Whether a password lets somebody in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Yes,
    No,
    /// One of these argon2id records has to be asked. With no user beside it, they decide nothing.
    Ask(Vec<String>),
}

/// All users.
#[derive(Debug)]
pub struct Acl {
    users: Vec<Option<User>>,
    /// Where each user is, by name.
    indexes: BTreeMap<Vec<u8>, usize>,
    /// The indexes of deleted users, for those that come.
    free: Vec<usize>,
    pub(crate) log: log::DenialLog,
    /// `acl-pubsub-default allchannels`.
    pub(crate) channels_open: bool,
    /// Some user's rules say what writes wait for, or did.
    has_durabilities: bool,
    /// A rule has changed the default user, who is more now than `requirepass` tells.
    default_has_rules: bool,
}

impl Acl {
    /// The default user alone, with these secrets (none: no password is needed) and every permission.
    pub fn new(secrets: Vec<Secret>) -> Acl {
        let mut user = User::new(b"default", true);
        user.enabled = true;
        user.nopass = secrets.is_empty();
        user.secrets = secrets;
        user.root.allow_everything();
        let log = log::DenialLog::default();
        let indexes = BTreeMap::from([(user.name.clone(), DEFAULT_USER)]);
        let users = vec![Some(user)];
        let (free, has_durabilities) = (Vec::new(), false);
        Acl { users, indexes, free, log, channels_open: false, has_durabilities, default_has_rules: false }
    }

    /// Replaces the default user's secrets; none: no password is needed.
    pub fn set_default_secrets(&mut self, secrets: Vec<Secret>) {
        if let Some(user) = &mut self.users[DEFAULT_USER] {
            user.nopass = secrets.is_empty();
            user.secrets = secrets;
        }
    }

    /// Whether the default user has this argon2id record and no other secret.
    pub(crate) fn has_default_record(&self, record: &str) -> bool {
        let user = self.users[DEFAULT_USER].as_ref();
        user.is_some_and(|user| matches!(user.secrets.as_slice(), [Secret::Argon2id(own)] if own == record))
    }

    /// Whether clients are let in without authenticating.
    pub fn default_is_open(&self) -> bool {
        self.users[DEFAULT_USER].as_ref().is_some_and(|u| u.enabled && u.nopass)
    }

    /// Whether any password is the default user's, on or off.
    pub(crate) fn default_takes_any_password(&self) -> bool {
        self.users[DEFAULT_USER].as_ref().is_some_and(|user| user.nopass)
    }

    /// The user of this name, who is on.
    pub(crate) fn find_enabled(&self, name: &[u8]) -> Option<usize> {
        self.find(name).filter(|user| self.users[*user].as_ref().is_some_and(|user| user.enabled))
    }

    /// Whether the users are more than a default user with all rights and the password of the configuration.
    pub fn is_more_than_a_password(&self) -> bool {
        self.default_has_rules || self.indexes.len() > 1
    }

    #[inline]
    pub(crate) fn is_unlimited(&self, user: usize) -> bool {
        match self.users.get(user) {
            Some(user) => user.as_ref().is_some_and(User::is_unlimited),
            None => user == SERVER_USER,
        }
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.indexes.get(name).copied()
    }

    pub(crate) fn user(&self, index: usize) -> Option<&User> {
        self.users.get(index)?.as_ref()
    }

    pub(crate) fn name(&self, user: usize) -> &[u8] {
        match self.user(user) {
            Some(user) => &user.name,
            None if user == SERVER_USER => b"(superuser)",
            None => b"(deleted)",
        }
    }

    /// All users in the order of their names.
    pub(crate) fn sorted(&self) -> Vec<&User> {
        self.indexes.values().filter_map(|index| self.user(*index)).collect()
    }

    /// The lines of an ACL file.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.sorted().into_iter().map(User::line).collect()
    }

    /// Whether it must be looked up what the writes of a user wait for.
    #[inline]
    pub(crate) fn has_durabilities(&self) -> bool {
        self.has_durabilities
    }

    /// Whether some user's rules say that writes wait for replicas.
    pub(crate) fn has_replicated(&self) -> bool {
        let waits = |user: &User| user.durability == Durability::Replicated;
        self.has_durabilities && self.users.iter().flatten().any(waits)
    }

    /// Puts a user in the place of the one of that name, or to the others.
    fn put(&mut self, user: User) {
        self.has_durabilities |= user.durability != Durability::Configured;
        match self.indexes.get(&user.name) {
            Some(index) => self.users[*index] = Some(user),
            None => {
                let index = self.free.pop().unwrap_or(self.users.len());
                self.indexes.insert(user.name.clone(), index);
                match self.users.get_mut(index) {
                    Some(place) => *place = Some(user),
                    None => self.users.push(Some(user)),
                }
            }
        }
    }

    /// The sessions of the user must be nobody's before another user comes.
    fn delete(&mut self, index: usize) {
        if let Some(user) = self.users[index].take() {
            self.indexes.remove(&user.name);
            self.free.push(index);
        }
    }

    /// Whether `password` lets somebody in as `name`.
    pub(crate) fn verify(&self, name: &[u8], password: &[u8]) -> (Option<usize>, Verdict) {
        let digest = digest_of(password);
        let found = self.find(name).and_then(|index| Some((index, self.user(index)?)));
        let Some((index, user)) = found.filter(|(_, user)| user.enabled) else {
            return (None, self.verdict_on_nobody());
        };
        if user.nopass {
            return (Some(index), Verdict::Yes);
        }
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
        match records.is_empty() {
            true => (None, self.verdict_on_nobody()),
            false => (Some(index), Verdict::Ask(records)),
        }
    }

    /// What becomes of somebody whom no password lets in: where others are compared with records, so is he.
    fn verdict_on_nobody(&self) -> Verdict {
        let of = |user: &User| -> Vec<String> {
            let records = user.secrets.iter().filter_map(|secret| match secret {
                Secret::Argon2id(record) => Some(record.clone()),
                Secret::Sha256(_) => None,
            });
            records.collect()
        };
        // The default user is the first.
        let records = self.users.iter().flatten().map(of).find(|records| !records.is_empty());
        records.map_or(Verdict::No, Verdict::Ask)
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
        let Some(user) = self.user(user) else {
            return if user == SERVER_USER { Ok(()) } else { Err(Denial::Command(spec.name)) };
        };
        let mut worst: Option<(Denial, usize)> = None;
        for selector in user.all_selectors() {
            let Err(denial) = selector.check(table, command, argv) else { return Ok(()) };
            let rank = |(denial, at): &(Denial, usize)| (denial.counter(), *at);
            if worst.as_ref().is_none_or(|known| rank(&denial) > rank(known)) {
                worst = Some(denial);
            }
        }
        worst.map_or(Ok(()), |(denial, _)| Err(denial))
    }

    /// Whether the user may run the command and read every key: SORT asks for it when it follows patterns.
    pub(crate) fn reads_any_key(&self, user: usize, command: usize) -> bool {
        self.user(user).is_some_and(|u| u.all_selectors().any(|s| s.reads_any_key(command)))
    }

    /// Whether the user may read the key.
    pub(crate) fn may_read(&self, user: usize, key: &[u8]) -> bool {
        let may = |user: &User| user.all_selectors().any(|s| s.key_allowed(key, ::commands::KeyAccess::Read));
        self.user(user).is_some_and(may)
    }

    /// Whether the user may go on with what it subscribes to.
    pub(crate) fn may_listen(&self, user: usize, subscriptions: &crate::session::Subscriptions) -> bool {
        let Some(user) = self.user(user) else { return false };
        let allowed =
            |name: &Vec<u8>, is_pattern| user.all_selectors().any(|s| s.channel_allowed(name, is_pattern));
        subscriptions.channels.iter().all(|name| allowed(name, false))
            && subscriptions.shard_channels.iter().all(|name| allowed(name, false))
            && subscriptions.patterns.iter().all(|name| allowed(name, true))
    }
}
