//! ACL rules: any words are refused, or make a user whose line makes the same user again.

use crate::bench::Bench;

/// The bytes are the words of one ACL SETUSER, separated by line ends.
pub fn run(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|&b| b == b'\n').collect();
    // A password is hashed outside of the engine, which would have the client wait.
    if words.iter().any(|word| matches!(word.first(), Some(b'>' | b'<'))) {
        return;
    }
    let mut bench = Bench::new();
    let mut argv: Vec<&[u8]> = vec![b"ACL", b"SETUSER", b"u"];
    argv.extend(&words);
    if bench.call(&argv).as_deref() != Some(b"+OK\r\n") {
        return;
    }
    for request in
        [&[&b"ACL"[..], b"GETUSER", b"u"][..], &[b"ACL", b"LIST"], &[b"ACL", b"DRYRUN", b"u", b"GET", b"k"]]
    {
        bench.call(request);
    }
    let lines = bench.engine.acl.lines();
    let words =
        |line: &Vec<u8>| line.split(|b| *b == b' ').skip(1).map(<[u8]>::to_vec).collect::<Vec<Vec<u8>>>();
    let mut twin = Bench::new();
    twin.engine.load_users(&lines.iter().map(words).collect::<Vec<_>>()).expect("our own lines are rules");
    assert_eq!(twin.engine.acl.lines(), lines, "the lines make other users");
    let mut filed = Bench::new();
    filed.engine.load_acl_file("users.acl", &lines.join(&b'\n'), None).expect("our own lines are a file");
    assert_eq!(filed.engine.acl.lines(), lines, "the file makes other users");
}
