//! Hand-written layers to compare with.

mod floor;
mod noop;
mod noop_recorder;
mod vectors;

pub use self::floor::{Floor, FloorLayer};
pub use self::noop::{Noop, NoopBody, NoopBodyLayer, NoopLayer};
pub use self::noop_recorder::NoopRecorder;
pub(crate) use self::vectors::BOUNDS;
pub use self::vectors::{Vectors, VectorsLayer};
