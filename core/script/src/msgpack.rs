//! The `cmsgpack` library: MessagePack to and from the Lua stack, to the byte as lua-cmsgpack writes it.
//!
//! Decoding never trusts a length: counts only bound loops that end with the input, and make no room ahead.
//! Depth past `DEPTH_MAX` is packed as nil and refused when unpacked.

use crate::raw::{Fault, Lua, LuaType, Outcome};

const DEPTH_MAX: usize = 16;
/// Readers accept deeper values than the writer makes.
const READ_DEPTH_MAX: usize = 1_000;
const BAD_FORMAT: &str = "Bad data format in input.";
const MISSING: &str = "Missing bytes in input.";
/// What Lua itself says of such keys.
const KEY_IS_NIL: &str = "table index is nil";
const KEY_IS_NAN: &str = "table index is NaN";

/// Pushes the library's table.
pub(crate) fn open(lua: Lua) {
    lua.push_table(0, 8);
    lua.set_function("pack", pack);
    lua.set_function("unpack", |lua: Lua| unpack(lua, 0, 0));
    lua.set_function("unpack_one", |lua: Lua| unpack(lua, 1, optional(lua, 2, 0)));
    lua.set_function("unpack_limit", |lua: Lua| {
        if !lua.is_numeric(2) {
            return lua.raise_type(2, "number");
        }
        unpack(lua, lua.number(2) as i64, optional(lua, 3, 0))
    });
    for (name, value) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd."),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        lua.push_bytes(value.as_bytes());
        lua.set_field(-2, name);
    }
}

fn optional(lua: Lua, n: i32, default: i64) -> i64 {
    if lua.is_numeric(n) { lua.number(n) as i64 } else { default }
}

fn pack(lua: Lua) -> Outcome {
    let count = lua.top();
    if count == 0 {
        return lua.raise_argument(0, "MessagePack pack needs input.");
    }
    if !lua.reserve(8) {
        return lua.raise_argument(0, "Too many arguments for MessagePack pack.");
    }
    let mut out = lua.context().scratch.take();
    out.clear();
    let mut result = Ok(());
    for index in 1..=count {
        lua.push_copy(index);
        result = result.and_then(|()| push_value(lua, &mut out, 0));
    }
    let result = result.and_then(|()| lua.admit(out.len() / 32, out.capacity() + out.len()));
    if result.is_ok() {
        lua.push_bytes(&out);
    }
    if out.capacity() > 1 << 20 {
        out = Vec::new();
    }
    lua.context().scratch.set(out);
    match result {
        Ok(()) => Ok(1),
        Err(fault) => lua.raise_fault(fault),
    }
}

/// Packs the value on top, and pops it.
fn push_value(lua: Lua, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    lua.admit(4, out.capacity())?;
    match lua.kind(-1) {
        LuaType::String => {
            let text = lua.bytes(-1).unwrap_or_default();
            lua.admit(text.len() / 32, out.capacity() + text.len())?;
            push_text(out, text);
        }
        LuaType::Boolean => out.push(if lua.boolean(-1) { 0xC3 } else { 0xC2 }),
        LuaType::Number => push_number(out, lua.number(-1)),
        LuaType::Table if depth < DEPTH_MAX && lua.reserve_level(6) => {
            lua.see_through();
            push_table(lua, out, depth)?;
        }
        _ => out.push(0xC0),
    }
    lua.pop(1);
    Ok(())
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..32 => out.push(0xA0 | length as u8),
        length @ 32..256 => out.extend([0xD9, length as u8]),
        length @ 256..65_536 => {
            out.push(0xDA);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xDB);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn push_number(out: &mut Vec<u8>, value: f64) {
    if value.trunc() == value && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value)
    {
        return push_integer(out, value as i64);
    }
    if f64::from(value as f32) == value {
        out.push(0xCA);
        out.extend((value as f32).to_be_bytes());
    } else {
        out.push(0xCB);
        out.extend(value.to_be_bytes());
    }
}

fn push_integer(out: &mut Vec<u8>, value: i64) {
    match value {
        0..128 => out.push(value as u8),
        128..256 => out.extend([0xCC, value as u8]),
        256..65_536 => {
            out.push(0xCD);
            out.extend((value as u16).to_be_bytes());
        }
        65_536..4_294_967_296 => {
            out.push(0xCE);
            out.extend((value as u32).to_be_bytes());
        }
        4_294_967_296.. => {
            out.push(0xCF);
            out.extend(value.to_be_bytes());
        }
        -32..0 => out.push(value as u8),
        -128..-32 => out.extend([0xD0, value as u8]),
        -32_768..-128 => {
            out.push(0xD1);
            out.extend((value as i16).to_be_bytes());
        }
        -2_147_483_648..-32_768 => {
            out.push(0xD2);
            out.extend((value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xD3);
            out.extend(value.to_be_bytes());
        }
    }
}

fn push_header(out: &mut Vec<u8>, count: usize, small: u8, medium: u8) {
    if count < 16 {
        out.push(small | count as u8);
    } else if count < 65_536 {
        out.push(medium);
        out.extend((count as u16).to_be_bytes());
    } else {
        out.push(medium + 1);
        out.extend((count as u32).to_be_bytes());
    }
}

fn push_table(lua: Lua, out: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    let (mut count, mut highest, mut is_array) = (0, 0.0, true);
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        let key = if lua.kind(-1) == LuaType::Number { lua.number(-1) } else { 0.0 };
        is_array &= key >= 1.0 && key.trunc() == key;
        highest = f64::max(highest, key);
        count += 1;
        lua.charge(1)?;
    }
    if count > 0 && is_array && highest == f64::from(count) {
        push_header(out, count as usize, 0x90, 0xDC);
        for n in 1..=count {
            lua.push_item(-1, n);
            push_value(lua, out, depth + 1)?;
        }
        return Ok(());
    }
    push_header(out, count as usize, if count == 0 { 0x90 } else { 0x80 }, 0xDE);
    lua.push_nil();
    while lua.next(-2) {
        lua.push_copy(-2);
        push_value(lua, out, depth + 1)?;
        push_value(lua, out, depth + 1)?;
    }
    Ok(())
}

/// Unpacks up to `limit` values from `offset` on, and tells before them where it stopped (-1 at the end); all of them,
/// without that, when both are 0.
fn unpack(lua: Lua, limit: i64, offset: i64) -> Outcome {
    let Some(input) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    if limit < 0 || offset < 0 {
        return lua.raise(format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            input.len()
        ));
    }
    if offset as usize > input.len() {
        return lua.raise(format!("Start offset {offset} greater than input length {}.", input.len()));
    }
    let is_whole = limit == 0 && offset == 0;
    let limit = if is_whole { i64::MAX } else { limit };
    if !is_whole {
        lua.push_nil();
    }
    let first = lua.top();
    let mut reader = Reader { lua, input, at: offset as usize };
    let mut count = 0;
    while reader.at < input.len() && count < limit {
        if !lua.reserve(4) {
            return lua.raise("too many values to unpack");
        }
        match reader.value(0) {
            Ok(()) => {}
            Err(Fault::Text(text)) if text == KEY_IS_NIL || text == KEY_IS_NAN => {
                return lua.raise_plain(text.as_bytes());
            }
            Err(fault) => return lua.raise_fault(fault),
        }
        count += 1;
    }
    if !is_whole {
        let is_end = reader.at >= input.len();
        lua.push_number(if is_end { -1.0 } else { reader.at as f64 });
        lua.replace(first);
        return Ok(count as usize + 1);
    }
    Ok(count as usize)
}

struct Reader<'a> {
    lua: Lua,
    input: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(length).ok_or(MISSING)?;
        let bytes = self.input.get(self.at..end).ok_or(MISSING)?;
        self.at = end;
        Ok(bytes)
    }

    /// A big-endian number of `width` bytes.
    fn unsigned(&mut self, width: usize) -> Result<u64, Fault> {
        Ok(self.take(width)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn signed(&mut self, width: usize) -> Result<i64, Fault> {
        let unused = 64 - 8 * width as u32;
        Ok((self.unsigned(width)? << unused) as i64 >> unused)
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        let lua = self.lua;
        let mark = self.unsigned(1)? as u8;
        match mark {
            0x00..0x80 => lua.push_number(f64::from(mark)),
            0x80..0x90 => self.map(usize::from(mark & 15), depth)?,
            0x90..0xA0 => self.array(usize::from(mark & 15), depth)?,
            0xA0..0xC0 => lua.push_bytes(self.take(usize::from(mark & 31))?),
            0xC0 => lua.push_nil(),
            // Binary strings and extensions: refused, as the C library does.
            0xC1 | 0xC4..=0xC9 | 0xD4..=0xD8 => return Err(BAD_FORMAT.into()),
            0xC2 | 0xC3 => lua.push_boolean(mark == 0xC3),
            0xCA => lua.push_number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xCB => lua.push_number(f64::from_bits(self.unsigned(8)?)),
            // The widest is read as if it had a sign.
            0xCC..=0xCF => lua.push_number(self.unsigned(1 << (mark - 0xCC))? as i64 as f64),
            0xD0..=0xD3 => lua.push_number(self.signed(1 << (mark - 0xD0))? as f64),
            0xD9..=0xDB => self.text(1 << (mark - 0xD9))?,
            0xDC | 0xDD => {
                let count = self.unsigned(if mark == 0xDC { 2 } else { 4 })? as usize;
                self.array(count, depth)?;
            }
            0xDE | 0xDF => {
                let count = self.unsigned(if mark == 0xDE { 2 } else { 4 })? as usize;
                self.map(count, depth)?;
            }
            0xE0.. => lua.push_number(f64::from(mark as i8)),
        }
        Ok(())
    }

    fn text(&mut self, width: usize) -> Result<(), Fault> {
        let length = self.unsigned(width)? as usize;
        let bytes = self.take(length)?;
        self.lua.admit(length / 32, length)?;
        self.lua.push_bytes(bytes);
        Ok(())
    }

    fn enter(&self, depth: usize) -> Result<(), Fault> {
        if depth >= READ_DEPTH_MAX || !self.lua.reserve_level(4) { Err(BAD_FORMAT.into()) } else { Ok(()) }
    }

    fn check_memory(&self) -> Result<(), Fault> {
        self.lua.admit(4, 0)
    }

    fn array(&mut self, count: usize, depth: usize) -> Result<(), Fault> {
        self.enter(depth)?;
        // It grows with what comes, as Redis' does: with nil in between, its length (`#`) depends on that.
        self.lua.push_table(0, 0);
        for n in 1..=i32::try_from(count).map_err(|_| MISSING)? {
            self.value(depth + 1)?;
            self.lua.set_item(-2, n);
            self.check_memory()?;
        }
        Ok(())
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<(), Fault> {
        self.enter(depth)?;
        // It grows with what comes, as Redis' does, so that scripts go through it in the same order.
        self.lua.push_table(0, 0);
        for _ in 0..count {
            self.value(depth + 1)?;
            self.value(depth + 1)?;
            match self.lua.kind(-2) {
                LuaType::Nil => return Err(KEY_IS_NIL.into()),
                LuaType::Number if self.lua.number(-2).is_nan() => return Err(KEY_IS_NAN.into()),
                _ => self.lua.set_pair(-3),
            }
            self.check_memory()?;
        }
        Ok(())
    }
}
