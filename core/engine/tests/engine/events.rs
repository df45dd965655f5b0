//! What observers are told: events of keys, messages, invalidations.

use crate::bench::Bench;

#[test]
fn observers_hear_what_happens_to_fields() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CONFIG SET notify-keyspace-events KA");
    b.run(d, "SUBSCRIBE __keyspace@0__:h");
    for (line, events) in [
        ("HSETEX h PXAT 1 FIELDS 1 a 1", "hset hdel del"),
        ("HSETEX h EX 100 FIELDS 2 a 1 b 2", "hset hexpire"),
        ("HEXPIRE h 50 FIELDS 2 a none", "hexpire"),
        ("HEXPIRE h 50 NX FIELDS 1 a", ""),
        ("HGETEX h PERSIST FIELDS 1 a", "hpersist"),
        ("HPERSIST h FIELDS 1 a", ""),
        ("HPERSIST h FIELDS 1 b", "hpersist"),
        ("HGETDEL h FIELDS 1 none", ""),
        ("HSETEX h EX 0 FIELDS 1 b 2", "hset hdel"),
        ("HEXPIRE h 0 FIELDS 1 a", "hdel del"),
        ("HSETEX h PX 20 FIELDS 2 a 1 b 2", "hset hexpire"),
        ("HSET h c 3", "hset"),
    ] {
        b.run(c, line);
        assert_eq!(last_words(&b.delivered(d)), events, "{line}");
    }
    let stats = b.run(c, "INFO stats");
    assert!(stats.contains("expired_subkeys:3\r\n"), "each that was given a time in the past: {stats}");
    b.pass_ms(20);
    b.run(c, "HMGET h a");
    assert_eq!(last_words(&b.delivered(d)), "hexpired");
    b.pass_ms(40);
    b.tick();
    assert_eq!(last_words(&b.delivered(d)), "hexpired");
    b.run(c, "HPEXPIRE h 20 FIELDS 1 c");
    b.delivered(d);
    b.pass_ms(20);
    b.run(c, "HMGET h none");
    assert_eq!(last_words(&b.delivered(d)), "hexpired del", "none is left");
}

#[test]
fn events_tell_what_happened_and_a_new_key_first() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CONFIG SET notify-keyspace-events EAn");
    b.run(d, "PSUBSCRIBE __keyevent@*");
    for (line, events) in [
        ("RPUSH l a b", "new l rpush l"),
        ("LMOVE l m LEFT RIGHT", "new m rpush m lpop l"),
        ("LMOVE l m LEFT RIGHT", "rpush m lpop l del l"),
        ("LMOVE m m LEFT RIGHT", "rpush m lpop m"),
        ("SADD s a b", "new s sadd s"),
        ("SMOVE s t a", "srem s new t sadd t"),
        ("SMOVE s t b", "srem s del s sadd t"),
        ("SET k v", "new k set k"),
        ("RENAME k k2", "new k2 rename_from k rename_to k2"),
        ("RENAME m k2", "new k2 rename_from m rename_to k2"),
        ("COPY k2 t REPLACE", "new t copy_to t"),
        ("MOVE k2 1", "new k2 move_from k2 move_to k2"),
        ("MOVE none 1", ""),
        ("XADD x 1-1 f v", "new x xadd x"),
        ("XGROUP CREATE x g 0", "xgroup-create x"),
        ("XREADGROUP GROUP g c STREAMS x >", "xgroup-createconsumer x"),
        ("XDEL x 1-1", "xdel x"),
        ("XACKDEL x g IDS 1 1-1", ""),
        ("XDELEX x DELREF IDS 1 1-1", ""),
    ] {
        b.run(c, line);
        assert_eq!(events_told(&mut b, d), events, "{line}");
    }
}

#[test]
fn events_tell_that_a_value_was_replaced_and_by_one_of_another_type() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    b.run(c, "CONFIG SET notify-keyspace-events EAoc");
    b.run(d, "PSUBSCRIBE __keyevent@*");
    for (line, events) in [
        ("SET k 1", "set k"),
        ("SET k 2 KEEPTTL", "overwritten k set k"),
        ("SETEX k 100 3", "overwritten k set k expire k"),
        ("INCRBYFLOAT k 1.5", "incrbyfloat k"),
        ("APPEND k x", "append k"),
        ("SETNX k 1", ""),
        ("RPUSH l 1", "rpush l"),
        ("MSET k 1 l 2", "overwritten k set k overwritten l type_changed l set l"),
        ("SADD s 1", "sadd s"),
        ("SUNIONSTORE l s", "overwritten l type_changed l sunionstore l"),
        ("SINTERSTORE l s none", "del l"),
        ("ZADD z 1 a", "zadd z"),
        ("ZRANGESTORE s z 0 -1", "overwritten s type_changed s zrangestore s"),
        ("ZRANGESTORE s z 0 -1", "overwritten s zrangestore s"),
        ("COPY k z REPLACE", "copy_to z overwritten z type_changed z"),
        ("RENAME k z", "rename_from k rename_to z overwritten z"),
        ("MOVE z 1", "move_from z move_to z"),
    ] {
        b.run(c, line);
        assert_eq!(events_told(&mut b, d), events, "{line}");
    }
    b.run(c, "CONFIG SET notify-keyspace-events Ec");
    b.run(c, "SET t 1");
    b.run(c, "SET t 2");
    b.run(c, "RENAME s t");
    assert_eq!(events_told(&mut b, d), "type_changed t");
}

/// The events that the client has got since it was last asked: name and key of each.
fn events_told(b: &mut Bench, client: usize) -> String {
    let told = b.delivered(client);
    let messages = told.split("*4\r\n").skip(1).map(|message| {
        let words: Vec<&str> = message.split("\r\n").filter(|word| !word.starts_with('$')).collect();
        format!("{} {}", words[2].rsplit(':').next().expect("a channel has a name"), words[3])
    });
    messages.collect::<Vec<_>>().join(" ")
}

/// The events of messages, without channels and frames.
fn last_words(messages: &str) -> String {
    let words = messages.split("*3\r\n").filter_map(|message| message.trim_end().rsplit("\r\n").next());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn subscribers_get_messages_and_resp2_ones_may_do_little_else() {
    let mut b = Bench::new();
    let (c, d) = (b.connect(), b.connect());
    assert_eq!(b.run(c, "SUBSCRIBE ch"), "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    assert!(b.run(c, "GET a").starts_with("-ERR Can't execute 'get'"));
    assert_eq!(b.run(d, "PUBLISH ch hi"), ":1\r\n");
    assert_eq!(b.delivered(c), "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n");
    assert_eq!(b.run(c, "UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n");
    assert_eq!(b.run(c, "GET a"), "$-1\r\n");
}

#[test]
fn who_waits_for_a_stream_is_told_that_it_has_changed_and_gets_it() {
    let mut b = Bench::new();
    let (c, writer) = (b.connect(), b.connect());
    b.run(c, "HELLO 3");
    b.run(c, "CLIENT TRACKING on");
    assert_eq!(b.run(c, "XREAD BLOCK 0 STREAMS s $"), "");
    b.run(writer, "XADD s 1-1 a b");
    let told = b.delivered(c);
    assert!(told.starts_with(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\ns\r\n%1\r\n$1\r\ns\r\n"), "{told}");
}

#[test]
fn a_client_that_tracks_is_told_behind_its_own_reply() {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "HELLO 3");
    assert_eq!(b.run(c, "CLIENT TRACKING on"), "+OK\r\n");
    b.run(c, "GET k");
    assert_eq!(b.run(c, "SET k 1"), "+OK\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    assert_eq!(b.run(c, "SET k 2"), "+OK\r\n", "it has not read the key again");
    assert_eq!(b.run(c, "CLIENT TRACKING off"), "+OK\r\n");
    assert_eq!(b.run(c, "CLIENT TRACKING on BCAST PREFIX a PREFIX b"), "+OK\r\n");
    b.run(c, "MSET a1 x b1 x c1 x a2 x");
    let told = b.delivered(c);
    let want = ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$2\r\nb1\r\n";
    assert_eq!(told, want);
}

#[test]
fn a_request_that_is_refused_uses_up_the_word_that_the_next_one_is_tracked() {
    for (line, is_tracked) in [
        ("NOSUCH", false),
        ("GET", false),
        ("CLIENT NOSUCH", false),
        ("CLIENT ID 1", true),
        ("CLIENT ID", true),
    ] {
        let mut b = Bench::new();
        let (c, writer) = (b.connect(), b.connect());
        for line in ["HELLO 3", "CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", line, "GET a"] {
            b.run(c, line);
        }
        b.run(writer, "SET a 1");
        assert_eq!(!b.delivered(c).is_empty(), is_tracked, "{line}");
    }
}

#[test]
fn confirmations_of_subscriptions_come_although_replies_are_off() {
    let mut b = Bench::new();
    let c = b.connect();
    assert_eq!(b.run(c, "CLIENT REPLY OFF"), "");
    assert_eq!(b.run(c, "SUBSCRIBE ch"), "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    assert_eq!(b.run(c, "NOSUCH"), "");
}

#[test]
fn a_long_message_is_there_once_for_all_who_get_it() {
    let mut b = Bench::new();
    let long = "x".repeat(100_000);
    let c = b.connect();
    let listeners: Vec<usize> = (0..6).map(|_| b.connect()).collect();
    for (n, listener) in listeners.iter().enumerate() {
        b.run(*listener, &format!("HELLO {}", 2 + n % 2));
        b.run(*listener, ["SUBSCRIBE news", "PSUBSCRIBE n*"][n / 4]);
        b.run(*listener, "SUBSCRIBE __keyevent@0__:set");
    }
    let bulk = format!("${}\r\n{long}\r\n", long.len());
    let get = |b: &mut Bench, buffers: usize, expected: [&dyn Fn(char) -> String; 2]| {
        let (bytes, shared) = b.undelivered();
        assert!(bytes > 6 * long.len() && shared == buffers, "{bytes} bytes, {shared} buffers");
        for (n, listener) in listeners.iter().enumerate() {
            assert!(b.delivered(*listener) == expected[n / 4](['*', '>'][n % 2]), "listener {n}");
        }
    };
    b.call(c, &["PUBLISH", "news", &long]);
    let message = |mark: char| format!("{mark}3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n{bulk}");
    let by_pattern = |mark: char| format!("{mark}4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n{bulk}");
    get(&mut b, 2, [&message, &by_pattern]);
    b.run(c, "CONFIG SET notify-keyspace-events E$");
    b.call(c, &["SET", &long, "1"]);
    let event = |mark: char| {
        format!("{mark}3\r\n$7\r\nmessage\r\n$18\r\n__keyevent@0__:set\r\n{bulk}").replace("$20", "$18")
    };
    get(&mut b, 1, [&event, &event]);
    b.run(c, "PUBLISH news short");
    assert_eq!(b.undelivered().1, 0, "what is short is copied");
}

#[test]
fn long_keys_and_lines_are_there_once_for_all_who_are_told() {
    let mut b = Bench::new();
    let long = "x".repeat(50_000);
    let c = b.connect();
    for line in ["CLIENT TRACKING ON", "CLIENT TRACKING ON BCAST", "MONITOR"] {
        let clients: Vec<usize> = (0..4).map(|_| b.connect()).collect();
        for client in &clients {
            b.run(*client, "HELLO 3");
            b.run(*client, line);
            b.call(*client, &["GET", &long]);
        }
        clients.iter().for_each(|client| drop(b.delivered(*client)));
        b.call(c, &["SET", &long, "1"]);
        let (bytes, shared) = b.undelivered();
        assert!(bytes > 4 * long.len() && shared == 1, "{line}: {bytes} bytes, {shared} buffers");
        let told: Vec<String> = clients.iter().map(|client| b.delivered(*client)).collect();
        assert!(told.iter().all(|text| text.contains(&long) && *text == told[0]), "{line}");
        clients.into_iter().for_each(|client| b.leave(client));
    }
}
