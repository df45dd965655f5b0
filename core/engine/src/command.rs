//! COMMAND: what the server tells about its commands.
//!
//! What the gate needs of a command comes from its row, everything else from `commands::docs`.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::table::Command;
use commands::docs::{self, positions, syntax};
use commands::{Args, Error, Flags, Group, KeyUse, Keys, Row, Spec};
use resp::Reply;

const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Connection, run).flags(LATE)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[row("command", -1, command).subcommands(&[
    row("command|count", 2, count),
    row("command|docs", -2, document_some),
    row("command|getkeys", -3, getkeys),
    row("command|getkeysandflags", -3, getkeysandflags),
    row("command|help", 2, crate::admin::help),
    row("command|info", -2, info),
    row("command|list", -2, list),
])];

/// Indices of the commands that are no subcommands.
fn tops(engine: &Engine) -> Vec<usize> {
    (0..engine.table.commands.len()).filter(|i| engine.table.commands[*i].parent.is_none()).collect()
}

fn command(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let tops = tops(engine);
    turn.reply.array(tops.len());
    tops.into_iter().for_each(|i| describe(engine, i, &mut turn.reply));
    Ok(Step::Done(None))
}

fn count(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.count(tops(engine).len());
    Ok(Step::Done(None))
}

fn info(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names = turn.args.rest(2);
    if names.is_empty() {
        return command(engine, turn);
    }
    turn.reply.array(names.len());
    for name in names {
        match engine.table.find_full(name) {
            Some(index) => describe(engine, index, &mut turn.reply),
            None => turn.reply.null(),
        }
    }
    Ok(Step::Done(None))
}

/// First key, last key, step, as COMMAND tells them.
fn key_positions(keys: Keys) -> (i64, i64, i64) {
    match keys {
        Keys::None | Keys::Streams | Keys::CountedPairs { .. } | Keys::Counted { destination: false, .. } => {
            (0, 0, 0)
        }
        Keys::Range { first, last, step } => (first as i64, last as i64, step as i64),
        Keys::Counted { destination: true, .. } | Keys::FirstAndStore => (1, 1, 1),
        Keys::ThirdOrKeys => (3, 3, 1),
    }
}

/// One command as COMMAND INFO tells it.
fn describe(engine: &Engine, index: usize, reply: &mut Reply<'_>) {
    let Command { spec, subcommands, .. } = &engine.table.commands[index];
    let (first, last, step) = key_positions(spec.keys);
    let (tips, keys) = docs::find(spec.name).map_or((&[][..], &[][..]), |(_, doc)| (doc.tips, doc.keys));
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    let mut flags: Vec<&str> =
        Flags::NAMES.iter().filter(|(flag, _)| spec.flags.has(*flag)).map(|(_, name)| *name).collect();
    flags.extend(Some("no_mandatory_keys").filter(|_| is_script(spec)));
    reply.set(flags.len());
    flags.iter().for_each(|f| reply.status(f));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories = spec.categories();
    reply.set(categories.len());
    categories.iter().for_each(|c| reply.status(&format!("@{c}")));
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    positions::write(keys, reply);
    // As in Redis: one that has none says so by an empty set.
    if subcommands.is_empty() {
        reply.set(0)
    } else {
        reply.array(subcommands.len())
    }
    subcommands.iter().for_each(|sub| describe(engine, *sub, reply));
}

/// Whether it runs a script, which may have no keys at all.
fn is_script(spec: &Spec) -> bool {
    spec.group == Group::Scripting && spec.keys != Keys::None
}

fn document_some(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let names = turn.args.rest(2);
    let found: Vec<usize> = if names.is_empty() {
        tops(engine)
    } else {
        names.iter().filter_map(|n| engine.table.find_full(n)).collect()
    };
    turn.reply.map(found.len());
    for index in found {
        document(engine, index, &mut turn.reply);
    }
    Ok(Step::Done(None))
}

/// One command as COMMAND DOCS tells it.
fn document(engine: &Engine, index: usize, reply: &mut Reply<'_>) {
    let Command { spec, subcommands, .. } = &engine.table.commands[index];
    reply.bulk(spec.name.as_bytes());
    let Some((group, doc)) = docs::find(spec.name) else { return reply.map(0) };
    let arguments = syntax::parse(doc.arguments).unwrap_or_default();
    let replaced = doc.replaced.map(|(since, by)| [("deprecated_since", since), ("replaced_by", by)]);
    let flag = if doc.internal { Some("syscmd") } else { replaced.map(|_| "deprecated") };
    let mut fields = vec![("summary", doc.summary), ("since", doc.since), ("group", group)];
    fields.extend(Some(("complexity", doc.complexity)).filter(|(_, text)| !text.is_empty()));
    let more = [flag.is_some(), !arguments.is_empty(), !subcommands.is_empty()];
    let pairs = fields.len() + more.iter().filter(|is| **is).count() + replaced.map_or(0, |r| r.len());
    reply.map(pairs);
    fields.iter().for_each(|(name, text)| field(reply, name, text));
    if let Some(flag) = flag {
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.status(flag);
    }
    replaced.iter().flatten().for_each(|(name, text)| field(reply, name, text));
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        syntax::write(&arguments, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        subcommands.iter().for_each(|sub| document(engine, *sub, reply));
    }
}

fn field(reply: &mut Reply<'_>, name: &str, text: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}

fn list(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    let pass: Box<dyn Fn(&Command) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "filterby") && args.is(3, "aclcat") => {
            let category = String::from_utf8_lossy(args.at(4)).to_ascii_lowercase();
            Box::new(move |c| c.spec.categories().contains(&category.as_str()))
        }
        5 if args.is(2, "filterby") && args.is(3, "pattern") => {
            let pattern = args.at(4).to_vec();
            Box::new(move |c| base::glob::matches(&pattern, c.spec.name.as_bytes(), true))
        }
        5 if args.is(2, "filterby") && args.is(3, "module") => Box::new(|_| false),
        _ => return Err(Error::SYNTAX),
    };
    let names: Vec<&str> = (engine.table.commands.iter()).filter(|c| pass(c)).map(|c| c.spec.name).collect();
    turn.reply.bulks(&names);
    Ok(Step::Done(None))
}

/// The keys of a request: their indices and how they are used.
fn keys_of(engine: &Engine, args: Args<'_>) -> Result<Vec<(usize, KeyUse)>, Error> {
    let argv = args.rest(2);
    let index = engine.table.find(argv).ok_or(Error::new("ERR Invalid command specified"))?;
    let Command { spec, keys, subcommands, .. } = &engine.table.commands[index];
    // What follows a container's name is a subcommand that it has not.
    if !subcommands.is_empty() && argv.len() > 1 {
        return Err(Error::new("ERR Invalid command specified"));
    }
    if spec.keys == Keys::None || !keys.finds_keys() {
        return Err(Error::new("ERR The command has no key arguments"));
    }
    if !spec.arity_allows(argv.len()) {
        return Err(Error::new("ERR Invalid number of arguments specified for command"));
    }
    let found = keys.find(argv).filter(|_| keys.begins_within(argv)).unwrap_or_default();
    // A script needs no keys, so what cannot be read counts as none.
    if found.is_empty() && !is_script(spec) {
        return Err(Error::new("ERR Invalid arguments specified for command"));
    }
    Ok(found)
}

fn getkeys(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let found = keys_of(engine, turn.args)?;
    turn.reply.array(found.len());
    found.iter().for_each(|(at, _)| turn.reply.bulk(turn.args.at(at + 2)));
    Ok(Step::Done(None))
}

fn getkeysandflags(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let found = keys_of(engine, turn.args)?;
    turn.reply.array(found.len());
    for (at, used) in found {
        turn.reply.array(2);
        turn.reply.bulk(turn.args.at(at + 2));
        let flags: Vec<&str> = used.flags().collect();
        turn.reply.set(flags.len());
        flags.iter().for_each(|f| turn.reply.status(f));
    }
    Ok(Step::Done(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn every_command_is_documented_and_nothing_else() {
        let table = Table::new();
        let undocumented: Vec<&str> =
            table.commands.iter().map(|c| c.spec.name).filter(|name| docs::find(name).is_none()).collect();
        assert_eq!(undocumented, [""; 0]);
        let unknown: Vec<&str> =
            docs::all().map(|d| d.name).filter(|name| table.find_full(name.as_bytes()).is_none()).collect();
        assert_eq!(unknown, [""; 0]);
    }
}
