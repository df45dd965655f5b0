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
    /// May write although not flagged so (PFCOUNT, EVAL_RO's relatives, PUBLISH).
    pub const MAY_REPLICATE: Flags = Flags(1 << 17);
    /// Only for those who must not be promised it (`@dangerous` without being admin).
    pub const DANGEROUS: Flags = Flags(1 << 18);
    /// Only moves an element from one key to another: a consumer's command, allowed in the reserve when adds are refused.
    pub const MOVES: Flags = Flags(1 << 19);

    /// Neither MONITOR nor the slow log shows it, because of what is in its arguments; COMMAND does not tell.
    pub const UNSEEN: Flags = Flags(1 << 20);

    /// Runs on a slot that is moving in, where there is a cluster.
    pub const ASKING: Flags = Flags(1 << 21);

    /// Whether every bit of `other` is set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
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

/// How a command uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// Reads it.
    Read,
    /// Replaces or removes it without telling what was there.
    Write,
    /// Reads and changes it.
    Both,
    /// Asks only for what is not its value: whether it exists, its length.
    Shallow,
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

/// One row of the command table, without its handler.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The name, lower case; `config|get` for a subcommand.
    pub name: &'static str,
    /// Arguments including the name (negative: at least so many).
    pub arity: i32,
    /// Where its keys stand.
    pub keys: Keys,
    /// Whether its subcommands do the work: then it belongs to no family itself.
    pub container: bool,
    /// Families it belongs to besides its own.
    pub more_categories: &'static [&'static str],
    /// How it uses them; with a destination this is the access of the sources.
    pub access: KeyAccess,
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
            container: false,
            more_categories: &[],
            access: KeyAccess::Both,
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
    pub const fn readonly(mut self) -> Row<H> {
        self.spec.access = KeyAccess::Read;
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

    /// It belongs to these ACL categories too.
    pub const fn also(mut self, categories: &'static [&'static str]) -> Row<H> {
        self.spec.more_categories = categories;
        self
    }

    /// How the keys are used, where the flags do not tell.
    pub const fn access(mut self, access: KeyAccess) -> Row<H> {
        self.spec.access = access;
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

/// The keys of a request: their indices among the arguments and how they are used. `None` when the arguments do not fit.
pub fn found_keys(spec: &Spec, argv: &[&[u8]]) -> Option<Vec<(usize, KeyAccess)>> {
    match spec.keys {
        Keys::None => Some(Vec::new()),
        Keys::Range { first, last, step } => {
            let last = if last < 0 { argv.len().checked_add_signed(last)? } else { last as usize };
            if last >= argv.len() {
                return None;
            }
            let places = (first..=last).step_by(step).enumerate();
            Some(places.map(|(nth, i)| (i, crate::access::of_key(spec, argv, nth))).collect())
        }
        Keys::Counted { count_at, destination } => {
            let count = usize::try_from(base::number::parse_i64(argv.get(count_at)?)?).ok()?;
            let end = (count_at + 1).checked_add(count)?;
            if end > argv.len() {
                return None;
            }
            let sources =
                (count_at + 1..end).map(|i| (i, if destination { KeyAccess::Read } else { spec.access }));
            Some(destination.then_some((1, KeyAccess::Write)).into_iter().chain(sources).collect())
        }
        Keys::CountedPairs { count_at } => {
            let count = usize::try_from(base::number::parse_i64(argv.get(count_at)?)?).ok()?;
            let end = count.checked_mul(2)?.checked_add(count_at + 1)?;
            (end <= argv.len()).then(|| (count_at + 1..end).step_by(2).map(|i| (i, spec.access)).collect())
        }
        Keys::Streams => {
            let at = argv.iter().position(|a| a.eq_ignore_ascii_case(b"streams"))? + 1;
            let half = (argv.len() - at) / 2;
            Some((at..at + half).map(|i| (i, spec.access)).collect())
        }
        Keys::ThirdOrKeys => {
            if !argv.get(3)?.is_empty() {
                return Some(vec![(3, spec.access)]);
            }
            let word = argv.iter().skip(6).position(|a| a.eq_ignore_ascii_case(b"keys"));
            Some((word.map_or(argv.len(), |at| at + 7)..argv.len()).map(|i| (i, spec.access)).collect())
        }
        Keys::FirstAndStore => {
            let store = stored_at(spec, argv).map(|at| (at, KeyAccess::Write));
            Some([(1, KeyAccess::Read)].into_iter().chain(store).collect())
        }
    }
}

/// Where the key stands that SORT or GEORADIUS stores to: behind the last word STORE that is not itself a value. It goes
/// through the options as the commands do, because what is not found here is not checked against a user's keys.
fn stored_at(spec: &Spec, argv: &[&[u8]]) -> Option<usize> {
    let (mut at, sorts) = match spec.name {
        "georadius" => (6, false),
        "georadiusbymember" => (5, false),
        _ => (2, true),
    };
    let mut found = None;
    while at < argv.len() {
        let is = |word: &[u8]| argv[at].eq_ignore_ascii_case(word);
        if is(b"store") || (!sorts && is(b"storedist")) {
            found = Some(at + 1).filter(|key| *key < argv.len()).or(found);
            at += 1;
        } else if sorts && is(b"limit") {
            at += 2;
        } else if if sorts { is(b"by") || is(b"get") } else { is(b"count") } {
            at += 1;
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_of(name: &'static str, line: &str) -> Option<String> {
        let handler: Handler = |_| Err(crate::Error::SYNTAX);
        let row = Row::new(name, -2, Group::Generic, handler).movable_keys(Keys::FirstAndStore);
        let argv: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let found = found_keys(&row.spec, &argv)?;
        let (at, _) = found.into_iter().find(|(_, access)| *access == KeyAccess::Write)?;
        Some(String::from_utf8_lossy(argv[at]).into_owned())
    }

    #[test]
    fn a_destination_is_found_whatever_the_values_are_called() {
        assert_eq!(store_of("sort", "SORT k STORE d BY store").as_deref(), Some("d"));
        assert_eq!(store_of("sort", "SORT k BY store GET store STORE store").as_deref(), Some("store"));
        assert_eq!(store_of("sort", "SORT k STORE a STORE b LIMIT 0 1").as_deref(), Some("b"));
        assert_eq!(store_of("sort", "SORT k BY w_* ASC"), None);
        let line = "GEORADIUS k 1 2 3 km STORE store COUNT 3";
        assert_eq!(store_of("georadius", line).as_deref(), Some("store"));
        let line = "GEORADIUSBYMEMBER k store 3 km STOREDIST d";
        assert_eq!(store_of("georadiusbymember", line).as_deref(), Some("d"));
    }
}
