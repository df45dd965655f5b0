//! Values across the border: replies of commands into Lua, a script's result into a reply.
//!
//! Both directions go piece by piece, without a tree between. Depth is bounded by Lua's own stack limit and by
//! `DEPTH_MAX`, so a reply or a table that contains itself ends in an error, not in a crash.

use base::number::push_f64;
use resp::{Protocol, Sink};

use crate::raw::{Lua, LuaType};
use crate::{Host, Interrupt};

/// How deep replies and results may nest. Redis' limit follows from Lua's 8,000 stack slots.
const DEPTH_MAX: usize = 1_500;
const TOO_DEEP: &[u8] = b"ERR reached lua stack limit";

/// Names of fields that are looked up for every table a script returns, kept as Lua strings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    Err,
    Ok,
    Double,
    Map,
    Set,
    BigNumber,
    Verbatim,
    Keys,
    Argv,
}

/// The texts of [`Name`], in its order.
pub(crate) const NAMES: [&str; 9] =
    ["err", "ok", "double", "map", "set", "big_number", "verbatim_string", "KEYS", "ARGV"];

/// An aggregate whose elements are still arriving.
#[derive(Debug)]
pub(crate) struct Frame {
    shape: Shape,
    left: usize,
    next: i32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Array,
    Pairs,
    Members,
    Ignored,
}

/// Receives the reply of a command as one value on top of the Lua stack.
pub(crate) struct Incoming<'a> {
    lua: Lua,
    protocol: Protocol,
    frames: &'a mut Vec<Frame>,
    base: i32,
    is_error: bool,
    is_broken: bool,
}

impl<'a> Incoming<'a> {
    pub(crate) fn new(lua: Lua, frames: &'a mut Vec<Frame>) -> Self {
        frames.clear();
        let protocol = lua.context().protocol.get();
        Self { lua, protocol, frames, base: lua.top(), is_error: false, is_broken: false }
    }

    /// Leaves exactly one value on the stack, and says whether it is an error's table.
    pub(crate) fn finish(self) -> bool {
        if self.is_broken || !self.frames.is_empty() {
            self.lua.set_top(self.base);
            self.lua.push_error(b"-ERR the reply is too large or too deep for a script");
            return true;
        }
        if self.lua.top() == self.base {
            self.lua.push_boolean(false);
        }
        self.lua.set_top(self.base + 1);
        self.is_error
    }

    fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    fn open(&mut self, shape: Shape, len: usize) {
        if self.is_broken || self.frames.len() >= DEPTH_MAX || !self.lua.reserve(8) {
            self.is_broken = true;
            return;
        }
        match shape {
            // Where nil may come in between, no room shows what the length (`#`) will be: the list grows with what comes.
            Shape::Array if self.is_resp3() => self.lua.push_table(0, 0),
            Shape::Array => self.lua.push_list_table(len),
            Shape::Pairs | Shape::Members => {
                self.lua.push_table(0, 1);
                // It grows with what comes, as Redis' does, so that scripts go through it in the same order.
                self.lua.push_table(0, 0);
            }
            Shape::Ignored => {}
        }
        let left = if matches!(shape, Shape::Pairs | Shape::Ignored) { len.saturating_mul(2) } else { len };
        self.frames.push(Frame { shape, left, next: 0 });
        if left == 0 {
            self.close();
        }
    }

    /// The innermost aggregate is complete.
    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        match frame.shape {
            Shape::Array => {}
            Shape::Pairs => self.lua.set_field(-2, "map"),
            Shape::Members => self.lua.set_field(-2, "set"),
            Shape::Ignored => return,
        }
        self.settle();
    }

    /// A value lies on top: put it where it belongs.
    fn settle(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        match frame.shape {
            Shape::Array => {
                frame.next += 1;
                self.lua.set_item(-2, frame.next);
            }
            Shape::Pairs if frame.left.is_multiple_of(2) => {}
            Shape::Pairs => self.lua.set_pair(-3),
            Shape::Members => {
                self.lua.push_boolean(true);
                self.lua.set_pair(-3);
            }
            Shape::Ignored => self.lua.pop(1),
        }
        frame.left -= 1;
        if frame.left == 0 {
            self.close();
        }
    }

    /// Pushes one simple value and settles it.
    #[inline]
    fn value(&mut self, push: impl FnOnce(Lua)) {
        self.sized(0, push);
    }

    /// Pushes one simple value of so many bytes and settles it.
    #[inline]
    fn sized(&mut self, bytes: usize, push: impl FnOnce(Lua)) {
        if self.is_broken {
            return;
        }
        if self.lua.is_over_limit(bytes) {
            self.is_broken = true;
            return;
        }
        push(self.lua);
        if !self.frames.is_empty() {
            self.settle();
        }
    }

    fn field(&mut self, name: &str, push: impl FnOnce(Lua)) {
        self.value(|lua| {
            lua.push_table(0, 1);
            push(lua);
            lua.set_field(-2, name);
        });
    }
}

impl Sink for Incoming<'_> {
    fn status(&mut self, text: &str) {
        self.value(|lua| {
            lua.push_table(0, 1);
            lua.push_name(Name::Ok);
            lua.push_bytes(text.as_bytes());
            lua.set_pair(-3);
        });
    }

    fn error(&mut self, text: &[u8]) {
        self.is_error |= self.frames.is_empty();
        self.value(|lua| {
            lua.push_table(0, 4);
            // Its line's end is not part of it; blanks are.
            let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
            lua.push_bytes(&text[..end]);
            lua.set_field(-2, "err");
            // The host has counted the error already.
            lua.push_boolean(true);
            lua.set_field(-2, "ignore_error_stats_update");
        });
    }

    fn integer(&mut self, value: i64) {
        self.value(|lua| lua.push_number(value as f64));
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.sized(bytes.len(), |lua| lua.push_bytes(bytes));
    }

    fn null(&mut self) {
        let is_resp3 = self.is_resp3();
        self.value(|lua| if is_resp3 { lua.push_nil() } else { lua.push_boolean(false) });
    }

    fn null_array(&mut self) {
        self.null();
    }

    fn array(&mut self, len: usize) {
        self.open(Shape::Array, len);
    }

    fn map(&mut self, pairs: usize) {
        if self.is_resp3() { self.open(Shape::Pairs, pairs) } else { self.array(pairs.saturating_mul(2)) }
    }

    fn set(&mut self, len: usize) {
        self.open(if self.is_resp3() { Shape::Members } else { Shape::Array }, len);
    }

    fn push(&mut self, len: usize) {
        self.array(len);
    }

    fn double(&mut self, value: f64) {
        if self.is_resp3() {
            self.field("double", |lua| lua.push_number(value));
        } else {
            let mut text = Vec::with_capacity(24);
            push_f64(&mut text, value);
            self.bulk(&text);
        }
    }

    fn boolean(&mut self, value: bool) {
        if self.is_resp3() {
            self.value(|lua| lua.push_boolean(value));
        } else {
            self.integer(i64::from(value));
        }
    }

    fn big_number(&mut self, digits: &[u8]) {
        if self.is_resp3() {
            self.field("big_number", |lua| lua.push_bytes(digits));
        } else {
            self.bulk(digits);
        }
    }

    fn verbatim(&mut self, format: &[u8; 3], text: &[u8]) {
        if !self.is_resp3() {
            return self.bulk(text);
        }
        self.field("verbatim_string", |lua| {
            lua.push_table(0, 2);
            lua.push_bytes(text);
            lua.set_field(-2, "string");
            lua.push_bytes(format);
            lua.set_field(-2, "format");
        });
    }

    fn attribute(&mut self, pairs: usize) {
        self.open(Shape::Ignored, pairs);
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }
}

/// How many values are sent between two questions to the host.
const VALUES_PER_CHECK: u32 = 4_096;

/// Sends the value on top of the stack as a reply, and pops it. What a script returns may refer to one table from many
/// places, so its size says nothing about the reply's: the sending is stopped when the receiver takes no more, or
/// when the host says so.
///
/// # Errors
/// The host's text; then nothing was sent, as far as the receiver can take back.
pub(crate) fn send(lua: Lua, sink: &mut dyn Sink, host: &mut dyn Host) -> Result<(), &'static str> {
    let (position, speaks_resp3) = (sink.position(), lua.context().protocol.get() == Protocol::Resp3);
    let mut outgoing = Outgoing { lua, sink, host, speaks_resp3, sent: 0, is_cut: false, killed: None };
    outgoing.value(0);
    match outgoing.killed {
        None => Ok(()),
        Some(text) => {
            sink.rewind(position);
            Err(text)
        }
    }
}

struct Outgoing<'a> {
    lua: Lua,
    sink: &'a mut dyn Sink,
    host: &'a mut dyn Host,
    /// What the script chose with `setresp`; only booleans depend on it.
    speaks_resp3: bool,
    /// Values so far.
    sent: u32,
    /// The receiver takes no more.
    is_cut: bool,
    /// The host's text, when the script is to end.
    killed: Option<&'static str>,
}

impl Outgoing<'_> {
    /// Whether nothing more is to be sent.
    fn is_over(&mut self) -> bool {
        self.sent = self.sent.wrapping_add(1);
        if self.sent.is_multiple_of(VALUES_PER_CHECK)
            && self.killed.is_none()
            && let Interrupt::Kill(text) = self.host.interrupt()
        {
            self.killed = Some(text);
        }
        self.killed.is_some() || self.is_cut
    }

    fn value(&mut self, depth: usize) {
        let lua = self.lua;
        if self.sink.is_full() {
            // The receiver notes that something is left out.
            self.sink.null();
            self.is_cut = true;
            return lua.pop(1);
        }
        if depth > DEPTH_MAX || !lua.reserve_level(8) {
            self.sink.error(TOO_DEEP);
            return lua.pop(1);
        }
        match lua.kind(-1) {
            LuaType::String => self.sink.bulk(lua.bytes(-1).unwrap_or_default()),
            LuaType::Number => self.sink.integer(to_integer(lua.number(-1))),
            LuaType::Boolean if self.speaks_resp3 => self.sink.boolean(lua.boolean(-1)),
            LuaType::Boolean if lua.boolean(-1) => self.sink.integer(1),
            LuaType::Table => self.table(depth),
            _ => self.sink.null(),
        }
        lua.pop(1);
    }

    fn table(&mut self, depth: usize) {
        let is_sent = self.error()
            || self.text(Name::Ok, |sink, text| sink.status(&one_line(text)))
            || self.double()
            || self.pairs(depth)
            || self.members(depth)
            || self.text(Name::BigNumber, |sink, text| sink.big_number(one_line(text).as_bytes()))
            || self.verbatim();
        if !is_sent {
            self.array(depth);
        }
    }

    /// Pushes the named field of the table on top.
    fn field(&self, name: Name) -> LuaType {
        self.lua.push_name(name);
        self.lua.push_value_of_key(-2);
        self.lua.kind(-1)
    }

    fn text(&mut self, name: Name, send: impl FnOnce(&mut dyn Sink, &[u8])) -> bool {
        let is_text = self.field(name) == LuaType::String;
        if is_text {
            send(self.sink, self.lua.bytes(-1).unwrap_or_default());
        }
        self.lua.pop(1);
        is_text
    }

    fn error(&mut self) -> bool {
        let is_error = self.field(Name::Err) == LuaType::String;
        self.lua.pop(1);
        if is_error {
            self.lua.push_field(-1, "ignore_error_stats_update");
            let is_counted = self.lua.boolean(-1);
            self.lua.pop(1);
            self.lua.push_field(-1, "err");
            let text = self.lua.bytes(-1).unwrap_or_default();
            self.host.error_replied(text, is_counted);
            self.sink.error(text);
            self.lua.pop(1);
        }
        is_error
    }

    fn double(&mut self) -> bool {
        let is_number = self.field(Name::Double) == LuaType::Number;
        if is_number {
            self.sink.double(self.lua.number(-1));
        }
        self.lua.pop(1);
        is_number
    }

    fn count(&self) -> usize {
        let mut count = 0;
        self.lua.push_nil();
        while self.lua.next(-2) {
            count += 1;
            self.lua.pop(1);
        }
        count
    }

    fn pairs(&mut self, depth: usize) -> bool {
        let is_table = self.field(Name::Map) == LuaType::Table;
        if is_table {
            self.sink.map(self.count());
            self.lua.push_nil();
            while self.lua.next(-2) {
                self.lua.push_copy(-2);
                self.value(depth + 1);
                self.value(depth + 1);
                if self.is_over() {
                    self.lua.pop(1);
                    break;
                }
            }
        }
        self.lua.pop(1);
        is_table
    }

    fn members(&mut self, depth: usize) -> bool {
        let is_table = self.field(Name::Set) == LuaType::Table;
        if is_table {
            self.sink.set(self.count());
            self.lua.push_nil();
            while self.lua.next(-2) {
                self.lua.pop(1);
                self.lua.push_copy(-1);
                self.value(depth + 1);
                if self.is_over() {
                    self.lua.pop(1);
                    break;
                }
            }
        }
        self.lua.pop(1);
        is_table
    }

    fn verbatim(&mut self) -> bool {
        let lua = self.lua;
        let mut is_sent = false;
        if self.field(Name::Verbatim) == LuaType::Table {
            lua.push_field(-1, "format");
            lua.push_field(-2, "string");
            if lua.kind(-1) == LuaType::String && lua.kind(-2) == LuaType::String {
                let mut format = *b"   ";
                for (slot, &byte) in format.iter_mut().zip(lua.bytes(-2).unwrap_or_default()) {
                    *slot = byte;
                }
                self.sink.verbatim(&format, lua.bytes(-1).unwrap_or_default());
                is_sent = true;
            }
            lua.pop(2);
        }
        lua.pop(1);
        is_sent
    }

    /// An array ends at its first nil.
    fn array(&mut self, depth: usize) {
        let lua = self.lua;
        let mut len = 0;
        loop {
            lua.push_item(-1, len + 1);
            let is_end = lua.kind(-1) == LuaType::Nil;
            lua.pop(1);
            if is_end {
                break;
            }
            len += 1;
        }
        self.sink.array(len as usize);
        for n in 1..=len {
            lua.push_item(-1, n);
            self.value(depth + 1);
            if self.is_over() {
                break;
            }
        }
    }
}

/// A number as a reply's integer: cut towards zero; what does not fit is the smallest integer, as a C cast
/// on common hardware gives.
fn to_integer(value: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(['\r', '\n'], " ")
}
