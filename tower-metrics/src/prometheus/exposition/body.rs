//! Response body of an exposition.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Response body of an [`Exposition`](super::Exposition).
#[derive(Debug, Default)]
pub struct ExpositionBody {
    remaining: Bytes,
}

/// Size limit of a frame, so that a slow client does not make the server buffer
/// all of a large exposition at once.
const MAX_FRAME: usize = 1 << 20;

impl ExpositionBody {
    pub(super) fn new(content: Bytes) -> Self {
        Self { remaining: content }
    }
}

impl Body for ExpositionBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.remaining.len().min(MAX_FRAME);
        let frame = (length > 0).then(|| Ok(Frame::data(self.remaining.split_to(length))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining.len() as u64)
    }
}
