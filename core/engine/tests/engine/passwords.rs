//! Who may do what: users, passwords and certificates.

use crate::bench::Bench;
use tandem_engine::{Durability, Job};

#[test]
fn a_user_of_the_configuration_has_a_name_without_blanks() {
    let mut b = Bench::new();
    for name in [&b"default on"[..], b"", b"a\tb", b"a\0b"] {
        assert!(b.engine.load_users(&[vec![name.to_vec(), b"on".to_vec()]]).is_err(), "{name:?}");
    }
    assert!(b.engine.load_users(&[vec![b"bob".to_vec(), b"on".to_vec()]]).is_ok());
}

#[test]
fn users_may_do_what_their_rules_say() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    let hash = tandem_engine::digest_of(b"pw");
    assert_eq!(b.run(c, &format!("ACL SETUSER bob on #{hash} ~app:* +get +set")), "+OK\r\n");
    assert!(b.run(d, "AUTH bob wrong").starts_with("-WRONGPASS"));
    assert_eq!(b.run(d, "AUTH bob pw"), "+OK\r\n");
    assert_eq!(b.run(d, "SET app:1 x"), "+OK\r\n");
    assert_eq!(b.run(d, "SET other x"), "-NOPERM No permissions to access a key\r\n");
    assert_eq!(b.run(d, "DEL app:1"), "-NOPERM User bob has no permissions to run the 'del' command\r\n");
    assert_eq!(b.run(c, "ACL DELUSER bob"), ":1\r\n");
    assert!(b.closed(d));
}

#[test]
fn what_writes_wait_for_is_a_rule_of_a_user_that_a_connection_may_overrule() {
    let mut b = Bench::new();
    let (_, c, d) = (b.connect_replica(), b.connect(), b.connect());
    b.run(c, "CONFIG SET appendonly yes");
    assert_eq!(b.run(c, "ACL SETUSER jobs on nopass ~* +@all durability=REPLICATED"), "+OK\r\n");
    let line = "user jobs on nopass sanitize-payload durability=replicated ~* resetchannels +@all";
    assert!(b.run(c, "ACL LIST").contains(line));
    assert!(b.run(c, "ACL GETUSER jobs").contains("durability=replicated"));
    b.run(d, "AUTH jobs x");
    let written = |b: &mut Bench, client, request| {
        b.run(client, request);
        b.engine.take_written().map(|written| written.durability)
    };
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Replicated));
    assert_eq!(written(&mut b, c, "SET a 1"), Some(Durability::Configured), "others do not wait");
    assert_eq!(b.run(d, "CLIENT DURABILITY"), "$10\r\nreplicated\r\n");
    b.run(d, "CLIENT DURABILITY everysec");
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Everysec));
    b.run(d, "CLIENT DURABILITY default");
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Replicated));
    // As it is told it is read, and a file without it takes it away.
    assert!(b.engine.load_acl_file("users", line.as_bytes(), None).is_ok());
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Replicated));
    b.run(c, "ACL SETUSER jobs durability=always");
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Always));
    b.run(c, "CONFIG SET appendonly no");
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Configured), "there is no log to wait for");
    assert!(b.engine.load_acl_file("users", b"user jobs on nopass ~* +@all", None).is_ok());
    assert_eq!(written(&mut b, d, "SET a 1"), Some(Durability::Configured));
    assert!(!b.run(c, "ACL LIST").contains("durability"), "what is configured is not told");
    assert!(b.run(c, "ACL SETUSER jobs durability=never").starts_with("-ERR Error in ACL SETUSER modifier"));
    b.run(c, "ACL SETUSER jobs durability=always");
    b.run(c, "ACL SETUSER jobs reset");
    assert!(!b.run(c, "ACL LIST").contains("durability"));
}

#[test]
fn that_a_rule_waits_for_a_log_which_is_not_there_is_told() {
    let mut b = Bench::new();
    let c = b.connect();
    let told = |b: &mut Bench| {
        let mut jobs = Vec::new();
        b.engine.take_jobs(&mut jobs);
        let is_told = |job: &Job| matches!(job, Job::Log { text, .. } if text.contains("the writes of user jobs could"));
        jobs.iter().any(is_told)
    };
    b.run(c, "CONFIG SET appendonly no");
    assert_eq!(b.run(c, "ACL SETUSER jobs durability=everysec"), "+OK\r\n", "there may be one later");
    assert!(told(&mut b));
    b.run(c, "ACL SETUSER others durability=replicated");
    assert!(!told(&mut b), "that needs none");
    let line = b"user jobs on nopass durability=always ~* +@all";
    assert!(b.engine.load_acl_file("users", line, None).is_ok());
    assert!(told(&mut b));
    b.run(c, "CONFIG SET appendonly yes");
    assert!(b.engine.load_acl_file("users", line, None).is_ok());
    assert!(!told(&mut b));
    b.run(c, "CONFIG SET appendonly no");
    assert!(told(&mut b), "it was there, and goes");
}

#[test]
fn who_waits_for_a_log_that_goes_is_told_and_waits_as_others_do() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET appendonly yes");
    assert_eq!(b.run(c, "CLIENT DURABILITY always"), "+OK\r\n");
    b.run(c, "CONFIG SET appendonly no");
    assert_eq!(b.run(c, "CLIENT DURABILITY"), "$7\r\ndefault\r\n");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    assert!(
        jobs.iter().any(
            |job| matches!(job, Job::Log { text, .. } if text.contains("1 connections that have chosen"))
        )
    );
    b.run(c, "CONFIG SET appendonly yes");
    assert_eq!(b.run(c, "CLIENT DURABILITY"), "$6\r\nalways\r\n", "it has not chosen anew");
}

#[test]
fn a_password_that_is_set_stays_in_the_configuration_as_its_record_for_a_rewrite() {
    let mut b = Bench::new();
    let c = b.connect();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    assert_eq!(b.run(c, &format!("CONFIG SET requirepass {record}")), "+OK\r\n");
    assert!(b.run(c, "CONFIG GET requirepass").contains(record));
}

#[test]
fn the_answer_about_one_password_lets_no_other_in() {
    let mut b = Bench::new();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let (operator, one, other) = (b.connect(), b.connect(), b.connect());
    for user in ["bob", "admin"] {
        assert_eq!(b.call(operator, &["ACL", "SETUSER", user, "on", record, "+@all", "~*"]), "+OK\r\n");
    }
    assert_eq!(b.run(one, "AUTH bob pw"), "");
    b.asked(one);
    assert_eq!(b.verified(one, true), "+OK\r\n");
    assert_eq!(b.run(other, "AUTH bob pw"), "+OK\r\n", "the answer is remembered");
    assert_eq!(b.run(operator, "ACL GENPASS").len(), 71);
    assert_eq!(b.run(other, "AUTH bob pw"), "+OK\r\n", "and no command of a user has it forgotten");
    assert_eq!(b.run(other, "AUTH bob wrong"), "", "another must be asked");
    b.asked(other);
    assert!(b.verified(other, false).starts_with("-WRONGPASS"));
    assert!(b.run(one, "AUTH bob wrong").starts_with("-WRONGPASS"), "that is remembered, too");
}

#[test]
fn the_time_of_a_refusal_does_not_tell_who_there_is() {
    let mut b = Bench::new();
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let (operator, c) = (b.connect(), b.connect());
    b.call(operator, &["ACL", "SETUSER", "bob", "on", record, "+@all", "~*"]);
    b.run(
        operator,
        "ACL SETUSER old on #5e884898da28047151d0e56f8dc6292773603d0d6aabbd62a11ef721d1542d8 +@all",
    );
    b.run(operator, "ACL SETUSER old on resetpass");
    b.call(operator, &["ACL", "SETUSER", "off", "off", record]);
    for (name, password) in [("nobody", "a"), ("old", "b"), ("off", "c"), ("bob", "d")] {
        assert_eq!(b.run(c, &format!("AUTH {name} {password}")), "", "{name}");
        assert_eq!(b.asked(c), [record.strip_prefix("argon2id:").unwrap()], "{name}");
        assert!(b.verified(c, false).starts_with("-WRONGPASS"), "{name}");
    }
    // Nor does a password that is somebody else's let anybody in.
    assert_eq!(b.run(c, "AUTH nobody pw"), "");
    b.asked(c);
    assert!(b.verified(c, true).starts_with("-WRONGPASS"));
    for name in ["nobody", "old", "off"] {
        assert!(b.run(c, &format!("AUTH {name} pw")).starts_with("-WRONGPASS"), "{name}");
    }
    assert_eq!(b.run(c, "AUTH bob pw"), "+OK\r\n");
    assert!(b.call(c, &["AUTH", "bob", &"x".repeat(5000)]).starts_with("-WRONGPASS"), "nothing to ask");
}

#[test]
fn a_transaction_asks_about_its_log_ins_before_it_runs() {
    let mut b = Bench::new();
    let record = |salt: &str| format!("argon2id:$argon2id$v=19$m=8,t=1,p=1${salt}$aGFzaGhhc2hoYXNoaGFzaA");
    let (operator, c) = (b.connect(), b.connect());
    for (user, salt) in [("bob", "c2FsdHNhbHQ"), ("eve", "c2FsdHNhbHU")] {
        b.call(operator, &["ACL", "SETUSER", user, "on", &record(salt), "+@all", "~*"]);
    }
    for request in ["MULTI", "SET a 1", "AUTH bob pw", "HELLO 2 AUTH eve no", "ACL WHOAMI"] {
        b.run(c, request);
    }
    assert_eq!(b.run(c, "EXEC"), "");
    b.asked(c);
    assert_eq!(b.run(operator, "EXISTS a"), ":0\r\n", "nothing has run");
    assert_eq!(b.verified(c, true), "", "the other is asked about");
    b.asked(c);
    let reply = b.verified(c, false);
    assert!(reply.starts_with("*4\r\n+OK\r\n+OK\r\n-WRONGPASS"), "{reply}");
    assert!(reply.ends_with("\r\n$3\r\nbob\r\n"), "{reply}");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    assert!(jobs.is_empty());
}

#[test]
fn a_password_that_was_just_set_needs_no_check() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    assert_eq!(b.run(operator, "ACL SETUSER bob on >pw +@all"), "");
    let mut jobs = Vec::new();
    b.engine.take_jobs(&mut jobs);
    let record = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA".to_owned();
    assert_eq!(b.hashed(operator, std::slice::from_ref(&record)), "+OK\r\n");
    assert_eq!(b.run(c, "AUTH bob pw"), "+OK\r\n");
    assert_eq!(b.run(operator, "CONFIG SET requirepass other"), "");
    assert_eq!(b.hashed(operator, &[record.replace("c2Fs", "d2Fs")]), "+OK\r\n");
    assert_eq!(b.run(c, "AUTH other"), "+OK\r\n");
}

#[test]
fn a_password_that_was_given_as_text_is_removed_by_its_digest() {
    const NONE: &str = "The password you are trying to remove from the user does not exist";
    const RECORD: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let digest = |password: &str| tandem_engine::digest_of(password.as_bytes());
    let mut b = Bench::new();
    let (c, user) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "ACL SETUSER u on >one >two +@all"), "");
    assert_eq!(b.hashed(c, &[RECORD.to_owned(), RECORD.replace("c2Fs", "d2Fs")]), "+OK\r\n");
    assert!(b.run(c, &format!("ACL SETUSER u !{}", digest("three"))).contains(NONE));
    assert_eq!(b.run(c, &format!("ACL SETUSER u !{}", digest("one"))), "+OK\r\n");
    assert!(b.run(c, "ACL GETUSER u").contains("d2Fs") && !b.run(c, "ACL GETUSER u").contains(RECORD));
    assert!(b.run(c, &format!("ACL SETUSER u !{}", digest("one"))).contains(NONE));
    // A record that came as one tells its digest when somebody has logged in.
    b.run(c, &format!("ACL SETUSER v on argon2id:{RECORD} +@all"));
    let removal = format!("ACL SETUSER v !{}", digest("other"));
    assert!(b.run(c, &removal).contains(NONE));
    assert_eq!(b.run(user, "AUTH v other"), "");
    b.asked(user);
    assert_eq!(b.verified(user, true), "+OK\r\n");
    assert_eq!(b.run(c, &removal), "+OK\r\n");
}

#[test]
fn whoever_came_while_the_door_was_shut_is_let_in_while_it_is_open() {
    let mut b = Bench::new();
    let (operator, noauth) = (b.connect(), "-NOAUTH Authentication required.\r\n");
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    b.call(operator, &["CONFIG", "SET", "requirepass", record]);
    let waiting = b.connect();
    assert_eq!(b.run(waiting, "PING"), noauth);
    let changes: [[&[&str]; 2]; 3] = [
        [&["CONFIG", "SET", "requirepass", ""], &["CONFIG", "SET", "requirepass", record]],
        [&["ACL", "SETUSER", "default", "nopass"], &["ACL", "SETUSER", "default", "off"]],
        [&["ACL", "SETUSER", "default", "on"], &["ACL", "SETUSER", "default", "resetpass"]],
    ];
    for [open, shut] in changes {
        assert_eq!(b.call(operator, open), "+OK\r\n");
        assert_eq!(b.run(waiting, "ACL WHOAMI"), "$7\r\ndefault\r\n", "{open:?}");
        assert!(b.run(waiting, "HELLO 2").starts_with('*'), "who may run commands may name its protocol");
        b.run(waiting, "MULTI");
        assert_eq!(b.run(waiting, "SET k v"), "+QUEUED\r\n");
        assert_eq!(b.call(operator, shut), "+OK\r\n");
        assert_eq!(b.run(waiting, "GET k"), noauth, "{shut:?}");
        let refused = format!("-EXECABORT Transaction discarded because of: {}", &noauth[1..]);
        assert_eq!(b.run(waiting, "EXEC"), refused);
        let newcomer = b.connect();
        assert_eq!(b.run(newcomer, "PING"), noauth);
        assert_eq!(b.run(operator, "PING"), "+PONG\r\n", "who was in stays");
    }
}

#[test]
fn a_password_for_a_default_user_who_takes_any_is_a_mistake_also_while_it_is_off() {
    let mut b = Bench::new();
    let c = b.connect();
    for rule in ["on", "off"] {
        b.call(c, &["ACL", "SETUSER", "default", rule]);
        assert!(b.run(c, "AUTH x").starts_with("-ERR AUTH <password> called without any password"), "{rule}");
    }
}

#[test]
fn a_newcomer_takes_the_place_of_one_who_has_not_logged_in() {
    let mut b = Bench::new();
    let user = b.connect();
    b.run(user, "CONFIG SET maxclients 40");
    let record = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    b.run(user, &format!("CONFIG SET requirepass {record}"));
    b.connect_from(2);
    let crowd: Vec<usize> = (0..38).map(|_| b.connect_from(3)).collect();
    b.run(crowd[0], "AUTH guess");
    let newcomer = b.connect_from(3);
    let mut delivered = Vec::new();
    b.engine.take_deliveries(&mut delivered);
    let dropped: Vec<usize> = delivered.iter().filter(|d| d.drop).map(|d| d.token as usize).collect();
    assert_eq!(dropped, crowd[1..4], "a sixteenth of the crowd: no user, no other machine, nobody who asks");
    assert_eq!(b.run(newcomer, "PING"), "-NOAUTH Authentication required.\r\n");
    assert!(b.run(crowd[1], "PING").is_empty(), "the oldest who asks for nothing");
}

#[test]
fn a_password_that_is_changed_while_it_is_checked_lets_nobody_in() {
    let mut b = Bench::new();
    let old = "argon2id:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
    let new = old.replace("c2FsdHNhbHQ", "c2FsdHNhbHU");
    let (operator, c) = (b.connect(), b.connect());
    let change = |b: &mut Bench, rules: &[&str]| {
        assert_eq!(b.call(operator, &[&["ACL", "SETUSER", "bob"][..], rules].concat()), "+OK\r\n");
    };
    change(&mut b, &["on", old, "+@all"]);
    for (rules, password) in [(&["off"][..], "one"), (&["on", "resetpass"], "two")] {
        assert_eq!(b.run(c, &format!("AUTH bob {password}")), "");
        b.asked(c);
        change(&mut b, rules);
        assert!(b.verified(c, true).starts_with("-WRONGPASS"), "{rules:?}");
        change(&mut b, &["on", "resetpass", old]);
    }
    // Another record may be of the same password: it is asked in its turn.
    assert_eq!(b.run(c, "AUTH bob three"), "");
    b.asked(c);
    change(&mut b, &["resetpass", &new]);
    assert_eq!(b.verified(c, true), "");
    assert_eq!(b.asked(c), [new.strip_prefix("argon2id:").unwrap_or_default()]);
    assert!(b.verified(c, false).starts_with("-WRONGPASS"));
    // What was found true of the old record says nothing about the new one.
    change(&mut b, &["resetpass", old]);
    assert_eq!(b.run(c, "AUTH bob four"), "");
    b.asked(c);
    assert_eq!(b.verified(c, true), "+OK\r\n");
    change(&mut b, &["resetpass", &new]);
    assert_eq!(b.run(c, "AUTH bob four"), "", "it must be asked again");
}

#[test]
fn a_monitor_is_not_shown_the_password_of_a_migration() {
    let mut b = Bench::new();
    let (monitor, c) = (b.connect(), b.connect());
    assert_eq!(b.run(monitor, "MONITOR"), "+OK\r\n");
    b.run(c, "SET k v");
    b.run(c, "MIGRATE h 1 k 0 5 AUTH2 me hush");
    let shown = b.delivered(monitor);
    assert!(shown.contains("MIGRATE") && shown.contains("(redacted)") && !shown.contains("hush"), "{shown}");
}

#[test]
fn the_log_of_denials_keeps_the_beginning_of_a_long_key() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    b.run(operator, "ACL SETUSER few on nopass ~a +get");
    assert_eq!(b.run(c, "AUTH few x"), "+OK\r\n");
    assert!(b.call(c, &["GET", &"k".repeat(100_000)]).starts_with("-NOPERM"));
    let log = b.run(operator, "ACL LOG");
    assert!(log.contains(&"k".repeat(256)) && log.len() < 2000, "{} bytes", log.len());
}

#[test]
fn who_removes_itself_goes_on_as_nobody() {
    let mut b = Bench::new();
    let (operator, c) = (b.connect(), b.connect());
    b.run(operator, "ACL SETUSER me on nopass ~a +@all");
    for request in ["AUTH me x", "MULTI", "ACL DELUSER me", "SET secret 1"] {
        b.run(c, request);
    }
    let replies = b.run(c, "EXEC");
    assert!(!replies.contains("+OK"), "{replies}");
    assert_eq!(b.run(operator, "EXISTS secret"), ":0\r\n");
}

#[test]
fn a_certificate_logs_in_a_user_who_is_there_and_on() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "ACL SETUSER worker on nopass +@all ~*");
    b.run(c, "ACL SETUSER sleeper off nopass +@all");
    for (names, who) in [
        (&["worker"][..], "worker"),
        (&["nobody", "sleeper", "worker"], "worker"),
        (&["sleeper"], "default"),
        (&["nobody"], "default"),
        (&[], "default"),
    ] {
        let d = b.connect();
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        b.certified(d, &names);
        assert!(b.run(d, "ACL WHOAMI").contains(who), "{names:?}");
    }
    assert!(b.run(c, "INFO stats").contains("acl_access_denied_tls_cert:2\r\n"));
}
