//! A conversation with one server: who we are there, what was chosen, and what a command does beyond its reply.
//!
//! Whatever is said at the start (AUTH, SELECT, HELLO) is said again after a reconnection. No command is sent twice: at a prompt the
//! connection is looked at before one is sent, and made anew if the server has closed it meanwhile.
//!
//! MONITOR and SUBSCRIBE go on until the program ends. At a prompt Ctrl-C ends them instead: the connection is given up, which
//! is how a server is told, and a new one is made.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::thread::sleep;
use std::time::Duration;

use crate::failure::Failure;
use crate::form::{Form, Style};
use crate::keys::Keys;
use crate::link::{ConnectError, Link, LinkError};
use crate::options::{Options, Target, integer};
use crate::screen::Screen;
use crate::snapshot;
use crate::value::Value;

/// A conversation.
pub(crate) struct Session<'a> {
    pub(crate) options: Options,
    pub(crate) style: Style,
    pub(crate) screen: &'a mut Screen,
    /// Whether the program stands at a prompt, or reads commands from a file: errors never end it then.
    pub(crate) is_dialogue: bool,
    link: Option<Link>,
    database: i64,
    is_in_transaction: bool,
    hearing: Hearing,
    /// Out-of-band messages are shown.
    shows_pushes: bool,
    /// What commands take is shown behind them at the prompt.
    pub(crate) hints: Rc<Cell<bool>>,
    /// Standard input is a terminal with a prompt, whose keys end what would go on for ever.
    pub(crate) has_keys: bool,
    /// The server has granted all that was said at the start of this connection: user, database and protocol.
    is_granted: bool,
}

/// What a command does to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Replies come without end.
    Stream,
    /// What replicas are told comes without end, behind a snapshot.
    Replica,
    /// Replies come as messages are published.
    Subscription,
    /// The server ends without a reply.
    End,
    /// `CLIENT REPLY OFF` and `SKIP`: it has no reply, nor have those behind it, or the next one.
    Silence,
    /// `CLIENT REPLY ON`
    Speech,
    None,
}

/// Whether commands are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    Replies,
    /// The next command is not.
    Skips,
    Nothing,
}

impl<'a> Session<'a> {
    pub(crate) fn new(options: Options, screen: &'a mut Screen) -> Session<'a> {
        let style = options.style(screen.is_terminal);
        let shows_pushes = options.shows_pushes.unwrap_or(screen.is_terminal);
        Session {
            database: options.database,
            options,
            style,
            screen,
            is_dialogue: false,
            link: None,
            is_in_transaction: false,
            hearing: Hearing::Replies,
            shows_pushes,
            hints: Rc::new(Cell::new(true)),
            has_keys: false,
            is_granted: false,
        }
    }

    /// Connects anew and says what is said at the start. A refusal of that is told, and the conversation goes on.
    pub(crate) fn connect(&mut self) -> Result<(), ConnectError> {
        self.link = None;
        self.is_in_transaction = false;
        self.hearing = Hearing::Replies;
        self.link = Some(self.reach()?);
        self.is_granted = self.greet().unwrap_or_else(|error| {
            // The first command will meet it again.
            self.screen.tell(format!("Error: {error}"));
            false
        });
        Ok(())
    }

    /// Connects for work that nobody watches: what was refused at the start ends it, since it would be done in another database,
    /// or be refused piece by piece.
    pub(crate) fn connect_as_asked(&mut self) -> Result<(), Failure> {
        self.connect()?;
        if self.is_granted { Ok(()) } else { Err(Failure::Told) }
    }

    /// A connection to the target or, where its port was not named and nobody is there, to the first further one that is open;
    /// that is the target then. Of refusals the first is told.
    fn reach(&mut self) -> Result<Link, ConnectError> {
        let Options { tls, connect_patience, further_ports, .. } = &self.options;
        let refused = match Link::connect(&self.options.target, tls, *connect_patience) {
            Err(refused @ ConnectError::Refused(..)) => refused,
            outcome => return outcome,
        };
        for port in further_ports {
            let other = Target { port: *port, ..self.options.target.clone() };
            if let Ok(link) = Link::connect(&other, tls, *connect_patience) {
                self.options.target = other;
                return Ok(link);
            }
        }
        Err(refused)
    }

    /// Gives the connection up; the next question makes another one.
    pub(crate) fn disconnect(&mut self) {
        self.link = None;
    }

    /// The connection, made if there is none.
    pub(crate) fn link(&mut self) -> Result<&mut Link, ConnectError> {
        if self.link.is_none() {
            self.connect()?;
        }
        // It was made just now.
        Ok(self.link.as_mut().expect("a connection"))
    }

    /// Whether a question of our own would be answered now.
    pub(crate) fn may_ask(&self) -> bool {
        self.link.is_some() && !self.is_in_transaction && self.hearing == Hearing::Replies
    }

    /// What stands before what is typed.
    pub(crate) fn prompt(&self) -> String {
        if self.link.is_none() {
            return "not connected> ".to_owned();
        }
        let place = match &self.options.target.socket {
            Some(path) => format!("redis {path}"),
            None if self.options.target.host.contains(':') => {
                format!("[{}]:{}", self.options.target.host, self.options.target.port)
            }
            None => self.options.target.to_string(),
        };
        let database = if self.database == 0 { String::new() } else { format!("[{}]", self.database) };
        let transaction = if self.is_in_transaction { "(TX)" } else { "" };
        format!("{place}{database}{transaction}> ")
    }

    /// Says what is said at the start. Whether all of it was granted; what was not is told.
    fn greet(&mut self) -> Result<bool, LinkError> {
        let Some(link) = self.link.as_mut() else { return Ok(false) };
        if let Some((password, source)) = self.options.password_here() {
            let user = self.options.user.iter().map(Vec::as_slice);
            let words: Vec<&[u8]> = std::iter::once(&b"AUTH"[..]).chain(user).chain([password]).collect();
            if let Value::Error(text) = link.ask(&words)? {
                self.screen.tell([b"AUTH failed: ", text.as_slice()].concat());
                if let Some(source) = source {
                    self.screen.tell(not_let_in(source));
                }
                return Ok(false);
            }
        }
        if !self.choose()? {
            return Ok(false);
        }
        let (Some(link), Some(3)) = (self.link.as_mut(), self.options.protocol) else { return Ok(true) };
        if let Value::Error(text) = link.ask(&["HELLO", "3"])? {
            self.screen.tell([b"HELLO 3 failed: ", text.as_slice()].concat());
            return Ok(false);
        }
        Ok(true)
    }

    /// Selects the database that was asked for. Whether that went well.
    fn choose(&mut self) -> Result<bool, LinkError> {
        let asked = self.options.database;
        let Some(link) = self.link.as_mut() else { return Ok(true) };
        self.database = asked;
        if asked == 0 {
            return Ok(true);
        }
        if let Value::Error(text) = link.ask(&["SELECT", &asked.to_string()])? {
            self.screen.tell([format!("SELECT {asked} failed: ").as_bytes(), text.as_slice()].concat());
            self.database = 0;
            return Ok(false);
        }
        Ok(true)
    }

    /// Sends a command as often as asked, and shows each reply.
    pub(crate) fn run(&mut self, words: &[Vec<u8>], times: i64) -> Result<(), Failure> {
        let mut left = times;
        while left != 0 {
            self.once(words)?;
            self.screen.flush()?;
            if left > 0 {
                left -= 1;
            }
            sleep(self.options.interval);
        }
        Ok(())
    }

    fn once(&mut self, words: &[Vec<u8>]) -> Result<(), Failure> {
        // A person need not know that a connection stood idle for too long; a script has none that does.
        if self.has_keys && self.show_pushes().is_err() {
            self.connect()?;
        }
        let outcome = self.exchange(words);
        if matches!(outcome, Err(Failure::Link(_))) {
            self.link = None;
        }
        match outcome {
            Err(Failure::Link(LinkError::Closed)) if effect(words) == Effect::End => Ok(()),
            outcome => outcome,
        }
    }

    fn exchange(&mut self, words: &[Vec<u8>]) -> Result<(), Failure> {
        let effect = effect(words);
        if effect != Effect::Replica {
            self.link()?.send(words)?;
        }
        match effect {
            Effect::Stream => self.follow(words),
            Effect::Replica => snapshot::follow(self),
            Effect::Subscription => self.listen(words),
            Effect::Silence => {
                self.hearing = if is(words.get(2), &["skip"]) { Hearing::Skips } else { Hearing::Nothing };
                Ok(())
            }
            Effect::End | Effect::None if self.hearing != Hearing::Replies => {
                if self.hearing == Hearing::Skips {
                    self.hearing = Hearing::Replies;
                }
                Ok(())
            }
            Effect::End | Effect::Speech | Effect::None => {
                self.hearing = Hearing::Replies;
                self.show_next(words)?;
                Ok(())
            }
        }
    }

    /// Shows replies until the connection or the program ends, or a key is pressed.
    fn follow(&mut self, words: &[Vec<u8>]) -> Result<(), Failure> {
        let keys = self.has_keys.then(Keys::take).flatten();
        while let Some(value) = self.coming(keys.as_ref())? {
            self.show(words, &value)?;
            if value.error().is_some() {
                return Ok(());
            }
        }
        Ok(self.connect()?)
    }

    /// Shows messages in the same way.
    fn listen(&mut self, words: &[Vec<u8>]) -> Result<(), Failure> {
        if self.style.form != Form::Raw {
            self.screen.print("Reading messages... (press Ctrl-C to quit)\n")?;
            self.screen.flush()?;
        }
        let keys = self.has_keys.then(Keys::take).flatten();
        while let Some(value) = self.coming(keys.as_ref())? {
            if matches!(value, Value::Error(_) | Value::Status(_)) {
                // It was refused or queued: there will be no messages.
                return self.show(words, &value);
            }
            self.screen.print(self.style.reply(&value))?;
            self.screen.flush()?;
        }
        Ok(self.connect()?)
    }

    /// The next of the replies that go on; none if a key wants no more.
    fn coming(&mut self, keys: Option<&Keys>) -> Result<Option<Value>, Failure> {
        let link = self.link()?;
        let Some(keys) = keys else { return Ok(Some(link.receive()?)) };
        loop {
            if let Some(value) = link.received()? {
                return Ok(Some(value));
            }
            if keys.leaves(link)? {
                return Ok(None);
            }
        }
    }

    /// Waits for a reply and shows it, with what came unasked before it.
    fn show_next(&mut self, words: &[Vec<u8>]) -> Result<(), Failure> {
        loop {
            match self.link()?.receive()? {
                Value::Push(parts) => self.show_push(parts)?,
                value => return self.show(words, &value),
            }
        }
    }

    fn show(&mut self, words: &[Vec<u8>], value: &Value) -> Result<(), Failure> {
        if let (Value::Error(text), true, false) = (value, self.options.fails_by_errors, self.is_dialogue) {
            return Err(Failure::Refused(text.clone()));
        }
        let text = if is_plain(words) { self.style.plain(value) } else { self.style.reply(value) };
        self.screen.print(text)?;
        self.screen.flush()?;
        if value.error().is_none() {
            self.learn(words)?;
        }
        Ok(())
    }

    fn show_push(&mut self, parts: Vec<Value>) -> io::Result<()> {
        if !self.shows_pushes {
            return Ok(());
        }
        let text = push_text(&parts).unwrap_or_else(|| self.style.reply(&Value::Push(parts)));
        self.screen.print(text)
    }

    /// What a command that went well has changed.
    fn learn(&mut self, words: &[Vec<u8>]) -> Result<(), Failure> {
        let name = words[0].to_ascii_lowercase();
        match name.as_slice() {
            b"select" if words.len() == 2 && !self.is_in_transaction => {
                self.database = integer(&words[1]);
                self.options.database = self.database;
            }
            b"auth" => {
                self.choose()?;
            }
            b"hello" => {
                if let Some(protocol) = words.get(1) {
                    self.options.protocol = u8::try_from(integer(protocol)).ok();
                }
            }
            b"reset" => {
                (self.database, self.options.database) = (0, 0);
                self.options.protocol = None;
                self.is_in_transaction = false;
            }
            b"multi" => self.is_in_transaction = true,
            b"exec" | b"discard" => self.is_in_transaction = false,
            _ => {}
        }
        Ok(())
    }

    /// What has come unasked, shown now.
    pub(crate) fn show_pushes(&mut self) -> Result<(), Failure> {
        while let Some(link) = self.link.as_mut()
            && let Some(Value::Push(parts)) = link.received()?
        {
            self.show_push(parts)?;
        }
        Ok(())
    }

    /// A question of our own, whose reply is not shown.
    pub(crate) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, Failure> {
        Ok(self.link()?.ask(words)?)
    }

    /// Questions that are sent at once; their replies in the same order.
    pub(crate) fn ask_all(&mut self, questions: &[Vec<Vec<u8>>]) -> Result<Vec<Value>, Failure> {
        let mut requests = Vec::new();
        for words in questions {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            resp::push_command(&mut requests, &words);
        }
        let link = self.link()?;
        link.write(&requests)?;
        let mut answers = Vec::with_capacity(questions.len());
        while answers.len() < questions.len() {
            match link.receive()? {
                Value::Push(_) => {}
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    /// A pause between steps, as long as `-i` says.
    pub(crate) fn pause(&self) {
        if self.options.interval > Duration::ZERO {
            sleep(self.options.interval);
        }
    }
}

/// What is said of a password that was found and is not the right one.
fn not_let_in(source: &str) -> String {
    format!(
        "The password is that in {source}. Another one has been set since then (ACL SAVE and CONFIG REWRITE keep such a one): give it \
         with --askpass or in $REDISCLI_AUTH"
    )
}

fn is(word: Option<&Vec<u8>>, names: &[&str]) -> bool {
    word.is_some_and(|word| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())))
}

fn effect(words: &[Vec<u8>]) -> Effect {
    let name = words.first();
    if is(name, &["monitor"]) {
        Effect::Stream
    } else if is(name, &["sync", "psync"]) {
        Effect::Replica
    } else if is(name, &["subscribe", "psubscribe", "ssubscribe"]) {
        Effect::Subscription
    } else if is(name, &["shutdown"]) {
        Effect::End
    } else if is(name, &["client"]) && is(words.get(1), &["reply"]) && words.len() == 3 {
        match words[2].to_ascii_lowercase().as_slice() {
            b"off" | b"skip" => Effect::Silence,
            b"on" => Effect::Speech,
            _ => Effect::None,
        }
    } else {
        Effect::None
    }
}

/// Whether a command's reply is text for people, which is shown as it is in every form.
fn is_plain(words: &[Vec<u8>]) -> bool {
    let (name, sub) = (words.first(), words.get(1));
    is(name, &["info", "lolwut"])
        || is(name, &["cluster"]) && is(sub, &["nodes", "info"])
        || is(name, &["client"]) && is(sub, &["list", "info"])
        || is(name, &["memory"]) && is(sub, &["malloc-stats", "doctor"])
        || is(name, &["latency"]) && is(sub, &["graph", "doctor"])
        || is(name, &["debug"]) && is(sub, &["htstats", "htstats-key", "client-eviction"])
}

/// The line for what tells a client that its copies are old.
fn push_text(parts: &[Value]) -> Option<Vec<u8>> {
    let (kind, rest) = parts.split_first()?;
    if kind.text() != Some(b"invalidate") {
        return None;
    }
    let keys = rest.first()?.elements()?;
    let keys: Vec<Vec<u8>> =
        keys.iter().filter_map(Value::text).map(|key| [b"'", key, b"'"].concat()).collect();
    Some([b"-> invalidate: ", keys.join(&b", "[..]).as_slice(), b"\n"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn text_for_people_is_known_by_its_command() {
        for plain in ["INFO", "info memory", "Client List", "cluster nodes", "memory doctor", "lolwut 5 1"] {
            assert!(is_plain(&words(plain)), "{plain}");
        }
        for other in ["get info", "client", "client id", "memory usage x", "cluster slots"] {
            assert!(!is_plain(&words(other)), "{other}");
        }
    }

    #[test]
    fn commands_that_go_on_are_known() {
        assert_eq!(effect(&words("MONITOR")), Effect::Stream);
        assert_eq!(effect(&words("psync ? -1")), Effect::Replica);
        assert_eq!(effect(&words("psubscribe a*")), Effect::Subscription);
        assert_eq!(effect(&words("shutdown nosave")), Effect::End);
        assert_eq!(effect(&words("client reply OFF")), Effect::Silence);
        assert_eq!(effect(&words("client reply on")), Effect::Speech);
        assert_eq!(effect(&words("unsubscribe a")), Effect::None);
    }

    #[test]
    fn old_copies_are_told_on_a_line() {
        let text = |text: &str| Value::Text(text.as_bytes().to_vec());
        let parts = [text("invalidate"), Value::Array(vec![text("a"), text("b")])];
        assert_eq!(push_text(&parts), Some(b"-> invalidate: 'a', 'b'\n".to_vec()));
        assert_eq!(push_text(&[text("message"), text("a")]), None);
    }
}
