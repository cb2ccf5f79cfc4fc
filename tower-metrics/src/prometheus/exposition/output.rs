//! Buffer that a rendering is written to.

use bytes::{Bytes, BytesMut};

/// Small enough to stay in the L1 cache while it is written.
const BLOCK: usize = 16 << 10;

/// Collects text in a small block, which it appends to the whole when full.
#[derive(Debug, Default)]
pub(super) struct Output {
    block: Vec<u8>,
    text: BytesMut,
}

impl Output {
    /// Reuses the memory of an earlier rendering: page faults in fresh memory
    /// cost more than writing to it.
    pub(super) fn reusing(spare: Bytes) -> Self {
        // A response may still hold part of the earlier rendering.
        let mut text = spare.try_into_mut().unwrap_or_default();
        text.clear();
        Self {
            block: Vec::with_capacity(2 * BLOCK),
            text,
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
        self.text.extend_from_slice(&self.block);
        self.block.clear();
    }

    /// Returns everything that was written.
    pub(super) fn finish(mut self) -> Bytes {
        self.flush();
        self.text.freeze()
    }
}
