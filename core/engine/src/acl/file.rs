//! Users from lines: the ACL file and the `user` lines of the configuration.
//!
//! All or nothing: every line is read into a fresh set of users, which takes the place of the old one only if none is wrong. All that is
//! wrong is told, not only the first.

use super::{Acl, DEFAULT_USER, rules};
use crate::engine::Engine;
use crate::session::SessionId;

impl Engine {
    /// Replaces all users by those of an ACL file with this text; the default user stays as it is when no line names it. `file` is its
    /// name for messages; `by`, who asked for it and waits, is closed behind its reply if it must be. Tells whether a line names the
    /// default user.
    ///
    /// # Errors
    /// What is wrong with each line; nothing has changed then.
    pub fn load_acl_file(&mut self, file: &str, text: &[u8], by: Option<SessionId>) -> Result<bool, String> {
        let mut fresh = self.fresh_users();
        let (mut seen, mut errors) = (Vec::new(), String::new());
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            if let Err(why) = self.read_line(&mut fresh, &mut seen, line, at + 1) {
                let place =
                    if why.starts_with("WARNING") { String::new() } else { format!("{file}:{}", at + 1) };
                errors.push_str(&format!("{place}{why}. "));
            }
        }
        if !errors.is_empty() {
            errors.push_str(
                "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
            );
            return Err(errors);
        }
        let names_default = seen.iter().any(|name| name == b"default");
        self.replace_users(fresh, &seen, by);
        Ok(names_default)
    }

    /// The text of an ACL file with the default user's secrets of now in the place of those that it has; `None` if no line names that
    /// user, or if it has them already.
    pub fn with_default_secrets(&self, text: &[u8]) -> Option<Vec<u8>> {
        let secrets = match self.acl.user(DEFAULT_USER)? {
            user if user.nopass => vec!["nopass".to_owned()],
            user => user.secrets.iter().map(super::Secret::rule).collect(),
        };
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let line = lines.iter_mut().find(|line| words_of(line).starts_with(&[b"user", b"default"]))?;
        let words = words_of(line);
        let (old, mut kept): (Vec<&[u8]>, Vec<&[u8]>) = words.into_iter().partition(|word| is_secret(word));
        if old.iter().copied().eq(secrets.iter().map(|secret| secret.as_bytes())) {
            return None;
        }
        kept.extend(secrets.iter().map(|secret| secret.as_bytes()));
        *line = kept.join(&b' ');
        Some(lines.join(&b'\n'))
    }

    fn read_line(
        &self,
        fresh: &mut Acl,
        seen: &mut Vec<Vec<u8>>,
        line: &[u8],
        number: usize,
    ) -> Result<(), String> {
        // Only blanks separate here: quotes belong to the words, as in Redis.
        let words = words_of(line);
        let [first, name, rest @ ..] = words.as_slice() else {
            return Err(" should start with user keyword followed by the username".to_owned());
        };
        if *first != b"user" {
            return Err(" should start with user keyword followed by the username".to_owned());
        }
        let shown = String::from_utf8_lossy(name).into_owned();
        if name.contains(&0) {
            return Err(format!(": username '{shown}' contains invalid characters"));
        }
        if seen.iter().any(|known| known == name) {
            return Err(format!("WARNING: Duplicate user '{shown}' found on line {number}"));
        }
        seen.push(name.to_vec());
        let whole = rules::joined(rest).map_err(|_| ": Unmatched parenthesis in selector definition.")?;
        self.read_user(fresh, name, whole).map_err(|(_, why)| format!(": {why}"))
    }

    /// Replaces all users by those of the configuration's `user` lines (the words behind `user`).
    ///
    /// # Errors
    /// What is wrong; nothing has changed then.
    pub fn load_users(&mut self, lines: &[Vec<Vec<u8>>]) -> Result<(), String> {
        let (fresh, seen) = self.read_users(lines)?;
        self.replace_users(fresh, &seen, None);
        Ok(())
    }

    /// Which of the users of these `user` lines (the words behind `user`) are not, or not any more, as the lines say.
    ///
    /// # Errors
    /// What is wrong with a line.
    pub fn changed_users(&self, lines: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<u8>>, String> {
        let (told, mut seen) = self.read_users(lines)?;
        let line = |acl: &Acl, name: &[u8]| acl.find(name).and_then(|at| acl.user(at)).map(super::User::line);
        seen.retain(|name| line(&told, name) != line(&self.acl, name));
        Ok(seen)
    }

    fn read_users(&self, lines: &[Vec<Vec<u8>>]) -> Result<(Acl, Vec<Vec<u8>>), String> {
        let mut fresh = self.fresh_users();
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for words in lines {
            let Some((name, rest)) = words.split_first() else { continue };
            let shown = String::from_utf8_lossy(name).into_owned();
            if name.is_empty() || name.iter().any(|byte| *byte == 0 || byte.is_ascii_whitespace()) {
                return Err(format!("Spaces and empty names are not allowed in ACL usernames: '{shown}'"));
            }
            if seen.contains(name) {
                return Err(format!(
                    "Error in user declaration '{shown}': Duplicate user found. A user can only be defined once in config files"
                ));
            }
            seen.push(name.clone());
            let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
            let whole = rules::joined(&rest).map_err(|at| {
                format!(
                    "Unmatched parenthesis in acl selector starting at '{}'.",
                    String::from_utf8_lossy(at)
                )
            })?;
            self.read_user(&mut fresh, name, whole).map_err(|(rule, why)| {
                format!(
                    "Error in user declaration '{}' of user {shown}: {why}",
                    String::from_utf8_lossy(&rule)
                )
            })?;
        }
        Ok((fresh, seen))
    }

    fn fresh_users(&self) -> Acl {
        let mut fresh = Acl::new(Vec::new());
        fresh.channels_open = self.acl.channels_open;
        fresh
    }

    fn read_user(&self, fresh: &mut Acl, name: &[u8], rules: Vec<Vec<u8>>) -> Result<(), (Vec<u8>, String)> {
        let mut all = vec![b"reset".to_vec()];
        all.extend(rules);
        fresh.apply_rules(&self.table, name, &all)
    }

    /// Puts new users in the place of all. Clients whose user is gone, or may not listen any more to what they listen to, are closed.
    fn replace_users(&mut self, mut fresh: Acl, named: &[Vec<u8>], by: Option<SessionId>) {
        if !named.iter().any(|name| name == b"default") {
            fresh.users[DEFAULT_USER] = self.acl.users[DEFAULT_USER].take();
            fresh.default_has_rules = self.acl.default_has_rules;
            fresh.has_durabilities |= self.acl.has_durabilities;
        }
        core::mem::swap(&mut fresh.log, &mut self.acl.log);
        // Sessions know users by index.
        let old = core::mem::replace(&mut self.acl, fresh);
        self.tell_of_missing_log(named.iter().map(Vec::as_slice));
        // The default user has one place, and may have been moved here out of the old ones.
        let place = |user| if user == DEFAULT_USER { Some(user) } else { self.acl.find(old.name(user)) };
        let moves: Vec<(SessionId, Option<usize>)> = (self.sessions.iter().filter(|(_, s)| !s.is_internal()))
            .map(|(id, s)| (id, place(s.user)))
            .collect();
        for (id, user) in moves {
            match user {
                Some(user) => {
                    self.sessions.at_mut(id).user = user;
                    self.end_forbidden_listening(id, by);
                }
                None => self.end_user(id, by),
            }
        }
    }

    /// Closes a client that is told of what its user may not hear of any more: messages, the commands of others, changed keys that it
    /// never had to read. `by`, whose command this is, is closed behind its reply.
    pub(super) fn end_forbidden_listening(&mut self, id: SessionId, by: Option<SessionId>) {
        let session = self.sessions.at(id);
        let may = |name: &str, argv: &[&[u8]]| {
            let command = self.table.find_original(name.as_bytes());
            command.is_some_and(|c| self.acl.check(session.user, &self.table, c, argv).is_ok())
        };
        let hears =
            session.subscriptions.as_ref().is_some_and(|heard| !self.acl.may_listen(session.user, heard));
        let watches = session.monitor && !may("monitor", &[b"monitor"]);
        let tracks = session.tracking.as_ref().is_some_and(|tracking| tracking.broadcast)
            && !may("client|tracking", &[b"client", b"tracking", b"on"]);
        if hears || watches || tracks {
            self.end_user(id, by);
        }
    }

    /// Closes a client whose user is gone: whatever it runs meanwhile it runs as nobody.
    pub(super) fn end_user(&mut self, id: SessionId, by: Option<SessionId>) {
        let session = self.sessions.at_mut(id);
        // Nobody: what is left of its transaction must not go on with the rights of another user.
        session.user = usize::MAX;
        session.authenticated = false;
        match by == Some(id) {
            true => session.kill = true,
            false => self.close_client(id),
        }
    }
}

fn words_of(line: &[u8]) -> Vec<&[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}

/// Whether a rule is about who is let in.
fn is_secret(rule: &[u8]) -> bool {
    matches!(rule.first(), Some(b'>' | b'<' | b'#' | b'!'))
        || rule.starts_with(rules::ARGON2ID.as_bytes())
        || [&b"nopass"[..], b"resetpass"].iter().any(|word| rule.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Engine {
        let now = base::Now::at_ms(1);
        Engine::new(config::Config::default(), Acl::new(Vec::new()), [1; 32], now).unwrap()
    }

    #[test]
    fn any_bytes_and_quotes_survive_an_acl_file() {
        let mut first = engine();
        let rules: [&[u8]; 9] = [
            b"on",
            b"nopass",
            b"~it's",
            b"~\"q\"",
            b"%R~\xff*",
            b"&c\xfe",
            b"+select|\xe9",
            b"(~\"x)\" ~\"\\\"y\\\"\" +get)",
            b"(%W~a\xc3 +set)",
        ];
        first.acl.set_user(&first.table, b"j\xf8rg\"", &rules).unwrap();
        let lines = first.acl.lines();
        let line = &lines[1];
        let holds = |part: &[u8]| line.windows(part.len()).any(|bytes| bytes == part);
        assert!(
            holds(b"user j\xf8rg\" on nopass ")
                && holds(b" ~it's ~\"q\" %R~\xff* ")
                && holds(b"+select|\xe9")
        );
        assert!(holds(b"(\"~x)\" ") && holds(b"(%W~a\xc3 "));
        let mut second = engine();
        second.load_acl_file("users.acl", &lines.join(&b'\n'), None).unwrap();
        assert_eq!(second.acl.lines(), lines);
        let selectors = &second.acl.user(second.acl.find(b"j\xf8rg\"").unwrap()).unwrap().selectors;
        assert_eq!(selectors[0].describe_keys(), b"~x) ~\"y\"");
    }

    #[test]
    fn users_who_come_and_go_leave_nothing_behind() {
        let mut engine = engine();
        for n in 0..1000 {
            let name = format!("user{n}");
            engine.acl.set_user(&engine.table, name.as_bytes(), &[b"on"]).unwrap();
            engine.acl.set_user(&engine.table, b"stays", &[b"on"]).unwrap();
            let index = engine.acl.find(name.as_bytes()).unwrap();
            assert_eq!(engine.acl.name(index), name.as_bytes());
            engine.acl.delete(index);
            assert!(engine.acl.find(name.as_bytes()).is_none() && engine.acl.user(index).is_none());
        }
        let names: Vec<&[u8]> = engine.acl.sorted().iter().map(|user| user.name.as_slice()).collect();
        assert_eq!(names, [&b"default"[..], b"stays"]);
        assert!(engine.acl.users.len() <= 3);
    }

    #[test]
    fn a_file_gets_the_default_users_secrets_and_nothing_else_of_it() {
        const RECORD: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        let mut engine = engine();
        let file = b"# ours\nuser ann on >one ~a\n  user default on resetpass >old #ab ~* +@all (~b +get)\n";
        let with =
            |engine: &Engine| engine.with_default_secrets(file).map(|text| String::from_utf8(text).unwrap());
        let expected = |secret: &str| {
            format!("# ours\nuser ann on >one ~a\nuser default on ~* +@all (~b +get) {secret}\n")
        };
        assert_eq!(with(&engine), Some(expected("nopass")));
        engine.acl.set_default_secrets(vec![super::super::Secret::Argon2id(RECORD.to_owned())]);
        let kept = with(&engine).unwrap();
        assert_eq!(kept, expected(&format!("argon2id:{RECORD}")));
        assert_eq!(engine.with_default_secrets(kept.as_bytes()), None, "it has them already");
        assert_eq!(engine.with_default_secrets(b"user ann on >one\n#user default on >x"), None);
    }

    #[test]
    fn a_default_user_with_rules_is_more_than_a_password() {
        let mut engine = engine();
        assert!(!engine.acl.is_more_than_a_password());
        engine.acl.set_user(&engine.table, b"default", &[b"-@dangerous"]).unwrap();
        assert!(engine.acl.is_more_than_a_password());
    }
}
