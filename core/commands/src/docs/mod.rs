//! What is written about commands: for COMMAND DOCS, and for the parts of COMMAND INFO that only clients read.
//!
//! It lies apart from the rows because the server never looks at it to run anything: a table per family, one
//! entry a command. The arguments and the key positions are kept in two small languages of our own, which
//! [`syntax`] and [`positions`] read when somebody asks.
//!
//! Invariants, held by tests: every entry can be read; every command has an entry, and every entry a command.

mod bitmap;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hash;
pub mod help;
mod hyperloglog;
mod list;
pub mod positions;
mod pubsub;
mod scripting;
mod server;
mod set;
mod sorted_set;
mod stream;
mod string;
pub mod syntax;
mod transactions;

/// What is written about one command.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    /// The command, lower case; `config|get` for a subcommand.
    pub name: &'static str,
    /// The first version of Redis or Valkey that had it.
    pub since: &'static str,
    /// Its cost; empty where there is nothing to say.
    pub complexity: &'static str,
    /// What it does, one sentence.
    pub summary: &'static str,
    /// Its arguments, as [`syntax`] reads them.
    pub arguments: &'static str,
    /// Where its keys stand and how they are used, as [`positions`] reads them.
    pub keys: &'static [&'static str],
    /// Hints for proxies and cluster clients.
    pub tips: &'static [&'static str],
    /// Since when something else is better, and what.
    pub replaced: Option<(&'static str, &'static str)>,
    /// Whether it is for servers and their tests, not for clients.
    pub internal: bool,
}

const fn doc(
    name: &'static str,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
) -> Doc {
    Doc {
        name,
        since,
        complexity,
        summary,
        arguments: "",
        keys: &[],
        tips: &[],
        replaced: None,
        internal: false,
    }
}

impl Doc {
    const fn takes(mut self, arguments: &'static str) -> Doc {
        self.arguments = arguments;
        self
    }

    const fn keys(mut self, keys: &'static [&'static str]) -> Doc {
        self.keys = keys;
        self
    }

    const fn tips(mut self, tips: &'static [&'static str]) -> Doc {
        self.tips = tips;
        self
    }

    const fn replaced(mut self, since: &'static str, by: &'static str) -> Doc {
        self.replaced = Some((since, by));
        self
    }

    const fn internal(mut self) -> Doc {
        self.internal = true;
        self
    }
}

/// The families, by their names in COMMAND DOCS.
static FAMILIES: &[(&str, &[Doc])] = &[
    ("bitmap", bitmap::DOCS),
    ("cluster", cluster::DOCS),
    ("connection", connection::DOCS),
    ("generic", generic::DOCS),
    ("geo", geo::DOCS),
    ("hash", hash::DOCS),
    ("hyperloglog", hyperloglog::DOCS),
    ("list", list::DOCS),
    ("pubsub", pubsub::DOCS),
    ("scripting", scripting::DOCS),
    ("server", server::DOCS),
    ("set", set::DOCS),
    ("sorted-set", sorted_set::DOCS),
    ("stream", stream::DOCS),
    ("string", string::DOCS),
    ("transactions", transactions::DOCS),
];

/// The family's name and what is written about the command `name` (lower case, `config|get` for a subcommand).
pub fn find(name: &str) -> Option<(&'static str, &'static Doc)> {
    FAMILIES.iter().find_map(|(family, docs)| Some((*family, docs.iter().find(|doc| doc.name == name)?)))
}

/// Everything that is written.
pub fn all() -> impl Iterator<Item = &'static Doc> {
    FAMILIES.iter().flat_map(|(_, docs)| docs.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_can_be_read_and_is_there_once() {
        let mut names: Vec<&str> = all().map(|doc| doc.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a command has two entries");
        for doc in all() {
            assert!(syntax::parse(doc.arguments).is_some(), "{}: {}", doc.name, doc.arguments);
            for key in doc.keys {
                assert!(positions::parse(key).is_some(), "{}: {key}", doc.name);
            }
            assert!(doc.summary.ends_with('.'), "{}: no sentence", doc.name);
        }
    }
}
