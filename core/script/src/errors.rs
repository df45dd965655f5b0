//! What a failed run tells: the table that every error becomes, and the error reply made of it.

use crate::interpreter::RunError;
use crate::raw::{Lua, LuaType, Outcome};

/// The error handler: makes a table of every error and writes down where it happened.
pub(crate) fn describe(lua: Lua) -> Outcome {
    lua.set_top(1);
    if lua.kind(1) != LuaType::Table {
        let mut text = b"ERR ".to_vec();
        match lua.kind(1) {
            LuaType::Boolean if lua.boolean(1) => text.extend_from_slice(b"true"),
            LuaType::Boolean => text.extend_from_slice(b"false"),
            _ => match lua.bytes(1) {
                Some(bytes) => text.extend_from_slice(bytes),
                None => text.extend_from_slice(lua.type_name(1).as_bytes()),
            },
        }
        lua.push_table(0, 3);
        lua.push_bytes(&text);
        lua.set_field(-2, "err");
    } else if lua.is_protected(1) {
        lua.push_table(0, 3);
    }
    let level = lua.level(1).filter(|level| !level.is_foreign).or_else(|| lua.level(2));
    if let Some(level) = level {
        lua.push_bytes(level.source.as_bytes());
        lua.set_field(-2, "source");
        lua.push_number(f64::from(level.line));
        lua.set_field(-2, "line");
    }
    Ok(1)
}

/// The text of the error value on top of the stack, without place.
pub(crate) fn text(lua: Lua) -> Vec<u8> {
    if lua.kind(-1) != LuaType::Table {
        return lua.bytes(-1).unwrap_or(b"execution failure").to_vec();
    }
    lua.push_field(-1, "err");
    let text = match lua.kind(-1) {
        LuaType::String | LuaType::Number => lua.bytes(-1).unwrap_or_default().to_vec(),
        _ => b"ERR unknown error".to_vec(),
    };
    lua.pop(1);
    text
}

/// The error reply for the error value on top of the stack. `script` is the name of what ran.
pub(crate) fn failure(lua: Lua, script: &[u8]) -> RunError {
    let told = text(lua);
    if lua.kind(-1) != LuaType::Table {
        let text = [b"ERR Error running script ", script, b", ", &told].concat();
        return RunError::Failed { text, is_counted: false };
    }
    lua.push_field(-1, "ignore_error_stats_update");
    let is_counted = lua.boolean(-1);
    let mut text = told;
    lua.push_field(-2, "source");
    lua.push_field(-3, "line");
    if let (LuaType::String, LuaType::Number) = (lua.kind(-2), lua.kind(-1)) {
        text.extend_from_slice(b" script: ");
        text.extend_from_slice(script);
        text.extend_from_slice(b", on ");
        text.extend_from_slice(lua.bytes(-2).unwrap_or_default());
        text.push(b':');
        base::number::push_i64(&mut text, lua.number(-1) as i64);
        text.push(b'.');
    }
    RunError::Failed { text, is_counted }
}
