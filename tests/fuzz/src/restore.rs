//! RESTORE: any payload with a right checksum is refused, or gives a value that bears being used.

use crate::bench::Bench;

/// The RDB version written at the end of the payload.
const VERSION: u16 = 11;

/// A payload as DUMP would end it: version and checksum, both little-endian.
pub fn sealed(data: &[u8]) -> Vec<u8> {
    let mut payload = data.to_vec();
    payload.extend_from_slice(&VERSION.to_le_bytes());
    let crc = base::crc64::update(0, &payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// The bytes are the payload without its end.
pub fn run(data: &[u8]) {
    let mut bench = Bench::new();
    let restored = bench.call(&[b"RESTORE", b"k", b"0", &sealed(data)]);
    if restored.as_deref() != Some(b"+OK\r\n") {
        return;
    }
    let dump = bench.call(&[b"DUMP", b"k"]).expect("DUMP has a reply");
    let text = bulk(&dump).expect("what was restored can be dumped");
    let again = bench.call(&[b"RESTORE", b"again", b"0", text]).expect("RESTORE has a reply");
    assert_eq!(again, b"+OK\r\n", "our own dump is refused");
    bench.exercise(b"k");
    bench.exercise(b"again");
}

/// The text of a bulk string reply.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|&b| b == b'\r')?;
    let bytes: usize = std::str::from_utf8(reply.get(1..end)?).ok()?.parse().ok()?;
    (reply[0] == b'$').then(|| reply.get(end + 2..end + 2 + bytes)).flatten()
}
