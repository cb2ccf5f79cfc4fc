//! Background tasks.

use std::pin::Pin;

use tokio::task::JoinHandle;

/// Spawns a boxed task. Tokio's code is compiled for each type of future, and all boxed tasks have one
/// type.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
    tokio::spawn(task)
}
