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

/// Splits a source into flags and what is to be compiled, which keeps its line numbers. The error is in
/// Redis' words, without code.
pub(crate) fn parse(source: &[u8]) -> Result<(Flags, &[u8]), String> {
    if !source.starts_with(b"#!") {
        return Ok((Flags::default(), source));
    }
    let end = source.iter().position(|&c| c == b'\n').ok_or("Invalid script shebang")?;
    let (line, body) = source.split_at(end);
    let line = String::from_utf8_lossy(line);
    let mut parts = line.split_ascii_whitespace();
    let engine = parts.next().unwrap_or_default();
    if engine != "#!lua" {
        return Err(format!("Unexpected engine in script shebang: {engine}"));
    }
    let mut flags = Flags { is_declared: true, ..Flags::default() };
    for part in parts {
        let Some(list) = part.strip_prefix("flags=") else {
            return Err(format!("Unknown lua shebang option: {part}"));
        };
        for flag in list.split(',').filter(|flag| !flag.is_empty()) {
            *slot(&mut flags, flag).ok_or_else(|| format!("Unexpected flag in script shebang: {flag}"))? =
                true;
        }
    }
    Ok((flags, body))
}

fn slot<'a>(flags: &'a mut Flags, name: &str) -> Option<&'a mut bool> {
    Some(match name {
        "no-writes" => &mut flags.no_writes,
        "allow-oom" => &mut flags.allow_oom,
        "allow-stale" => &mut flags.allow_stale,
        "no-cluster" => &mut flags.no_cluster,
        "allow-cross-slot-keys" => &mut flags.allow_cross_slot_keys,
        _ => return None,
    })
}
