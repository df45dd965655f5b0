//! Matching piece by piece: what stands between two stars, each looked for as far left as it can be.
//!
//! A piece of plain bytes is found in linear time. One with `?` or classes is followed at 64 of its positions at once: each bit of a
//! word says that the piece matches up to there. The words that are looked at are bounded; beyond that nothing matches.

use super::{fold, read_class};
use memchr::memmem;

/// Words looked at for one command: some ten milliseconds.
pub(super) const WORDS_MAX: usize = 1 << 24;

/// A set of bytes.
type Set = [u64; 4];

/// One position of a piece.
#[derive(Clone, Copy)]
enum Token {
    Byte(u8),
    Any,
    Class(Set),
}

impl Token {
    fn is_hit(&self, byte: u8, ignore_case: bool) -> bool {
        match self {
            Token::Byte(own) => fold(*own, ignore_case) == fold(byte, ignore_case),
            Token::Any => true,
            Token::Class(set) => set[usize::from(byte) / 64] >> (byte % 64) & 1 == 1,
        }
    }
}

/// Whether the whole of `text`, which is not empty, matches `pattern`, in the words that are left.
pub(super) fn matches(pattern: &[u8], text: &[u8], ignore_case: bool, words_left: &mut usize) -> bool {
    // Ahead of anything that takes memory: a text has a byte for each position.
    if least_bytes(pattern) > text.len() {
        return false;
    }
    let (mut p, mut t) = (0, 0);
    let mut piece = Vec::new();
    let is_hit = |piece: &[Token], at: usize| {
        piece.iter().zip(&text[at..]).all(|(token, byte)| token.is_hit(*byte, ignore_case))
    };
    loop {
        let is_first = p == 0;
        let is_last = read_piece(pattern, &mut p, &mut piece, ignore_case);
        let end = match (is_first, is_last) {
            (true, true) => return piece.len() == text.len() && is_hit(&piece, 0),
            (true, false) => is_hit(&piece, 0).then_some(piece.len()),
            (false, true) => {
                return t + piece.len() <= text.len() && is_hit(&piece, text.len() - piece.len());
            }
            (false, false) => {
                find(&piece, &text[t..], ignore_case, words_left).map(|at| t + at + piece.len())
            }
        };
        match end {
            Some(end) => t = end,
            None => return false,
        }
    }
}

/// The bytes of the shortest text that matches.
fn least_bytes(pattern: &[u8]) -> usize {
    let (mut p, mut count) = (0, 0);
    while p < pattern.len() {
        count += usize::from(pattern[p] != b'*');
        p = match pattern[p] {
            b'[' => read_class(pattern, p + 1, |_, _| {}).1,
            b'\\' if p + 1 < pattern.len() => p + 2,
            _ => p + 1,
        };
    }
    count
}

/// Reads what stands from `p` to the next star, and passes over the star; whether the pattern ends here.
fn read_piece(pattern: &[u8], p: &mut usize, piece: &mut Vec<Token>, ignore_case: bool) -> bool {
    piece.clear();
    while let Some(&byte) = pattern.get(*p) {
        *p += 1;
        match byte {
            b'*' => return false,
            b'?' => piece.push(Token::Any),
            b'[' => {
                let (set, next) = class(pattern, *p, ignore_case);
                piece.push(Token::Class(set));
                *p = next;
            }
            b'\\' if *p < pattern.len() => {
                piece.push(Token::Byte(pattern[*p]));
                *p += 1;
            }
            literal => piece.push(Token::Byte(literal)),
        }
    }
    true
}

/// The bytes that a class lets through, and the position behind it.
fn class(pattern: &[u8], p: usize, ignore_case: bool) -> (Set, usize) {
    let mut folded: Set = [0; 4];
    let (is_negated, next) = read_class(pattern, p, |low, high| {
        let (a, b) = (fold(low, ignore_case), fold(high, ignore_case));
        (a.min(b)..=a.max(b)).for_each(|byte| folded[usize::from(byte) / 64] |= 1 << (byte % 64));
    });
    let mut set: Set = [0; 4];
    for byte in 0..=u8::MAX {
        let as_read = fold(byte, ignore_case);
        if (folded[usize::from(as_read) / 64] >> (as_read % 64) & 1 == 1) != is_negated {
            set[usize::from(byte) / 64] |= 1 << (byte % 64);
        }
    }
    (set, next)
}

/// The first place where the piece matches.
fn find(piece: &[Token], text: &[u8], ignore_case: bool, words_left: &mut usize) -> Option<usize> {
    if piece.is_empty() {
        return Some(0);
    }
    let plain: Option<Vec<u8>> = match ignore_case {
        true => None,
        false => (piece.iter())
            .map(|token| match token {
                Token::Byte(byte) => Some(*byte),
                Token::Any | Token::Class(_) => None,
            })
            .collect(),
    };
    match plain {
        Some(bytes) => memmem::find(text, &bytes),
        None => find_by_bits(piece, text, ignore_case, words_left),
    }
}

fn find_by_bits(piece: &[Token], text: &[u8], ignore_case: bool, words_left: &mut usize) -> Option<usize> {
    let words = piece.len().div_ceil(64);
    // The table takes as many words as 256 bytes of text.
    if words * (text.len() + 256) > *words_left {
        *words_left = 0;
        return None;
    }
    let mut table = vec![0u64; 256 * words];
    for (at, token) in piece.iter().enumerate() {
        for byte in 0..=u8::MAX {
            table[usize::from(byte) * words + at / 64] |=
                u64::from(token.is_hit(byte, ignore_case)) << (at % 64);
        }
    }
    let mut matched = vec![0u64; words];
    let (last_word, last_bit) = ((piece.len() - 1) / 64, (piece.len() - 1) % 64);
    for (at, byte) in text.iter().enumerate() {
        let masks = &table[usize::from(*byte) * words..][..words];
        let mut carry = 1;
        for (word, mask) in matched.iter_mut().zip(masks) {
            let shifted = *word << 1 | carry;
            carry = *word >> 63;
            *word = shifted & mask;
        }
        *words_left -= words;
        if matched[last_word] >> last_bit & 1 == 1 {
            return Some(at + 1 - piece.len());
        }
    }
    None
}
