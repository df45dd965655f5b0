//! The `struct` library: fixed binary layouts by format letters.

use crate::raw::{Lua, LuaType, Outcome};

/// The widest integer, and the largest alignment, that a format may ask for.
const WIDTH_MAX: usize = 32;
/// How many bytes one format may make.
const SIZE_MAX: usize = 64 << 20;

/// Pushes the library's table.
pub(crate) fn open(lua: Lua) {
    lua.push_table(0, 4);
    lua.set_function("pack", pack);
    lua.set_function("unpack", unpack);
    lua.set_function("size", size);
}

/// An option of a format, before what it stands for is looked at.
#[derive(Clone, Copy)]
struct Item {
    letter: u8,
    /// Bytes; 0 where the letter alone does not tell.
    size: usize,
    /// Bytes that go before it.
    padding: usize,
}

/// What is wrong with a format.
enum Fault {
    /// To be blamed on the first argument.
    Argument(String),
    Plain(String),
}

impl Fault {
    fn raise(self, lua: Lua) -> Outcome {
        match self {
            Fault::Argument(text) => lua.raise_argument(1, &text),
            Fault::Plain(text) => lua.raise(text),
        }
    }
}

struct Format<'a> {
    rest: &'a [u8],
    is_little: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text, is_little: cfg!(target_endian = "little"), align: 1 }
    }

    /// The number that stands next in the format; it fits a C int.
    fn number(&mut self, default: usize) -> Result<usize, Fault> {
        let mut number: Option<usize> = None;
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            self.rest = rest;
            let value = number.unwrap_or(0) * 10 + usize::from(digit - b'0');
            if value > i32::MAX as usize {
                return Err(Fault::Plain("integral size overflow".into()));
            }
            number = Some(value);
        }
        Ok(number.unwrap_or(default))
    }

    /// The next option, for an offset of `total`.
    fn next(&mut self, total: usize) -> Result<Option<Item>, Fault> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match letter {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > WIDTH_MAX {
                    let text = format!("integral size {size} is larger than limit of {WIDTH_MAX}");
                    return Err(Fault::Plain(text));
                }
                size
            }
            _ => 0,
        };
        let align = size.min(self.align);
        let padding = match letter {
            b'c' => 0,
            _ if align == 0 => 0,
            _ => (align - (total & (align - 1))) & (align - 1),
        };
        Ok(Some(Item { letter, size, padding }))
    }

    /// Obeys an option that stands for no value.
    fn control(&mut self, letter: u8) -> Result<(), Fault> {
        match letter {
            b' ' => {}
            b'<' | b'>' => self.is_little = letter == b'<',
            b'!' => {
                let align = self.number(8)?;
                if !align.is_power_of_two() {
                    return Err(Fault::Plain(format!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            other => {
                return Err(Fault::Argument(format!("invalid format option '{}'", other as char)));
            }
        }
        Ok(())
    }
}

fn pack(lua: Lua) -> Outcome {
    let Some(text) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    let mut format = Format::new(text);
    let mut out = Vec::new();
    let mut argument = 2;
    // A missing argument is a nil.
    lua.push_nil();
    loop {
        if let Err(fault) = lua.admit(4, out.capacity()) {
            return lua.raise_fault(fault);
        }
        let item = match format.next(out.len()) {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(fault) => return fault.raise(lua),
        };
        out.resize(out.len() + item.padding, 0);
        match item.letter {
            b'x' => out.push(0),
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' | b'f' | b'd' => {
                if !lua.is_numeric(argument) {
                    return lua.raise_type(argument, "number");
                }
                push_number(&mut out, lua.number(argument), item, format.is_little);
                argument += 1;
            }
            b'c' | b's' => {
                let Some(bytes) = lua.bytes(argument) else { return lua.raise_type(argument, "string") };
                argument += 1;
                let size = if item.size == 0 { bytes.len() } else { item.size };
                let Some(bytes) = bytes.get(..size) else {
                    return lua.raise_argument(argument, "string too short");
                };
                lua.charge(size / 32)?;
                out.extend_from_slice(bytes);
                if item.letter == b's' {
                    out.push(0);
                }
            }
            other => {
                if let Err(fault) = format.control(other) {
                    return fault.raise(lua);
                }
            }
        }
        if out.len() > SIZE_MAX {
            return lua.raise("format result too large");
        }
    }
    lua.push_bytes(&out);
    Ok(1)
}

fn push_number(out: &mut Vec<u8>, value: f64, item: Item, is_little: bool) {
    match item.letter {
        b'f' => push_float(out, &(value as f32).to_le_bytes(), is_little),
        b'd' => push_float(out, &value.to_le_bytes(), is_little),
        _ => push_integer(out, value, item.size, is_little),
    }
}

fn push_integer(out: &mut Vec<u8>, value: f64, width: usize, is_little: bool) {
    let bits = to_bits(value);
    let start = out.len();
    out.extend((0..width).map(|n| if n < 8 { (bits >> (8 * n)) as u8 } else { 0 }));
    if !is_little {
        out[start..].reverse();
    }
}

/// A number as 64 bits, as a C cast on common hardware gives them.
fn to_bits(value: f64) -> u64 {
    if value < 0.0 {
        value as i64 as u64
    } else if value.is_nan() {
        1 << 63
    } else if value < 18_446_744_073_709_551_616.0 {
        value as u64
    } else {
        0
    }
}

fn push_float(out: &mut Vec<u8>, bytes: &[u8], is_little: bool) {
    let start = out.len();
    out.extend_from_slice(bytes);
    if !is_little {
        out[start..].reverse();
    }
}

fn size(lua: Lua) -> Outcome {
    let Some(text) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    let mut format = Format::new(text);
    let mut total = 0_usize;
    loop {
        lua.charge(2)?;
        let item = match format.next(total) {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(fault) => return fault.raise(lua),
        };
        if item.size == 0 && matches!(item.letter, b's' | b'c') {
            let name = if item.letter == b's' { "s" } else { "c0" };
            return lua.raise_argument(1, &format!("option '{name}' has no fixed size"));
        }
        if !item.letter.is_ascii_alphanumeric()
            && let Err(fault) = format.control(item.letter)
        {
            return fault.raise(lua);
        }
        total = total.saturating_add(item.padding + item.size);
    }
    lua.push_number(total as f64);
    Ok(1)
}

fn unpack(lua: Lua) -> Outcome {
    let Some(text) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    let Some(data) = lua.bytes(2) else { return lua.raise_type(2, "string") };
    if !matches!(lua.kind(3), LuaType::None | LuaType::Nil) && !lua.is_numeric(3) {
        return lua.raise_type(3, "number");
    }
    let start = if lua.is_numeric(3) { lua.number(3) as i64 } else { 1 };
    if start == 0 {
        return lua.raise_argument(3, "offset must be 1 or greater");
    }
    // A negative one lies behind every end.
    let mut at = usize::try_from(start - 1).unwrap_or(usize::MAX >> 1);
    let mut format = Format::new(text);
    let base = lua.top();
    loop {
        lua.charge(4)?;
        let item = match format.next(at) {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(fault) => return fault.raise(lua),
        };
        if !lua.reserve(4) {
            return lua.raise("too many results");
        }
        at = at.saturating_add(item.padding);
        let Some(bytes) = slice(data, at, item.size) else {
            return lua.raise_argument(2, "data string too short");
        };
        let mut size = item.size;
        match item.letter {
            b'x' => {}
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                lua.push_number(read_integer(bytes, format.is_little, item.letter.is_ascii_lowercase()));
            }
            b'f' => lua.push_number(f64::from(f32::from_bits(read_bits(bytes, format.is_little) as u32))),
            b'd' => lua.push_number(f64::from_bits(read_bits(bytes, format.is_little))),
            b'c' if size > 0 => lua.push_bytes(bytes),
            b'c' => {
                // The size is the number read just before, which this string replaces.
                if lua.top() == base || !lua.is_numeric(-1) {
                    return lua.raise("format 'c0' needs a previous size");
                }
                size = lua.number(-1) as usize;
                lua.pop(1);
                let Some(bytes) = slice(data, at, size) else {
                    return lua.raise_argument(2, "data string too short");
                };
                lua.push_bytes(bytes);
            }
            b's' => {
                lua.charge((data.len() - at) / 64)?;
                let Some(length) = data[at..].iter().position(|&byte| byte == 0) else {
                    return lua.raise("unfinished string in data");
                };
                lua.push_bytes(&data[at..at + length]);
                size = length + 1;
            }
            other => {
                if let Err(fault) = format.control(other) {
                    return fault.raise(lua);
                }
            }
        }
        at += size;
    }
    lua.push_number((at + 1) as f64);
    Ok((lua.top() - base) as usize)
}

fn slice(data: &[u8], at: usize, size: usize) -> Option<&[u8]> {
    data.get(at..at.checked_add(size)?)
}

fn read_bits(bytes: &[u8], is_little: bool) -> u64 {
    let add = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
    if is_little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
}

fn read_integer(bytes: &[u8], is_little: bool, is_signed: bool) -> f64 {
    let bits = read_bits(bytes, is_little);
    if !is_signed {
        return bits as f64;
    }
    // The sign's place is taken modulo 64, as a C shift on common hardware does for odd sizes.
    let mask = u64::MAX.wrapping_shl((8 * bytes.len() as u32).wrapping_sub(1));
    let extended = if bits & mask != 0 { bits | mask } else { bits };
    extended as i64 as f64
}
