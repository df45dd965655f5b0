//! One row of the command table: everything about a command but what it does.

use crate::call::Handler;

/// What the server has to know about a command before and after running it; one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// Changes data.
    pub const WRITE: Flags = Flags(1);
    /// Reads data.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May need more memory: refused when memory is full.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Publish and subscribe.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not from scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// May wait for something.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Runs while data is being loaded.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Runs on a replica with stale data.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not put into the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 11);
    /// Runs before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 12);
    /// Not inside MULTI.
    pub const NO_MULTI: Flags = Flags(1 << 13);
    /// Keys cannot be found by position alone.
    pub const MOVABLE_KEYS: Flags = Flags(1 << 14);
    /// Runs while a script is busy.
    pub const ALLOW_BUSY: Flags = Flags(1 << 15);
    /// Not while data is being loaded in the background.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 16);
    /// Reaches replicas although it changes nothing here (PUBLISH).
    pub const MAY_REPLICATE: Flags = Flags(1 << 17);
    /// Only for those who must not be promised it (`@dangerous` without being admin).
    pub const DANGEROUS: Flags = Flags(1 << 18);
    /// Only moves an element from one key to another: a consumer's command, allowed in the reserve when adds are refused.
    pub const MOVES: Flags = Flags(1 << 19);

    /// Neither MONITOR nor the slow log shows it by itself; COMMAND does not tell.
    pub const UNSEEN: Flags = Flags(1 << 20);

    /// Runs on a slot that is moving in, where there is a cluster.
    pub const ASKING: Flags = Flags(1 << 21);

    /// May change data although it is not flagged so (PFCOUNT, EVAL and its relatives).
    pub const MAY_WRITE: Flags = Flags(1 << 26);

    /// Runs at once where MULTI is open, instead of being queued.
    pub const IN_MULTI: Flags = Flags(1 << 22);

    /// Runs what MULTI has queued, so that it needs what all of that needs.
    pub const RUNS_QUEUE: Flags = Flags(1 << 23);

    /// Runs for a RESP2 client that subscribes to something.
    pub const AS_SUBSCRIBER: Flags = Flags(1 << 24);

    /// Finds keys by patterns while it runs: that needs the right to read any key.
    pub const BY_PATTERN: Flags = Flags(1 << 25);

    /// Says which replies its client gets: behind a SKIP it is no reply itself (CLIENT REPLY).
    pub const SETS_REPLIES: Flags = Flags(1 << 27);

    /// Whoever watches the server takes its answer for all being well: it is refused while writes are, for the disk (PING).
    pub const TELLS_HEALTH: Flags = Flags(1 << 28);

    /// `enable-debug-command` says who may ask for it.
    pub const DEBUGS: Flags = Flags(1 << 29);

    /// `enable-module-command` says who may ask for it.
    pub const LOADS_MODULES: Flags = Flags(1 << 30);

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn has_any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Both.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Names in the order that COMMAND answers them.
    pub const NAMES: &'static [(Flags, &'static str)] = &[
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::ASKING, "asking"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_ASYNC_LOADING, "no_async_loading"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MOVABLE_KEYS, "movablekeys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
    ];
}

/// The family of a command, which is its ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys of any type.
    Generic,
    /// Strings.
    String,
    /// Bits of strings.
    Bitmap,
    /// Lists.
    List,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Hashes.
    Hash,
    /// Streams.
    Stream,
    /// Cardinality sketches.
    HyperLogLog,
    /// Places on the earth.
    Geo,
    /// Publish and subscribe.
    Pubsub,
    /// MULTI and its relatives.
    Transactions,
    /// Scripts and functions.
    Scripting,
    /// The connection itself.
    Connection,
    /// The server itself.
    Server,
    /// Cluster answers.
    Cluster,
}

impl Group {
    /// Its ACL category, without the `@`; none for the server's own commands.
    pub const fn category(self) -> Option<&'static str> {
        match self {
            Group::Generic => Some("keyspace"),
            Group::String => Some("string"),
            Group::Bitmap => Some("bitmap"),
            Group::List => Some("list"),
            Group::Set => Some("set"),
            Group::SortedSet => Some("sortedset"),
            Group::Hash => Some("hash"),
            Group::Stream => Some("stream"),
            Group::HyperLogLog => Some("hyperloglog"),
            Group::Geo => Some("geo"),
            Group::Pubsub => Some("pubsub"),
            Group::Transactions => Some("transaction"),
            Group::Scripting => Some("scripting"),
            Group::Connection => Some("connection"),
            Group::Server | Group::Cluster => None,
        }
    }
}

/// Where the keys stand among the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Nowhere.
    None,
    /// From `first` to `last` (negative: from the end) in steps of `step`.
    Range {
        /// Index of the first key.
        first: usize,
        /// Index of the last key; negative counts from the end.
        last: isize,
        /// Distance between keys.
        step: usize,
    },
    /// Argument `count_at` tells how many follow it. With a destination, argument 1 is a key to be written.
    Counted {
        /// Index of the count.
        count_at: usize,
        /// Whether argument 1 is a destination.
        destination: bool,
    },
    /// Argument `count_at` tells how many pairs of key and value follow it (MSETEX).
    CountedPairs {
        /// Index of the count.
        count_at: usize,
    },
    /// Half of what follows the word STREAMS (XREAD, XREADGROUP).
    Streams,
    /// Argument 3, or all behind the word KEYS when that is empty (MIGRATE).
    ThirdOrKeys,
    /// Argument 1, and the one behind the word STORE (SORT, GEORADIUS).
    FirstAndStore,
}

/// Which arguments of a request are channels, so that the right to them is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// None.
    None,
    /// Argument 1.
    First,
    /// All.
    All,
    /// All, and each is a pattern.
    Patterns,
}

/// What argument 1 names of a command that runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The text of a script.
    Source,
    /// The digest of a script that was loaded.
    Digest,
    /// A function.
    Function,
}

/// Tells how a request uses its keys, in the words of `docs` (`OW update`).
pub type KeyUseOf = fn(&[&[u8]]) -> &'static str;

/// One row of the command table, without its handler.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name, lower case; `config|get` for a subcommand.
    pub name: &'static str,
    /// Arguments including the name (negative: at least so many).
    pub arity: i32,
    /// Where its keys stand.
    pub keys: Keys,
    /// Which of its arguments are channels.
    pub channels: Channels,
    /// Whether its subcommands do the work: then it belongs to no family itself.
    pub container: bool,
    /// Families it belongs to besides its own.
    pub more_categories: &'static [&'static str],
    /// How it uses them, in the words of `docs`, where that depends on its options.
    pub key_use: Option<KeyUseOf>,
    /// The script that it runs, if that is what it does.
    pub program: Option<Subject>,
    /// What the server has to know.
    pub flags: Flags,
    /// Its family.
    pub group: Group,
}

/// One row of the command table. `H` is what runs it.
#[derive(Clone, Copy, Debug)]
pub struct Row<H: 'static = Handler> {
    /// Everything but behaviour.
    pub spec: Spec,
    /// What runs it; for a container of subcommands, what answers when none fits.
    pub run: H,
    /// Its subcommands.
    pub subcommands: &'static [Row<H>],
}

impl<H: Copy> Row<H> {
    /// A row for `name` (lower case), run by `run`; `arity` counts the name (negative: at least so many).
    pub const fn new(name: &'static str, arity: i32, group: Group, run: H) -> Row<H> {
        let spec = Spec {
            name,
            arity,
            keys: Keys::None,
            channels: Channels::None,
            container: false,
            more_categories: &[],
            key_use: None,
            program: None,
            flags: Flags(0),
            group,
        };
        Row { spec, run, subcommands: &[] }
    }

    const fn with(mut self, flags: Flags) -> Row<H> {
        self.spec.flags = self.spec.flags.and(flags);
        self
    }

    /// It changes data.
    pub const fn write(self) -> Row<H> {
        self.with(Flags::WRITE)
    }

    /// It reads data.
    pub const fn readonly(self) -> Row<H> {
        self.with(Flags::READONLY)
    }

    /// It changes data and may need more memory.
    pub const fn grows(self) -> Row<H> {
        self.with(Flags::WRITE).with(Flags::DENYOOM)
    }

    /// It takes constant or logarithmic time.
    pub const fn fast(self) -> Row<H> {
        self.with(Flags::FAST)
    }

    /// It may wait.
    pub const fn blocks(self) -> Row<H> {
        self.with(Flags::BLOCKING)
    }

    /// Further flags.
    pub const fn flags(self, flags: Flags) -> Row<H> {
        self.with(flags)
    }

    /// Keys from `first` to `last` (negative: from the end) in steps of `step`.
    pub const fn keys(mut self, first: usize, last: isize, step: usize) -> Row<H> {
        self.spec.keys = Keys::Range { first, last, step };
        self
    }

    /// One key, argument 1.
    pub const fn key(self) -> Row<H> {
        self.keys(1, 1, 1)
    }

    /// Keys found in another way than by position.
    pub const fn movable_keys(mut self, keys: Keys) -> Row<H> {
        self.spec.keys = keys;
        self.with(Flags::MOVABLE_KEYS)
    }

    /// Arguments that are channels.
    pub const fn channels(mut self, channels: Channels) -> Row<H> {
        self.spec.channels = channels;
        self
    }

    /// It belongs to these ACL categories too.
    pub const fn also(mut self, categories: &'static [&'static str]) -> Row<H> {
        self.spec.more_categories = categories;
        self
    }

    /// How its keys are used depends on its options.
    pub const fn key_use(mut self, of: KeyUseOf) -> Row<H> {
        self.spec.key_use = Some(of);
        self
    }

    /// It runs a script.
    pub const fn runs(mut self, program: Subject) -> Row<H> {
        self.spec.program = Some(program);
        self
    }

    /// Its subcommands.
    pub const fn subcommands(mut self, rows: &'static [Row<H>]) -> Row<H> {
        self.spec.container = self.spec.arity < -1;
        self.subcommands = rows;
        self
    }
}

impl Spec {
    /// Whether `count` arguments (including the name) are allowed.
    #[inline]
    pub fn arity_allows(&self, count: usize) -> bool {
        if self.arity >= 0 {
            count == self.arity as usize
        } else {
            count >= self.arity.unsigned_abs() as usize
        }
    }

    /// The ACL categories it belongs to, without the `@`.
    pub fn categories(&self) -> Vec<&'static str> {
        let mut out = Vec::new();
        let has = |flag| self.flags.has(flag);
        out.extend(has(Flags::WRITE).then_some("write"));
        out.extend((has(Flags::READONLY) && self.group != Group::Scripting).then_some("read"));
        out.extend(self.group.category().filter(|_| !self.container));
        out.extend(self.more_categories);
        out.extend(has(Flags::ADMIN).then_some("admin"));
        out.extend((has(Flags::ADMIN) || has(Flags::DANGEROUS)).then_some("dangerous"));
        out.extend(
            (has(Flags::PUBSUB) && !self.container && self.group != Group::Pubsub).then_some("pubsub"),
        );
        out.push(if has(Flags::FAST) { "fast" } else { "slow" });
        out.extend(has(Flags::BLOCKING).then_some("blocking"));
        out
    }
}
