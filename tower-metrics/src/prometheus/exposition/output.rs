//! Buffer that a rendering is written to.

use bytes::{Bytes, BytesMut};

use super::wire::varint;

/// Small enough to stay in the L1 cache while it is written.
const BLOCK: usize = 16 << 10;

/// Collects content in a small block, which it appends to the whole when full.
#[derive(Debug, Default)]
pub(super) struct Output {
    block: Vec<u8>,
    whole: BytesMut,
    /// Beginning of the current message.
    message: usize,
}

/// Space for the length of a message: the varint of 2 to 256 MiB. The content of
/// a smaller one, which costs little, is moved.
const LENGTH: usize = 4;

impl Output {
    /// Reuses the memory of an earlier rendering: page faults in fresh memory
    /// cost more than writing to it.
    pub(super) fn reusing(spare: Bytes) -> Self {
        // A response may still hold part of the earlier rendering.
        let mut whole = spare.try_into_mut().unwrap_or_default();
        whole.clear();
        Self {
            block: Vec::with_capacity(2 * BLOCK),
            whole,
            message: 0,
        }
    }

    /// Returns the block to append to. Call [`written`](Self::written) after
    /// every few lines.
    pub(super) fn block(&mut self) -> &mut Vec<u8> {
        &mut self.block
    }

    /// Flushes the block if it is full.
    pub(super) fn written(&mut self) {
        if self.block.len() >= BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.whole.extend_from_slice(&self.block);
        self.block.clear();
    }

    /// Begins a length-delimited protobuf message.
    pub(super) fn begin_message(&mut self) {
        self.flush();
        self.message = self.whole.len();
        self.whole.extend_from_slice(&[0; LENGTH]);
    }

    /// Ends the message that [`begin_message`](Self::begin_message) began, and
    /// writes its length before it.
    pub(super) fn end_message(&mut self) {
        self.flush();
        let content = self.message + LENGTH..self.whole.len();
        let mut length = Vec::with_capacity(10);
        varint(&mut length, content.len() as u64);
        let moved = self.message + length.len();
        let end = moved + content.len();
        if end > self.whole.len() {
            self.whole.resize(end, 0);
        }
        if moved != content.start {
            self.whole.copy_within(content, moved);
        }
        self.whole[self.message..moved].copy_from_slice(&length);
        self.whole.truncate(end);
    }

    /// Returns everything that was written.
    pub(super) fn finish(mut self) -> Bytes {
        self.flush();
        self.whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_follow_their_length() {
        let sizes = [0, 1, 127, 128, 20_000, (2 << 20) - 1, 2 << 20];
        let mut output = Output::default();
        for size in sizes {
            output.begin_message();
            let mut rest = size;
            while rest > 0 {
                let n = rest.min(1000);
                let bytes = std::iter::repeat_n(size as u8, n);
                output.block().extend(bytes);
                output.written();
                rest -= n;
            }
            output.end_message();
        }
        let written = output.finish();
        let mut expected = Vec::new();
        for size in sizes {
            varint(&mut expected, size as u64);
            expected.resize(expected.len() + size, size as u8);
        }
        assert!(written == expected);
    }
}
