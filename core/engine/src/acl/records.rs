//! Which argon2id records are taken: those that can be asked, at a cost that a server can bear.
//!
//! A record that is refused here is told to whoever sets it. Taken without a look, it would let nobody in, and only say so at a log-in.

use base::limits::{RECORD_MEMORY_KIB_MAX, RECORD_PASSES_MAX};

/// Bytes of a salt, and of a hash.
const SALT_BYTES: core::ops::RangeInclusive<usize> = 8..=48;
const HASH_BYTES: core::ops::RangeInclusive<usize> = 10..=64;

/// Least memory of one lane, KiB.
const LANE_KIB_MIN: u32 = 8;

/// Most lanes of a record.
const LANES_MAX: u32 = 64;

const NO_RECORD: &str =
    "not an argon2id record, which is $argon2id$v=19$m=<KiB>,t=<passes>,p=<lanes>$<salt>$<hash>";

/// Whether a PHC string is a record that can be asked.
///
/// # Errors
/// What is wrong with it.
pub fn check_record(text: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = text.split('$').collect();
    let ["", "argon2id", "v=19" | "v=16", costs, salt, hash] = parts.as_slice() else {
        return Err(NO_RECORD);
    };
    let costs: Vec<&str> = costs.split(',').collect();
    let [memory, passes, lanes] = costs.as_slice() else { return Err(NO_RECORD) };
    let cost = |text: &str, name: &str| text.strip_prefix(name).and_then(number).ok_or(NO_RECORD);
    let (memory, passes, lanes) = (cost(memory, "m=")?, cost(passes, "t=")?, cost(lanes, "p=")?);
    if memory > RECORD_MEMORY_KIB_MAX || passes > RECORD_PASSES_MAX || lanes > LANES_MAX {
        return Err("the record asks for more work than is allowed: at most m=262144, t=16 and p=64");
    }
    if passes == 0 || lanes == 0 || memory < LANE_KIB_MIN * lanes {
        return Err("the record asks for too little: at least m=8 for each lane, t=1 and p=1");
    }
    let is_within = |text: &str, bytes: core::ops::RangeInclusive<usize>| {
        base64_bytes(text).is_some_and(|count| bytes.contains(&count))
    };
    match is_within(salt, SALT_BYTES) && is_within(hash, HASH_BYTES) {
        true => Ok(()),
        false => Err(NO_RECORD),
    }
}

/// A decimal number as PHC writes it: no sign, no needless zero.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_plain.then(|| text.parse().ok()).flatten()
}

/// How many bytes a text in Base64 without padding stands for; `None` when it is none.
fn base64_bytes(text: &str) -> Option<usize> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let last = text.bytes().map(value).try_fold(0, |_, value| value)?;
    // Bits beyond the last byte are zero.
    let spare = match text.len() % 4 {
        0 => 0,
        2 => last & 0b1111,
        3 => last & 0b11,
        _ => return None,
    };
    (spare == 0).then_some(text.len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_asked_is_a_record() {
        let salt_and_hash = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        let of = |costs: &str| check_record(&format!("$argon2id$v=19${costs}${salt_and_hash}"));
        for costs in ["m=8,t=1,p=1", "m=19456,t=2,p=1", "m=262144,t=16,p=4"] {
            assert_eq!(of(costs), Ok(()), "{costs}");
        }
        for costs in ["m=262145,t=1,p=1", "m=8,t=17,p=1", "m=8,t=0,p=1", "m=8,t=1,p=2", "m=8,t=1,p=0"] {
            assert!(of(costs).is_err(), "{costs}");
        }
        for costs in
            ["m=8,t=1", "t=1,m=8,p=1", "m=08,t=1,p=1", "m=+8,t=1,p=1", "m=,t=1,p=1", "m=8,t=1,p=1,x=2"]
        {
            assert_eq!(of(costs), Err(NO_RECORD), "{costs}");
        }
        for text in [
            "",
            "$argon2id$",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$",
            "$argon2id$v=19$m=8,t=1,p=1$c2Fs$aGFzaGhhc2hoYXNoaGFzaA",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFz",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHR$aGFzaGhhc2hoYXNoaGFzaA",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFza",
            "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFz-A",
            "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        ] {
            assert!(check_record(text).is_err(), "{text}");
        }
    }
}
