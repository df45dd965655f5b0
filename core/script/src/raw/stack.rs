//! Values on the stack of a running function: looking at them, pushing them, and tables.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::null_mut;

use mlua_sys as ffi;

use super::{ALIGNMENT, Lua, LuaType, Outcome, Reference, trampoline};

impl Lua {
    /// How many values lie on this function's stack.
    pub(crate) fn top(self) -> c_int {
        // SAFETY: the state is alive.
        unsafe { ffi::lua_gettop(self.raw()) }
    }

    /// Drops or adds (as nil) values until `top` are left.
    pub(crate) fn set_top(self, top: c_int) {
        // SAFETY: the state is alive; growth stays within the reserved slots.
        unsafe { ffi::lua_settop(self.raw(), top) }
    }

    /// Drops the `count` topmost values.
    pub(crate) fn pop(self, count: c_int) {
        self.set_top(-count - 1);
    }

    /// Makes sure of `slots` free slots; false when Lua's stack would become too deep.
    pub(crate) fn reserve(self, slots: c_int) -> bool {
        // SAFETY: the state is alive; in our mode growing cannot fail.
        unsafe { ffi::lua_checkstack(self.raw(), slots) != 0 }
    }

    /// The same for what calls itself: false also when our own stack would become too deep.
    pub(crate) fn reserve_level(self, slots: c_int) -> bool {
        let here = 0_u8;
        (&raw const here) as usize > self.context().floor.get() && self.reserve(slots)
    }

    /// The type of the value at `index`.
    pub(crate) fn kind(self, index: c_int) -> LuaType {
        // SAFETY: any acceptable index.
        match unsafe { ffi::lua_type(self.raw(), index) } {
            ffi::LUA_TNIL => LuaType::Nil,
            ffi::LUA_TBOOLEAN => LuaType::Boolean,
            ffi::LUA_TLIGHTUSERDATA => LuaType::Light,
            ffi::LUA_TNUMBER => LuaType::Number,
            ffi::LUA_TSTRING => LuaType::String,
            ffi::LUA_TTABLE => LuaType::Table,
            ffi::LUA_TFUNCTION => LuaType::Function,
            ffi::LUA_TUSERDATA => LuaType::Userdata,
            ffi::LUA_TTHREAD => LuaType::Thread,
            _ => LuaType::None,
        }
    }

    /// The number at `index`, or what a string there converts to, or 0.
    pub(crate) fn number(self, index: c_int) -> f64 {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_tonumber(self.raw(), index) }
    }

    /// Whether the value is a number or a string that converts to one.
    pub(crate) fn is_numeric(self, index: c_int) -> bool {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_isnumber(self.raw(), index) != 0 }
    }

    /// The truth of the value at `index`.
    pub(crate) fn boolean(self, index: c_int) -> bool {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_toboolean(self.raw(), index) != 0 }
    }

    /// The bytes of the string at `index`; a number there becomes a string in place. Valid while that string
    /// stays on the stack.
    pub(crate) fn bytes(&self, index: c_int) -> Option<&[u8]> {
        let mut length = 0;
        // SAFETY: in our mode the conversion of a number cannot fail; Lua's strings do not move.
        unsafe {
            let start = ffi::lua_tolstring(self.raw(), index, &mut length);
            (!start.is_null()).then(|| std::slice::from_raw_parts(start.cast(), length))
        }
    }

    /// The length of a table's array part or of a string.
    pub(crate) fn length(self, index: c_int) -> usize {
        // SAFETY: any acceptable index.
        unsafe { ffi::lua_objlen(self.raw(), index) }
    }

    pub(crate) fn push_nil(self) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushnil(self.raw()) }
    }

    pub(crate) fn push_boolean(self, value: bool) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushboolean(self.raw(), c_int::from(value)) }
    }

    pub(crate) fn push_number(self, value: f64) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushnumber(self.raw(), value) }
    }

    pub(crate) fn push_bytes(self, bytes: &[u8]) {
        // SAFETY: there is room (file invariant); Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.raw(), bytes.as_ptr().cast(), bytes.len()) }
    }

    /// The null address, which stands for JSON's null.
    pub(crate) fn push_null(self) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushlightuserdata(self.raw(), null_mut()) }
    }

    /// Whether the value is what `push_null` pushes.
    pub(crate) fn is_null(self, index: c_int) -> bool {
        // SAFETY: any acceptable index.
        self.kind(index) == LuaType::Light && unsafe { ffi::lua_touserdata(self.raw(), index) }.is_null()
    }

    /// Pushes a copy of the value at `index`.
    pub(crate) fn push_copy(self, index: c_int) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushvalue(self.raw(), index) }
    }

    /// Moves the top value down to `index`.
    pub(crate) fn insert(self, index: c_int) {
        // SAFETY: a valid index.
        unsafe { ffi::lua_insert(self.raw(), index) }
    }

    /// Takes the value at `index` out.
    pub(crate) fn remove(self, index: c_int) {
        // SAFETY: a valid index.
        unsafe { ffi::lua_remove(self.raw(), index) }
    }

    /// Pushes a table with room for so many values. The hints are capped: they may come from a script.
    pub(crate) fn push_table(self, array: usize, hash: usize) {
        // SAFETY: there is room (file invariant); capped sizes cannot overflow a table.
        unsafe { ffi::lua_createtable(self.raw(), array.min(1 << 16) as c_int, hash.min(1 << 12) as c_int) }
    }

    /// Pushes a table for a list of `len` values, none of them nil, with the room that it would have if it had grown with them.
    /// Scripts see that room: once they put nil inside a list, its length (`#`) is found by halves of it.
    pub(crate) fn push_list_table(self, len: usize) {
        let room = if len == 0 { 0 } else { len.next_power_of_two() };
        self.push_table(room, 0);
    }

    /// Pushes a function with the topmost `upvalues` values kept inside it.
    pub(crate) fn push_function<F: Fn(Lua) -> Outcome>(self, _body: F, upvalues: c_int) {
        // SAFETY: there is room (file invariant).
        unsafe { ffi::lua_pushcclosure(self.raw(), trampoline::<F>, upvalues) }
    }

    /// Keeps `value` as a userdata on top of the stack, for a function's first kept value.
    pub(crate) fn push_cell<T: Copy>(self, value: T) {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        // SAFETY: there is room; the block is large and aligned enough, and needs no destructor.
        unsafe { ffi::lua_newuserdata(self.raw(), size_of::<T>()).cast::<T>().write(value) }
    }

    /// The running function's first kept value, which `push_cell::<T>` made.
    pub(crate) fn cell<T: Copy>(&self) -> &Cell<T> {
        // SAFETY: only functions built upon `push_cell::<T>` ask for it, scripts cannot change kept values of
        // a function, and the function, which is running, keeps the block alive.
        unsafe { &*ffi::lua_touserdata(self.raw(), ffi::lua_upvalueindex(1)).cast::<Cell<T>>() }
    }

    /// Pushes `table[n]`, without metamethods.
    pub(crate) fn push_item(self, table: c_int, n: c_int) {
        // SAFETY: a table lies at the index; there is room.
        unsafe { ffi::lua_rawgeti_(self.raw(), table, n) }
    }

    /// Pops a value into `table[n]`, without metamethods.
    pub(crate) fn set_item(self, table: c_int, n: c_int) {
        // SAFETY: a table lies at the index; in our mode its growth cannot fail.
        unsafe { ffi::lua_rawseti_(self.raw(), table, n) }
    }

    /// Replaces the key on top by `table[key]`, without metamethods.
    pub(crate) fn push_value_of_key(self, table: c_int) {
        // SAFETY: a table lies at the index.
        unsafe { ffi::lua_rawget_(self.raw(), table) }
    }

    /// Pops a value and the key under it into the table, without metamethods. A nil or NaN key is dropped.
    pub(crate) fn set_pair(self, table: c_int) {
        let is_key = match self.kind(-2) {
            LuaType::Nil => false,
            LuaType::Number => !self.number(-2).is_nan(),
            _ => true,
        };
        if is_key {
            // SAFETY: a table lies at the index and the key is one that a table takes.
            unsafe { ffi::lua_rawset(self.raw(), table) }
        } else {
            self.pop(2);
        }
    }

    /// Pushes `table[name]`, without metamethods.
    pub(crate) fn push_field(self, table: c_int, name: &str) {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.push_value_of_key(table);
    }

    /// Pops a value into `table[name]`, without metamethods.
    pub(crate) fn set_field(self, table: c_int, name: &str) {
        let table = self.absolute(table);
        self.push_bytes(name.as_bytes());
        self.insert(-2);
        self.set_pair(table);
    }

    /// `index` counted from the bottom.
    pub(crate) fn absolute(self, index: c_int) -> c_int {
        if index < 0 && index > ffi::LUA_REGISTRYINDEX { self.top() + index + 1 } else { index }
    }

    /// Replaces the key on top by the next key and its value; false, and the key popped, at the end.
    pub(crate) fn next(self, table: c_int) -> bool {
        // SAFETY: a table lies at the index, and the key came from it, so this cannot raise.
        unsafe { ffi::lua_next(self.raw(), table) != 0 }
    }

    /// Pushes the metatable of the value at `index`, if it has one.
    pub(crate) fn push_metatable(self, index: c_int) -> bool {
        // SAFETY: a valid index; there is room.
        unsafe { ffi::lua_getmetatable(self.raw(), index) != 0 }
    }

    /// Pops a table (or nil) and makes it the metatable of the value at `index`.
    pub(crate) fn set_metatable(self, index: c_int) {
        // SAFETY: a table or nil lies on top.
        unsafe { ffi::lua_setmetatable(self.raw(), index) };
    }

    /// Joins the `count` topmost strings into one.
    pub(crate) fn concat(self, count: c_int) {
        // SAFETY: only strings lie there, so no metamethod runs.
        unsafe { ffi::lua_concat(self.raw(), count) }
    }

    /// Pops a value and keeps it.
    pub(crate) fn keep(self) -> Reference {
        // SAFETY: a value lies on top.
        Reference(unsafe { ffi::luaL_ref(self.raw(), ffi::LUA_REGISTRYINDEX) })
    }

    /// Pushes a kept value.
    #[inline]
    pub(crate) fn push_kept(self, reference: Reference) {
        self.push_item(ffi::LUA_REGISTRYINDEX, reference.0);
    }

    /// Forgets a kept value.
    pub(crate) fn forget(self, reference: Reference) {
        // SAFETY: the reference came from `keep`.
        unsafe { ffi::luaL_unref(self.raw(), ffi::LUA_REGISTRYINDEX, reference.0) }
    }

    /// Pushes the table in which chunks look for globals.
    pub(crate) fn push_globals(self) {
        self.push_copy(ffi::LUA_GLOBALSINDEX);
    }

    /// Pops a table, in which chunks look for globals from now on.
    pub(crate) fn set_globals(self) {
        // SAFETY: a table lies on top.
        unsafe { ffi::lua_replace(self.raw(), ffi::LUA_GLOBALSINDEX) }
    }
}
