//! The values of enumerated directives as Rust types, so that the engine matches on variants and never on
//! text.
//!
//! Each list of names is in the order in which Redis prints it in its error message; the index in that list
//! is what a [`Value::Choice`](crate::Value) holds.

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The names, in the order of the variants. Of several, with bars between them, the first is the one that is told.
            pub const NAMES: &'static [&'static str] = &[$($text),*];
            const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The variant with this index in [`Self::NAMES`].
            ///
            /// # Panics
            /// When there is none: indexes come from values that were parsed with the same list.
            pub(crate) fn at(index: usize) -> $name {
                $name::ALL[index]
            }

            /// The name as it is written in a file.
            pub fn name(self) -> &'static str {
                $name::NAMES[self as usize]
            }
        }
    };
}

choice! {
    /// What leaves when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// Least recently used among keys with an expiry.
        VolatileLru = "volatile-lru",
        /// Least often used among keys with an expiry.
        VolatileLfu = "volatile-lfu",
        /// Any key with an expiry.
        VolatileRandom = "volatile-random",
        /// The key that expires soonest.
        VolatileTtl = "volatile-ttl",
        /// Least recently used among all keys.
        AllkeysLru = "allkeys-lru",
        /// Least often used among all keys.
        AllkeysLfu = "allkeys-lfu",
        /// Any key.
        AllkeysRandom = "allkeys-random",
        /// Nothing: commands that need memory are refused.
        Noeviction = "noeviction",
    }
}

/// Which order an evicting policy follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Oldest access first.
    Lru,
    /// Smallest use counter first.
    Lfu,
    /// By chance.
    Random,
    /// Nearest expiry first.
    Ttl,
    /// Never.
    Never,
}

impl MaxmemoryPolicy {
    /// Whether only keys with an expiry may leave.
    pub fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }

    /// The order in which keys leave.
    pub fn eviction(self) -> Eviction {
        match self {
            Self::VolatileLru | Self::AllkeysLru => Eviction::Lru,
            Self::VolatileLfu | Self::AllkeysLfu => Eviction::Lfu,
            Self::VolatileRandom | Self::AllkeysRandom => Eviction::Random,
            Self::VolatileTtl => Eviction::Ttl,
            Self::Noeviction => Eviction::Never,
        }
    }

    /// Whether the access clock of an entry counts uses instead of time.
    pub fn is_lfu(self) -> bool {
        self.eviction() == Eviction::Lfu
    }

    /// Whether anything may be evicted at all.
    pub fn evicts(self) -> bool {
        self != Self::Noeviction
    }
}

choice! {
    /// When the log is made durable.
    AppendFsync {
        /// Once a second.
        Everysec = "everysec",
        /// Before each reply.
        Always = "always",
        /// When the kernel likes.
        No = "no",
    }
}

choice! {
    /// How much the log says.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much.
        Verbose = "verbose",
        /// What an operator wants.
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
        /// Silence.
        Nothing = "nothing",
    }
}

choice! {
    /// The form of the log's lines.
    LogFormat {
        /// `pid:role date mark text`.
        Legacy = "legacy",
        /// `name=value` pairs.
        Logfmt = "logfmt",
        /// An object a line.
        Json = "json",
    }
}

choice! {
    /// The form of the times in the log.
    LogTimestamps {
        /// `29 Nov 2026 19:25:20.691`, in UTC.
        Legacy = "legacy",
        /// `2026-11-29T19:25:20.691+00:00`.
        Iso8601 = "iso8601",
        /// Milliseconds of Unix time.
        Milliseconds = "milliseconds",
    }
}

choice! {
    /// How a port speaks TLS.
    TlsMode {
        /// Plain text only.
        Off = "off",
        /// Either, told apart by the first byte.
        Optional = "optional",
        /// TLS only.
        Required = "required",
        /// `optional` on loopback addresses, `required` on all others.
        Auto = "auto",
    }
}

impl TlsMode {
    /// What `auto` means on a given address; the other modes are the same everywhere.
    pub fn on(self, loopback: bool) -> TlsMode {
        match (self, loopback) {
            (TlsMode::Auto, true) => TlsMode::Optional,
            (TlsMode::Auto, false) => TlsMode::Required,
            (mode, _) => mode,
        }
    }
}

choice! {
    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        /// Not asked for.
        No = "no",
        /// Demanded.
        Yes = "yes",
        /// Checked when shown.
        Optional = "optional",
    }
}

choice! {
    /// The user that a verified client certificate logs in, as in Valkey.
    TlsAuthClientsUser {
        /// None.
        Off = "off",
        /// The one that its common name names.
        CommonName = "CN",
        /// The first that one of its URIs names.
        Uri = "URI",
    }
}

choice! {
    /// Who may use a dangerous family of commands.
    DebugAccess {
        /// Nobody.
        No = "no",
        /// Everybody.
        Yes = "yes",
        /// Connections from this machine.
        Local = "local",
    }
}

choice! {
    /// The channels a new user may use.
    AclPubsub {
        /// All.
        Allchannels = "allchannels",
        /// None.
        Resetchannels = "resetchannels",
    }
}

choice! {
    /// How the kernel's score for choosing a victim when memory is short (`oom_score_adj`) is set.
    OomScoreAdj {
        /// As it was at the start.
        No = "no",
        /// By an amount over that.
        Relative = "yes|relative",
        /// To a value.
        Absolute = "absolute",
    }
}

/// What a termination signal does; a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags(u32);

impl ShutdownFlags {
    /// The names, the bit of each being its index less one; `default` is no bit.
    pub(crate) const NAMES: &'static [&'static str] = &["default", "save", "nosave", "now", "force"];

    pub(crate) fn from_bits(bits: u32) -> ShutdownFlags {
        ShutdownFlags(bits)
    }

    /// Save a snapshot even without save points.
    pub fn save(self) -> bool {
        self.0 & 1 != 0
    }

    /// Save nothing.
    pub fn nosave(self) -> bool {
        self.0 & 2 != 0
    }

    /// Do not wait for lagging replicas.
    pub fn now(self) -> bool {
        self.0 & 4 != 0
    }

    /// Ignore errors that would keep the server running.
    pub fn force(self) -> bool {
        self.0 & 8 != 0
    }
}

/// Which keyspace events are published; a set of the constants below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotifyFlags(pub u32);

impl NotifyFlags {
    /// `K`: publish on `__keyspace@db__:key`.
    pub const KEYSPACE: u32 = 1;
    /// `E`: publish on `__keyevent@db__:event`.
    pub const KEYEVENT: u32 = 1 << 1;
    /// `g`: DEL, EXPIRE, RENAME and other commands of any type.
    pub const GENERIC: u32 = 1 << 2;
    /// `$`: strings.
    pub const STRING: u32 = 1 << 3;
    /// `l`: lists.
    pub const LIST: u32 = 1 << 4;
    /// `s`: sets.
    pub const SET: u32 = 1 << 5;
    /// `h`: hashes.
    pub const HASH: u32 = 1 << 6;
    /// `z`: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// `x`: keys that expired.
    pub const EXPIRED: u32 = 1 << 8;
    /// `e`: keys that were evicted.
    pub const EVICTED: u32 = 1 << 9;
    /// `t`: streams.
    pub const STREAM: u32 = 1 << 10;
    /// `m`: reads that found no key; not part of `A`.
    pub const KEY_MISS: u32 = 1 << 11;
    /// `d`: module types.
    pub const MODULE: u32 = 1 << 13;
    /// `n`: keys that were created; not part of `A`.
    pub const NEW: u32 = 1 << 14;
    /// `o`: keys whose whole value was replaced; not part of `A`.
    pub const OVERWRITTEN: u32 = 1 << 15;
    /// `c`: keys that were replaced by a value of another type; not part of `A`.
    pub const TYPE_CHANGED: u32 = 1 << 16;
    /// `A`: all classes but `m`, `n`, `o` and `c`.
    pub const ALL: u32 = Self::GENERIC
        | Self::STRING
        | Self::LIST
        | Self::SET
        | Self::HASH
        | Self::ZSET
        | Self::EXPIRED
        | Self::EVICTED
        | Self::STREAM
        | Self::MODULE;

    const CLASSES: &'static [(char, u32)] = &[
        ('g', Self::GENERIC),
        ('$', Self::STRING),
        ('l', Self::LIST),
        ('s', Self::SET),
        ('h', Self::HASH),
        ('z', Self::ZSET),
        ('x', Self::EXPIRED),
        ('e', Self::EVICTED),
        ('t', Self::STREAM),
        ('d', Self::MODULE),
    ];
    const OTHERS: &'static [(char, u32)] = &[
        ('n', Self::NEW),
        ('o', Self::OVERWRITTEN),
        ('c', Self::TYPE_CHANGED),
        ('K', Self::KEYSPACE),
        ('E', Self::KEYEVENT),
        ('m', Self::KEY_MISS),
    ];

    /// Whether events of this class (one of the constants) are published anywhere.
    pub fn wants(self, class: u32) -> bool {
        self.0 & class != 0 && self.0 & (Self::KEYSPACE | Self::KEYEVENT) != 0
    }

    /// Whether any of the given bits is set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Reads the letters; `None` when one is unknown.
    pub(crate) fn parse(text: &str) -> Option<NotifyFlags> {
        let mut bits = 0;
        for letter in text.chars() {
            let known = Self::CLASSES.iter().chain(Self::OTHERS).find(|(name, _)| *name == letter);
            bits |= match known {
                Some((_, bit)) => *bit,
                None if letter == 'A' => Self::ALL,
                None => return None,
            };
        }
        Some(NotifyFlags(bits))
    }

    /// The letters in Redis' order, with `A` for all classes. Beside `A`, Redis does not show `n`, `o` and `c`.
    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        if self.0 & Self::ALL == Self::ALL {
            text.push('A');
        } else {
            text.extend(Self::CLASSES.iter().filter(|(_, bit)| self.0 & bit != 0).map(|(name, _)| *name));
        }
        let hidden = if text == "A" { "noc" } else { "" };
        let others = Self::OTHERS.iter().filter(|(name, bit)| self.0 & bit != 0 && !hidden.contains(*name));
        text.extend(others.map(|(name, _)| *name));
        text
    }
}
