//! The rights of users at the gate, and the words in which each caller hears that one is missing.

use super::{Asked, Caller};
use crate::acl::Denial;
use crate::engine::Engine;
use commands::{Error, Flags};

impl Engine {
    /// Whether the client's user may run this, counted and noted in the ACL log when not.
    pub(super) fn check_rights(&mut self, asked: Asked<'_>, caller: Caller) -> Result<(), Error> {
        let Asked { id, command, argv } = asked;
        let session = self.sessions.at_mut(id);
        if caller == Caller::Client {
            // A denial is noted with what the client asks for.
            session.last_command = Some(command);
        }
        let user = session.user;
        if let Err(denial) = self.acl.check(user, &self.table, command, argv) {
            return Err(self.denied(asked, caller, &denial));
        }
        if self.table.commands[command].spec.flags.has(Flags::BY_PATTERN) {
            self.check_patterns(asked)?;
        }
        Ok(())
    }

    fn denied(&mut self, asked: Asked<'_>, caller: Caller, denial: &Denial) -> Error {
        self.counters.acl_denied[denial.counter()] += 1;
        let session = self.sessions.at(asked.id);
        let context = match caller {
            Caller::Script(_) => "lua",
            Caller::Transaction => "multi",
            Caller::Client if session.multi.is_some() => "multi",
            Caller::Client | Caller::Ready | Caller::Replay | Caller::Master => "toplevel",
        };
        let who = self.acl.name(session.user).to_vec();
        let client = crate::client::client_line(self, session);
        self.acl.log.note(denial, context, &who, client, self.keyspace.now.unix_ms);
        words(denial, caller, &who)
    }

    /// A command that finds keys by patterns while it runs needs leave to read any key.
    fn check_patterns(&self, asked: Asked<'_>) -> Result<(), Error> {
        let Asked { id, command, argv } = asked;
        if self.acl.reads_any_key(self.sessions.at(id).user, command) {
            return Ok(());
        }
        for (word, pattern) in argv.iter().skip(2).zip(argv.iter().skip(3)) {
            if word.eq_ignore_ascii_case(b"by") && pattern.contains(&b'*') {
                return Err(Error::new("ERR BY option of SORT denied due to insufficient ACL permissions."));
            }
            if word.eq_ignore_ascii_case(b"get") {
                return Err(Error::new("ERR GET option of SORT denied due to insufficient ACL permissions."));
            }
        }
        Ok(())
    }
}

/// How a caller is told what its user, called `who`, may not do.
fn words(denial: &Denial, caller: Caller, who: &[u8]) -> Error {
    if caller == Caller::Transaction {
        return withdrawn(denial);
    }
    let template = match caller {
        Caller::Script(_) => "ERR ACL failure in script: {}",
        _ => "NOPERM {}",
    };
    let why = match denial {
        Denial::Command(name) => {
            let words: [&[u8]; 5] =
                [b"User ", who, b" has no permissions to run the '", name.as_bytes(), b"' command"];
            words.concat()
        }
        Denial::Key(_) => b"No permissions to access a key".to_vec(),
        Denial::Channel(_) => b"No permissions to access a channel".to_vec(),
        Denial::Auth(_) => return crate::connection::WRONGPASS,
    };
    Error::quoting(template, &[&why])
}

/// The refusal of a command that was allowed when it was queued.
fn withdrawn(denial: &Denial) -> Error {
    let why = match denial {
        Denial::Command(_) => "no permission to execute the command or subcommand",
        Denial::Key(_) => "no permission to touch the specified keys",
        Denial::Channel(_) => "no permission to access one of the channels used as arguments to the command",
        Denial::Auth(_) => "no permission",
    };
    Error::text(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {why}"
    ))
}
