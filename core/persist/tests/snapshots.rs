//! Snapshots: what other servers wrote is read, what we write they load, and damage never panics.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use tandem_persist::pack::listpack;
use tandem_persist::rdb::{Entry, Error, Item, Reader, StreamId, StreamParts, Value, Writer, kind};

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)).unwrap()
}

fn items(bytes: &[u8]) -> Result<Vec<Item>, Error> {
    let mut reader = Reader::new(bytes, Some(bytes.len() as u64), true)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(item);
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(items)
}

fn entries(bytes: &[u8]) -> BTreeMap<String, Entry> {
    let items = items(bytes).unwrap();
    assert!(items.iter().any(|i| matches!(i, Item::Function(code) if code.starts_with(b"#!lua name=lib"))));
    let entries = items.into_iter().filter_map(|i| match i {
        Item::Entry(entry) => Some((String::from_utf8(entry.key.clone()).unwrap(), entry)),
        _ => None,
    });
    entries.collect()
}

fn text(value: &str) -> Vec<u8> {
    value.as_bytes().to_vec()
}

fn sorted(value: &Value) -> Vec<Vec<u8>> {
    let Value::Set(members) = value else { panic!("not a set") };
    let mut members = members.clone();
    members.sort();
    members
}

fn stream(value: &Value) -> &StreamParts {
    let Value::Stream(parts) = value else { panic!("not a stream") };
    parts
}

#[test]
fn every_sample_holds_what_was_put_into_it() {
    for (name, expiring) in [("r7.rdb", false), ("v9.rdb", true), ("r8.rdb", true)] {
        let all = entries(&sample(name));
        let value = |key: &str| &all[key].value;
        assert_eq!(*value("str:int"), Value::String(text("12345")));
        assert_eq!(*value("str:neg"), Value::String(text("-70000")));
        assert_eq!(*value("str:lzf"), Value::String(b"abcabcabc".repeat(40)));
        assert_eq!(*value("str:bin"), Value::String((0..=255).collect()));
        assert_eq!(all["str:exp"].expiry_ms, Some(4_102_444_800_123));
        assert_eq!(all["in:five"].db, 5);
        let small = Value::List(vec![text("a"), text("1"), text("-5"), vec![b'b'; 70]].into());
        assert_eq!(*value("list:small"), small);
        let big: Vec<Vec<u8>> = (0..60).map(|i| format!("element-{i}").repeat(9).into_bytes()).collect();
        assert_eq!(*value("list:big"), Value::List(big.into()));
        assert_eq!(*value("list:plain"), Value::List(vec![vec![b'x'; 9000], text("y")].into()));
        assert_eq!(sorted(value("set:int")), [text("-5"), text("1"), text("2"), text("70000")]);
        assert_eq!(sorted(value("set:int64")), [text("1099511627776"), text("3")]);
        assert_eq!(sorted(value("set:big")).len(), 140);
        let Value::ZSet(scores) = value("zset:small") else { panic!("not a sorted set") };
        assert_eq!(scores[0], (text("c"), f64::NEG_INFINITY));
        assert_eq!(scores[4], (text("d"), f64::INFINITY));
        assert_eq!(scores[2], (text("b"), 2.5));
        let Value::Hash(fields) = value("hash:big") else { panic!("not a hash") };
        assert_eq!(fields.len(), 140);
        check_stream(stream(value("stream")), name);
        assert_eq!(stream(value("stream:empty")).meta.groups.len(), 1);
        if expiring {
            let Value::Hash(mut fields) = value("hash:exp").clone() else { panic!("not a hash") };
            fields.sort();
            let at = Some(4_102_444_800_123);
            let expected =
                [(text("a"), text("1"), at), (text("b"), text("2"), at), (text("c"), text("3"), None)];
            assert_eq!(fields, expected);
            let Value::Hash(fields) = value("hash:expbig") else { panic!("not a hash") };
            let expiry = |f: &str| fields.iter().find(|(field, _, _)| *field == text(f)).unwrap().2;
            assert_eq!(expiry("f1"), Some(4_102_444_800_000));
            assert_eq!(expiry("f2"), Some(4_102_444_900_000));
            assert_eq!((expiry("f3"), fields.len()), (None, 600));
        }
    }
}

fn check_stream(parts: &StreamParts, name: &str) {
    assert_eq!(parts.entries.len(), 128, "{name}");
    assert_eq!(parts.entries[0].fields, [(text("other"), text("x0"))]);
    assert_eq!(parts.entries[1].fields, [(text("temp"), text("1")), (text("unit"), text("c"))]);
    assert_eq!(parts.meta.entries_added, 130);
    assert_eq!(parts.meta.max_deleted_id, StreamId { ms: 1020, seq: 0 });
    assert_eq!(parts.meta.last_id, StreamId { ms: 1129, seq: 0 });
    let group = parts.meta.groups.iter().find(|g| g.name == b"g1").unwrap();
    assert_eq!(group.pending.len(), 7);
    assert_eq!(group.consumers.len(), 2);
    assert_eq!(group.consumers[group.pending[0].consumer].name, b"alice");
}

fn ours() -> Vec<u8> {
    let mut w = Writer::new(true, true);
    w.header(10);
    w.standard_aux("7.4.0", 1_700_000_000_000, 1234, false);
    w.function(b"#!lua name=lib\nredis.register_function('f', function(k,a) return 1 end)");
    w.select_db(0);
    w.resize_db(9, 1);
    for text in ["12345", "-1", "70000", "hello", "9999999999", ""] {
        w.key(kind::STRING, format!("s:{text}").as_bytes());
        w.string(text.as_bytes());
    }
    w.expiry_ms(4_102_444_800_123);
    w.key(kind::STRING, b"long");
    w.string(&b"abcdefgh".repeat(100));
    let mut list = listpack::Builder::new();
    ["a", "-5", "1000000", "b"].iter().for_each(|v| list.push(v.as_bytes()));
    w.key(kind::HASH_LISTPACK, b"hash");
    w.listpack(&mut list);
    w.key(kind::ZSET_2, b"zset");
    w.length(2);
    for (member, score) in [("a", 0.1), ("b", f64::INFINITY)] {
        w.string(member.as_bytes());
        w.double(score);
    }
    w.key(kind::LIST_QUICKLIST_2, b"list");
    w.length(2);
    w.quicklist_packed(&mut list);
    w.quicklist_plain(&[b'x'; 9000]);
    w.key(kind::SET_INTSET, b"ints");
    w.string(&tandem_persist::pack::intset::build(&[-70_000, 1, 2]));
    for (name, parts) in entries(&sample("r7.rdb")) {
        if let Value::Stream(parts) = parts.value {
            w.key(kind::STREAM_LISTPACKS_2, name.as_bytes());
            parts.write(&mut w, kind::STREAM_LISTPACKS_2);
        }
    }
    w.end();
    w.take()
}

#[test]
fn what_we_write_we_read() {
    let all = entries(&ours());
    assert_eq!(all["s:9999999999"].value, Value::String(text("9999999999")));
    assert_eq!(all["long"].value, Value::String(b"abcdefgh".repeat(100)));
    assert_eq!(all["long"].expiry_ms, Some(4_102_444_800_123));
    assert_eq!(all["zset"].value, Value::ZSet(vec![(text("a"), 0.1), (text("b"), f64::INFINITY)]));
    let sample = entries(&sample("r7.rdb"));
    assert_eq!(all["stream"].value, sample["stream"].value);
    let Value::List(list) = &all["list"].value else { panic!("not a list") };
    assert_eq!(list.len(), 5);
}

#[test]
fn a_time_of_minus_one_is_no_expiry() {
    let mut w = Writer::new(false, true);
    w.header(10);
    for (key, ms) in [("none", -1), ("past", -2), ("zero", 0)] {
        w.expiry_ms(ms);
        w.key(kind::STRING, key.as_bytes());
        w.string(b"v");
    }
    w.end();
    let expiries: Vec<_> = items(&w.take())
        .unwrap()
        .into_iter()
        .filter_map(|item| match item {
            Item::Entry(entry) => Some((String::from_utf8(entry.key).unwrap(), entry.expiry_ms)),
            _ => None,
        })
        .collect();
    let text = |key: &str| key.to_owned();
    assert_eq!(expiries, [(text("none"), None), (text("past"), Some(-2)), (text("zero"), Some(0))]);
}

/// KeyDB puts a field between what it says of a key and the key (`mvcc-tstamp`, while it is an active replica).
#[test]
fn what_is_said_of_a_key_holds_whatever_stands_before_the_key() {
    let field = b"\xfa\x0bmvcc-tstamp\x041758";
    let time = [b"\xfc".as_slice(), &4_102_444_800_123_i64.to_le_bytes()].concat();
    let keys = [b"\x00\x01a\x011".as_slice(), field, b"\x00\x01b\x012"].concat();
    let head = b"REDIS0009\xfe\x00\xfb\x02\x01";
    // The checksum of nought is none.
    let end = b"\xff\0\0\0\0\0\0\0\0";
    let file = [head.as_slice(), &time, b"\xf8\x07\xf9\x09", field, &keys, end].concat();
    let entries: Vec<Entry> = items(&file)
        .unwrap()
        .into_iter()
        .filter_map(|item| if let Item::Entry(entry) = item { Some(entry) } else { None })
        .collect();
    let said: Vec<_> =
        entries.iter().map(|entry| (&entry.key[..], entry.expiry_ms, entry.idle, entry.freq)).collect();
    assert_eq!(said, [(&b"a"[..], Some(4_102_444_800_123), Some(7), Some(9)), (&b"b"[..], None, None, None)]);
}

#[test]
fn draining_in_parts_gives_the_same_checksum() {
    let mut writer = Writer::new(false, true);
    let mut file = Vec::new();
    writer.header(10);
    for round in 0..50u32 {
        writer.key(kind::STRING, &round.to_le_bytes());
        writer.string(&[7; 30]);
        writer.drain(&mut |bytes| std::io::Write::write_all(&mut file, bytes)).unwrap();
    }
    writer.end();
    writer.drain(&mut |bytes| std::io::Write::write_all(&mut file, bytes)).unwrap();
    assert_eq!(items(&file).unwrap().len(), 50);
    let at = file.len() / 2;
    file[at] ^= 1;
    assert!(items(&file).is_err());
}

#[test]
fn a_cut_at_any_byte_is_an_error() {
    let whole = ours();
    for cut in 0..whole.len() {
        assert!(items(&whole[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn random_damage_is_an_error_or_ignored_but_never_a_panic() {
    for name in ["r7.rdb", "v9.rdb", "r8.rdb"] {
        let whole = sample(name);
        for seed in 0..1500 {
            let mut random = base::Random::new(seed);
            let mut bad = whole.clone();
            for _ in 0..1 + random.below(4) {
                let at = random.below(bad.len() as u64) as usize;
                bad[at] = random.next_u64() as u8;
            }
            if bad != whole {
                assert!(items(&bad).is_err(), "{name}, seed {seed}: the checksum must notice");
            }
            let length = bad.len();
            bad[length - 8..].fill(0); // Without a checksum the reader alone must hold.
            let _either_is_fine = items(&bad);
        }
    }
}

#[test]
fn what_is_not_known_is_refused_by_number() {
    let with = |bytes: &[u8]| items(&[b"REDIS0010", bytes].concat());
    assert!(matches!(with(b"\x07\x01k"), Err(Error::UnknownType { byte: 7, offset: 9, .. })));
    assert!(matches!(with(b"\xf7\x01"), Err(Error::UnknownType { byte: 247, .. })));
    assert!(matches!(with(b"\x1e\x01k"), Err(Error::UnknownType { byte: 30, .. })));
    assert!(matches!(items(b"REDIS0016\xff"), Err(Error::Version(16))));
    assert!(matches!(items(b"REDIS0080\xff"), Err(Error::Version(80))));
    assert!(matches!(items(b"RUBIS0010\xff"), Err(Error::NotRdb)));
    let promise = with(b"\x01\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff");
    assert!(matches!(promise, Err(Error::Corrupt { .. })), "a count beyond the file");
    let promise = with(b"\x00\x01k\x81\x00\xff\xff\xff\xff\xff\xff\xff");
    assert!(matches!(promise, Err(Error::Truncated { .. })), "a length beyond the file");
}

#[test]
fn a_newer_version_is_read_as_far_as_its_types_are_known() {
    for version in ["0013", "0014", "0015"] {
        let with = |bytes: &[u8]| items(&[b"REDIS", version.as_bytes(), bytes].concat());
        let known = with(b"\xfe\x00\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0").unwrap();
        assert!(
            matches!(&known[..], [Item::SelectDb(0), Item::Entry(entry)] if entry.key == b"k"),
            "{version}"
        );
        for byte in [26, 28, 32, 243] {
            let unknown = with(&[byte, 1, b'k']);
            assert!(
                matches!(unknown, Err(Error::UnknownType { byte: told, .. }) if told == byte),
                "{version}"
            );
        }
    }
}

#[test]
fn what_is_not_known_is_told_with_key_module_and_way_out() {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |letter: u8| letters.iter().position(|&l| l == letter).unwrap() as u64;
    let id = b"ReJSON-RL".iter().fold(0, |id, &letter| id << 6 | place(letter)) << 10 | 3;
    let told = |bytes: &[u8]| items(&[b"REDIS0010", bytes].concat()).unwrap_err().to_string();
    let value = told(&[b"\x07\x05doc:1\x81", &id.to_be_bytes()[..]].concat());
    assert!(
        value
            .contains("encoding type 7 at byte 9: the key \"doc:1\" holds data of the module type ReJSON-RL"),
        "{value}"
    );
    assert!(value.contains("delete such keys"), "{value}");
    let aux = told(&[b"\xf7\x81", &id.to_be_bytes()[..]].concat());
    assert!(aux.contains("encoding type 247 at byte 9: data of the module type ReJSON-RL"), "{aux}");
    let newer = told(b"\x1e\x03new");
    assert!(
        newer.contains("type 30 at byte 9: the key \"new\" holds a type that only a newer server knows"),
        "{newer}"
    );
    assert!(told(b"\x07").contains("data of a module"), "the bytes end before the name");
}

#[test]
fn payloads_go_round_and_are_refused_as_redis_does() {
    use tandem_persist::dump::{Error, decode, encode};
    let payload = encode(kind::STRING, true, |w| w.string(b"hello"));
    assert_eq!(payload[..9], *b"\0\x05hello\x0a\0");
    assert_eq!(decode(&payload, true), Ok(Value::String(text("hello"))));
    for cut in 0..payload.len() {
        assert_eq!(decode(&payload[..cut], true), Err(Error::Frame));
    }
    let twice = encode(kind::SET, false, |w| {
        w.length(2);
        w.string(b"a");
        w.string(b"a");
    });
    assert_eq!(decode(&twice, true), Err(Error::Value));
    let empty = encode(kind::SET, false, |w| w.length(0));
    assert_eq!(decode(&empty, true), Err(Error::Value));
    assert_eq!(Error::Value.to_string(), "Bad data format");
}

#[test]
#[ignore = "runs redis-check-rdb and redis-server, which must be installed"]
fn redis_loads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, ours()).unwrap();
    let check = std::process::Command::new("redis-check-rdb").arg(&path).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let mut server = std::process::Command::new("redis-server")
        .args(["--port", "17011", "--save", "", "--enable-debug-command", "yes", "--dir"])
        .arg(dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let ask = |words: &[&str]| {
        let out = std::process::Command::new("redis-cli").args(["-p", "17011"]).args(words).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    for _ in 0..100 {
        if ask(&["PING"]) == "PONG" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let digest = ask(&["DEBUG", "DIGEST"]);
    let reload = ask(&["DEBUG", "RELOAD"]);
    let again = ask(&["DEBUG", "DIGEST"]);
    let (size, stream, list) =
        (ask(&["DBSIZE"]), ask(&["XLEN", "stream"]), ask(&["LRANGE", "list", "0", "3"]));
    let pending = ask(&["XPENDING", "stream", "g1"]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!((reload.as_str(), again), ("OK", digest));
    assert_eq!((size.as_str(), stream.as_str()), ("13", "128"));
    assert_eq!(list, "a\n-5\n1000000\nb");
    assert!(pending.starts_with('7'), "{pending}");
}
