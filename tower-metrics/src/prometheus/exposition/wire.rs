//! Protobuf's wire format.

/// Number of a field, below 16, so that its tag is one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field(pub(super) u8);

impl Field {
    const fn tag(self, wire_type: u8) -> u8 {
        self.0 << 3 | wire_type
    }

    /// Returns the tag of an embedded message.
    pub(super) const fn delimited_tag(self) -> u8 {
        self.tag(LENGTH_DELIMITED)
    }
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;

#[inline]
pub(super) fn varint(out: &mut Vec<u8>, n: u64) {
    if n < 0x80 {
        out.push(n as u8);
    } else {
        long_varint(out, n);
    }
}

fn long_varint(out: &mut Vec<u8>, mut n: u64) {
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
    if n < 0x80 {
        out.extend_from_slice(&[field.tag(VARINT), n as u8]);
    } else {
        out.push(field.tag(VARINT));
        long_varint(out, n);
    }
}

#[inline]
pub(super) fn double(out: &mut Vec<u8>, field: Field, value: f64) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    out.extend_from_slice(&[field.tag(FIXED_64), a, b, c, d, e, f, g, h]);
}

/// Writes a message of a number and a double at once, which is cheaper for a histogram's
/// many buckets.
#[inline]
pub(super) fn number_and_double(
    out: &mut Vec<u8>,
    message: Field,
    (number_field, n): (Field, u64),
    (double_field, value): (Field, f64),
) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    let message_tag = message.delimited_tag();
    let tags = [number_field.tag(VARINT), double_field.tag(FIXED_64)];
    if n < 0x80 {
        let n = n as u8;
        out.extend_from_slice(&[message_tag, 11, tags[0], n, tags[1], a, b, c, d, e, f, g, h]);
    } else if n < 0x4000 {
        let n = [n as u8 | 0x80, (n >> 7) as u8];
        out.extend_from_slice(&[
            message_tag,
            12,
            tags[0],
            n[0],
            n[1],
            tags[1],
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ]);
    } else {
        // Two tags, the number and the double.
        embedded(out, message, 2 + length(n) + 8);
        number(out, number_field, n);
        double(out, double_field, value);
    }
}

/// Begins an embedded message of this length.
#[inline]
pub(super) fn embedded(out: &mut Vec<u8>, field: Field, length: usize) {
    if length < 0x80 {
        out.extend_from_slice(&[field.tag(LENGTH_DELIMITED), length as u8]);
    } else {
        out.push(field.tag(LENGTH_DELIMITED));
        long_varint(out, length as u64);
    }
}

/// Writes an embedded message that is behind its length already.
#[inline]
pub(super) fn delimited(out: &mut Vec<u8>, field: Field, message: &[u8]) {
    out.push(field.delimited_tag());
    out.extend_from_slice(message);
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
    fn fields_written_at_once_are_those_written_one_by_one() {
        for n in [0, 127, 128, 0x3fff, 0x4000, u64::MAX] {
            let (mut fields, mut one, mut both) = (Vec::new(), Vec::new(), Vec::new());
            number(&mut fields, Field(1), n);
            double(&mut fields, Field(2), 0.25);
            embedded(&mut one, Field(3), fields.len());
            one.extend(fields);
            number_and_double(&mut both, Field(3), (Field(1), n), (Field(2), 0.25));
            assert_eq!(both, one);
        }
    }

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
