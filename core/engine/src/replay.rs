//! Running the log's commands again at start: one internal client with every right, under no limit.

use crate::engine::{Engine, Origin, Turn};
use crate::gate;
use crate::outside::Outside;
use crate::session::{ClientInfo, SessionId};
use commands::Args;
use resp::{Protocol, Reply};

impl Engine {
    /// Runs one command of the log. It is not logged again, meets no memory limit, and knows SELECT, MULTI and EXEC; expiry is the
    /// keyspace's `keep_expired`.
    ///
    /// # Errors
    /// The error reply: the log does not fit this server.
    pub fn replay(&mut self, argv: &[&[u8]], outside: &mut dyn Outside) -> Result<(), String> {
        let id = self.replay_session();
        let command =
            self.table.find(argv).ok_or_else(|| gate::unknown_command(argv).shown().into_owned())?;
        if !self.table.commands[command].spec.arity_allows(argv.len()) {
            return Err(commands::Error::arity(self.table.commands[command].spec.name).shown().into_owned());
        }
        let mut out = Vec::new();
        if self.sessions.at(id).multi.is_some() && !gate::runs_inside_multi(self.table.commands[command].spec)
        {
            self.queue(id, command, argv, &mut Reply::wire(&mut out, Protocol::Resp2));
            return Ok(());
        }
        let turn = Turn {
            session: id,
            args: Args::new(argv),
            reply: Reply::wire(&mut out, Protocol::Resp2),
            outside,
            may_block: false,
        };
        // What was let in once is taken again, however low the limit is now.
        self.keyspace.limits.string_bytes = base::limits::STRING_BYTES_MAX;
        self.call(command, turn, None, Origin::Ready);
        self.keyspace.limits.string_bytes = crate::admin::limits(&self.config).string_bytes;
        match out.as_slice() {
            [b'-', text @ ..] => Err(String::from_utf8_lossy(text).trim_end().to_owned()),
            _ => Ok(()),
        }
    }

    /// Ends the replay; a transaction that was not finished is dropped.
    pub fn replay_end(&mut self) {
        self.keyspace.flushed_all = false;
        if let Some(id) = self.replay_session.take() {
            self.disconnect(id);
        }
    }

    fn replay_session(&mut self) -> SessionId {
        if let Some(id) = self.replay_session {
            return id;
        }
        let id =
            self.sessions.insert(ClientInfo::default(), crate::acl::DEFAULT_USER, true, self.keyspace.now);
        self.replay_session = Some(id);
        id
    }
}
