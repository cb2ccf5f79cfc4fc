//! Scripted body.

#![allow(dead_code, reason = "every test file uses some of it")]

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Data(Vec<u8>),
    Trailers(HeaderMap),
    /// Pending once.
    Pending,
    /// Pending forever.
    Stuck,
    Error,
    Panic,
}

/// Body that performs a sequence of steps.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) steps: VecDeque<Step>,
    /// Exact size hint.
    pub(crate) exact: Option<u64>,
    /// Set if `is_end_stream` reports the end, which many bodies do not.
    pub(crate) tells_end: bool,
}

impl Script {
    /// Creates a body of unknown size.
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            exact: None,
            tells_end: false,
        }
    }

    pub(crate) fn chunks(chunks: &[&str]) -> Self {
        Self::new(chunks.iter().map(|chunk| data(chunk)))
    }

    pub(crate) fn sized(mut self) -> Self {
        let bytes = self.steps.iter().map(|step| match step {
            Step::Data(data) => data.len() as u64,
            _ => 0,
        });
        self.exact = Some(bytes.sum());
        self
    }

    pub(crate) fn telling_its_end(mut self) -> Self {
        self.tells_end = true;
        self
    }
}

pub(crate) fn data(text: &str) -> Step {
    Step::Data(text.into())
}

pub(crate) fn trailers(name: &'static str, value: &'static str) -> Step {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    Step::Trailers(trailers)
}

pub(crate) fn failure() -> io::Error {
    io::Error::other("failed on purpose")
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => {
                if let Some(exact) = &mut self.exact {
                    *exact = exact.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(data.into()))))
            }
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Stuck) => {
                self.steps.push_front(Step::Stuck);
                Poll::Pending
            }
            Some(Step::Error) => Poll::Ready(Some(Err(failure()))),
            Some(Step::Panic) => panic!("a body panics on purpose"),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
