//! The request parser: however the bytes arrive, the same requests come out of them.

use resp::{Limits, Parsed, Parser, Span};

/// What was found: the arguments of each request, and the error that ended it.
type Found = (Vec<Vec<Vec<u8>>>, Option<String>);

/// All requests of the bytes, offered in pieces that end at `cuts`.
fn parse(data: &[u8], cuts: impl Iterator<Item = usize>, limits: &Limits) -> Found {
    let mut parser = Parser::default();
    let (mut begin, mut requests, mut spans) = (0, Vec::new(), Vec::new());
    for end in cuts.chain([data.len()]) {
        while begin < end {
            spans.clear();
            match parser.next(&data[begin..end], &mut spans, limits) {
                Ok(Parsed::Incomplete { missing }) => {
                    assert!(missing > 0, "incomplete, but nothing is missing");
                    break;
                }
                Ok(Parsed::Request { len }) => {
                    let args = spans.iter().map(|span: &Span| span.of(&data[begin..begin + len]).to_vec());
                    requests.push(args.collect());
                    assert!(len > 0 && begin + len <= end);
                    begin += len;
                }
                Ok(Parsed::Inline { len, args }) => {
                    requests.push(args);
                    assert!(len > 0 && begin + len <= end);
                    begin += len;
                }
                Err(error) => return (requests, Some(error.to_string())),
            }
        }
    }
    (requests, None)
}

/// The first byte says how long the pieces are.
pub fn run(data: &[u8]) {
    let Some((&piece, data)) = data.split_first() else { return };
    for limits in [Limits::trusted(512 << 20), Limits::stranger()] {
        let whole = parse(data, std::iter::empty(), &limits);
        let step = usize::from(piece) + 1;
        let pieces = parse(data, (1..data.len() / step).map(|n| n * step), &limits);
        assert_eq!(whole.0, pieces.0, "the pieces gave other requests");
        assert_eq!(whole.1, pieces.1, "the pieces gave another error");
    }
}
