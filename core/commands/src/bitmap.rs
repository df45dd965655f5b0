//! Strings as bit maps: single bits, counting and searching, combining, integer fields.

use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use crate::spec::{Group, Row};
use crate::string::lengthen;
use base::number::parse_i64;
use core::ops::Range;
use keyspace::{Event, EventClass, Text};
use resp::Reply;
use smallvec::SmallVec;
use types::Entry;
use types::bits::{self, Field, Operation, Overflow};

const SETBIT: Event = Event::new(EventClass::STRING, "setbit");
const SET: Event = Event::new(EventClass::STRING, "set");
const BAD_OFFSET: Error = Error::new("ERR bit offset is not an integer or out of range");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Bitmap, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("bitcount", -2, bitcount).key().readonly(),
    row("bitfield", -2, bitfield).key().grows().key_use(use_of_bitfield),
    row("bitfield_ro", -2, bitfield_ro).key().readonly().fast(),
    row("bitop", -4, bitop).keys(2, -1, 1).grows(),
    row("bitpos", -3, bitpos).key().readonly(),
    row("getbit", 3, getbit).key().readonly().fast(),
    row("setbit", 4, setbit).key().grows(),
];

/// BITFIELD only reads unless one of its steps writes.
fn use_of_bitfield(argv: &[&[u8]]) -> &'static str {
    if only_reads_bits(argv) { "RO access" } else { "RW access update" }
}

/// Whether a BITFIELD says nothing but GET and OVERFLOW, each with all its words. What cannot be read counts as a write.
fn only_reads_bits(argv: &[&[u8]]) -> bool {
    let mut at = 2;
    while let Some(word) = argv.get(at) {
        let words = match () {
            () if word.eq_ignore_ascii_case(b"get") => 3,
            () if word.eq_ignore_ascii_case(b"overflow") => 2,
            () => return false,
        };
        if argv.len() - at < words {
            return false;
        }
        at += words;
    }
    true
}

/// Calls `with` on the bytes of a string, printed where it is an integer; `None` when there is none.
fn with_bytes<R>(text: Option<Text<'_>>, with: impl FnOnce(&[u8]) -> R) -> Option<R> {
    match text? {
        Text::Bytes(bytes) => Some(with(bytes)),
        text @ Text::Int(_) => Some(with(&text.to_vec())),
    }
}

/// A bit offset: within `bytes_max`. A leading `#` counts in fields of `width` bits.
fn bit_offset(text: &[u8], width: Option<u32>, bytes_max: usize) -> Result<u64, Error> {
    let (digits, unit) = match (text, width) {
        ([b'#', digits @ ..], Some(width)) => (digits, i64::from(width)),
        _ => (text, 1),
    };
    let offset = parse_i64(digits).and_then(|n| n.checked_mul(unit)).ok_or(BAD_OFFSET)?;
    let offset = u64::try_from(offset).map_err(|_| BAD_OFFSET)?;
    if offset / 8 >= bytes_max as u64 { Err(BAD_OFFSET) } else { Ok(offset) }
}

// Single bits.

fn setbit(call: &mut Call<'_>) -> Handled {
    const BAD_BIT: Error = Error::new("ERR bit is not an integer or out of range");
    let bytes_max = call.db.space().limits.string_bytes;
    let (key, offset) = (call.args.at(1), bit_offset(call.args.at(2), None, bytes_max)?);
    let on = match parse_i64(call.args.at(3)) {
        Some(bit @ (0 | 1)) => bit == 1,
        _ => return Err(BAD_BIT),
    };
    let at = |bytes: &[u8]| (8 * bytes.len() as u64 > offset).then(|| bits::get(bytes, offset));
    let before = with_bytes(call.db.text_to_write(key)?, at).flatten();
    call.reply.integer(i64::from(before == Some(true)));
    if before == Some(on) {
        call.db.spell_out(key);
        return read();
    }
    let mut text = call.db.edit_text(key)?;
    reach(text.bytes(), offset);
    bits::set(text.bytes(), offset, on);
    done(SETBIT)
}

/// Lengthens `bytes` by zeros so that bit `offset` is in it.
fn reach(bytes: &mut Vec<u8>, offset: u64) {
    lengthen(bytes, (offset / 8) as usize + 1);
}

fn getbit(call: &mut Call<'_>) -> Handled {
    let bytes_max = call.db.space().limits.string_bytes;
    let (key, offset) = (call.args.at(1), bit_offset(call.args.at(2), None, bytes_max)?);
    let on = with_bytes(call.db.text(key)?, |bytes| bits::get(bytes, offset));
    call.reply.integer(i64::from(on == Some(true)));
    read()
}

// Counting and searching.

/// A range as it was asked for: both ends included, negative ones from the end.
#[derive(Clone, Copy, Debug)]
struct Asked {
    start: i64,
    /// `None`: to the end.
    end: Option<i64>,
    /// Bits that one step means.
    unit: i64,
}

impl Asked {
    const WHOLE: Asked = Asked { start: 0, end: None, unit: 8 };

    /// Reads `start [end [BYTE|BIT]]` from argument `i` on.
    fn parse(args: Args<'_>, i: usize, end_first: bool) -> Result<Asked, Error> {
        if args.len() > i + 3 {
            return Err(Error::SYNTAX);
        }
        let mut asked = Asked::WHOLE;
        if args.len() > i {
            asked.start = args.int(i)?;
        }
        let end = (args.len() > i + 1).then(|| args.int(i + 1));
        // Of a bad end and a bad unit, BITCOUNT names the end and BITPOS the unit.
        if end_first && let Some(Err(error)) = end {
            return Err(error);
        }
        if args.len() > i + 2 {
            asked.unit = match () {
                () if args.is(i + 2, "bit") => 1,
                () if args.is(i + 2, "byte") => 8,
                () => return Err(Error::SYNTAX),
            };
        }
        asked.end = end.transpose()?;
        Ok(asked)
    }

    /// The bits that are meant in a string of `len` bytes.
    fn bits(self, len: usize) -> Range<u64> {
        let total = len as i64 * 8 / self.unit;
        let end = self.end.unwrap_or(total - 1);
        let clamp = |at: i64| if at < 0 { at.saturating_add(total).max(0) } else { at };
        let (start, end) = (clamp(self.start), clamp(end).min(total - 1));
        if start > end { 0..0 } else { (start * self.unit) as u64..((end + 1) * self.unit) as u64 }
    }
}

fn bitcount(call: &mut Call<'_>) -> Handled {
    let asked = Asked::parse(call.args, 2, true)?;
    // Ends in the wrong order mean nothing here, but BITPOS first moves both to the string's beginning if need be.
    let reversed = asked.start < 0 && asked.end.is_some_and(|end| end < 0 && asked.start > end);
    let counted = |bytes: &[u8]| if reversed { 0 } else { bits::count(bytes, asked.bits(bytes.len())) };
    let count = with_bytes(call.db.text(call.args.at(1))?, counted);
    call.reply.integer(count.unwrap_or(0) as i64);
    read()
}

fn bitpos(call: &mut Call<'_>) -> Handled {
    let on = match call.args.int(2)? {
        bit @ (0 | 1) => bit == 1,
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    let asked = Asked::parse(call.args, 3, false)?;
    let found = with_bytes(call.db.text(call.args.at(1))?, |bytes| {
        let range = asked.bits(bytes.len());
        let behind = (!on && asked.end.is_none() && !range.is_empty()).then_some(range.end);
        bits::first(bytes, on, range).or(behind)
    });
    // A missing key is an endless row of zeros; so is what follows a string, unless an end was given.
    let position = match found {
        None => {
            if on {
                -1
            } else {
                0
            }
        }
        Some(position) => position.map_or(-1, |at| at as i64),
    };
    call.reply.integer(position);
    read()
}

// Combining.

fn bitop(call: &mut Call<'_>) -> Handled {
    let (args, target) = (call.args, call.args.at(2));
    let operation = match () {
        () if args.is(1, "and") => Some(Operation::And),
        () if args.is(1, "or") => Some(Operation::Or),
        () if args.is(1, "xor") => Some(Operation::Xor),
        () if args.is(1, "not") => None,
        () if args.is(1, "diff") => Some(Operation::Diff),
        () if args.is(1, "diff1") => Some(Operation::Diff1),
        () if args.is(1, "andor") => Some(Operation::AndOr),
        () if args.is(1, "one") => Some(Operation::One),
        () => return Err(Error::SYNTAX),
    };
    if matches!(operation, Some(Operation::Diff | Operation::Diff1 | Operation::AndOr)) && args.len() < 5 {
        let name = String::from_utf8_lossy(args.at(1)).to_uppercase();
        return Err(Error::text(format!("ERR BITOP {name} must be called with at least two source keys.")));
    }
    if operation.is_none() && args.len() != 4 {
        return Err(Error::new("ERR BITOP NOT must be called with a single source key."));
    }
    let mut sources = Vec::with_capacity(args.len() - 3);
    for key in args.rest(3) {
        sources.push(call.db.share_text(key)?.unwrap_or_default());
    }
    let sources: Vec<&[u8]> = sources.iter().map(|source| source.as_slice()).collect();
    let result = match operation {
        Some(operation) => bits::combine(operation, &sources),
        None => bits::invert(sources[0]),
    };
    call.reply.count(result.len());
    if result.is_empty() {
        call.db.remove(target);
        return done(Event::DEL);
    }
    // As a buffer even where the bytes are the text of an integer: so Redis keeps it, and OBJECT ENCODING shows it.
    call.db.put_entry(Entry::buffer(target, result, None));
    done(SET)
}

// Fields.

#[derive(Clone, Copy, Debug)]
enum FieldAction {
    Get,
    Set(i64),
    Add(i64),
}

/// One step of BITFIELD.
#[derive(Clone, Copy, Debug)]
struct FieldStep {
    field: Field,
    offset: u64,
    action: FieldAction,
    policy: Overflow,
}

type FieldSteps = SmallVec<[FieldStep; 4]>;

fn field_type(text: &[u8]) -> Result<Field, Error> {
    const BAD: Error = Error::new(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    );
    let (signed, digits, width_max) = match text {
        [b'i', digits @ ..] => (true, digits, 64),
        [b'u', digits @ ..] => (false, digits, 63),
        _ => return Err(BAD),
    };
    let width = parse_i64(digits).filter(|width| (1..=width_max).contains(width)).ok_or(BAD)?;
    Ok(Field { signed, width: width as u32 })
}

fn field_steps(args: Args<'_>, bytes_max: usize) -> Result<FieldSteps, Error> {
    let (mut steps, mut policy, mut i) = (FieldSteps::new(), Overflow::Wrap, 2);
    while i < args.len() {
        let left = args.len() - i - 1;
        if args.is(i, "overflow") && left >= 1 {
            policy = match () {
                () if args.is(i + 1, "wrap") => Overflow::Wrap,
                () if args.is(i + 1, "sat") => Overflow::Saturate,
                () if args.is(i + 1, "fail") => Overflow::Fail,
                () => return Err(Error::new("ERR Invalid OVERFLOW type specified")),
            };
            i += 2;
            continue;
        }
        let (is_get, is_set) = (args.is(i, "get"), args.is(i, "set"));
        if !(is_get && left >= 2 || (is_set || args.is(i, "incrby")) && left >= 3) {
            return Err(Error::SYNTAX);
        }
        let field = field_type(args.at(i + 1))?;
        let offset = bit_offset(args.at(i + 2), Some(field.width), bytes_max)?;
        let action = match () {
            () if is_get => FieldAction::Get,
            () if is_set => FieldAction::Set(args.int(i + 3)?),
            () => FieldAction::Add(args.int(i + 3)?),
        };
        steps.push(FieldStep { field, offset, action, policy });
        i += if is_get { 3 } else { 4 };
    }
    Ok(steps)
}

fn bitfield(call: &mut Call<'_>) -> Handled {
    let steps = field_steps(call.args, call.db.space().limits.string_bytes)?;
    let written = steps.iter().filter(|step| !matches!(step.action, FieldAction::Get));
    match written.map(|step| step.offset + u64::from(step.field.width) - 1).max() {
        None => read_fields(call, &steps),
        Some(last_bit) => write_fields(call, &steps, last_bit),
    }
}

fn bitfield_ro(call: &mut Call<'_>) -> Handled {
    let steps = field_steps(call.args, call.db.space().limits.string_bytes)?;
    if steps.iter().any(|step| !matches!(step.action, FieldAction::Get)) {
        return Err(Error::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_fields(call, &steps)
}

fn read_fields(call: &mut Call<'_>, steps: &[FieldStep]) -> Handled {
    let text = call.db.text(call.args.at(1))?;
    let values = with_bytes(text, |bytes| outcomes(steps, bytes)).unwrap_or_else(|| outcomes(steps, b""));
    reply_fields(call, &values)
}

type Outcomes = SmallVec<[Option<i64>; 4]>;

/// What each of `steps` replies where none of them changes anything.
fn outcomes(steps: &[FieldStep], bytes: &[u8]) -> Outcomes {
    steps.iter().map(|step| step.outcome(step.before(bytes))).collect()
}

fn reply_fields(call: &mut Call<'_>, values: &[Option<i64>]) -> Handled {
    call.reply.array(values.len());
    values.iter().for_each(|value| reply_field(&mut call.reply, *value));
    read()
}

fn reply_field(reply: &mut Reply<'_>, value: Option<i64>) {
    match value {
        Some(value) => reply.integer(value),
        None => reply.null(),
    }
}

impl FieldStep {
    fn before(&self, bytes: &[u8]) -> i64 {
        self.field.get(bytes, self.offset)
    }

    /// What the field holds after the step; `None` where an overflow makes it fail.
    fn outcome(&self, before: i64) -> Option<i64> {
        match self.action {
            FieldAction::Get => Some(before),
            FieldAction::Set(value) => self.field.fitted(value, self.policy),
            FieldAction::Add(by) => self.field.sum(before, by, self.policy),
        }
    }

    /// Whether it leaves what is there as it is.
    fn changes_nothing(&self, bytes: &[u8]) -> bool {
        let before = self.before(bytes);
        self.outcome(before).is_none_or(|after| after == before)
    }
}

fn write_fields(call: &mut Call<'_>, steps: &[FieldStep], last_bit: u64) -> Handled {
    let key = call.args.at(1);
    // Then nothing is booked, as in Redis; and before and after being the same, the reply is that of reading.
    let unchanged = |bytes: &[u8]| {
        let stays = last_bit < 8 * bytes.len() as u64 && steps.iter().all(|step| step.changes_nothing(bytes));
        stays.then(|| outcomes(steps, bytes))
    };
    if let Some(values) = with_bytes(call.db.text_to_write(key)?, unchanged).flatten() {
        call.db.spell_out(key);
        return reply_fields(call, &values);
    }
    let mut text = call.db.edit_text(key)?;
    let bytes = text.bytes();
    let length = bytes.len();
    reach(bytes, last_bit);
    let grown = bytes.len() > length;
    call.reply.array(steps.len());
    let (mut wrote, mut changes) = (false, 0);
    for step in steps {
        let before = step.before(bytes);
        let after = step.outcome(before);
        if let (Some(after), FieldAction::Set(_) | FieldAction::Add(_)) = (after, step.action) {
            step.field.set(bytes, step.offset, after);
            wrote = true;
            changes += usize::from(grown || after != before);
        }
        let told = if matches!(step.action, FieldAction::Set(_)) { after.map(|_| before) } else { after };
        reply_field(&mut call.reply, told);
    }
    if wrote {
        text.count(changes);
        return done(SETBIT);
    }
    // Redis lets the string grow even if every step failed, but tells nobody.
    text.keep_contents();
    read()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::dialogue;

    #[test]
    fn bits_are_set_and_found() {
        dialogue(
            COMMANDS,
            &[
                ("SETBIT b 7 1", ":0"),
                ("SETBIT b 7 1", ":1"),
                ("GETBIT b 7", ":1"),
                ("GETBIT b 700", ":0"),
                ("BITCOUNT b", ":1"),
                ("BITCOUNT b 0 -1 BIT", ":1"),
                ("BITCOUNT b 0", ":1"),
                ("BITCOUNT b -1", ":1"),
                ("BITCOUNT b 9", ":0"),
                ("BITCOUNT b x", "-ERR value is not an integer or out of range"),
                ("BITCOUNT none 0", ":0"),
                ("BITPOS b 1", ":7"),
                ("BITPOS b 0 -1", ":0"),
                ("BITCOUNT b -20 -30", ":0"),
                ("BITPOS b 0 -20 -30", ":0"),
                ("BITPOS none 0", ":0"),
                ("BITPOS none 1", ":-1"),
                ("BITOP NOT n b", ":1"),
                ("BITPOS n 0", ":7"),
                ("BITPOS n 0 0 6 BIT", ":-1"),
                ("BITOP DIFF d b", "-ERR BITOP DIFF must be called with at least two source keys."),
                ("BITOP DIFF1 d b n", ":1"),
                ("BITCOUNT d", ":7"),
                ("BITOP one d b n", ":1"),
                ("BITCOUNT d", ":8"),
                ("SETBIT b 4294967296 1", "-ERR bit offset is not an integer or out of range"),
                ("SETBIT b 1 2", "-ERR bit is not an integer or out of range"),
            ],
        );
    }

    #[test]
    fn fields_overflow_as_told() {
        dialogue(
            COMMANDS,
            &[
                ("BITFIELD f SET u8 #1 255 GET u8 8", "*2 :0 :255"),
                ("BITFIELD f INCRBY u8 8 10 OVERFLOW SAT INCRBY u8 8 1000", "*2 :9 :255"),
                ("BITFIELD f OVERFLOW FAIL INCRBY u8 8 1", "*1 $-1"),
                (
                    "BITFIELD f GET u64 0",
                    "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
                ),
                ("BITFIELD_RO f GET i4 8", "*1 :-1"),
                ("BITFIELD_RO f SET i4 8 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
            ],
        );
    }
}
