//! The end of a server, and replies that wait for replicas.

use crate::bench::Bench;

#[test]
fn a_master_that_leaves_waits_for_what_its_replicas_lack_and_lets_nobody_write_meanwhile() {
    let mut b = Bench::new();
    assert_eq!(b.engine.hold_for_replicas(), None, "it has none");
    let (replica, c) = (b.connect(), b.connect());
    b.run(replica, "REPLCONF listening-port 7000 ip-address heir capa eof capa psync2");
    b.run(replica, "PSYNC ? -1");
    b.engine.begin_replica_snapshot();
    assert_eq!(b.engine.hold_for_replicas(), None, "it is not online");
    let id = b.id(replica);
    b.engine.replica_snapshot_sent(id);
    b.run(replica, "REPLCONF ACK 0");
    b.run(c, "SET k v");
    let position = b.engine.hold_for_replicas().unwrap();
    assert_eq!(b.run(c, "SET k w"), "");
    let lag = b.engine.lag_behind(position);
    let told =
        format!("Lagging replica heir:7000 reported offset {position} behind master, lag=0, state=online.");
    assert_eq!((lag.online, lag.lagging), (1, vec![told]));
    b.run(replica, &format!("REPLCONF ACK {position}"));
    assert!(b.engine.lag_behind(position).lagging.is_empty());
    b.engine.release_writes(&mut b.outside);
    b.tick();
    assert_eq!(b.delivered(c), "+OK\r\n");
}

#[test]
fn a_reply_that_is_taken_back_has_no_place_in_the_output_that_could_become_an_error() {
    let mut b = Bench::new();
    let (_, c, d) = (b.connect_replica(), b.connect(), b.connect());
    b.run(c, "CLIENT DURABILITY replicated");
    b.run(c, "SET a 1");
    assert_eq!(b.engine.take_written().unwrap().reply, 0..5);
    b.run(c, "CLIENT REPLY SKIP");
    b.run(c, "SET a 1");
    assert_eq!(b.engine.take_written().unwrap().reply, 0..0);
    b.run(c, "HELLO 3");
    b.run(c, "CONFIG SET notify-keyspace-events KEA");
    b.run(c, "SUBSCRIBE __keyevent@0__:lpop");
    for (mode, reply) in [("ON", 0..23), ("SKIP", 0..0), ("OFF", 0..0)] {
        b.run(c, &format!("CLIENT REPLY {mode}"));
        b.run(c, "BLPOP jobs 0");
        b.run(d, "RPUSH jobs one");
        assert_eq!(b.late_reply(c), Some(reply), "{mode}: a message stands behind it");
    }
    b.run(c, "SET a 1");
    assert_eq!(b.engine.take_written().unwrap().reply, 0..0);
}

#[test]
fn what_one_history_was_waited_for_in_vain_is_not_asked_of_the_next() {
    let mut b = Bench::new();
    let (_, c) = (b.connect_replica(), b.connect());
    b.run(c, "CLIENT DURABILITY replicated");
    b.run(c, "SET a 1");
    let written = b.engine.take_written().unwrap();
    let (first, position) = (written.history, written.position.unwrap());
    assert_eq!(b.engine.take_awaited(), position);
    b.engine.note_unacknowledged(first, position);
    assert!(b.run(c, "SET a 2").starts_with("-NOREPLICAS "));
    b.run(c, "CLIENT DURABILITY default");
    b.run(c, "REPLICAOF 127.0.0.1 1");
    b.run(c, "REPLICAOF NO ONE");
    b.connect_replica();
    b.run(c, "CLIENT DURABILITY replicated");
    b.engine.note_unacknowledged(first, position + 1_000_000);
    assert_eq!(b.run(c, "SET a 2"), "+OK\r\n", "of the one that is over nothing is to be caught up with");
    assert!(b.engine.take_written().unwrap().history > first);
}

#[test]
fn what_was_written_before_its_history_was_over_is_acknowledged_by_nobody() {
    let mut b = Bench::new();
    let (_, c) = (b.connect_replica(), b.connect());
    b.run(c, "CLIENT DURABILITY replicated");
    b.run(c, "SET a 1");
    b.run(c, "REPLICAOF 127.0.0.1 1");
    b.run(c, "REPLICAOF NO ONE");
    assert_eq!(b.engine.take_awaited(), u64::MAX, "in the same batch");
    assert_eq!(b.engine.take_awaited(), 0, "it is told once");
    b.connect_replica();
    b.run(c, "SET a 2");
    let position = b.engine.take_written().unwrap().position;
    assert_eq!(Some(b.engine.take_awaited()), position);
}

#[test]
fn what_is_held_for_the_end_goes_on_only_when_the_end_is_called_off() {
    let mut b = Bench::new();
    let (c, d, e) = (b.connect(), b.connect(), b.connect());
    b.engine.hold_writes();
    assert_eq!(b.run(c, "GET a"), "$-1\r\n");
    assert_eq!(b.run(d, "SET a 1"), "");
    b.run(c, "CLIENT PAUSE 100 ALL");
    assert_eq!(b.run(e, "GET a"), "");
    b.pass_ms(101);
    b.tick();
    assert_eq!((b.delivered(d), b.delivered(e)), (String::new(), "$-1\r\n".to_owned()));
    b.run(c, "CLIENT UNPAUSE");
    b.tick();
    assert_eq!(b.delivered(d), "");
    b.engine.release_writes(&mut b.outside);
    b.tick();
    assert_eq!(b.delivered(d), "+OK\r\n");
    assert_eq!(b.run(d, "SET a 2"), "+OK\r\n");
}

#[test]
fn a_stop_ends_a_script_that_has_not_written_and_cuts_none_off_in_the_middle_of_its_writes() {
    const WORKS: &str = "for i = 1, 1000000 do end ";
    const WRITES: &str = "redis.call('INCR', KEYS[1]) ";
    let mut b = Bench::new();
    let c = b.connect();
    // So that it is in the way whenever it is interrupted.
    (b.outside.step_ns, b.outside.verdict) = (10_000_000_000, tandem_engine::BusyVerdict::Shutdown);
    let killed = b.call(c, &["EVAL", &[WORKS, WRITES].concat(), "1", "n"]);
    assert!(killed.starts_with("-ERR") && killed.contains("shutting down"), "{killed}");
    let whole = b.call(c, &["EVAL", &[WRITES, WORKS, WRITES, "return 'whole'"].concat(), "1", "n"]);
    assert_eq!((whole.as_str(), b.run(c, "GET n").as_str()), ("$5\r\nwhole\r\n", "$1\r\n2\r\n"));
}

#[test]
fn a_replica_whose_output_waits_for_the_log_is_fed_on_and_one_that_does_not_read_is_not() {
    const MIB: usize = 1 << 20;
    let mut b = Bench::new();
    let (replica, c) = (b.connect_replica(), b.connect());
    let id = b.id(replica);
    for (n, (output, output_held, is_fed)) in
        [(2 * MIB, 2 * MIB, true), (2 * MIB, 0, false), (17 * MIB, 17 * MIB, false), (0, 0, true)]
            .into_iter()
            .enumerate()
    {
        let buffers = tandem_engine::ClientBuffers { output, output_held, ..Default::default() };
        b.engine.tell_buffers(id, buffers);
        b.engine.send_held();
        b.run(c, "PING");
        b.delivered(replica);
        b.run(c, &format!("SET k {n}"));
        b.log();
        b.run(c, "PING");
        assert_eq!(b.delivered(replica).contains("SET"), is_fed, "{output} bytes, {output_held} held");
    }
}
