//! Plaintext connections over loopback and Unix sockets: nothing lost, repeated, held or missed.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use support::{Bench, LIMITS, Seen, echo, options, pattern};
use tandem_net::{
    Accepting, Connection, Flush, Listeners, ReadLimits, ReadOutcome, TlsHandle, TlsMode, UnixOptions,
};

fn closed(seen: &Seen) -> bool {
    matches!(seen, Seen::Closed(_))
}

#[test]
fn megabytes_return_unchanged_through_small_socket_buffers() {
    let mut bench = Bench::plain();
    let mut client = TcpStream::connect(bench.address()).unwrap();
    let socket = socket2::SockRef::from(&client);
    socket.set_send_buffer_size(16 << 10).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let sent = pattern(8 << 20);
    let expected = sent.clone();
    let mut writer = client.try_clone().unwrap();
    let reading = thread::spawn(move || {
        let mut back = vec![0; expected.len()];
        client.read_exact(&mut back).unwrap();
        assert!(back == expected);
        client.shutdown(Shutdown::Both).unwrap();
    });
    let writing = thread::spawn(move || writer.write_all(&sent).unwrap());
    bench.until(closed, echo);
    reading.join().unwrap();
    writing.join().unwrap();
    assert!(bench.pool.bytes() <= 8 << 20, "large buffers are not kept");
}

#[test]
fn a_partial_request_is_kept_and_nothing_else() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    // Consumes pairs of bytes only, so that odd input leaves one over.
    let mut pairs = |input: &[u8], out: &mut Vec<u8>| {
        let whole = input.len() & !1;
        out.extend_from_slice(&input[..whole]);
        whole
    };
    let mut reply = [0; 2];
    for byte in *b"abcdef" {
        client.write_all(&[byte]).unwrap();
        let before = bench.slots.get(id).unwrap().held();
        while bench.slots.get(id).unwrap().held() == before {
            bench.step(&mut pairs);
        }
    }
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"ab");
    assert_eq!(bench.slots.get(id).unwrap().buffer_bytes(), (0, 0), "idle: no buffer");
}

#[test]
fn sockets_without_connections_use_nothing_of_the_limit_and_all_get_their_turn() {
    let mut several = options();
    several.bind = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(str::to_owned).to_vec();
    let mut listeners = Listeners::bind(&several).unwrap();
    let mut accepted = Vec::new();
    assert!(matches!(listeners.accept(1, &mut accepted), Accepting::Drained), "nobody is there");
    let addresses = listeners.addresses();
    let _crowd: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(addresses[0]).unwrap()).collect();
    let _lone = TcpStream::connect(addresses[2]).unwrap();
    let mut turns = 0;
    while matches!(listeners.accept(1, &mut accepted), Accepting::More) {
        turns += 1;
        assert!(accepted.len() == turns && turns <= 9);
    }
    assert_eq!(accepted.len(), 9);
    let from = |at: usize| accepted[at].peer.to_string();
    let lone = _lone.local_addr().unwrap().to_string();
    assert!((0..3).any(|at| from(at) == lone), "the crowd at another address does not hold it up");
}

#[test]
fn a_client_that_shuts_down_its_side_still_gets_its_replies() {
    let mut bench = Bench::plain();
    for _ in 0..50 {
        let mut client = TcpStream::connect(bench.address()).unwrap();
        client.write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        bench.until(closed, echo);
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "request");
    }
    assert!(bench.slots.is_empty());
}

#[test]
fn a_hangup_is_noticed_while_input_is_not_consumed() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    client.write_all(b"blocking request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.until(closed, |_, _| 0), Seen::Closed(id));
    let (id, client) = bench.connect();
    drop(client);
    assert_eq!(bench.until(closed, |_, _| 0), Seen::Closed(id));
}

#[test]
fn pending_output_is_bounded_by_one_flush_and_freed_when_drained() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    let big = pattern(64 << 20);
    let connection = bench.slots.get_mut(id).unwrap();
    connection.out(&mut bench.pool).extend_from_slice(&big);
    connection.close_after_flush();
    let mut stalled = false;
    while !stalled {
        match connection.flush(&bench.poller, &mut bench.pool) {
            Flush::More => {}
            Flush::Pending => stalled = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(connection.pending() > 32 << 20 && connection.wants_flush());
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    loop {
        match connection.flush(&bench.poller, &mut bench.pool) {
            Flush::Finished => break,
            Flush::Pending => bench.poller.wait(None, &mut bench.ready).unwrap(),
            Flush::More => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(connection.buffer_bytes(), (0, 0));
    bench.slots.remove(id);
    assert!(reader.join().unwrap() == big);
    assert_eq!(bench.pool.bytes(), 0, "a large buffer is freed, not pooled");
}

#[test]
fn a_part_of_the_output_leaves_and_the_rest_is_held() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    let connection = bench.slots.get_mut(id).unwrap();
    connection.out(&mut bench.pool).extend_from_slice(b"safe, and not yet");
    connection.close_after_flush();
    assert!(matches!(connection.flush_first(0, &bench.poller, &mut bench.pool), Flush::Held));
    assert!(matches!(connection.flush_first(4, &bench.poller, &mut bench.pool), Flush::Held));
    assert_eq!((connection.pending(), connection.is_stuck()), (13, false));
    let mut part = [0; 4];
    client.read_exact(&mut part).unwrap();
    assert_eq!(&part, b"safe");
    assert!(matches!(connection.flush_first(100, &bench.poller, &mut bench.pool), Flush::Finished));
    bench.slots.remove(id);
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, ", and not yet");
}

#[test]
fn a_long_output_grows_by_a_quarter_of_itself() {
    let mut bench = Bench::plain();
    let (id, _client) = bench.connect();
    let connection = bench.slots.get_mut(id).unwrap();
    for _ in 0..2_500 {
        connection.append(&[7; 10_000], &mut bench.pool);
        let (pending, (_, room)) = (connection.pending(), connection.buffer_bytes());
        assert!(room <= (2 << 20).max(pending + pending / 4), "{room} bytes for {pending}");
    }
}

#[test]
fn an_argument_that_was_set_apart_takes_what_comes_until_it_is_whole() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    let value = pattern(3 << 20);
    client.write_all(b"next?head:").unwrap();
    client.write_all(&value[..1000]).unwrap();
    while bench.slots.get(id).unwrap().held() < 1005 {
        // The word in front is consumed, the rest is not whole.
        bench.step(&mut |input, _| if input.starts_with(b"next?") { 5 } else { 0 });
    }
    let connection = bench.slots.get_mut(id).unwrap();
    connection.set_apart(&bench.scratch, 5, (2, value.len()));
    assert_eq!((connection.held(), connection.held_apart()), (1005, 0));
    let mut writer = client.try_clone().unwrap();
    let rest = [&value[1000..], b"\r\nmore"].concat();
    let writing = thread::spawn(move || writer.write_all(&rest).unwrap());
    let (mut seen, whole) = (Vec::new(), 5 + value.len() + 6);
    while bench.slots.get(id).unwrap().held() < whole {
        bench.step(&mut |input, _| {
            seen = input.to_vec();
            0
        });
    }
    writing.join().unwrap();
    assert_eq!(seen, b"head:\r\nmore");
    let connection = bench.slots.get_mut(id).unwrap();
    assert_eq!(connection.held_apart(), value.len());
    let apart = connection.take_apart().unwrap();
    let [(2, bytes)] = apart.whole() else { panic!("one argument") };
    assert!(**bytes == value);
    assert_eq!(connection.held(), 11);
}

#[test]
fn input_beyond_the_limit_is_not_read() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    client.write_all(&[b'x'; 5000]).unwrap();
    while bench.slots.get(id).unwrap().held() < 5000 {
        bench.step(&mut |_: &[u8], _: &mut Vec<u8>| 0);
    }
    let connection = bench.slots.get_mut(id).unwrap();
    let limits = ReadLimits { held_max: 5000, ..LIMITS };
    assert!(matches!(connection.read(&mut bench.scratch, limits), ReadOutcome::Full));
    assert!(matches!(connection.read(&mut bench.scratch, LIMITS), ReadOutcome::WouldBlock));
}

#[test]
fn more_connections_than_the_arena_holds_keep_their_input_apart() {
    let mut bench = Bench::plain();
    let mut clients: Vec<_> = (0..12).map(|_| bench.connect()).collect();
    // Settle the first byte, so that the large reads below go the ordinary way.
    for (id, client) in &mut clients {
        client.write_all(b"!").unwrap();
        while bench.slots.get(*id).unwrap().held() == 0 {
            bench.step(&mut |_: &[u8], _: &mut Vec<u8>| 0);
        }
        bench.slots.get_mut(*id).unwrap().consume(1);
    }
    for (number, (_, client)) in clients.iter_mut().enumerate() {
        client.write_all(&vec![number as u8; 40_000]).unwrap();
    }
    let mut arrived = vec![0; clients.len()];
    while arrived.iter().any(|held| *held < 40_000) {
        for (number, (id, _)) in clients.iter().enumerate() {
            bench.slots.get_mut(*id).unwrap().read(&mut bench.scratch, LIMITS);
            let input = bench.slots.get(*id).unwrap().input(&bench.scratch);
            assert!(input.iter().all(|byte| *byte == number as u8));
            arrived[number] = input.len();
        }
    }
}

#[test]
fn accepted_sockets_inherit_no_delay_and_keepalive_and_know_their_ends() {
    let bench = Bench::plain();
    let client = TcpStream::connect(bench.address()).unwrap();
    let mut listeners = bench.listeners;
    let mut accepted = Vec::new();
    while accepted.is_empty() {
        listeners.accept(10, &mut accepted);
    }
    let connection =
        Connection::new(accepted.remove(0), &std::sync::Arc::new(TlsHandle::default()), TlsMode::Off);
    assert_eq!(connection.peer().to_string(), client.local_addr().unwrap().to_string());
    assert_eq!(connection.local().to_string(), client.peer_addr().unwrap().to_string());
    assert!(connection.peer().is_local());
}

#[test]
fn a_unix_socket_has_its_permissions_and_replaces_only_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let unix = UnixOptions { path: path.clone(), mode: Some(0o600), group: None };
    let only_unix = tandem_net::ListenOptions { port: None, unix: Some(unix), ..options() };
    drop(Listeners::bind(&only_unix).unwrap());
    let mut bench = Bench::new(&only_unix, TlsHandle::default(), TlsMode::Off);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    bench.until(closed, echo);
    let mut reply = String::new();
    client.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "hello");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let error = Listeners::bind(&only_unix).err().unwrap().to_string();
    assert!(error.contains("taken by another file"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_unix_socket_that_is_listened_on_is_not_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let unix = UnixOptions { path: path.clone(), mode: None, group: None };
    let only_unix = tandem_net::ListenOptions { port: None, unix: Some(unix), backlog: 2, ..options() };
    let first = Listeners::bind(&only_unix).unwrap();
    UnixStream::connect(&path).unwrap();
    // So often that nobody can connect any more: it is listened on all the same.
    for _ in 0..5 {
        let error = Listeners::bind(&only_unix).err().unwrap().to_string();
        assert!(error.contains("another process listens on it"), "{error}");
    }
    drop(first);
    assert!(path.exists(), "whoever dies leaves it");
    Listeners::bind(&only_unix).unwrap();
}

#[test]
fn a_taken_port_is_named_and_an_optional_address_is_passed_over() {
    let first = Listeners::bind(&options()).unwrap();
    let port = first.addresses()[0].port();
    let again = tandem_net::ListenOptions { port: Some(port), ..options() };
    let error = Listeners::bind(&again).err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}: bind: ")), "{error}");
    assert!(error.ends_with(&format!("Failed listening on port {port} (tcp), aborting.")), "{error}");
    let mut foreign = options();
    foreign.bind.push("-192.0.2.77".to_owned());
    assert_eq!(Listeners::bind(&foreign).unwrap().addresses().len(), 1);
    foreign.bind = vec!["192.0.2.77".to_owned()];
    assert!(Listeners::bind(&foreign).is_err());
}

#[test]
fn a_buffer_that_many_connections_are_sent_is_there_once_and_reaches_all() {
    let mut bench = Bench::plain();
    let message: Arc<[u8]> = pattern(3 << 20).into();
    let expected = [b"head ".as_slice(), &message, b" between ", &message, b"end"].concat();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (id, mut client) = bench.connect();
        let connection = bench.slots.get_mut(id).unwrap();
        connection.append(b"head ", &mut bench.pool);
        connection.append_shared(Arc::clone(&message));
        connection.append(b" between ", &mut bench.pool);
        connection.append_shared(Arc::clone(&message));
        connection.append(b"end", &mut bench.pool);
        assert_eq!(connection.pending(), expected.len());
        connection.close_after_flush();
        // All but the end may leave, and nothing is read yet.
        while matches!(
            connection.flush_first(expected.len() - 1, &bench.poller, &mut bench.pool),
            Flush::More
        ) {}
        let (_, held) = connection.buffer_bytes();
        assert!(
            (message.len()..expected.len() + (8 << 10)).contains(&held),
            "{held} bytes for each, as if it were alone"
        );
        readers.push((
            id,
            thread::spawn(move || {
                let mut all = Vec::new();
                client.read_to_end(&mut all).unwrap();
                all
            }),
        ));
    }
    let (first, _) = readers[0];
    let first = bench.slots.get_mut(first).unwrap();
    assert!(first.shared_bytes() * 3 >= first.buffer_bytes().1, "most of it is counted for others");
    for (id, reader) in readers {
        loop {
            let connection = bench.slots.get_mut(id).unwrap();
            match connection.flush(&bench.poller, &mut bench.pool) {
                Flush::Finished => break,
                Flush::Pending => bench.poller.wait(None, &mut bench.ready).unwrap(),
                Flush::More => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(bench.slots.get_mut(id).unwrap().buffer_bytes(), (0, 0));
        bench.slots.remove(id);
        assert!(reader.join().unwrap() == expected);
    }
    assert_eq!(Arc::strong_count(&message), 1, "nobody holds what was sent");
}

#[test]
fn what_is_put_in_the_place_of_a_part_leaves_shared_buffers_where_they_are() {
    let mut bench = Bench::plain();
    let (id, mut client) = bench.connect();
    let message: Arc<[u8]> = Arc::from(&b"<shared>"[..]);
    let connection = bench.slots.get_mut(id).unwrap();
    connection.append(b"a reply", &mut bench.pool);
    connection.append_shared(Arc::clone(&message));
    connection.append(b"another", &mut bench.pool);
    connection.replace_pending(&[2..7, 15..22], b"no");
    assert_eq!((connection.pending(), Arc::strong_count(&message)), (14, 2));
    connection.close_after_flush();
    assert!(matches!(connection.flush(&bench.poller, &mut bench.pool), Flush::Finished));
    bench.slots.remove(id);
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "a no<shared>no");
}
