//! What of a data set cannot be held here, by key and type, before anything is changed.

use super::peer::Peer;
use super::{Listener, Told};
use crate::failure::Failure;
use crate::value::Value;

/// The types that there are here.
const TYPES: [&[u8]; 7] = [b"string", b"list", b"hash", b"set", b"zset", b"stream", b"none"];

/// Keys that are asked for in one go, about.
const KEYS_PER_LOOK: &str = "1000";

/// Keys that are named; those behind them are counted.
const NAMED_MAX: u64 = 1000;

/// The first version of Redis that has further types without modules.
const MORE_TYPES_SINCE: u64 = 8;

/// How many keys cannot be held; each is told. All keys are only gone through where there can be such.
pub(super) fn look(from: &mut Peer, listener: Listener<'_>) -> Result<u64, Failure> {
    if !may_have_others(from)? {
        return Ok(0);
    }
    let mut found = 0;
    for (database, _) in from.databases()? {
        from.ask(&["SELECT", &database.to_string()])?;
        let mut cursor = "0".to_owned();
        loop {
            let (next, keys) = from.scan(&cursor, KEYS_PER_LOOK)?;
            found += look_at(from, database, keys, found, listener)?;
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
    }
    if found > NAMED_MAX {
        listener(Told::Note(format!("{found} keys cannot be held here, of which {NAMED_MAX} are named.")));
    }
    Ok(found)
}

/// Whether there can be keys of further types: modules, or a version that has some. Who does not say may have them.
fn may_have_others(from: &mut Peer) -> Result<bool, Failure> {
    let info = from.info("server")?;
    let version = |text: &str| text.split('.').next()?.parse::<u64>().ok();
    let is_new = info.field("valkey_version").is_none()
        && info.field("redis_version").and_then(version).is_none_or(|major| major >= MORE_TYPES_SINCE);
    let has_modules = match from.try_ask(&["MODULE", "LIST"])? {
        Value::Array(modules) => !modules.is_empty(),
        _ => true,
    };
    Ok(is_new || has_modules)
}

/// The same of some keys, when so many were found before.
fn look_at(
    from: &mut Peer,
    database: i64,
    keys: Vec<Vec<u8>>,
    before: u64,
    listener: Listener<'_>,
) -> Result<u64, Failure> {
    let questions: Vec<_> = keys.iter().map(|key| vec![b"TYPE".to_vec(), key.clone()]).collect();
    let mut found = 0;
    for (key, kind) in keys.into_iter().zip(from.ask_all(&questions)?) {
        if let Value::Error(text) = kind {
            return Err(Failure::Refusal("TYPE", text));
        }
        let kind = kind.text().unwrap_or_default();
        if TYPES.contains(&kind) {
            continue;
        }
        found += 1;
        if before + found <= NAMED_MAX {
            let kind = String::from_utf8_lossy(kind).into_owned();
            listener(Told::Unsupported { database, key, kind });
        }
    }
    Ok(found)
}
