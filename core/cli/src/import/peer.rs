//! One of the two servers of an import: a connection that is logged in, and questions with their answers.

use std::time::Duration;

use crate::failure::Failure;
use crate::link::Link;
use crate::options::Options;
use crate::value::Value;

/// How long an attempt to connect may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Peer {
    link: Link,
    pub(super) options: Options,
}

impl Peer {
    /// Connects and logs in.
    pub(super) fn connect(options: Options) -> Result<Peer, Failure> {
        let link = Link::connect(&options.target, &options.tls, Some(CONNECT_PATIENCE))?;
        let mut peer = Peer { link, options };
        let password = match (&peer.options.password, &peer.options.found) {
            (Some(password), _) => Some(password.clone()),
            (None, found) => found.as_ref().map(|found| found.password.secret.clone()),
        };
        if let Some(password) = password {
            let user = peer.options.user.clone();
            let words = [Some(b"AUTH".to_vec()), user, Some(password)];
            peer.ask(&words.into_iter().flatten().collect::<Vec<_>>())?;
        }
        peer.ask(&["PING"])?;
        Ok(peer)
    }

    /// What it answers. An error of the server ends the import, behind the command that it was for.
    pub(super) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, Failure> {
        match self.try_ask(words)? {
            Value::Error(text) => {
                let at = format!("{}: ", self.options.target);
                Err(Failure::Refused([at.as_bytes(), &text].concat()))
            }
            value => Ok(value),
        }
    }

    /// The same where an error is an answer.
    pub(super) fn try_ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, Failure> {
        self.link.send(words)?;
        Ok(self.link.receive()?)
    }

    /// Sends all of these, and then reads what is answered.
    pub(super) fn ask_all(&mut self, requests: &[Vec<Vec<u8>>]) -> Result<Vec<Value>, Failure> {
        let mut bytes = Vec::new();
        for request in requests {
            let words: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
            resp::push_command(&mut bytes, &words);
        }
        self.link.write(&bytes)?;
        requests.iter().map(|_| Ok(self.link.receive()?)).collect()
    }

    /// What a section of INFO says of a field.
    pub(super) fn info(&mut self, section: &str) -> Result<Info, Failure> {
        let text = self.ask(&["INFO", section])?;
        Ok(Info(String::from_utf8_lossy(text.text().unwrap_or_default()).into_owned()))
    }

    /// The databases that hold keys, and how many.
    pub(super) fn databases(&mut self) -> Result<Vec<(i64, u64)>, Failure> {
        let info = self.info("keyspace")?;
        let of_line = |line: &str| {
            let (database, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
            Some((database.parse().ok()?, rest.split(',').next()?.parse().ok()?))
        };
        Ok(info.0.lines().filter_map(of_line).collect())
    }

    /// The next keys of the database that is selected, and where to go on; 0 for nowhere.
    pub(super) fn scan(&mut self, cursor: &str, count: &str) -> Result<(String, Vec<Vec<u8>>), Failure> {
        let reply = self.ask(&["SCAN", cursor, "COUNT", count])?;
        let [next, keys] = reply.elements().unwrap_or_default() else {
            return Err(Failure::Unexpected("SCAN"));
        };
        let keys = keys.elements().unwrap_or_default().iter().filter_map(|key| Some(key.text()?.to_vec()));
        Ok((String::from_utf8_lossy(next.text().unwrap_or(b"0")).into_owned(), keys.collect()))
    }
}

/// A section of INFO.
pub(super) struct Info(String);

impl Info {
    /// A field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    /// A field that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }
}
