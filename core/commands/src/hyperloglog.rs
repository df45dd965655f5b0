//! HyperLogLog: counting different elements in strings of at most 12 KiB.

use crate::call::{Call, Handled, done, read};
use crate::error::Error;
use crate::spec::{Flags, Group, Row};
use keyspace::{Event, EventClass, Text, Ttl};
use types::hyperloglog::{self as sketches, Corrupt, Registers};

const PFADD: Event = Event::new(EventClass::STRING, "pfadd");
const NOT_A_SKETCH: Error = Error::new("WRONGTYPE Key is not a valid HyperLogLog string value.");

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        Error::new("INVALIDOBJ Corrupted HLL object detected")
    }
}

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::HyperLogLog, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("pfadd", -2, pfadd).key().grows().fast(),
    row("pfcount", -2, pfcount).keys(1, -1, 1).readonly().flags(Flags::MAY_WRITE),
    row("pfdebug", 3, pfdebug).keys(2, 2, 1).grows().flags(Flags::ADMIN),
    row("pfmerge", -2, pfmerge).keys(1, -1, 1).grows(),
    row("pfselftest", 1, pfselftest).flags(Flags::ADMIN),
];

/// Calls `with` on a string that must be a sketch; `None` when there is none.
fn with_sketch<R>(
    text: Option<Text<'_>>,
    with: impl FnOnce(&[u8]) -> Result<R, Corrupt>,
) -> Result<Option<R>, Error> {
    match text {
        None => Ok(None),
        Some(Text::Bytes(bytes)) if sketches::is_sketch(bytes) => Ok(Some(with(bytes)?)),
        Some(_) => Err(NOT_A_SKETCH),
    }
}

fn pfadd(call: &mut Call<'_>) -> Handled {
    let (key, elements) = (call.args.at(1), call.args.rest(2));
    let sparse_bytes = call.db.space().limits.hll_sparse_bytes;
    // Looked at first, so that elements that are there already are no change.
    let news = with_sketch(call.db.text_to_write(key)?, |sketch| {
        for element in elements {
            let (index, value) = sketches::place(element);
            if sketches::register(sketch, index)? < value {
                return Ok(true);
            }
        }
        Ok(false)
    })?;
    match news {
        Some(false) => {
            call.reply.integer(0);
            return read();
        }
        Some(true) => add_all(call, key, elements, sparse_bytes)?,
        None => {
            let mut sketch = sketches::empty();
            let raised = raise_all(&mut sketch, elements, sparse_bytes)?;
            sketches::invalidate(&mut sketch);
            let mut text = call.db.edit_text(key)?;
            text.bytes().append(&mut sketch);
            // The key is a change as well.
            text.count(1 + raised);
        }
    }
    call.reply.integer(1);
    done(PFADD)
}

/// Adds elements of which one is new to a sketch that is there. A sparse one may be found damaged behind what was changed, and a command
/// that fails must have changed nothing: a log would hold it, and could not be replayed.
fn add_all(call: &mut Call<'_>, key: &[u8], elements: &[&[u8]], sparse_bytes: usize) -> Result<(), Error> {
    let copy = with_sketch(call.db.text_to_write(key)?, |sketch| {
        Ok(sketches::is_sparse(sketch).then(|| sketch.to_vec()))
    })?;
    let Some(mut sketch) = copy.flatten() else {
        let mut text = call.db.edit_text(key)?;
        let raised = raise_all(text.bytes(), elements, sparse_bytes)?;
        text.count(raised);
        return Ok(());
    };
    let raised = raise_all(&mut sketch, elements, sparse_bytes)?;
    let mut text = call.db.edit_text(key)?;
    *text.bytes() = sketch;
    text.count(raised);
    Ok(())
}

/// Adds elements to a sketch; how many of them have raised a register.
fn raise_all(sketch: &mut Vec<u8>, elements: &[&[u8]], sparse_bytes: usize) -> Result<usize, Error> {
    let mut raised = 0;
    for element in elements {
        raised += usize::from(sketches::add(sketch, element, sparse_bytes)?);
    }
    Ok(raised)
}

fn pfcount(call: &mut Call<'_>) -> Handled {
    let keys = call.args.rest(1);
    if let [key] = keys {
        return count_one(call, key);
    }
    let mut registers = Registers::default();
    for key in keys {
        with_sketch(call.db.text(key)?, |sketch| registers.merge(sketch))?;
    }
    call.reply.integer(registers.count() as i64);
    read()
}

/// The cardinality of one key, which then stands in its header.
fn count_one(call: &mut Call<'_>, key: &[u8]) -> Handled {
    let counted = with_sketch(call.db.text(key)?, |sketch| match sketches::cached(sketch) {
        Some(cardinality) => Ok((cardinality, true)),
        None => sketches::count(sketch).map(|cardinality| (cardinality, false)),
    })?;
    let (cardinality, was_cached) = counted.unwrap_or((0, true));
    if !was_cached {
        sketches::set_cached(call.db.edit_text(key)?.bytes(), cardinality);
    }
    call.reply.integer(cardinality as i64);
    read()
}

fn pfmerge(call: &mut Call<'_>) -> Handled {
    let (target, mut registers, mut dense) = (call.args.at(1), Registers::default(), false);
    let sparse_bytes = call.db.space().limits.hll_sparse_bytes;
    let mut merged = None;
    for key in call.args.rest(1) {
        let found = with_sketch(call.db.text(key)?, |sketch| {
            dense |= !sketches::is_sparse(sketch);
            registers.merge(sketch)?;
            Ok((key == &target).then(|| sketch.to_vec()))
        })?;
        merged = merged.or(found.flatten());
    }
    let mut sketch = merged.unwrap_or_else(sketches::empty);
    if dense {
        sketches::make_dense(&mut sketch)?;
        // The target's own are among them.
        registers.write_dense(&mut sketch);
    } else {
        for (index, &value) in registers.values().iter().enumerate().filter(|(_, value)| **value > 0) {
            sketches::raise(&mut sketch, index, value, sparse_bytes)?;
        }
    }
    sketches::invalidate(&mut sketch);
    *call.db.edit_text(target)?.bytes() = sketch;
    call.reply.ok();
    done(PFADD)
}

fn pfselftest(call: &mut Call<'_>) -> Handled {
    sketches::self_test(&mut call.db.space().random)
        .map_err(|why| Error::text(format!("ERR TESTFAILED {why}")))?;
    call.reply.ok();
    read()
}

fn pfdebug(call: &mut Call<'_>) -> Handled {
    let (args, key) = (call.args, call.args.at(2));
    let sparse = with_sketch(call.db.text_to_write(key)?, |sketch| Ok(sketches::is_sparse(sketch)))?;
    let sparse = sparse.ok_or(Error::new("ERR The specified key does not exist"))?;
    match () {
        () if args.is(1, "getreg") => {
            make_dense(call, key, sparse)?;
            let mut registers = Registers::default();
            with_sketch(call.db.text_to_write(key)?, |sketch| registers.merge(sketch))?;
            call.reply.array(registers.values().len());
            registers.values().iter().for_each(|value| call.reply.integer(i64::from(*value)));
        }
        () if args.is(1, "decode") => {
            if !sparse {
                return Err(Error::new("ERR HLL encoding is not sparse"));
            }
            let text = with_sketch(call.db.text_to_write(key)?, sketches::describe)?.unwrap_or_default();
            call.reply.bulk(text.as_bytes());
        }
        () if args.is(1, "encoding") => call.reply.status(if sparse { "sparse" } else { "dense" }),
        () if args.is(1, "todense") => {
            make_dense(call, key, sparse)?;
            call.reply.count(usize::from(sparse));
        }
        () => {
            return Err(Error::quoting("ERR Unknown PFDEBUG subcommand '{}'", &[args.at(1)]));
        }
    }
    read()
}

fn make_dense(call: &mut Call<'_>, key: &[u8], sparse: bool) -> Result<(), Error> {
    if sparse {
        let mut dense = with_sketch(call.db.text_to_write(key)?, |sketch| Ok(sketch.to_vec()))?
            .unwrap_or_else(sketches::empty);
        sketches::make_dense(&mut dense)?;
        call.db.put_text(key, &dense, Ttl::Keep);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::dialogue;

    #[test]
    fn elements_are_counted_once() {
        dialogue(
            COMMANDS,
            &[
                ("PFADD a x y z", ":1"),
                ("PFADD a x y z", ":0"),
                ("PFCOUNT a", ":3"),
                ("PFCOUNT a", ":3"),
                ("PFADD b z w", ":1"),
                ("PFADD b", ":0"),
                ("PFADD fresh", ":1"),
                ("PFCOUNT a b none fresh", ":4"),
                ("PFMERGE all a b", "+OK"),
                ("PFCOUNT all", ":4"),
                ("PFCOUNT none", ":0"),
                ("PFDEBUG ENCODING all", "+sparse"),
                ("PFDEBUG TODENSE all", ":1"),
                ("PFDEBUG TODENSE all", ":0"),
                ("PFCOUNT all", ":4"),
                ("PFDEBUG DECODE all", "-ERR HLL encoding is not sparse"),
                ("PFSELFTEST", "+OK"),
            ],
        );
    }
}
