//! The `struct` library: fixed binary layouts by format letters.

use crate::raw::{Kind, Lua, Outcome};

/// The widest integer, and the largest alignment, that a format may ask for.
const WIDTH_MAX: usize = 32;
/// How many bytes one format may describe.
const SIZE_MAX: usize = 64 << 20;

/// Pushes the library's table.
pub(crate) fn open(lua: Lua) {
    lua.push_table(0, 4);
    lua.set_function("pack", pack);
    lua.set_function("unpack", unpack);
    lua.set_function("size", size);
}

enum Item {
    Integer { width: usize, is_signed: bool },
    Float,
    Double,
    Char(Option<usize>),
    Text,
    Pad,
    Nothing,
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

    fn digits(&mut self) -> Result<Option<usize>, String> {
        let mut number: Option<usize> = None;
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            self.rest = rest;
            let value = number.unwrap_or(0) * 10 + usize::from(digit - b'0');
            if value > SIZE_MAX {
                return Err("integral size overflow".into());
            }
            number = Some(value);
        }
        Ok(number)
    }

    fn width(&mut self, default: usize) -> Result<usize, String> {
        let width = self.digits()?.unwrap_or(default);
        if width > WIDTH_MAX || width == 0 {
            return Err(format!("integral size {width} is larger than limit of {WIDTH_MAX}"));
        }
        Ok(width)
    }

    /// The next item with the padding that goes before it, for an offset of `total`.
    fn next(&mut self, total: usize) -> Result<Option<(Item, usize)>, String> {
        let Some((&letter, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let integer = |width, is_signed| Item::Integer { width, is_signed };
        let item = match letter {
            b'b' | b'B' => integer(1, letter == b'b'),
            b'h' | b'H' => integer(2, letter == b'h'),
            b'l' | b'L' => integer(8, letter == b'l'),
            b'T' => integer(8, false),
            b'i' | b'I' => integer(self.width(4)?, letter == b'i'),
            b'f' => Item::Float,
            b'd' => Item::Double,
            b'x' => Item::Pad,
            b'c' => Item::Char(self.digits()?),
            b's' => Item::Text,
            b' ' => Item::Nothing,
            b'<' | b'>' => {
                self.is_little = letter == b'<';
                Item::Nothing
            }
            b'!' => {
                let align = self.digits()?.unwrap_or(8);
                if align == 0 || !align.is_power_of_two() || align > WIDTH_MAX {
                    return Err("alignment is not a power of 2".into());
                }
                self.align = align;
                Item::Nothing
            }
            other => return Err(format!("invalid format option '{}'", other as char)),
        };
        let natural = match item {
            Item::Integer { width, .. } => width,
            Item::Float => 4,
            Item::Double => 8,
            _ => 1,
        };
        let align = natural.min(self.align);
        let padding = if align > 1 && align.is_power_of_two() {
            (align - (total & (align - 1))) & (align - 1)
        } else {
            0
        };
        Ok(Some((item, padding)))
    }
}

fn pack(lua: Lua) -> Outcome {
    let Some(text) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    let mut format = Format::new(text);
    let mut out = Vec::new();
    let mut argument = 1;
    loop {
        let (item, padding) = match format.next(out.len()) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(message) if message.starts_with("invalid format") => return lua.raise_argument(1, &message),
            Err(message) => return lua.raise(message),
        };
        out.resize(out.len() + padding, 0);
        match item {
            Item::Nothing => continue,
            Item::Pad => {
                out.push(0);
                continue;
            }
            _ => argument += 1,
        }
        match item {
            Item::Integer { .. } | Item::Float | Item::Double if !lua.is_numeric(argument) => {
                return lua.raise_type(argument, "number");
            }
            Item::Integer { width, .. } => {
                push_integer(&mut out, lua.number(argument), width, format.is_little)
            }
            Item::Float => {
                push_float(&mut out, &(lua.number(argument) as f32).to_le_bytes(), format.is_little)
            }
            Item::Double => push_float(&mut out, &lua.number(argument).to_le_bytes(), format.is_little),
            _ => {
                let Some(bytes) = lua.bytes(argument) else { return lua.raise_type(argument, "string") };
                let length = match item {
                    Item::Char(length) => length.unwrap_or(1),
                    _ => 0,
                };
                if bytes.len() < length {
                    return lua.raise_argument(argument, "string too short");
                }
                let is_whole = matches!(item, Item::Text) || length == 0;
                out.extend_from_slice(if is_whole { bytes } else { &bytes[..length] });
                if matches!(item, Item::Text) {
                    out.push(0);
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

fn push_integer(out: &mut Vec<u8>, value: f64, width: usize, is_little: bool) {
    let bits = if value < 0.0 { value as i64 as u64 } else { value as u64 };
    let start = out.len();
    out.extend((0..width).map(|n| if n < 8 { (bits >> (8 * n)) as u8 } else { 0 }));
    if !is_little {
        out[start..].reverse();
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
        match format.next(total) {
            Ok(None) => break,
            Ok(Some((Item::Text, _))) => {
                return lua.raise_argument(1, "variable-size format in size calculation");
            }
            Ok(Some((Item::Char(Some(0)), _))) => {
                return lua.raise_argument(1, "variable-length format in size calculation");
            }
            Ok(Some((item, padding))) => total += padding + fixed_size(&item),
            Err(message) if message.starts_with("invalid format") => return lua.raise_argument(1, &message),
            Err(message) => return lua.raise(message),
        }
        if total > SIZE_MAX {
            return lua.raise("format result too large");
        }
    }
    lua.push_number(total as f64);
    Ok(1)
}

fn fixed_size(item: &Item) -> usize {
    match item {
        Item::Integer { width, .. } => *width,
        Item::Float => 4,
        Item::Double => 8,
        Item::Char(length) => length.unwrap_or(1),
        Item::Pad => 1,
        Item::Text | Item::Nothing => 0,
    }
}

fn unpack(lua: Lua) -> Outcome {
    let Some(text) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    let Some(data) = lua.bytes(2) else { return lua.raise_type(2, "string") };
    let start = if lua.is_numeric(3) { lua.number(3) as i64 } else { 1 };
    if start < 1 {
        return lua.raise_argument(3, "offset must be 1 or greater");
    }
    let mut at = usize::try_from(start - 1).unwrap_or(usize::MAX);
    let mut format = Format::new(text);
    let base = lua.top();
    loop {
        let (item, padding) = match format.next(at) {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(message) if message.starts_with("invalid format") => return lua.raise_argument(1, &message),
            Err(message) => return lua.raise(message),
        };
        if !lua.reserve(4) {
            return lua.raise("too many results");
        }
        at = at.saturating_add(padding);
        let mut length = fixed_size(&item);
        if let Item::Char(Some(0)) = item {
            // The length is the number read just before, which this string replaces.
            if lua.top() == base || lua.kind(-1) != Kind::Number {
                return lua.raise("format 'c0' needs a previous size");
            }
            length = lua.number(-1) as usize;
            lua.pop(1);
        }
        let Some(bytes) = at.checked_add(length).and_then(|end| data.get(at..end)) else {
            return lua.raise_argument(2, "data string too short");
        };
        at += length;
        match item {
            Item::Integer { is_signed, .. } => {
                lua.push_number(read_integer(bytes, format.is_little, is_signed))
            }
            Item::Float => {
                lua.push_number(f64::from(f32::from_bits(read_bits(bytes, format.is_little) as u32)))
            }
            Item::Double => lua.push_number(f64::from_bits(read_bits(bytes, format.is_little))),
            Item::Char(_) => lua.push_bytes(bytes),
            Item::Text => {
                let Some(length) = data[at..].iter().position(|&byte| byte == 0) else {
                    return lua.raise("unfinished string in data");
                };
                lua.push_bytes(&data[at..at + length]);
                at += length + 1;
            }
            Item::Pad | Item::Nothing => {}
        }
    }
    lua.push_number((at + 1) as f64);
    Ok((lua.top() - base) as usize)
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
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    ((bits << unused) as i64 >> unused) as f64
}
