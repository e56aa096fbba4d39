//! The CRC-64 of dumps: polynomial of Jones, reflected, from zero; eight bytes at a step.

const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

const TABLES: [[u64; 256]; 8] = tables();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, where an index out of bounds is an error"
)]
const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// Continues a checksum over more bytes.
pub(super) fn update(crc: u64, bytes: &[u8]) -> u64 {
    let mut steps = bytes.chunks_exact(8);
    let crc = steps.by_ref().fold(crc, |crc, step| {
        let word = step
            .iter()
            .rev()
            .fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        eight(crc ^ word)
    });
    steps.remainder().iter().fold(crc, |crc, byte| {
        lookup(0, crc ^ u64::from(*byte)) ^ crc >> 8
    })
}

#[inline]
fn eight(word: u64) -> u64 {
    lookup(7, word)
        ^ lookup(6, word >> 8)
        ^ lookup(5, word >> 16)
        ^ lookup(4, word >> 24)
        ^ lookup(3, word >> 32)
        ^ lookup(2, word >> 40)
        ^ lookup(1, word >> 48)
        ^ lookup(0, word >> 56)
}

#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "a byte indexes a table of 256; the table number is a constant below 8"
)]
fn lookup(table: usize, word: u64) -> u64 {
    TABLES[table][(word & 0xff) as usize]
}

#[cfg(test)]
mod tests {
    use super::update;

    #[test]
    fn the_check_value_of_the_polynomial_comes_out() {
        assert_eq!(update(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(update(update(0, b"1234"), b"56789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(update(0, b""), 0);
    }
}
