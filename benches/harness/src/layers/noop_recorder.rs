//! Recorder that does nothing.

use tower_metrics::{CompletedRequest, Recorder};

/// Recorder that does nothing, to measure the middleware alone.
#[derive(Clone, Copy, Debug)]
pub struct NoopRecorder;

impl Recorder for NoopRecorder {
    type Series = ();
    type InFlight = ();

    fn series(&self, _: &'static str, _: &'static str) {}

    fn begin(&self, (): ()) {}

    fn end(&self, (): (), (): (), end: &CompletedRequest<'_>) {
        std::hint::black_box(end);
    }

    fn abandon(&self, (): (), (): ()) {}
}
