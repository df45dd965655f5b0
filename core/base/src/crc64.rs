//! CRC-64 with the polynomial of Andrew Jones (0xad93d23594c935a9, reflected), as RDB files and DUMP payloads end.
//!
//! Eight bytes a step by the slicing method: one table a byte position, made at compile time.

const POLYNOMIAL_REFLECTED: u64 = 0x95ac_9329_ac4b_c9b5;

static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut t = [[0u64; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL_REFLECTED } else { crc >> 1 };
            bit += 1;
        }
        t[0][i] = crc;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            t[k][i] = (t[k - 1][i] >> 8) ^ t[0][(t[k - 1][i] & 0xff) as usize];
            i += 1;
        }
        k += 1;
    }
    t
}

/// Carries `crc` (0 at the start) over `bytes`.
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    let mut crc = crc;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word: [u8; 8] = chunk.try_into().expect("chunks_exact(8) gives slices of 8");
        let x = crc ^ u64::from_le_bytes(word);
        crc = 0;
        for (k, table) in TABLES.iter().rev().enumerate() {
            crc ^= table[((x >> (8 * k)) & 0xff) as usize];
        }
    }
    for &byte in chunks.remainder() {
        crc = TABLES[0][((crc ^ u64::from(byte)) & 0xff) as usize] ^ (crc >> 8);
    }
    crc
}

/// Which bit of `length` bytes was flipped, as byte and bit, if one flipped bit makes the difference between the checksum that
/// they have and the one that they should have.
pub fn flipped_bit(length: usize, difference: u64) -> Option<(usize, u8)> {
    // What a flip of each bit of a byte adds to the checksum, for one byte after the other from the last.
    let mut effects: [u64; 8] = std::array::from_fn(|bit| TABLES[0][1 << bit]);
    for at in (0..length).rev() {
        if let Some(bit) = effects.iter().position(|&effect| effect == difference) {
            return Some((at, bit as u8));
        }
        for effect in &mut effects {
            *effect = TABLES[0][(*effect & 0xff) as usize] ^ (*effect >> 8);
        }
    }
    None
}

/// Which byte of `length` bytes was changed, and by which exclusive or, if one changed byte makes the difference between the checksum that
/// they have and the one that they should have. Of other changes one in 2^56 divided by `length` passes for one byte.
pub fn changed_byte(length: u64, difference: u64) -> Option<(u64, u8)> {
    // The difference as it was behind the byte in question, for one byte after the other from the last.
    let mut left = difference;
    for at in (0..length).rev() {
        let index = LAST_STEP[(left >> 56) as usize];
        let effect = TABLES[0][usize::from(index)];
        if left == effect && index != 0 {
            return Some((at, index));
        }
        left = ((left ^ effect) << 8) | u64::from(index);
    }
    None
}

/// For the highest byte of a checksum the byte by which the step to it went: the entries of the table differ in it.
static LAST_STEP: [u8; 256] = {
    let mut last = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        last[(TABLES_AT_BUILD[0][byte] >> 56) as usize] = byte as u8;
        byte += 1;
    }
    last
};

const TABLES_AT_BUILD: [[u64; 256]; 8] = tables();

#[cfg(test)]
mod tests {
    use super::{changed_byte, flipped_bit, update};

    #[test]
    fn a_changed_byte_is_found_and_more_than_one_is_none() {
        let text: Vec<u8> = (0..100u8).collect();
        let crc = update(0, &text);
        for at in 0..text.len() {
            for change in [1, 2, 0x80, 0xff, 0x5a] {
                let mut bad = text.clone();
                bad[at] ^= change;
                assert_eq!(changed_byte(100, crc ^ update(0, &bad)), Some((at as u64, change)));
                bad[(at + 1) % 100] ^= 2;
                assert_eq!(changed_byte(100, crc ^ update(0, &bad)), None);
            }
        }
        assert_eq!(changed_byte(100, 0), None);
    }

    #[test]
    fn a_flipped_bit_is_found_and_more_than_one_is_none() {
        let text: Vec<u8> = (0..100u8).collect();
        let crc = update(0, &text);
        for bit in 0..text.len() * 8 {
            let mut bad = text.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(flipped_bit(text.len(), crc ^ update(0, &bad)), Some((bit / 8, (bit % 8) as u8)));
            bad[(bit / 8 + 1) % 100] ^= 2;
            assert_eq!(flipped_bit(text.len(), crc ^ update(0, &bad)), None);
        }
        assert_eq!(flipped_bit(100, 0), None);
    }

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn any_split_gives_the_same() {
        let text: Vec<u8> = (0..100u8).collect();
        for cut in 0..text.len() {
            assert_eq!(update(update(0, &text[..cut]), &text[cut..]), update(0, &text));
        }
    }
}
