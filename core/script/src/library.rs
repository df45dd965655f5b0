//! The text of a library: its first line, and what it registers while it is loaded.
//!
//! A library's chunk runs once, in an environment that holds nothing but `redis.register_function` and the log.
//! What it registers waits in the machine's context until the whole load has succeeded.

use crate::raw::{Lua, LuaType, Outcome, Reference};
use crate::shebang::{Flags, slot};

/// A function that a running load has registered.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) name: Vec<u8>,
    pub(crate) description: Option<Vec<u8>>,
    pub(crate) flags: Flags,
    pub(crate) callback: Reference,
}

const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Splits a library's source into its name and what is to be compiled, which keeps its line numbers.
///
/// # Errors
/// In Redis' words, without code.
pub(crate) fn parse(source: &[u8]) -> Result<(Vec<u8>, &[u8]), Vec<u8>> {
    if !source.starts_with(b"#!") {
        return Err("Missing library metadata".into());
    }
    let end = source.iter().position(|&c| c == b'\n').ok_or("Invalid library metadata")?;
    let (line, body) = source.split_at(end);
    let words = resp::split_inline(line).ok_or("Invalid library metadata")?;
    let mut name = None;
    for word in &words[1..] {
        if !word.get(..5).is_some_and(|key| key.eq_ignore_ascii_case(b"name=")) {
            return Err([b"Invalid metadata value given: ", word.as_slice()].concat());
        }
        if name.is_some() {
            return Err("Invalid metadata value, name argument was given multiple times".into());
        }
        name = Some(word[5..].to_vec());
    }
    let name = name.ok_or("Library name was not given")?;
    if !is_name(&name) {
        return Err(BAD_NAME.into());
    }
    let engine = &words[0][2..];
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"Engine '", engine, b"' not found"].concat());
    }
    Ok((name, body))
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
}

/// `redis.register_function`, in both of its forms.
pub(crate) fn register_function(lua: Lua) -> Outcome {
    let Some(mut registered) = lua.context().registered.take() else {
        return lua.raise_error("redis.register_function can only be called on FUNCTION LOAD command");
    };
    let outcome = read(lua).and_then(|function| match is_new(&registered, &function.name) {
        true => Ok(function),
        false => Err("Function already exists in the library"),
    });
    let outcome = match outcome {
        Ok(Wanted { name, description, flags }) => {
            // `read` has left the callback on top.
            registered.push(Registered { name, description, flags, callback: lua.keep() });
            Ok(0)
        }
        Err(text) => lua.raise_error(text),
    };
    lua.context().registered.set(Some(registered));
    outcome
}

fn is_new(registered: &[Registered], name: &[u8]) -> bool {
    !registered.iter().any(|known| known.name.eq_ignore_ascii_case(name))
}

/// What a script wants to register; its callback lies on top of the stack.
struct Wanted {
    name: Vec<u8>,
    description: Option<Vec<u8>>,
    flags: Flags,
}

fn read(lua: Lua) -> Result<Wanted, &'static str> {
    let wanted = match lua.top() {
        1 if lua.kind(1) != LuaType::Table => {
            return Err(
                "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            );
        }
        1 => read_named(lua)?,
        2 => {
            let name = lua.bytes(1).ok_or("first argument to redis.register_function must be a string")?;
            let name = name.to_vec();
            if lua.kind(2) != LuaType::Function {
                return Err("second argument to redis.register_function must be a function");
            }
            Wanted { name, description: None, flags: Flags::of_functions() }
        }
        _ => return Err("wrong number of arguments to redis.register_function"),
    };
    if is_name(&wanted.name) { Ok(wanted) } else { Err(BAD_NAME) }
}

fn read_named(lua: Lua) -> Result<Wanted, &'static str> {
    let (mut name, mut description, mut flags, mut has_callback) = (None, None, Flags::of_functions(), false);
    // 2 is the callback's place.
    lua.push_nil();
    lua.push_nil();
    while lua.next(1) {
        if lua.kind(-2) != LuaType::String {
            return Err("unknown argument given to redis.register_function");
        }
        let key = lua.bytes(-2).unwrap_or_default().to_ascii_lowercase();
        match key.as_slice() {
            b"function_name" => {
                let given = "function_name argument given to redis.register_function must be a string";
                name = Some(lua.bytes(-1).ok_or(given)?.to_vec());
            }
            b"description" => {
                let given = "description argument given to redis.register_function must be a string";
                description = Some(lua.bytes(-1).ok_or(given)?.to_vec());
            }
            b"callback" => {
                if lua.kind(-1) != LuaType::Function {
                    return Err("callback argument given to redis.register_function must be a function");
                }
                lua.push_copy(-1);
                lua.replace(2);
                has_callback = true;
            }
            b"flags" => flags = read_flags(lua)?,
            _ => return Err("unknown argument given to redis.register_function"),
        }
        lua.pop(1);
    }
    let name = name.ok_or("redis.register_function must get a function name argument")?;
    if !has_callback {
        return Err("redis.register_function must get a callback argument");
    }
    Ok(Wanted { name, description, flags })
}

/// The flags in the list on top.
fn read_flags(lua: Lua) -> Result<Flags, &'static str> {
    if lua.kind(-1) != LuaType::Table {
        return Err("flags argument to redis.register_function must be a table representing function flags");
    }
    let mut flags = Flags::of_functions();
    for n in 1.. {
        lua.push_item(-1, n);
        if lua.kind(-1) == LuaType::Nil {
            break;
        }
        let flag = (lua.kind(-1) == LuaType::String).then(|| lua.bytes(-1)).flatten().unwrap_or_default();
        *slot(&mut flags, flag).ok_or("unknown flag given")? = true;
        lua.pop(1);
    }
    lua.pop(1);
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_first_line_gives_the_name_and_stays_in_the_line_count() {
        let source = b"#!LUA NAME=\"my_lib\"\nreturn 1";
        let (name, body) = parse(source).unwrap();
        assert_eq!((name.as_slice(), body), (&b"my_lib"[..], &b"\nreturn 1"[..]));
        for (source, text) in [
            ("return 1\n", "Missing library metadata"),
            ("#!lua name=a", "Invalid library metadata"),
            ("#!lua name=\"a\n", "Invalid library metadata"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua name=a name=b\n", "Invalid metadata value, name argument was given multiple times"),
            ("#!lua foo=bar\n", "Invalid metadata value given: foo=bar"),
            ("#!foo name=bar\n", "Engine 'foo' not found"),
            ("#!lua name=a-b\n", super::BAD_NAME),
        ] {
            assert_eq!(parse(source.as_bytes()).unwrap_err(), text.as_bytes());
        }
    }
}
