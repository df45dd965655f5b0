//! What the former master has acknowledged and the promoted lacks, as far as that is the engine's.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod bench;

use bench::Bench;
use tandem_engine::LinkState;

const HISTORY: &str = "0123456789abcdef0123456789abcdef01234567";

fn request(words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let bulks = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), bulks.collect::<String>())
}

/// A server that was promoted behind byte 1000, in database 3, with a key there whose time is over soon; and a client there.
fn promoted() -> (Bench, usize) {
    let mut b = Bench::new();
    let c = b.connect();
    b.run(c, "CONFIG SET min-replicas-acked 1");
    b.run(c, "REPLICAOF 127.0.0.1 1");
    let (order, _) = b.engine.master_order();
    b.engine.link_is(order, LinkState::Connected);
    let id = replication::ReplicationId::parse(HISTORY.as_bytes()).unwrap();
    let point = |offset| replication::replica::Point { id, offset };
    b.engine.replica_is_at(order, point(500), &[]);
    for words in [&["SELECT", "3"][..], &["SET", "soon", "there", "PX", "10"]] {
        let argv: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        b.engine.run_masters(&argv, request(&words.join(" ")).as_bytes(), &mut b.outside).unwrap();
    }
    b.engine.replica_is_at(order, point(1000), &[b'x'; 500]);
    b.log();
    b.run(c, "REPLICAOF NO ONE");
    b.run(c, "SELECT 3");
    (b, c)
}

fn comes(b: &mut Bench, position: u64) -> (usize, String) {
    let replica = b.connect();
    b.run(replica, "REPLCONF listening-port 7000 ip-address heir capa eof capa psync2 capa tail");
    let said = b.run(replica, &format!("PSYNC {HISTORY} {}", position + 1));
    (replica, said)
}

#[test]
fn it_is_executed_before_anything_else_and_keys_live_until_then() {
    let (mut b, c) = promoted();
    b.pass_ms(20);
    b.tick();
    let tail = [request("PERSIST soon"), request("SET late v"), request("SELECT 4"), request("SET other v")]
        .concat();
    let end = 1000 + tail.len() as u64;
    let (replica, said) = comes(&mut b, end);
    assert_eq!(said, "+TAIL 1000\r\n");
    assert!(b.run(c, "SET k v").starts_with("-NOREPLICAS "));
    assert_eq!(b.call(replica, &["REPLCONF", "tail", HISTORY, "1000", &tail]), "+OK\r\n");
    let said = b.run(replica, &format!("PSYNC {HISTORY} {}", end + 1)) + &b.delivered(replica);
    assert!(said.starts_with("+CONTINUE "), "{said}");
    assert_eq!(b.run(c, "GET soon"), "$5\r\nthere\r\n");
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
    let log = b.log();
    assert!(log.contains("PERSIST soon|SET late v|SELECT 4|SET other v|SELECT 3|SET k v"), "{log}");
    b.tick();
    let mine = b.delivered(replica);
    assert!(mine.contains(&[request("SELECT 3"), request("SET k v")].concat()), "{mine}");
}

#[test]
fn it_is_refused_where_something_was_written_and_of_who_may_not_do_everything() {
    let (mut b, c) = promoted();
    let (replica, _) = comes(&mut b, 1100);
    assert!(
        b.call(replica, &["REPLCONF", "tail", HISTORY, "990", "x"]).starts_with("-ERR "),
        "from another place"
    );
    b.run(c, "ACL SETUSER repl on nopass +psync +replconf +ping");
    b.run(replica, "AUTH repl x");
    assert!(b.call(replica, &["REPLCONF", "tail", HISTORY, "1000", "x"]).starts_with("-ERR "));
    b.run(c, "CONFIG SET min-replicas-acked 0");
    assert_eq!(b.run(c, "SET k v"), "+OK\r\n");
    b.log();
    let (replica, said) = comes(&mut b, 1100);
    assert_eq!(said, "", "it gets a copy");
    assert!(b.call(replica, &["REPLCONF", "tail", HISTORY, "1000", "x"]).starts_with("-ERR "));
}

#[test]
fn what_is_no_request_is_refused_and_what_stands_before_it_is_executed() {
    let (mut b, c) = promoted();
    let tail = [request("SET late v"), request("NOSUCH")].concat();
    let (replica, _) = comes(&mut b, 1000 + tail.len() as u64);
    let said = b.call(replica, &["REPLCONF", "tail", HISTORY, "1000", &tail]);
    assert!(said.starts_with("-ERR what was offered cannot be executed"), "{said}");
    assert_eq!(b.run(c, "GET late"), "$1\r\nv\r\n");
}
