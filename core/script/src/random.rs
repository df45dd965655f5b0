//! `math.random`: the 48-bit generator of POSIX, which Redis gives to scripts, with the same first numbers.
//!
//! It goes on from script to script, through scripts and functions alike and through a flush of either: effects are replicated,
//! not scripts, so nothing needs it to start again, and whoever makes names of its numbers relies on new ones. A seed is the
//! whole state, so it holds for those who come later, too, as in Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::raw::{Lua, Outcome};

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;
const RANGE: f64 = i32::MAX as f64;

/// The state before the first number.
const INITIAL: u64 = 0x1234_ABCD_330E;

/// Where `math.random` takes its numbers from. Clones go on with the same sequence: all that run scripts for one data set
/// hold clones of one.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// 48 bits. One thread at a time runs scripts; it is atomic so that states of Lua may change threads.
    state: Arc<AtomicU64>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { state: Arc::new(AtomicU64::new(INITIAL)) }
    }
}

impl Numbers {
    /// Goes on as everybody does with this seed.
    fn seed(&self, seed: i32) {
        self.state.store((u64::from(seed as u32) << 16) | 0x330E, Ordering::Relaxed);
    }

    /// The next one, from 0 to 1.
    fn next(&self) -> f64 {
        let state = (self.state.load(Ordering::Relaxed).wrapping_mul(MULTIPLIER) + 0xB) & MASK;
        self.state.store(state, Ordering::Relaxed);
        f64::from((state >> 17) as i32 % i32::MAX) / RANGE
    }
}

/// Puts `random` and `randomseed` into the table on top.
pub(crate) fn open(lua: Lua) {
    lua.set_function("random", random);
    lua.set_function("randomseed", |lua: Lua| {
        if !lua.is_numeric(1) {
            return lua.raise_type(1, "number");
        }
        lua.context().numbers.seed(lua.number(1) as i64 as i32);
        Ok(0)
    });
}

fn random(lua: Lua) -> Outcome {
    let unit = lua.context().numbers.next();
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
