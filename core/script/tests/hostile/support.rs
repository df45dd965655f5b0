//! A host and an interpreter for tests that only look at what a script answers.

use resp::{Protocol, Sink, Wire};
use tandem_script::{Host, Interpreter, Interrupt, Limits, Origin, RunError};

/// Answers commands with their first argument, and ends a script after so many questions.
#[derive(Default)]
pub(crate) struct Fake {
    /// Questions until the script is killed; for ever when there is no number.
    pub(crate) patience: Option<usize>,
    /// What `is_short_of_memory` says.
    pub(crate) is_short: bool,
    /// What Lua held at the last call, bytes.
    pub(crate) held_bytes: usize,
    /// How often the host was asked.
    pub(crate) asked: usize,
    /// What the command `values` answers.
    pub(crate) values: Vec<Vec<u8>>,
    /// Lines for the log.
    pub(crate) lines: Vec<Vec<u8>>,
}

pub(crate) const KILLED: &str = "Script killed";

impl Host for Fake {
    fn call(&mut self, argv: &[&[u8]], sink: &mut dyn Sink, held_bytes: usize) -> u64 {
        self.held_bytes = held_bytes;
        match argv[0] {
            b"many" => {
                let mut value = vec![b'v'; 1 << 20];
                sink.array(3000);
                for n in 0..3000 {
                    value[..4].copy_from_slice(format!("{n:04}").as_bytes());
                    sink.bulk(&value);
                }
            }
            // Strings of 1,023 bytes that differ in their first eight.
            b"alike" => {
                let mut value = [b'.'; 1023];
                sink.array(30_000);
                for n in 0..30_000 {
                    value[..8].copy_from_slice(format!("{n:08}").as_bytes());
                    sink.bulk(&value);
                }
            }
            b"values" => {
                sink.array(self.values.len());
                self.values.iter().for_each(|value| sink.bulk(value));
            }
            b"slow" => {
                sink.null();
                return 10_000_000_000;
            }
            _ => sink.bulk(argv.get(1).copied().unwrap_or_default()),
        }
        1_000
    }

    fn is_short_of_memory(&mut self) -> bool {
        self.is_short
    }

    fn interrupt(&mut self) -> Interrupt {
        self.asked += 1;
        match self.patience {
            Some(patience) if self.asked > patience => Interrupt::Kill(KILLED),
            _ => Interrupt::Continue,
        }
    }

    fn log(&mut self, _level: i64, message: &[u8]) {
        self.lines.push(message.to_vec());
    }

    fn set_replication(&mut self, _flags: i64) {}
    fn error_replied(&mut self, _text: &[u8], _is_counted: bool) {}

    fn acl_allows(&mut self, _argv: &[&[u8]]) -> Result<bool, String> {
        Ok(true)
    }
}

/// Runs a script; its reply, of which no more than `limit` bytes are taken.
pub(crate) fn run_with(lua: &mut Interpreter, source: &[u8], host: &mut Fake, limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut wire = Wire { out: &mut out, protocol: Protocol::Resp2, limit };
    match lua.load(source, Origin::Eval, host) {
        Err(error) => wire.error(&error.0),
        Ok(sha) => match lua.run(&sha, &[b"key"], &[b"arg"], host, &mut wire) {
            Err(RunError::Failed { text, .. }) => wire.error(&text),
            Err(RunError::NoScript) => panic!("it was loaded just now"),
            Ok(()) => {}
        },
    }
    out
}

/// Runs a script in an interpreter of its own; its reply as text.
pub(crate) fn run(source: &str) -> String {
    run_within(source, 64 << 20, &mut Fake::default())
}

/// The same with so many bytes for Lua, and this host.
pub(crate) fn run_within(source: &str, memory_bytes: usize, host: &mut Fake) -> String {
    let mut lua = Interpreter::new(Limits { memory_bytes, ..Limits::default() });
    String::from_utf8_lossy(&run_with(&mut lua, source.as_bytes(), host, usize::MAX)).into_owned()
}
