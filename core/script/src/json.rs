//! The `cjson` library: JSON to and from the Lua stack, with lua-cjson's rules and messages.
//!
//! Settings live with each instance (`cjson.new` makes another); those of the shared one hold for the run that sets them, so
//! that nobody changes what others get. Output goes to a reused buffer; input is read in
//! one pass that leaves its values on the stack. Depth is bounded by settings, and those by `DEPTH_LIMIT`.

use std::ops::ControlFlow;

use base::number::{format_g, push_i64};

use crate::raw::{Fault, Lua, LuaType, Outcome};

/// The deepest setting that is accepted: each level costs stack of ours.
const DEPTH_LIMIT: i64 = 2_000;

#[derive(Clone, Copy)]
struct Settings {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth: i64,
    decode_depth: i64,
    precision: i64,
    keeps_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
    /// The run that has set them; `None` for those of an instance that a script has made for itself.
    run: Option<u64>,
}

/// How much of a text is written between two looks at time and memory.
const PIECE_BYTES: usize = 32 << 10;

#[derive(Clone, Copy, PartialEq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

const DEFAULTS: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_depth: 1000,
    decode_depth: 1000,
    precision: 14,
    keeps_buffer: true,
    encode_invalid: Invalid::Refused,
    decode_invalid: true,
    run: Some(0),
};

/// Pushes the library's table.
pub(crate) fn open(lua: Lua) {
    push_instance(lua, DEFAULTS);
}

fn push_instance(lua: Lua, settings: Settings) {
    lua.push_table(0, 16);
    lua.push_cell(settings);
    method(lua, "encode", encode);
    method(lua, "decode", decode);
    method(lua, "encode_sparse_array", encode_sparse_array);
    method(lua, "encode_max_depth", |lua: Lua| depth(lua, |s| &mut s.encode_depth));
    method(lua, "decode_max_depth", |lua: Lua| depth(lua, |s| &mut s.decode_depth));
    method(lua, "encode_number_precision", |lua: Lua| integer(lua, 1, 14, |s| &mut s.precision));
    method(lua, "encode_keep_buffer", |lua: Lua| flag(lua, |s| &mut s.keeps_buffer));
    method(lua, "encode_invalid_numbers", encode_invalid_numbers);
    method(lua, "decode_invalid_numbers", |lua: Lua| flag(lua, |s| &mut s.decode_invalid));
    lua.pop(1);
    lua.set_function("new", |lua: Lua| {
        push_instance(lua, Settings { run: None, ..DEFAULTS });
        Ok(1)
    });
    lua.push_null();
    lua.set_field(-2, "null");
    lua.push_bytes(b"cjson");
    lua.set_field(-2, "_NAME");
    lua.push_bytes(b"2.1.0");
    lua.set_field(-2, "_VERSION");
}

/// Sets a function that shares the settings on top of the stack; the table lies under them.
fn method<F: Fn(Lua) -> Outcome>(lua: Lua, name: &str, body: F) {
    lua.push_copy(-1);
    lua.push_function(body, 1);
    lua.set_field(-3, name);
}

/// The settings in force: what an earlier run has set for the shared instance is not.
fn settings(lua: Lua) -> Settings {
    let run = lua.context().run.get();
    let settings = lua.cell::<Settings>().get();
    if settings.run.is_none_or(|set_in| set_in == run) {
        settings
    } else {
        Settings { run: Some(run), ..DEFAULTS }
    }
}

fn change<R>(lua: Lua, work: impl FnOnce(&mut Settings) -> R) -> R {
    let mut settings = settings(lua);
    let result = work(&mut settings);
    lua.cell::<Settings>().set(settings);
    result
}

fn integer(lua: Lua, least: i64, most: i64, field: fn(&mut Settings) -> &mut i64) -> Outcome {
    if lua.top() > 1 {
        return lua.raise_argument(2, "found too many arguments");
    }
    if lua.top() == 1 && lua.kind(1) != LuaType::Nil {
        if !lua.is_numeric(1) {
            return lua.raise_type(1, "number");
        }
        let value = lua.number(1) as i64;
        if !(least..=most).contains(&value) {
            return lua.raise_argument(1, &format!("expected integer between {least} and {most}"));
        }
        change(lua, |settings| *field(settings) = value);
    }
    lua.push_number(change(lua, |settings| *field(settings)) as f64);
    Ok(1)
}

fn depth(lua: Lua, field: fn(&mut Settings) -> &mut i64) -> Outcome {
    integer(lua, 1, i64::from(i32::MAX), field)
}

fn flag(lua: Lua, field: fn(&mut Settings) -> &mut bool) -> Outcome {
    match (lua.top(), lua.kind(1)) {
        (0, _) | (1, LuaType::Nil) => {}
        (1, LuaType::Boolean) => change(lua, |settings| *field(settings) = lua.boolean(1)),
        (1, LuaType::String) if matches!(lua.bytes(1), Some(b"on" | b"off")) => {
            let is_on = lua.bytes(1) == Some(b"on");
            change(lua, |settings| *field(settings) = is_on);
        }
        (1, _) => return lua.raise_argument(1, "invalid option"),
        _ => return lua.raise_argument(2, "found too many arguments"),
    }
    lua.push_boolean(change(lua, |settings| *field(settings)));
    Ok(1)
}

fn encode_invalid_numbers(lua: Lua) -> Outcome {
    let wanted = match lua.kind(1) {
        LuaType::None | LuaType::Nil => None,
        LuaType::Boolean => Some(if lua.boolean(1) { Invalid::Written } else { Invalid::Refused }),
        _ => match lua.bytes(1) {
            Some(b"on") => Some(Invalid::Written),
            Some(b"off") => Some(Invalid::Refused),
            Some(b"null") => Some(Invalid::Null),
            _ => return lua.raise_argument(1, "invalid option"),
        },
    };
    let now = change(lua, |settings| {
        settings.encode_invalid = wanted.unwrap_or(settings.encode_invalid);
        settings.encode_invalid
    });
    match now {
        Invalid::Null => lua.push_bytes(b"null"),
        other => lua.push_boolean(other == Invalid::Written),
    }
    Ok(1)
}

fn encode_sparse_array(lua: Lua) -> Outcome {
    if lua.top() > 3 {
        return lua.raise_argument(4, "found too many arguments");
    }
    for n in 2..=lua.top() {
        if lua.kind(n) != LuaType::Nil
            && (!lua.is_numeric(n) || !(0.0..=2_147_483_647.0).contains(&lua.number(n)))
        {
            return lua.raise_argument(n, "expected integer between 0 and 2147483647");
        }
    }
    let settings = change(lua, |settings| {
        if !matches!(lua.kind(1), LuaType::None | LuaType::Nil) {
            settings.sparse_convert = lua.boolean(1);
        }
        if lua.is_numeric(2) {
            settings.sparse_ratio = lua.number(2) as i64;
        }
        if lua.is_numeric(3) {
            settings.sparse_safe = lua.number(3) as i64;
        }
        *settings
    });
    lua.push_boolean(settings.sparse_convert);
    lua.push_number(settings.sparse_ratio as f64);
    lua.push_number(settings.sparse_safe as f64);
    Ok(3)
}

fn encode(lua: Lua) -> Outcome {
    if lua.top() != 1 {
        return lua.raise_argument(1, "expected 1 argument");
    }
    let mut out = lua.context().scratch.take();
    out.clear();
    let result = Encoder { lua, settings: settings(lua), out: &mut out }.value(0);
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

struct Encoder<'a> {
    lua: Lua,
    settings: Settings,
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    /// Writes the value on top, and leaves it there.
    fn value(&mut self, depth: i64) -> Result<(), Fault> {
        self.lua.admit(4, self.out.capacity())?;
        match self.lua.kind(-1) {
            LuaType::String => self.text(-1)?,
            LuaType::Number => self.number()?,
            LuaType::Boolean => {
                self.out.extend_from_slice(if self.lua.boolean(-1) { b"true" } else { b"false" })
            }
            LuaType::Nil => self.out.extend_from_slice(b"null"),
            LuaType::Light if self.lua.is_null(-1) => self.out.extend_from_slice(b"null"),
            LuaType::Table => {
                self.lua.see_through();
                self.table(depth + 1)?;
            }
            _ => {
                return Err(format!("Cannot serialise {}: type not supported", self.lua.type_name(-1)).into());
            }
        }
        Ok(())
    }

    /// Writes the text at `index`. A piece of it grows sixfold at most, and the buffer is doubled to take it.
    fn text(&mut self, index: i32) -> Result<(), Fault> {
        self.out.push(b'"');
        for piece in self.lua.bytes(index).unwrap_or_default().chunks(PIECE_BYTES) {
            self.lua.admit(piece.len() / 8, self.out.capacity() + piece.len())?;
            push_text(self.out, piece);
        }
        self.out.push(b'"');
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let value = self.lua.number(-1);
        if value.is_finite() {
            if value.trunc() == value
                && value.abs() < 1e14
                && self.settings.precision == 14
                && !(value == 0.0 && value.is_sign_negative())
            {
                push_i64(self.out, value as i64);
            } else {
                self.out.extend_from_slice(format_g(value, self.settings.precision as usize).as_bytes());
            }
            return Ok(());
        }
        match self.settings.encode_invalid {
            Invalid::Refused => return Err("Cannot serialise number: must not be NaN or Inf".into()),
            Invalid::Null => self.out.extend_from_slice(b"null"),
            Invalid::Written => self.out.extend_from_slice(match value {
                v if v.is_nan() => b"nan",
                v if v > 0.0 => b"inf",
                _ => b"-inf",
            }),
        }
        Ok(())
    }

    fn table(&mut self, depth: i64) -> Result<(), Fault> {
        if depth > self.settings.encode_depth.min(DEPTH_LIMIT) || !self.lua.reserve_level(4) {
            return Err(format!("Cannot serialise, excessive nesting ({depth})").into());
        }
        match self.array_length()? {
            Some(length) => self.array(length, depth),
            None => self.object(depth),
        }
    }

    /// The highest index of a table whose keys are all positive integers.
    fn array_length(&self) -> Result<Option<i64>, Fault> {
        let (mut highest, mut count) = (0, 0);
        self.lua.push_nil();
        while self.lua.next(-2) {
            self.lua.pop(1);
            let key = if self.lua.kind(-1) == LuaType::Number { self.lua.number(-1) } else { 0.0 };
            if key < 1.0 || key.trunc() != key || key > 9e15 {
                self.lua.pop(1);
                return Ok(None);
            }
            highest = highest.max(key as i64);
            count += 1;
            self.lua.charge(1)?;
        }
        let settings = &self.settings;
        if settings.sparse_ratio > 0
            && highest > count * settings.sparse_ratio
            && highest > settings.sparse_safe
        {
            if !settings.sparse_convert {
                return Err("Cannot serialise table: excessively sparse array".into());
            }
            return Ok(None);
        }
        Ok((count > 0).then_some(highest))
    }

    fn array(&mut self, length: i64, depth: i64) -> Result<(), Fault> {
        self.out.push(b'[');
        for n in 1..=i32::try_from(length).unwrap_or(i32::MAX) {
            if n > 1 {
                self.out.push(b',');
            }
            self.lua.push_item(-1, n);
            self.value(depth)?;
            self.lua.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: i64) -> Result<(), Fault> {
        self.out.push(b'{');
        let mut is_first = true;
        self.lua.push_nil();
        while self.lua.next(-2) {
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            match self.lua.kind(-2) {
                LuaType::String => self.text(-2)?,
                LuaType::Number => {
                    self.out.push(b'"');
                    self.lua.push_copy(-2);
                    self.number()?;
                    self.lua.pop(1);
                    self.out.push(b'"');
                }
                _ => {
                    let kind = self.lua.type_name(-2);
                    return Err(
                        format!("Cannot serialise {kind}: table key must be a number or string").into()
                    );
                }
            }
            self.out.push(b':');
            self.value(depth)?;
            self.lua.pop(1);
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Appends text with what must be escaped in it.
fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'/' => b"\\/",
            8 => b"\\b",
            9 => b"\\t",
            10 => b"\\n",
            12 => b"\\f",
            13 => b"\\r",
            0..32 | 127 => b"",
            _ => continue,
        };
        out.extend_from_slice(&text[start..at]);
        start = at + 1;
        if escaped.is_empty() {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digits[0], digits[1]]);
        } else {
            out.extend_from_slice(escaped);
        }
    }
    out.extend_from_slice(&text[start..]);
}

fn decode(lua: Lua) -> Outcome {
    if lua.top() != 1 {
        return lua.raise_argument(1, "expected 1 argument");
    }
    let Some(text) = lua.bytes(1) else { return lua.raise_type(1, "string") };
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return lua.raise("JSON parser does not support UTF-16 or UTF-32");
    }
    let mut decoder =
        Decoder { lua, settings: settings(lua), text, at: 0, buffer: Vec::new(), expected: "value" };
    match decoder.document() {
        Ok(()) => Ok(1),
        Err(fault) => lua.raise_fault(fault),
    }
}

struct Decoder<'a> {
    lua: Lua,
    settings: Settings,
    text: &'a [u8],
    at: usize,
    buffer: Vec<u8>,
    /// What may stand here, for errors in the token that does.
    expected: &'static str,
}

impl Decoder<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.value(0)?;
        self.blanks();
        if self.at < self.text.len() { self.unexpected("the end") } else { Ok(()) }
    }

    fn blanks(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.text.get(self.at).copied()
    }

    fn unexpected<T>(&mut self, expected: &'static str) -> Result<T, Fault> {
        self.expected = expected;
        let at = self.at + 1;
        let rest = &self.text[self.at.min(self.text.len())..];
        let found =
            match rest.first() {
                None => "T_END",
                Some(b'{') => "T_OBJ_BEGIN",
                Some(b'}') => "T_OBJ_END",
                Some(b'[') => "T_ARR_BEGIN",
                Some(b']') => "T_ARR_END",
                Some(b',') => "T_COMMA",
                Some(b':') => "T_COLON",
                Some(b'"') => {
                    // The token is read whole before anybody asks what it is.
                    self.text_value()?;
                    "T_STRING"
                }
                Some(b'0'..=b'9' | b'-') => "T_NUMBER",
                _ if self.settings.decode_invalid && is_odd_number(rest) => {
                    if leading_number(rest).is_some() { "T_NUMBER" } else { "invalid number" }
                }
                _ if rest.starts_with(b"true") || rest.starts_with(b"false") => "T_BOOLEAN",
                _ if rest.starts_with(b"null") => "T_NULL",
                _ => "invalid token",
            };
        Err(format!("Expected {expected} but found {found} at character {at}").into())
    }

    fn value(&mut self, depth: i64) -> Result<(), Fault> {
        self.lua.admit(4, self.buffer.capacity())?;
        self.expected = "value";
        match self.peek() {
            Some(b'"') => self.text_value(),
            Some(b'{') => self.nested(depth + 1, Self::object),
            Some(b'[') => self.nested(depth + 1, Self::array),
            Some(b'-' | b'+' | b'0'..=b'9' | b'i' | b'I' | b'N') => self.number(),
            Some(b't') => self.word(b"true", |lua| lua.push_boolean(true)),
            Some(b'f') => self.word(b"false", |lua| lua.push_boolean(false)),
            Some(b'n') if self.text[self.at..].starts_with(b"null") => self.word(b"null", Lua::push_null),
            Some(b'n') => self.number(),
            _ => self.unexpected("value"),
        }
    }

    fn word(&mut self, word: &[u8], push: impl FnOnce(Lua)) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return self.unexpected("value");
        }
        self.at += word.len();
        push(self.lua);
        Ok(())
    }

    fn nested(&mut self, depth: i64, work: fn(&mut Self, i64) -> Result<(), Fault>) -> Result<(), Fault> {
        if depth > self.settings.decode_depth.min(DEPTH_LIMIT) || !self.lua.reserve_level(4) {
            let at = self.at + 1;
            return Err(format!("Found too many nested data structures ({depth}) at character {at}").into());
        }
        self.at += 1;
        work(self, depth)
    }

    fn array(&mut self, depth: i64) -> Result<(), Fault> {
        self.lua.push_table(0, 0);
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for n in 1.. {
            self.value(depth)?;
            self.lua.set_item(-2, n);
            if self.separator(b']', "comma or array end")?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn object(&mut self, depth: i64) -> Result<(), Fault> {
        self.lua.push_table(0, 0);
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.unexpected("object key string");
            }
            self.expected = "object key string";
            self.text_value()?;
            if self.peek() != Some(b':') {
                return self.unexpected("colon");
            }
            self.at += 1;
            self.value(depth)?;
            self.lua.set_pair(-3);
            if self.separator(b'}', "comma or object end")?.is_break() {
                return Ok(());
            }
        }
    }

    fn separator(&mut self, end: u8, expected: &'static str) -> Result<ControlFlow<()>, Fault> {
        let flow = match self.peek() {
            Some(b',') => ControlFlow::Continue(()),
            Some(found) if found == end => ControlFlow::Break(()),
            _ => return self.unexpected(expected),
        };
        self.at += 1;
        Ok(flow)
    }

    fn text_value(&mut self) -> Result<(), Fault> {
        let start = self.at + 1;
        let rest = &self.text[start..];
        let plain = rest.iter().position(|&c| matches!(c, b'"' | b'\\')).unwrap_or(rest.len());
        self.lua.admit(plain / 32, plain)?;
        if rest.get(plain) == Some(&b'"') {
            self.lua.push_bytes(&rest[..plain]);
            self.at = start + plain + 1;
            return Ok(());
        }
        self.buffer.clear();
        let mut at = start;
        loop {
            match self.text.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = self.escape(at)?,
                Some(&byte) => {
                    self.buffer.push(byte);
                    at += 1;
                }
                None => {
                    self.at = at;
                    return Err(format!(
                        "Expected {} but found unexpected end of string at character {}",
                        self.expected,
                        at + 1
                    )
                    .into());
                }
            }
        }
        self.at = at + 1;
        self.lua.push_bytes(&self.buffer);
        Ok(())
    }

    /// Reads one escape; gives the index after it.
    fn escape(&mut self, at: usize) -> Result<usize, Fault> {
        let plain = match self.text.get(at + 1) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b't') => 9,
            Some(b'n') => 10,
            Some(b'f') => 12,
            Some(b'r') => 13,
            Some(b'u') => return self.unicode(at),
            _ => {
                return Err(format!(
                    "Expected {} but found invalid escape code at character {}",
                    self.expected,
                    at + 1
                )
                .into());
            }
        };
        self.buffer.push(plain);
        Ok(at + 2)
    }

    fn unicode(&mut self, at: usize) -> Result<usize, Fault> {
        let expected = self.expected;
        let wrong =
            || format!("Expected {expected} but found invalid unicode escape code at character {}", at + 1);
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6).filter(|digits| digits.starts_with(b"\\u"))?;
            digits[2..].iter().try_fold(0, |sum, &c| Some(sum * 16 + (c as char).to_digit(16)?))
        };
        let first = unit(at).ok_or_else(wrong)?;
        let (code, end) = match first {
            0xD800..0xDC00 => {
                let low = unit(at + 6).filter(|low| (0xDC00..0xE000).contains(low)).ok_or_else(wrong)?;
                (0x1_0000 + ((first - 0xD800) << 10) + (low - 0xDC00), at + 12)
            }
            _ => (first, at + 6),
        };
        let letter = char::from_u32(code).ok_or_else(wrong)?;
        self.buffer.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(end)
    }

    /// A number as C reads one: as far as it goes. What JSON does not allow is taken unless that is switched off.
    fn number(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let wrong = |what: &str| {
            Err(format!("Expected value but found invalid {what} at character {}", self.at + 1).into())
        };
        let takes_odd = self.settings.decode_invalid;
        match rest.first() {
            Some(b'-' | b'0'..=b'9') if !takes_odd && is_odd_number(rest) => return wrong("number"),
            Some(b'-' | b'0'..=b'9') => {}
            _ if takes_odd && is_odd_number(rest) => {}
            _ => return wrong("token"),
        }
        let Some((value, length)) = leading_number(rest) else { return wrong("number") };
        self.at += length;
        self.lua.push_number(value);
        Ok(())
    }
}

/// Whether this begins like a number that JSON does not know: `+1`, `0x1f`, `01`, `Inf`, `NaN`.
fn is_odd_number(text: &[u8]) -> bool {
    let begins = |text: &[u8], word: &[u8]| text.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(word));
    match text {
        [b'+', ..] => true,
        [b'-', b'0', b'x' | b'X' | b'0'..=b'9', ..] | [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [b'-', rest @ ..] => begins(rest, b"inf") || begins(rest, b"nan"),
        _ => begins(text, b"inf") || begins(text, b"nan"),
    }
}

/// The number that `text` begins with, and how many bytes it takes, as strtod has it.
fn leading_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let body = &text[sign..];
    let lower: Vec<u8> = body.iter().take(8).map(u8::to_ascii_lowercase).collect();
    let length = match lower.as_slice() {
        b"infinity" => 8,
        [b'i', b'n', b'f', ..] | [b'n', b'a', b'n', ..] => 3,
        [b'0', b'x', digit, ..] if digit.is_ascii_hexdigit() => {
            2 + body[2..].iter().take_while(|c| c.is_ascii_hexdigit() || **c == b'.').count()
        }
        _ => decimal_length(body)?,
    };
    let token = std::str::from_utf8(&text[..sign + length]).ok()?;
    let value = match lower.get(1) {
        Some(b'x') if length > 2 => base::number::parse_f64(token.as_bytes()),
        _ => token.parse().ok(),
    };
    Some((value?, sign + length))
}

/// How many bytes of `text` are a decimal number without sign.
fn decimal_length(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| text[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let whole = digits(0);
    let mut length = whole;
    let mut fraction = 0;
    if text.get(whole) == Some(&b'.') {
        fraction = digits(whole + 1);
        length += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits((length + 1 + sign).min(text.len()));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    Some(length)
}
