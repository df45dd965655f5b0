//! What a client says, by REPLCONF, of the copy that it will ask for.

use commands::{Args, Error};

/// What a client has said of the copy that it will ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CopyWish {
    /// It wants one snapshot and nothing after it.
    pub(crate) rdb_only: bool,
    /// It reads what ends with a mark.
    pub(crate) takes_mark: bool,
    pub(super) parts: CopyParts,
}

/// What is left out of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyParts {
    /// No keys.
    pub without_data: bool,
    /// No libraries of functions.
    pub without_functions: bool,
}

impl CopyWish {
    /// Takes over what `REPLCONF` says in the arguments `i` and `i + 1`; false when it is about something else.
    pub(crate) fn hear(&mut self, args: Args<'_>, i: usize) -> Result<bool, Error> {
        match args.at(i).to_ascii_lowercase().as_slice() {
            b"rdb-only" => match args.int(i + 1)? {
                only @ (0 | 1) => self.rdb_only = only == 1,
                _ => return Err(Error::new("ERR value is out of range, value must between 0 and 1")),
            },
            b"rdb-filter-only" => self.parts = CopyParts::only(args.at(i + 1))?,
            b"capa" => self.takes_mark |= args.is(i + 1, "eof"),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl CopyParts {
    /// What is left when only the parts named are wanted.
    fn only(named: &[u8]) -> Result<CopyParts, Error> {
        let mut parts = CopyParts { without_data: true, without_functions: true };
        for word in named.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            if !word.eq_ignore_ascii_case(b"functions") {
                return Err(Error::quoting("ERR Unsupported rdb-filter-only option: {}", &[word]));
            }
            parts.without_functions = false;
        }
        Ok(parts)
    }
}
