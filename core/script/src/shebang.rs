//! The first line of a script that begins with `#!lua`: its flags.

/// What a script declares about itself in its first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The script has such a line. One without is treated as older servers did: it may do everything, and is
    /// checked command by command.
    pub is_declared: bool,
    /// `no-writes`: it only reads.
    pub no_writes: bool,
    /// `allow-oom`: it may run while memory is over the limit.
    pub allow_oom: bool,
    /// `allow-stale`: it may run on a replica that lost its master.
    pub allow_stale: bool,
    /// `no-cluster`: it may not run in a cluster.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`: its keys may live in several slots.
    pub allow_cross_slot_keys: bool,
}

impl Flags {
    /// The flags of a function that names none.
    pub(crate) fn of_functions() -> Flags {
        Flags { is_declared: true, ..Flags::default() }
    }

    /// The names of those that are set.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ];
        all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name)
    }
}

/// What a source declares about itself; `None` when its first line is wrong.
pub fn flags_of(source: &[u8]) -> Option<Flags> {
    parse(source).ok().map(|(flags, _)| flags)
}

/// Splits a source into flags and what is to be compiled, which keeps its line numbers. The error is in
/// Redis' words, without code.
pub(crate) fn parse(source: &[u8]) -> Result<(Flags, &[u8]), Vec<u8>> {
    if !source.starts_with(b"#!") {
        return Ok((Flags::default(), source));
    }
    let end = source.iter().position(|&c| c == b'\n').ok_or("Invalid script shebang")?;
    let (line, body) = source.split_at(end);
    let words = resp::split_inline(line).ok_or("Invalid engine in script shebang")?;
    let mut words = words.iter().map(Vec::as_slice);
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"Unexpected engine in script shebang: ", engine].concat());
    }
    let mut flags = Flags { is_declared: true, ..Flags::default() };
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err([b"Unknown lua shebang option: ", word].concat());
        };
        for flag in list.split(|c| *c == b',').filter(|_| !list.is_empty()) {
            let unknown = || [b"Unexpected flag in script shebang: ", flag].concat();
            *slot(&mut flags, flag).ok_or_else(unknown)? = true;
        }
    }
    Ok((flags, body))
}

/// The flag of that name.
pub(crate) fn slot<'a>(flags: &'a mut Flags, name: &[u8]) -> Option<&'a mut bool> {
    Some(match name {
        b"no-writes" => &mut flags.no_writes,
        b"allow-oom" => &mut flags.allow_oom,
        b"allow-stale" => &mut flags.allow_stale,
        b"no-cluster" => &mut flags.no_cluster,
        b"allow-cross-slot-keys" => &mut flags.allow_cross_slot_keys,
        _ => return None,
    })
}
