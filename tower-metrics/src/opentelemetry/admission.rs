//! Instruments for admission.

use std::fmt;
use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, UpDownCounter};

use super::{OpenTelemetry, seconds};
use crate::admission::{AdmissionOutcome, AdmissionRecorder, BOUNDS, CompletedWait};
use crate::error::BuildError;

/// Instruments for admission, which are created when they are first needed.
pub(super) struct AdmissionInstruments {
    meter: Meter,
    instruments: OnceLock<Instruments>,
}

struct Instruments {
    wait: Histogram<f64>,
    queued: UpDownCounter<i64>,
    outcomes: [[KeyValue; 1]; AdmissionOutcome::ALL.len()],
}

impl AdmissionInstruments {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            instruments: OnceLock::new(),
        }
    }

    fn get(&self) -> &Instruments {
        self.instruments.get_or_init(|| Instruments {
            wait: self
                .meter
                .f64_histogram("http.server.admission.wait")
                .with_unit("s")
                .with_description("Time that requests waited for admission.")
                .with_boundaries(BOUNDS.into())
                .build(),
            queued: self
                .meter
                .i64_up_down_counter("http.server.admission.queued")
                .with_unit("{request}")
                .with_description("Number of requests that wait for admission.")
                .build(),
            outcomes: AdmissionOutcome::ALL
                .map(|outcome| [KeyValue::new("outcome", outcome.as_str())]),
        })
    }
}

impl fmt::Debug for AdmissionInstruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionInstruments")
            .finish_non_exhaustive()
    }
}

impl AdmissionRecorder for OpenTelemetry {
    fn prepare(&self) -> Result<(), BuildError> {
        self.0.admission.get().queued.add(0, &[]);
        Ok(())
    }

    fn queued(&self) {
        self.0.admission.get().queued.add(1, &[]);
    }

    fn dequeued(&self) {
        self.0.admission.get().queued.add(-1, &[]);
    }

    fn ended(&self, wait: &CompletedWait) {
        let instruments = self.0.admission.get();
        let attributes = &instruments.outcomes[wait.outcome as usize];
        instruments.wait.record(seconds(wait.duration), attributes);
    }
}
