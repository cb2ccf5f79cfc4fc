//! Background tasks.

use std::pin::Pin;

use tokio::task::JoinHandle;

/// Spawns a task. The code of the runtime is compiled for each type of future, and twice: boxed, all
/// tasks have one type.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task);
    tokio::spawn(task)
}
