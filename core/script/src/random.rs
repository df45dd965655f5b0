//! `math.random`: the 48-bit generator of POSIX, which Redis gives to scripts, with the same first numbers.
//!
//! It goes on from script to script: effects are replicated, not scripts, so nothing needs it to start again. A seed holds
//! for the script that sets it; the next one goes on with the numbers that it would have had.

use crate::raw::{Lua, Outcome};

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;
const RANGE: f64 = i32::MAX as f64;

/// The state of a fresh interpreter.
pub(crate) const INITIAL: u64 = 0x1234_ABCD_330E;

/// The generator's state for a seed.
pub(crate) fn seeded(seed: i32) -> u64 {
    (u64::from(seed as u32) << 16) | 0x330E
}

/// Puts `random` and `randomseed` into the table on top.
pub(crate) fn open(lua: Lua) {
    lua.set_function("random", random);
    lua.set_function("randomseed", |lua: Lua| {
        if !lua.is_numeric(1) {
            return lua.raise_type(1, "number");
        }
        let context = lua.context();
        if context.random_before.get().is_none() {
            context.random_before.set(Some(context.random.get()));
        }
        context.random.set(seeded(lua.number(1) as i64 as i32));
        Ok(0)
    });
}

fn random(lua: Lua) -> Outcome {
    let state = (lua.context().random.get().wrapping_mul(MULTIPLIER) + 0xB) & MASK;
    lua.context().random.set(state);
    let unit = ((state >> 17) as i32 % i32::MAX) as f64 / RANGE;
    let count = lua.top();
    if count > 2 {
        return lua.raise("wrong number of arguments");
    }
    for n in 1..=count {
        if !lua.is_numeric(n) {
            return lua.raise_type(n, "number");
        }
    }
    let whole = |n| f64::from(lua.number(n) as i64 as i32);
    let (low, high) = match count {
        0 => {
            lua.push_number(unit);
            return Ok(1);
        }
        1 => (1.0, whole(1)),
        _ => (whole(1), whole(2)),
    };
    if low > high {
        return lua.raise_argument(count, "interval is empty");
    }
    lua.push_number((unit * (high - low + 1.0)).floor() + low);
    Ok(1)
}
