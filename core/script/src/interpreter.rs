//! The interpreter: compiles a script once, keeps it by its hash, and runs it.
//!
//! A compiled script is a kept Lua function, so a run costs its own work and two small tables. Memory is bounded
//! by the machine's limit, half of which is for scripts that run; the number of scripts that came with EVAL by
//! `Limits::eval_scripts`. The least recently used of them make room, while those of SCRIPT LOAD stay until `flush`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use resp::{Protocol, Sink};
use sha1::{Digest, Sha1};

use crate::convert::{self, Name};
use crate::random::Numbers;
use crate::raw::{Lua, LuaType, Machine, Raise, Reference};
use crate::recency::{NodeIndex, Recency};
use crate::sandbox::{self, Role};
use crate::shebang::{self, Flags};
use crate::{Host, errors};

/// The name of a script: its SHA-1 in 40 lower-case hexadecimal digits.
pub type Sha = [u8; 40];

/// After so many runs the collector takes a step, however little they allocated.
const RUNS_PER_STEP: u32 = 50;
const CHUNK_NAME: &std::ffi::CStr = c"@user_script";

/// What an interpreter may use, and what it says about itself.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes that Lua may hold, compiled scripts included; at most 2 GiB.
    pub memory_bytes: usize,
    /// How many scripts that came with EVAL are kept.
    pub eval_scripts: usize,
    /// `redis.REDIS_VERSION`.
    pub version: String,
    /// `redis.REDIS_VERSION_NUM`, as 0x00MMmmpp.
    pub version_number: u32,
    /// What `math.random` takes; shared by those whose limits are clones.
    pub numbers: Numbers,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            eval_scripts: 500,
            version: "7.4.0".into(),
            version_number: 0x0007_0400,
            numbers: Numbers::default(),
        }
    }
}

/// How a script came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// With EVAL: it may be forgotten when others come.
    Eval,
    /// With SCRIPT LOAD: it is kept until `flush`.
    Load,
}

/// Why a script was not accepted: the text of the error reply, with its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(pub Vec<u8>);

/// Why a run gave no reply. Nothing was written to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// No script of that hash is loaded.
    NoScript,
    /// The script failed.
    Failed {
        /// The error reply, with its code.
        text: Vec<u8>,
        /// The error came from a command, whose error was counted when it happened.
        is_counted: bool,
    },
}

impl RunError {
    /// The host has ended it with `text`, outside of Lua.
    pub(crate) fn killed(text: &str) -> RunError {
        RunError::Failed { text: [b"ERR ", text.as_bytes()].concat(), is_counted: false }
    }
}

struct Script {
    function: Reference,
    flags: Flags,
    /// Its place among those that came with EVAL.
    place: Option<NodeIndex>,
}

/// A Lua state with its compiled scripts. One belongs to each engine.
pub struct Interpreter {
    machine: Machine,
    limits: Limits,
    globals: Reference,
    handler: Reference,
    scripts: HashMap<Sha, Script, BuildHasherDefault<ShaHasher>>,
    evaluated: Recency,
    evicted: u64,
    runs: u32,
}

/// The name of a source.
pub fn sha_of(source: &[u8]) -> Sha {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut sha = [0; 40];
    for (pair, byte) in sha.chunks_exact_mut(2).zip(Sha1::digest(source)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    sha
}

impl Interpreter {
    /// An interpreter without scripts.
    pub fn new(limits: Limits) -> Self {
        let machine = sandbox::machine(&limits, Role::Script);
        let lua = machine.lua();
        let globals = lua.keep();
        lua.push_function(errors::describe, 0);
        let handler = lua.keep();
        Self {
            machine,
            limits,
            globals,
            handler,
            scripts: HashMap::default(),
            evaluated: Recency::default(),
            evicted: 0,
            runs: 0,
        }
    }

    /// Compiles a script, unless it is here already, and gives its name. `host` tells when that has taken too long.
    ///
    /// # Errors
    /// The text of the error reply, when it has a wrong first line or is not Lua.
    pub fn load(&mut self, source: &[u8], origin: Origin, host: &mut dyn Host) -> Result<Sha, CompileError> {
        let sha = sha_of(source);
        if let Some(script) = self.scripts.get_mut(&sha) {
            if let (Origin::Load, Some(place)) = (origin, script.place) {
                self.evaluated.remove(place);
                script.place = None;
            }
            return Ok(sha);
        }
        let (flags, body) =
            shebang::parse(source).map_err(|text| CompileError([b"ERR ", text.as_slice()].concat()))?;
        self.make_room();
        if self.machine.used_bytes() > self.limits.memory_bytes {
            return Err(CompileError("ERR not enough memory for another script".into()));
        }
        let lua = self.machine.lua();
        if self.machine.compile(body, CHUNK_NAME, host).is_err() {
            let text = match lua.kind(-1) {
                LuaType::Table => errors::text(lua),
                _ => [b"ERR Error compiling script (new function): ", lua.bytes(-1).unwrap_or_default()]
                    .concat(),
            };
            lua.set_top(0);
            return Err(CompileError(text));
        }
        let function = lua.keep();
        let place = (origin == Origin::Eval).then(|| self.evaluated.add(sha));
        self.scripts.insert(sha, Script { function, flags, place });
        if self.evaluated.len() > self.limits.eval_scripts.max(1)
            && let Some(oldest) = self.evaluated.pop()
        {
            self.forget(&oldest);
            self.evicted += 1;
        }
        Ok(sha)
    }

    /// Scripts that came with EVAL go, the least recently used first, while compiled scripts take half of what there is:
    /// the rest is for those that run.
    fn make_room(&mut self) {
        let most = self.limits.memory_bytes / 2;
        if self.machine.used_bytes() <= most {
            return;
        }
        self.machine.lua().collect();
        while self.machine.used_bytes() > most && self.evaluated.len() > 0 {
            // Half of them at a time, since what that frees is only known after a collection.
            for _ in 0..self.evaluated.len().div_ceil(2) {
                if let Some(oldest) = self.evaluated.pop() {
                    self.forget(&oldest);
                    self.evicted += 1;
                }
            }
            self.machine.lua().collect();
        }
    }

    fn forget(&mut self, sha: &Sha) {
        if let Some(script) = self.scripts.remove(sha) {
            self.machine.lua().forget(script.function);
        }
    }

    /// Whether a script of that name (in lower case) is loaded.
    pub fn contains(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// What a loaded script declares about itself.
    pub fn flags(&self, sha: &Sha) -> Option<Flags> {
        Some(self.scripts.get(sha)?.flags)
    }

    /// Counts from 0 again how many scripts make room for others.
    pub fn reset_evicted(&mut self) {
        self.evicted = 0;
    }

    /// How many scripts have made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets all scripts, and starts with a fresh Lua state.
    pub fn flush(&mut self) {
        *self = Self { evicted: self.evicted, ..Self::new(self.limits.clone()) };
    }

    /// How many scripts are loaded.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether no script is loaded.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Bytes that Lua holds.
    pub fn memory_bytes(&self) -> usize {
        self.machine.used_bytes()
    }

    /// How many bytes Lua may hold from now on; at most 2 GiB.
    pub fn set_memory_limit(&mut self, bytes: usize) {
        self.limits.memory_bytes = bytes;
        self.machine.set_limit(bytes);
    }

    /// Runs a script and sends what it returns to `reply`.
    ///
    /// # Errors
    /// The script is not loaded or failed; `reply` was not touched then.
    pub fn run(
        &mut self,
        sha: &Sha,
        keys: &[&[u8]],
        args: &[&[u8]],
        host: &mut dyn Host,
        reply: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(script) = self.scripts.get(sha) else { return Err(RunError::NoScript) };
        if let Some(place) = script.place {
            self.evaluated.touch(place);
        }
        let lua = self.machine.lua();
        lua.push_kept(self.handler);
        lua.push_kept(script.function);
        lua.push_kept(self.globals);
        set_list(lua, Name::Keys, keys);
        set_list(lua, Name::Argv, args);
        lua.pop(1);
        lua.context().protocol.set(Protocol::Resp2);
        let outcome = self.machine.protected(0, 1, host);
        let result = match outcome {
            Ok(()) => convert::send(lua, reply, host).map_err(RunError::killed),
            Err(Raise) => Err(errors::failure(lua, sha)),
        };
        lua.set_top(0);
        self.runs = self.runs.wrapping_add(1);
        if self.runs.is_multiple_of(RUNS_PER_STEP) {
            lua.collect_step(1);
        }
        lua.collect_after_run();
        result
    }
}

impl std::fmt::Debug for Interpreter {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Interpreter").field("scripts", &self.len()).finish_non_exhaustive()
    }
}

/// Sets a field of the table on top to a list of strings.
fn set_list(lua: Lua, name: Name, values: &[&[u8]]) {
    lua.push_name(name);
    lua.push_list_table(values.len());
    for (value, n) in values.iter().zip(1..) {
        lua.push_bytes(value);
        lua.set_item(-2, n);
    }
    lua.set_pair(-3);
}

/// Sixteen digits of a SHA-1 are hash enough; only someone who can search 2^32 sources makes a few collide.
#[derive(Default)]
struct ShaHasher(u64);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8).take(4) {
            let word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
            self.0 = self.0.rotate_left(23).wrapping_add(word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
