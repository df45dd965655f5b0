use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

fn id() -> ReplicationId {
    ReplicationId::parse(ID.as_bytes()).unwrap()
}

fn settings() -> Settings {
    Settings { port: 6380, timeout_us: 60_000_000, ..Settings::default() }
}

/// What the link sends, in words.
fn sent(link: &mut Link) -> String {
    let out = link.take_output();
    let text = String::from_utf8(out).unwrap();
    let is_word = |line: &&str| !line.starts_with(['*', '$']) && !line.is_empty();
    text.split("\r\n").filter(is_word).collect::<Vec<_>>().join(" ")
}

/// Answers with the line and tells what came of it and what was sent.
fn answer(link: &mut Link, line: &str) -> (Result<Progress, Fault>, String) {
    link.receive(format!("{line}\r\n").as_bytes(), 0);
    let progress = link.advance();
    (progress, sent(link))
}

/// A link that has asked for PSYNC.
fn asked(settings: Settings) -> Link {
    let mut link = Link::new(settings, 0);
    for line in ["+PONG", "+OK", "+OK", "-ERR Unrecognized REPLCONF option: version"] {
        assert_eq!(answer(&mut link, line).0, Ok(Progress::Waits));
    }
    link
}

/// A link in its stream, at this offset.
fn streaming(offset: u64) -> Link {
    let mut link = asked(Settings { resume: Some(Point { id: id(), offset }), ..settings() });
    assert_eq!(answer(&mut link, "+CONTINUE").0, Ok(Progress::Stream(Point { id: id(), offset })));
    link
}

#[test]
fn the_conversation_is_that_of_a_replica() {
    let mut link = Link::new(
        Settings {
            user: b"repl".to_vec(),
            password: b"pw".to_vec(),
            address: b"10.0.0.1".to_vec(),
            ..settings()
        },
        0,
    );
    assert_eq!(sent(&mut link), "PING");
    for (line, next) in [
        ("-NOAUTH Authentication required.", "AUTH repl pw"),
        ("+OK", "REPLCONF listening-port 6380"),
        ("+OK", "REPLCONF ip-address 10.0.0.1"),
        (
            "-ERR Unrecognized REPLCONF option: ip-address",
            "REPLCONF capa eof capa psync2 capa rdb12 capa tail",
        ),
        ("+OK", "REPLCONF version 9.1.0"),
        ("-ERR Unrecognized REPLCONF option: version", "PSYNC ? -1"),
    ] {
        assert_eq!(answer(&mut link, line), (Ok(Progress::Waits), next.to_owned()), "{line}");
    }
    let point = Point { id: id(), offset: 77 };
    assert_eq!(answer(&mut link, &format!("+FULLRESYNC {ID} 77")).0, Ok(Progress::Full(point)));
    assert_eq!(answer(&mut link, "").0, Ok(Progress::Waits), "an empty line says that the master is there");
    assert_eq!(answer(&mut link, "$3").0, Ok(Progress::Snapshot(Some(3))));
    assert_eq!(link.point(), None);
}

#[test]
fn a_default_user_logs_in_by_password_alone_and_nobody_without_one() {
    let mut link = Link::new(Settings { password: b"pw".to_vec(), ..settings() }, 0);
    link.take_output();
    assert_eq!(answer(&mut link, "+PONG").1, "AUTH pw");
    let wrong = answer(&mut link, "-WRONGPASS invalid").0.unwrap_err();
    assert_eq!(wrong.to_string(), "Unable to AUTH to MASTER: WRONGPASS invalid");
}

#[test]
fn what_cannot_be_now_is_told_from_what_cannot_be_at_all() {
    for (line, fault) in [
        ("-NOMASTERLINK Can't SYNC", Fault::NotYet("NOMASTERLINK Can't SYNC".into())),
        ("-LOADING Redis is loading", Fault::NotYet("LOADING Redis is loading".into())),
        ("-NOPERM no", Fault::Refused("NOPERM no".into())),
        ("-ERR this port requires TLS, connect with rediss://", Fault::NeedsTls),
        ("+WHAT", Fault::Strange("+WHAT".into())),
        ("+CONTINUE", Fault::Strange("+CONTINUE".into())),
        ("+FULLRESYNC abc 1", Fault::Strange("+FULLRESYNC abc 1".into())),
        (&format!("+FULLRESYNC {ID} -1"), Fault::Strange(format!("+FULLRESYNC {ID} -1"))),
        (&format!("+FULLRESYNC {ID}"), Fault::Strange(format!("+FULLRESYNC {ID}"))),
    ] {
        assert_eq!(answer(&mut asked(settings()), line).0, Err(fault), "{line}");
    }
    let header = |line: &str| {
        let mut link = asked(settings());
        answer(&mut link, &format!("+FULLRESYNC {ID} 1")).0.unwrap();
        answer(&mut link, line).0
    };
    for line in ["$-1", "$x", "$", "$EOF:short", "+OK"] {
        assert_eq!(header(line), Err(Fault::Strange(line.to_owned())));
    }
    assert_eq!(header("-ERR disk"), Err(Fault::Refused("ERR disk".into())));
}

#[test]
fn a_line_without_end_is_not_kept_for_ever() {
    let mut link = Link::new(settings(), 0);
    link.receive(&[b'x'; LINE_BYTES_MAX - 1], 0);
    assert_eq!(link.advance(), Ok(Progress::Waits));
    link.receive(b"x", 0);
    assert_eq!(link.advance(), Err(Fault::LongLine));
}

/// All of a snapshot that comes in pieces of so many bytes, and what the link knows behind it.
fn snapshot(header: &str, body: &[u8], piece: usize) -> (Vec<u8>, Link) {
    let mut link = asked(settings());
    answer(&mut link, &format!("+FULLRESYNC {ID} 9")).0.unwrap();
    link.receive(format!("{header}\r\n").as_bytes(), 0);
    assert!(matches!(link.advance(), Ok(Progress::Snapshot(_))));
    let (mut all, mut buffer, mut pieces) = (Vec::new(), [0; 7], body.chunks(piece));
    loop {
        match link.snapshot(&mut buffer) {
            Part::Bytes(count) => all.extend_from_slice(&buffer[..count]),
            Part::End => break,
            Part::Waits => link.receive(pieces.next().expect("it waits for what there is"), 0),
        }
    }
    pieces.for_each(|piece| link.receive(piece, 0));
    (all, link)
}

#[test]
fn a_snapshot_ends_at_its_length_or_its_mark_however_it_is_cut() {
    let mark = "m".repeat(39) + "!";
    // The beginning of the mark stands in the data as well.
    let data = [b"some data ".as_slice(), &[b'm'; 60], b"?"].concat();
    for piece in [1, 2, 13, 39, 40, 41, 1000] {
        for (header, end) in [(format!("${}", data.len()), ""), (format!("$EOF:{mark}"), mark.as_str())] {
            let body = [&data, end.as_bytes(), b"*1\r\n$4\r\nPING\r\n"].concat();
            let (all, mut link) = snapshot(&header, &body, piece);
            assert_eq!(all, data, "{header} in pieces of {piece}");
            assert!(link.request().unwrap().is_none(), "nothing runs before it is loaded");
            assert!(link.loaded(5));
            assert_eq!(sent(&mut link), "REPLCONF ACK 9");
            assert_eq!(link.request().unwrap().unwrap().argv, [b"PING"]);
            link.applied();
            assert_eq!(link.point(), Some(Point { id: id(), offset: 9 + 14 }));
        }
    }
}

#[test]
fn offsets_count_whole_requests_and_never_stand_in_a_transaction() {
    let mut link = streaming(100);
    let stream =
        b"*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nexec\r\n\n";
    let places = [114u64, 114, 114, 114 + 15 + 21 + 14, 114 + 15 + 21 + 14 + 1];
    let mut names = Vec::new();
    for byte in stream {
        link.receive(&[*byte], 1);
        while let Some(request) = link.request().unwrap() {
            names.push((request.argv.first().map(|name| name.to_vec()), request.is_for_data));
            link.applied();
            assert_eq!(
                link.point().unwrap().offset,
                places[names.len() - 1],
                "behind request {}",
                names.len()
            );
        }
    }
    let told: Vec<_> = names.iter().map(|(name, data)| (name.as_deref().unwrap_or(b""), *data)).collect();
    let all: [(&[u8], bool); 5] =
        [(b"PING", false), (b"MULTI", true), (b"INCR", true), (b"exec", true), (b"", false)];
    assert_eq!(told, all);
    assert_eq!(link.read_offset(), Some(100 + stream.len() as u64));
}

#[test]
fn a_request_stays_until_it_is_applied() {
    let mut link = streaming(0);
    link.receive(b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n", 1);
    assert_eq!(link.request().unwrap().unwrap().argv, [b"A"]);
    assert_eq!(link.request().unwrap().unwrap().raw, b"*1\r\n$1\r\nA\r\n");
    link.applied();
    link.applied();
    assert_eq!(link.point().unwrap().offset, 11, "each once");
    assert_eq!(link.request().unwrap().unwrap().argv, [b"B"]);
}

#[test]
fn a_long_request_takes_its_length_and_nothing_when_it_is_over() {
    let mut link = streaming(0);
    let mut request = Vec::new();
    push_command(&mut request, &[b"SET", b"k", &vec![b'v'; 9_000_000]]);
    let len = request.len();
    // The last piece has something of the next request in it.
    push_command(&mut request, &[b"GET"]);
    for piece in request.chunks(60_000) {
        assert!(link.request().unwrap().is_none());
        link.receive(piece, 0);
        assert!(link.input.capacity() < request.len() + (1 << 20), "{} bytes", link.input.capacity());
    }
    assert_eq!(link.request().unwrap().unwrap().raw.len(), len);
    link.applied();
    link.receive(b"*1\r\n", 0);
    assert!(link.input.capacity() <= INPUT_KEPT);
}

#[test]
fn a_master_hears_how_far_its_replica_is_each_second_and_when_it_asks() {
    let mut link = streaming(5);
    assert_eq!(link.tick(999_999), Ok(()));
    assert_eq!(sent(&mut link), "");
    assert_eq!(link.tick(1_000_000), Ok(()));
    assert_eq!(sent(&mut link), "REPLCONF ACK 5");
    link.receive(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n", 1_000_001);
    assert!(!link.request().unwrap().unwrap().is_for_data);
    link.applied();
    assert_eq!(sent(&mut link), format!("REPLCONF ACK {}", 5 + 37));
}

#[test]
fn behind_a_copy_a_master_hears_it_again_soon_until_something_comes() {
    let loaded = || {
        let (_, mut link) = snapshot("$1", b"x", 1);
        link.loaded(0);
        assert_eq!(sent(&mut link), "REPLCONF ACK 9");
        link
    };
    let told = |link: &mut Link, times_us: &[u64]| -> Vec<u64> {
        let mut at = |now_us: u64| {
            link.tick(now_us).unwrap();
            sent(link) == "REPLCONF ACK 9"
        };
        times_us.iter().copied().filter(|now_us| at(*now_us)).collect()
    };
    let ticks: Vec<u64> = (1..=60).map(|tick| tick * 50_000).collect();
    // A master may have nothing to say for long.
    let idle = told(&mut loaded(), &ticks);
    let soon: Vec<u64> = (1..=9).map(|time| time * 100_000).collect();
    assert_eq!(idle[..9], soon);
    assert_eq!(idle[9..], [1_900_000, 2_900_000]);
    let mut link = loaded();
    assert_eq!(told(&mut link, &ticks[..2]), [100_000]);
    link.receive(b"\n", 110_000);
    assert_eq!(told(&mut link, &ticks[2..]), [1_100_000, 2_100_000]);
}

#[test]
fn silence_ends_a_link_but_not_while_a_snapshot_is_loaded() {
    let mut link = streaming(0);
    assert_eq!(link.tick(60_000_000), Ok(()));
    assert_eq!(link.tick(60_000_001), Err(Fault::Silent));
    let (_, mut link) = snapshot("$1", b"x", 1);
    link.take_output();
    assert_eq!(link.tick(70_000_000), Ok(()));
    assert_eq!(link.take_output(), b"\n", "the master must not take it for dead");
    link.loaded(70_000_000);
    assert_eq!(link.tick(70_000_001), Ok(()));
}

#[test]
fn what_is_no_request_ends_the_link() {
    for bytes in [&b"+OK\r\n"[..], b"*1\r\n+x\r\n", b"*x\r\n", b"$5\r\nhello\r\n"] {
        let mut link = streaming(0);
        link.receive(bytes, 0);
        assert!(matches!(link.request(), Err(Fault::Stream(_))), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_history_may_get_another_name() {
    let other = "f".repeat(40);
    let mut link = asked(Settings { resume: Some(Point { id: id(), offset: 41 }), ..settings() });
    let progress = answer(&mut link, &format!("+CONTINUE {other}")).0;
    let id = ReplicationId::parse(other.as_bytes()).unwrap();
    assert_eq!(progress, Ok(Progress::Stream(Point { id, offset: 41 })));
}

#[test]
fn a_replica_asks_for_the_first_byte_that_it_lacks() {
    let mut link = Link::new(Settings { resume: Some(Point { id: id(), offset: 41 }), ..settings() }, 0);
    for line in ["+PONG", "+OK", "+OK"] {
        answer(&mut link, line).0.unwrap();
    }
    assert_eq!(answer(&mut link, "+OK").1, format!("PSYNC {ID} 42"));
    // What is refused there may be asked for from the beginning.
    assert!(matches!(answer(&mut link, &format!("+FULLRESYNC {ID} 1")).0, Ok(Progress::Full(_))));
}

#[test]
fn waits_grow_only_while_snapshots_are_in_vain() {
    let mut backoff = Backoff::default();
    assert_eq!([backoff.failed(false), backoff.failed(false)], [1_000; 2]);
    let waits: Vec<u64> = (0..8).map(|_| backoff.failed(true)).collect();
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    backoff.succeeded();
    assert_eq!(backoff.failed(true), 1_000);
}

#[test]
fn what_is_relayed_ends_where_the_next_link_would_go_on() {
    let mut link = streaming(10);
    let ping = "*1\r\n$4\r\nPING\r\n";
    let multi = "*1\r\n$5\r\nMULTI\r\n";
    let incr = "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n";
    let exec = "*1\r\n$4\r\nEXEC\r\n";
    let mut passed = Vec::new();
    for (bytes, is_place) in [(ping, true), (multi, false), (incr, false), (exec, true)] {
        link.receive(bytes.as_bytes(), 0);
        link.request().unwrap().unwrap();
        link.applied();
        passed.extend_from_slice(&link.take_passed());
        assert_eq!(link.point().unwrap().offset, 10 + passed.len() as u64);
        assert_eq!(passed.ends_with(bytes.as_bytes()), is_place);
    }
    assert_eq!(passed, [ping, multi, incr, exec].concat().into_bytes());
}

#[test]
fn a_master_hears_how_far_the_log_is_and_at_once_what_it_has_asked_for() {
    let mut link = streaming(10);
    link.is_logged(Some(10));
    let getack = "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
    link.receive(getack.as_bytes(), 0);
    link.request().unwrap().unwrap();
    link.applied();
    assert_eq!(sent(&mut link), "REPLCONF ACK 47 FACK 10");
    link.is_logged(Some(46));
    assert_eq!(sent(&mut link), "");
    link.is_logged(Some(47));
    assert_eq!(sent(&mut link), "REPLCONF ACK 47 FACK 47");
    link.is_logged(Some(47));
    assert_eq!(sent(&mut link), "", "once");
    link.is_logged(None);
    link.tick(2_000_000).unwrap();
    assert_eq!(sent(&mut link), "REPLCONF ACK 47");
}

#[test]
fn whoever_is_to_take_over_is_told_so() {
    let settings = Settings { resume: Some(Point { id: id(), offset: 9 }), hands_over: true, ..settings() };
    let mut link = Link::new(settings, 0);
    for line in ["+PONG", "+OK", "+OK"] {
        assert_eq!(answer(&mut link, line).0, Ok(Progress::Waits));
    }
    assert_eq!(answer(&mut link, "+OK").1, format!("PSYNC {ID} 10 FAILOVER"));
}

#[test]
fn a_master_that_lacks_something_is_given_it_and_asked_again() {
    let mut link = asked(Settings { resume: Some(Point { id: id(), offset: 41 }), ..settings() });
    let lacked = Point { id: id(), offset: 30 };
    assert_eq!(answer(&mut link, "+TAIL 30"), (Ok(Progress::Tail(lacked)), String::new()));
    link.give_tail(lacked, Some(b"bytes"));
    assert_eq!(sent(&mut link), format!("REPLCONF tail {ID} 30 bytes"));
    assert_eq!(answer(&mut link, "+OK").1, format!("PSYNC {ID} 42"));
    assert_eq!(answer(&mut link, "+TAIL 35").0, Ok(Progress::Tail(Point { id: id(), offset: 35 })));
    link.give_tail(Point { id: id(), offset: 35 }, Some(b"more"));
    sent(&mut link);
    assert_eq!(answer(&mut link, "-ERR another was quicker").1, format!("PSYNC {ID} 42"));
    assert!(answer(&mut link, "+TAIL 38").0.is_ok());
    link.give_tail(Point { id: id(), offset: 38 }, Some(b"rest"));
    assert!(answer(&mut link, "-MISCONF the disk is full").0.is_err(), "it may be taken later");
}

#[test]
fn a_master_that_lacks_what_is_gone_here_gives_a_copy() {
    let mut link = asked(Settings { resume: Some(Point { id: id(), offset: 41 }), ..settings() });
    assert!(answer(&mut link, "+TAIL 30").0.is_ok());
    link.give_tail(Point { id: id(), offset: 30 }, None);
    assert_eq!(sent(&mut link), "PSYNC ? -1");
    let mut new = asked(settings());
    assert!(answer(&mut new, "+TAIL 30").0.is_err(), "it has nothing to give");
}

#[test]
fn who_has_more_that_changes_nothing_goes_back_and_others_begin_anew() {
    for (is_same, asked_again) in [(true, format!("PSYNC {ID} 31")), (false, "PSYNC ? -1".to_owned())] {
        let mut link = asked(Settings { resume: Some(Point { id: id(), offset: 41 }), ..settings() });
        let place = Point { id: id(), offset: 30 };
        assert_eq!(answer(&mut link, "+REWIND 30").0, Ok(Progress::Rewind(place)));
        link.rewind(place, is_same);
        assert_eq!(sent(&mut link), asked_again);
    }
    let ping = "*1\r\n$4\r\nPING\r\n";
    let message = "*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1\r\nm\r\n";
    let asks = "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
    let select = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";
    let nothing = [ping, "\n", message, asks].concat();
    assert!(Link::changes_nothing(nothing.as_bytes()));
    assert!(!Link::changes_nothing([&nothing, select].concat().as_bytes()));
    assert!(!Link::changes_nothing(&nothing.as_bytes()[..nothing.len() - 1]), "it is not whole");
}

#[test]
fn whoever_has_taken_over_and_lacks_something_is_not_told_so_again() {
    let resume = Some(Point { id: id(), offset: 41 });
    let mut link = asked(Settings { resume, hands_over: true, ..settings() });
    assert!(answer(&mut link, "+TAIL 30").0.is_ok());
    link.give_tail(Point { id: id(), offset: 30 }, Some(b"bytes"));
    sent(&mut link);
    assert_eq!(answer(&mut link, "+OK").1, format!("PSYNC {ID} 42"));
}

#[test]
fn a_master_is_told_what_the_history_was_called_before_and_tells_it() {
    let place = Point { id: id(), offset: 41 };
    let mut link = Link::new(Settings { resume: Some(place), former: Some(place), ..Settings::default() }, 0);
    for said in ["+PONG", "+OK"] {
        answer(&mut link, said).0.unwrap();
    }
    assert_eq!(answer(&mut link, "+OK").1, format!("REPLCONF version 9.1.0 former {ID}:41"));
    answer(&mut link, "+OK").0.unwrap();
    let other = ReplicationId::drawn([3, 3, 3]);
    let went_on = Point { id: other, offset: 41 };
    assert_eq!(answer(&mut link, &format!("+CONTINUE {other} 50")).0, Ok(Progress::Stream(went_on)));
    assert_eq!(link.renamed_at(), Some(50));
}
