//! Protobuf's wire format.

/// Number of a field, below 16, so that its tag is one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field(pub(super) u8);

impl Field {
    const fn tag(self, wire_type: u8) -> u8 {
        self.0 << 3 | wire_type
    }
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;

#[inline]
pub(super) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Returns the number of bytes of a varint.
#[inline]
pub(super) fn length(n: u64) -> usize {
    let bits = 64 - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Encodes a signed number, so that those close to zero are short.
#[inline]
pub(super) fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}

#[inline]
pub(super) fn number(out: &mut Vec<u8>, field: Field, n: u64) {
    out.push(field.tag(VARINT));
    varint(out, n);
}

#[inline]
pub(super) fn double(out: &mut Vec<u8>, field: Field, value: f64) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    out.extend_from_slice(&[field.tag(FIXED_64), a, b, c, d, e, f, g, h]);
}

/// Begins an embedded message of this length.
#[inline]
pub(super) fn embedded(out: &mut Vec<u8>, field: Field, length: usize) {
    out.push(field.tag(LENGTH_DELIMITED));
    varint(out, length as u64);
}

#[inline]
pub(super) fn text(out: &mut Vec<u8>, field: Field, text: &str) {
    embedded(out, field, text.len());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_numbers_alternate() {
        let encoded = [0, -1, 1, -2, 2, i64::MAX, i64::MIN].map(zigzag);
        assert_eq!(encoded, [0, 1, 2, 3, 4, u64::MAX - 1, u64::MAX]);
    }

    #[test]
    fn varints_have_the_announced_length() {
        for shift in 0..64 {
            for n in [(1u64 << shift) - 1, 1 << shift] {
                let mut out = Vec::new();
                varint(&mut out, n);
                assert_eq!(out.len(), length(n), "{n}");
                let read = out
                    .iter()
                    .rev()
                    .fold(0, |read, byte| read << 7 | u64::from(byte & 0x7f));
                assert_eq!(read, n);
            }
        }
    }
}
