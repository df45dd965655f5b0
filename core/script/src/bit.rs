//! The `bit` library: 32-bit operations with signed results.

use crate::raw::{Lua, Outcome};

/// Pushes the library's table.
pub(crate) fn open(lua: Lua) {
    lua.push_table(0, 12);
    lua.set_function("tobit", |lua: Lua| unary(lua, |a| a));
    lua.set_function("bnot", |lua: Lua| unary(lua, |a| !a));
    lua.set_function("bswap", |lua: Lua| unary(lua, u32::swap_bytes));
    lua.set_function("band", |lua: Lua| fold(lua, |a, b| a & b));
    lua.set_function("bor", |lua: Lua| fold(lua, |a, b| a | b));
    lua.set_function("bxor", |lua: Lua| fold(lua, |a, b| a ^ b));
    lua.set_function("lshift", |lua: Lua| shift(lua, |a, n| a << n));
    lua.set_function("rshift", |lua: Lua| shift(lua, |a, n| a >> n));
    lua.set_function("arshift", |lua: Lua| shift(lua, |a, n| (a as i32 >> n) as u32));
    lua.set_function("rol", |lua: Lua| shift(lua, u32::rotate_left));
    lua.set_function("ror", |lua: Lua| shift(lua, u32::rotate_right));
    lua.set_function("tohex", to_hex);
}

/// The argument modulo 2^32, rounded to the nearest integer by the usual addition of 2^52 + 2^51.
fn argument(lua: Lua, n: i32) -> Result<u32, crate::raw::Raise> {
    if !lua.is_numeric(n) {
        lua.raise_type(n, "number")?;
    }
    Ok((lua.number(n) + 6_755_399_441_055_744.0).to_bits() as u32)
}

fn give(lua: Lua, value: u32) -> Outcome {
    lua.push_number(f64::from(value as i32));
    Ok(1)
}

fn unary(lua: Lua, work: impl Fn(u32) -> u32) -> Outcome {
    give(lua, work(argument(lua, 1)?))
}

fn fold(lua: Lua, work: impl Fn(u32, u32) -> u32) -> Outcome {
    let mut value = argument(lua, 1)?;
    // From the last to the first, which tells in errors.
    for n in (2..=lua.top()).rev() {
        value = work(value, argument(lua, n)?);
    }
    give(lua, value)
}

fn shift(lua: Lua, work: impl Fn(u32, u32) -> u32) -> Outcome {
    give(lua, work(argument(lua, 1)?, argument(lua, 2)? & 31))
}

fn to_hex(lua: Lua) -> Outcome {
    let value = argument(lua, 1)?;
    let wanted = if lua.top() < 2 { 8 } else { argument(lua, 2)? as i32 };
    let text = if wanted < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let digits = wanted.unsigned_abs().min(8) as usize;
    lua.push_bytes(&text.as_bytes()[8 - digits..]);
    Ok(1)
}
