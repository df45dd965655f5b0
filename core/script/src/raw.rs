//! The Lua machine behind a thin layer: the only place of this crate that calls C.
//!
//! A safe layer costs some 0.4 us a script (mlua's was measured), which is a fifth of what a whole EVALSHA may cost here,
//! so the C interface is used directly and everything foreign is kept in this one place. The sources of Lua are built
//! with corrections of ours (`build/corrections.rs`), two of which are used here: the budget and the floor.
//!
//! The *budget* of a state is how many units of work (an instruction is one) are left until the host is asked whether
//! the script may go on. Instructions and all loops in C take from it, and so do all loops of ours by [`Lua::charge`]:
//! whatever a script does, the host is asked after some hundred microseconds, and it looks at the clock. The *floor* is
//! how far the C stack may reach down where C recurses in proportion to what a script gave it.
//!
//! Invariants that every SAFETY note below leans on:
//! - *Our mode.* While Rust code of ours runs (`Context::ours`), an allocation for Lua never fails: it may
//!   pass the limit for a moment, and a refusal by the system ends the process as it does everywhere in
//!   Rust. Lua raises errors with `longjmp`; in our mode no call made here can raise, because none runs out
//!   of memory, none meets a metamethod (raw access only) and none runs script code. So no Rust frame with
//!   destructors is ever jumped over. The limit is enforced where Lua's own C code runs, and on the way out.
//! - A function of ours returns its error as `Err(Raise)` with the value on the stack; only the outermost
//!   frame, which owns nothing, raises it. A panic is caught there, and continued in `Machine::protected`.
//! - Whoever pushes has room: 20 slots at the start of a function, more after `reserve`.
//! - A slice borrowed from a Lua string is used only while that string stays on the Lua stack.

mod basics;
mod errors;
mod stack;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{NonNull, null_mut};

use mlua_sys as ffi;
use resp::Protocol;

use crate::convert::{Frame, NAMES, Name};
use crate::library::Registered;
use crate::random::Numbers;
use crate::{Host, Interrupt};

/// How many units of work lie between two questions to the host. An instruction is one; all take some 3 ns.
const QUANTUM: isize = 20_000;
/// The most that Lua may hold: its lengths are C ints.
const LIMIT_BYTES_MAX: usize = i32::MAX as usize;
/// What may come since the last collection before one is made out of turn.
const GARBAGE_BYTES: usize = 4 << 20;
/// How much of the C stack a script may use; frames of a build without optimisation are large.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 3 << 19 } else { 1 << 20 };
/// How many bytes of a text are handed to the compiler between two questions.
const PIECE_BYTES: usize = 4096;
/// Lua's most strictly aligned type is a double or a pointer.
const ALIGNMENT: usize = 8;

unsafe extern "C-unwind" {
    /// Sets who is asked when the budget is used up; it has to set a new one, and may raise.
    fn tandem_set_tick(state: *mut ffi::lua_State, tick: ffi::lua_CFunction);
    /// Where the budget lies, as long as the state lives.
    fn tandem_budget(state: *mut ffi::lua_State) -> *mut isize;
    /// Sets the floor.
    fn tandem_set_floor(state: *mut ffi::lua_State, floor: *const c_char);
    /// Gives back the buffer in which texts are joined. Not while they are.
    fn tandem_give_back(state: *mut ffi::lua_State);
}

/// An error value lies on top of the Lua stack, to be raised by the outermost frame.
#[derive(Debug)]
pub(crate) struct Raise;

/// What ends a function of ours before its end.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A text to be raised with its place.
    Text(String),
    /// The error value lies on top of the stack already.
    Raised,
}

impl From<String> for Fault {
    fn from(text: String) -> Fault {
        Fault::Text(text)
    }
}

impl From<&str> for Fault {
    fn from(text: &str) -> Fault {
        Fault::Text(text.to_owned())
    }
}

impl From<Raise> for Fault {
    fn from(_: Raise) -> Fault {
        Fault::Raised
    }
}

/// What Lua says when there is no memory left.
pub(crate) const NO_MEMORY: &str = "not enough memory";

/// What a function gives back to Lua: how many results lie on top of the stack, or an error.
pub(crate) type Outcome = Result<usize, Raise>;

/// The types of Lua values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LuaType {
    Nil,
    Boolean,
    Light,
    Number,
    String,
    Table,
    Function,
    Userdata,
    Thread,
    None,
}

/// What belongs to one machine beside its Lua state, found from inside any function.
#[derive(Default)]
pub(crate) struct Context {
    used: Cell<usize>,
    limit: Cell<usize>,
    ours: Cell<bool>,
    host: Cell<Option<NonNull<dyn Host>>>,
    /// The budget, which lies in the state; set once the state is there.
    budget: Cell<Option<NonNull<isize>>>,
    /// How far the stack may reach down, as an address.
    floor: Cell<usize>,
    /// What was left after the last collection between two runs.
    settled: Cell<usize>,
    /// What was left after the last collection.
    collected: Cell<usize>,
    killed: Cell<Option<&'static str>>,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    argv: Cell<Vec<&'static [u8]>>,
    /// The protocol in which the running script wants its replies.
    pub(crate) protocol: Cell<Protocol>,
    /// What `math.random` takes.
    pub(crate) numbers: Numbers,
    /// Counts runs: what a script has set for itself only holds for its own.
    pub(crate) run: Cell<u64>,
    /// Text under construction; taken and put back so that its capacity is reused.
    pub(crate) scratch: Cell<Vec<u8>>,
    /// Open aggregates of the reply being converted; taken and put back likewise.
    pub(crate) frames: Cell<Vec<Frame>>,
    /// What the library being loaded has registered; `None` while none is.
    pub(crate) registered: Cell<Option<Vec<Registered>>>,
    /// The kept strings of [`Name`].
    pub(crate) names: Cell<[Reference; NAMES.len()]>,
}

/// A Lua stack as seen by one running function. Indexes are Lua's: 1 is the first argument, -1 the top.
#[derive(Clone, Copy)]
pub(crate) struct Lua(NonNull<ffi::lua_State>);

/// A kept value that scripts cannot reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reference(c_int);

/// The owner of a Lua state and its context.
pub(crate) struct Machine {
    lua: Lua,
    context: NonNull<Context>,
}

// SAFETY: the state and the context are reached only through the machine, which hands them to one thread at
// a time by the ordinary rules of ownership; neither uses thread-local state.
unsafe impl Send for Machine {}

impl Machine {
    /// A fresh state without any library, in which Lua may hold up to `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize, numbers: Numbers) -> Self {
        let context = Box::new(Context { numbers, ..Context::default() });
        context.limit.set(limit_bytes.min(LIMIT_BYTES_MAX));
        context.ours.set(true);
        let context = NonNull::from(Box::leak(context));
        // SAFETY: `allocate` meets the contract of lua_Alloc, and the context outlives the state (see Drop).
        let state = unsafe { ffi::lua_newstate(allocate, context.as_ptr().cast()) };
        let state = NonNull::new(state).expect("in our mode an allocation does not fail");
        // SAFETY: the state is alive; the tick is a function of the right type, and the budget lies in the state.
        let budget = unsafe {
            tandem_set_tick(state.as_ptr(), on_tick);
            tandem_budget(state.as_ptr())
        };
        let machine = Self { lua: Lua(state), context };
        machine.lua.context().budget.set(NonNull::new(budget));
        machine.lua.set_budget(QUANTUM);
        machine
    }

    /// The stack of the main thread, empty between scripts.
    pub(crate) fn lua(&self) -> Lua {
        self.lua
    }

    /// Bytes that Lua holds now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lua.used_bytes()
    }

    /// How many bytes Lua may hold from now on.
    pub(crate) fn set_limit(&self, bytes: usize) {
        self.lua.context().limit.set(bytes.min(LIMIT_BYTES_MAX));
    }

    /// Lets the function under the `arguments` topmost values run, with `host` behind it and `handler` (an
    /// index) called on errors. One result or the error value is left on the stack.
    pub(crate) fn protected(
        &mut self,
        arguments: usize,
        handler: c_int,
        host: &mut dyn Host,
    ) -> Result<(), Raise> {
        self.with_host(host, |lua| {
            let context = lua.context();
            context.ours.set(false);
            // SAFETY: a function and its arguments lie on the stack. Errors raised inside end in lua_pcall.
            let status = unsafe { ffi::lua_pcall(lua.raw(), arguments as c_int, 1, handler) };
            context.ours.set(true);
            if status == ffi::LUA_ERRMEM {
                lua.collect();
            }
            if status == ffi::LUA_OK { Ok(()) } else { Err(Raise) }
        })
    }

    /// Compiles text with `host` to be asked; pushes the function, or what went wrong and says `Raise`.
    pub(crate) fn compile(&mut self, source: &[u8], name: &CStr, host: &mut dyn Host) -> Result<(), Raise> {
        self.with_host(host, |lua| lua.compile(source, name))
    }

    /// Works with `host` behind what is run; a kill ends with it.
    fn with_host<R>(&mut self, host: &mut dyn Host, work: impl FnOnce(Lua) -> R) -> R {
        let context = self.lua.context();
        // SAFETY: only the lifetime is erased; the pointer is cleared below, before `host` is given back.
        let host: NonNull<dyn Host + 'static> = unsafe { std::mem::transmute(NonNull::from(host)) };
        context.host.set(Some(host));
        context.run.set(context.run.get() + 1);
        let here = 0_u8;
        let floor: *const c_char = (&raw const here).wrapping_sub(STACK_BYTES).cast();
        context.floor.set(floor as usize);
        // SAFETY: the state is alive; the floor is only compared with.
        unsafe { tandem_set_floor(self.lua.raw(), floor) };
        let result = work(self.lua);
        context.host.set(None);
        if context.killed.take().is_some() {
            self.lua.set_budget(QUANTUM);
        }
        if let Some(payload) = context.panic.take() {
            self.lua.set_top(0);
            resume_unwind(payload);
        }
        result
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: the state is alive and closed once; the context was leaked in `new`, is freed once, and is
        // used by lua_close only.
        unsafe {
            ffi::lua_close(self.lua.0.as_ptr());
            drop(Box::from_raw(self.context.as_ptr()));
        }
    }
}

/// Lua's allocator: counts, and refuses past the limit unless Rust code of ours is running.
unsafe extern "C" fn allocate(
    context: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: lua_newstate was given this pointer, and the context outlives the state.
    let context = unsafe { &*context.cast::<Context>() };
    let old = if block.is_null() { 0 } else { old };
    let used = context.used.get() - old + new;
    if new > old && used > context.limit.get() && !context.ours.get() {
        return null_mut();
    }
    let layout = |size| Layout::from_size_align(size, ALIGNMENT);
    let (Ok(old_layout), Ok(new_layout)) = (layout(old), layout(new)) else { return null_mut() };
    // SAFETY: Lua tells the true size of the block it gives back, every block was made here with the same
    // alignment, and neither alloc nor realloc is called with size 0.
    let result = unsafe {
        match (old, new) {
            (0, 0) => null_mut(),
            (0, _) => alloc(new_layout),
            (_, 0) => {
                dealloc(block.cast(), old_layout);
                null_mut()
            }
            _ => realloc(block.cast(), old_layout, new),
        }
    };
    if result.is_null() && new > 0 {
        if context.ours.get() {
            handle_alloc_error(new_layout);
        }
        return null_mut();
    }
    context.used.set(used);
    result.cast()
}

/// The context behind a raw state.
fn context_of<'a>(state: *mut ffi::lua_State) -> &'a Context {
    let mut context = null_mut();
    // SAFETY: the state is alive; its allocator's argument is the context, which outlives it.
    unsafe {
        ffi::lua_getallocf(state, &mut context);
        &*context.cast::<Context>()
    }
}

/// Runs `body` in our mode and says what the outermost frame has to do. Nothing here outlives the call.
fn enter(state: *mut ffi::lua_State, body: impl FnOnce(Lua) -> Outcome) -> Outcome {
    let context = context_of(state);
    context.ours.set(true);
    let lua = Lua(NonNull::new(state).expect("Lua passes the running state"));
    let mut outcome = match catch_unwind(AssertUnwindSafe(|| body(lua))) {
        Ok(outcome) => outcome,
        Err(payload) => {
            context.panic.set(Some(payload));
            lua.kill("the server failed inside a script");
            lua.raise_error("the server failed inside a script")
        }
    };
    if outcome.is_ok() && context.used.get() > context.limit.get() {
        outcome = lua.raise_plain(NO_MEMORY.as_bytes());
    }
    context.ours.set(false);
    outcome
}

/// The outermost frame of every function of ours.
unsafe extern "C-unwind" fn trampoline<F: Fn(Lua) -> Outcome>(state: *mut ffi::lua_State) -> c_int {
    const { assert!(size_of::<F>() == 0, "a Lua function of ours captures nothing") };
    // SAFETY: F has no size, and a value of it was given to `push_function`, so one may be conjured.
    let body = unsafe { NonNull::<F>::dangling().as_ref() };
    match enter(state, body) {
        Ok(results) => results as c_int,
        // SAFETY: this frame owns nothing; the error value lies on top of the stack.
        Err(Raise) => unsafe { ffi::lua_error(state) },
    }
}

/// Called when the budget is used up: lets the host stop the script, and collects garbage where memory becomes short.
unsafe extern "C-unwind" fn on_tick(state: *mut ffi::lua_State) -> c_int {
    let outcome = enter(state, |lua| {
        lua.ask()?;
        lua.collect_when_short();
        Ok(0)
    });
    if outcome.is_err() {
        // SAFETY: this frame owns nothing; the error value lies on top of the stack.
        unsafe { ffi::lua_error(state) }
    }
    0
}

/// A text that is handed to the compiler piece by piece.
struct Pieces<'a> {
    rest: &'a [u8],
}

/// Hands the next piece to the compiler, after asking whether to go on.
unsafe extern "C-unwind" fn read_piece(
    state: *mut ffi::lua_State,
    pieces: *mut c_void,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: `compile` passes its own `Pieces`, which nobody else uses meanwhile, and Lua a place for the length.
    let (pieces, length) = unsafe { (&mut *pieces.cast::<Pieces<'_>>(), &mut *length) };
    let (piece, rest) = pieces.rest.split_at(pieces.rest.len().min(PIECE_BYTES));
    (pieces.rest, *length) = (rest, piece.len());
    if enter(state, |lua| lua.charge(piece.len() * 4).map(|()| 0)).is_err() {
        // SAFETY: this frame owns nothing; the error value lies on top of the stack, and lua_load catches it.
        unsafe { ffi::lua_error(state) }
    }
    piece.as_ptr().cast()
}

impl Lua {
    /// What belongs to this machine.
    pub(crate) fn context(&self) -> &Context {
        context_of(self.0.as_ptr())
    }

    /// Runs `work` with the host of the running script, if one runs.
    pub(crate) fn with_host<R>(&self, work: impl FnOnce(&mut dyn Host) -> R) -> Option<R> {
        let mut host = self.context().host.get()?;
        // SAFETY: `protected` holds the unique borrow; a function of ours never runs inside another, since
        // none calls script code, so this is the only reference now.
        Some(work(unsafe { host.as_mut() }))
    }

    /// Ends the running script: from now on every instruction, in whatever coroutine, raises `text`, whoever catches it.
    fn kill(&self, text: &'static str) {
        self.context().killed.set(Some(text));
        self.set_budget(0);
    }

    fn set_budget(&self, units: isize) {
        if let Some(budget) = self.context().budget.get() {
            // SAFETY: the budget lives as long as the state, and only the thread that has the state touches it.
            unsafe { budget.write(units) };
        }
    }

    /// Counts work of ours, in units of an instruction. Every loop that a script can make long calls this.
    ///
    /// # Errors
    /// The script is to end: pass it on.
    #[inline]
    pub(crate) fn charge(self, units: usize) -> Result<(), Raise> {
        let Some(budget) = self.context().budget.get() else { return Ok(()) };
        // SAFETY: as in `set_budget`.
        let left = unsafe {
            let left = budget.read().saturating_sub_unsigned(units);
            budget.write(left);
            left
        };
        if left > 0 { Ok(()) } else { self.ask() }
    }

    /// Asks the host whether the script may go on, for another quantum of work.
    #[cold]
    fn ask(self) -> Result<(), Raise> {
        let context = self.context();
        if context.killed.get().is_none()
            && let Some(mut host) = context.host.get()
            // SAFETY: the host is borrowed by the running `with_host`, and only the innermost function of
            // ours uses it; nothing that works with it charges.
            && let Interrupt::Kill(text) = unsafe { host.as_mut() }.interrupt()
        {
            self.kill(text);
        }
        if let Some(text) = context.killed.get() {
            self.kill(text);
            self.push_error(text.as_bytes());
            return Err(Raise);
        }
        self.set_budget(QUANTUM);
        Ok(())
    }

    /// Whether the running script is to end.
    pub(crate) fn is_killed(&self) -> bool {
        self.context().killed.get().is_some()
    }

    /// Whether Lua holds more than it may, `more` bytes of ours included; loops that build values ask this.
    pub(crate) fn is_over_limit(&self, more: usize) -> bool {
        let context = self.context();
        context.used.get().saturating_add(more) > context.limit.get()
    }

    /// Before a command runs: garbage goes first where memory is short, so that nothing is evicted or refused for it.
    #[inline]
    pub(crate) fn collect_before_call(self) {
        let context = self.context();
        if context.used.get() > context.collected.get() + GARBAGE_BYTES {
            self.collect_for_call();
        }
    }

    #[cold]
    fn collect_for_call(self) {
        if self.with_host(|host| host.is_short_of_memory()) == Some(true) {
            self.collect();
        }
    }

    /// After a run: what it has left is collected where that is much.
    #[inline]
    pub(crate) fn collect_after_run(self) {
        let context = self.context();
        if context.used.get() > context.settled.get() + GARBAGE_BYTES {
            self.collect();
            context.settled.set(context.used.get());
        }
    }

    /// Counts `units` of work, and makes sure that Lua may hold `more` bytes of ours beside its own.
    ///
    /// # Errors
    /// The script is to end, or there is no room.
    #[inline]
    pub(crate) fn admit(self, units: usize, more: usize) -> Result<(), Fault> {
        self.charge(units)?;
        if self.is_over_limit(more) { Err(NO_MEMORY.into()) } else { Ok(()) }
    }

    /// Collects garbage when half of what may be held is, and an eighth of it has come since the last time. Lua
    /// itself waits until twice as much is held as was left, which may be more than there is.
    fn collect_when_short(self) {
        let context = self.context();
        let (used, limit) = (context.used.get(), context.limit.get());
        if used > limit / 2 && used > context.collected.get() + limit / 8 {
            self.collect();
        }
    }

    /// Works with the values at 1 to `count`, which are strings, as slices in the reused vector.
    pub(crate) fn with_argv<R>(&self, count: c_int, work: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut argv = self.context().argv.take();
        for index in 1..=count {
            let bytes = self.bytes(index).unwrap_or_default();
            // SAFETY: only the lifetime is erased; the strings stay on the stack during `work`, which sees
            // them with a shorter lifetime, and the vector is emptied before it is kept.
            argv.push(unsafe { std::mem::transmute::<&[u8], &'static [u8]>(bytes) });
        }
        let result = work(&argv);
        argv.clear();
        self.context().argv.set(argv);
        result
    }

    /// Pushes a kept field name.
    #[inline]
    pub(crate) fn push_name(self, name: Name) {
        self.push_kept(self.context().names.get()[name as usize]);
    }

    /// Sets `table[name]` of the table on top to a function.
    pub(crate) fn set_function<F: Fn(Lua) -> Outcome>(self, name: &str, body: F) {
        self.push_function(body, 0);
        self.set_field(-2, name);
    }

    /// Pops a value into the slot at `index`.
    pub(crate) fn replace(self, index: c_int) {
        // SAFETY: a valid index.
        unsafe { ffi::lua_replace(self.raw(), index) }
    }

    /// Bytes that Lua holds now.
    pub(crate) fn used_bytes(&self) -> usize {
        self.context().used.get()
    }

    /// Opens `os`, which the sandbox strips of everything but `clock`.
    pub(crate) fn open_os(self) {
        // SAFETY: as for `open_libraries`.
        unsafe {
            ffi::lua_pushcclosure(self.raw(), ffi::luaopen_os, 0);
            ffi::lua_call(self.raw(), 0, 0);
        }
    }

    fn raw(self) -> *mut ffi::lua_State {
        self.0.as_ptr()
    }

    /// Compiles text; pushes the function, or a message and says `Raise`. Bytecode, which could break the machine, is
    /// refused. The text must not change meanwhile.
    pub(crate) fn compile(self, source: &[u8], name: &CStr) -> Result<(), Raise> {
        let mut pieces = Pieces { rest: source };
        let context = self.context();
        context.ours.set(false);
        // SAFETY: the pieces outlive the call; errors, of memory also, are caught inside.
        let status =
            unsafe { ffi::lua_load(self.raw(), read_piece, (&raw mut pieces).cast(), name.as_ptr()) };
        context.ours.set(true);
        if status == ffi::LUA_OK { Ok(()) } else { Err(Raise) }
    }

    /// Opens Lua's own base, table, string and math libraries into the globals. Only at the start.
    pub(crate) fn open_libraries(self) {
        let openers = [ffi::luaopen_base, ffi::luaopen_table, ffi::luaopen_string, ffi::luaopen_math];
        for opener in openers {
            // SAFETY: each is a C function that opens one library and needs no arguments; nothing in it can
            // fail in our mode.
            unsafe {
                ffi::lua_pushcclosure(self.raw(), opener, 0);
                ffi::lua_call(self.raw(), 0, 0);
            }
        }
    }

    /// Calls the function on top with no arguments, keeping `results`. Only for our own prelude, whose code
    /// cannot raise.
    pub(crate) fn call_prelude(self, arguments: c_int, results: c_int) {
        // SAFETY: a function and its arguments lie on top.
        unsafe { ffi::lua_call(self.raw(), arguments, results) }
    }

    /// Collects all garbage.
    pub(crate) fn collect(self) {
        // SAFETY: no finalizer of a script exists (there is no `newproxy`), so this runs no script code. No code of
        // ours runs while texts are joined.
        unsafe {
            tandem_give_back(self.raw());
            ffi::lua_gc(self.raw(), ffi::LUA_GCCOLLECT, 0);
        }
        let context = self.context();
        context.collected.set(context.used.get());
    }

    /// One bounded step of collecting; true when a cycle was finished.
    pub(crate) fn collect_step(self, size: i32) -> bool {
        // SAFETY: as for `collect`.
        unsafe { ffi::lua_gc(self.raw(), ffi::LUA_GCSTEP, size) != 0 }
    }
}
