//! Isolation of user-supplied code: a panic in a hook becomes an error message.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

/// Calls a hook. Returns the panic message if it panics.
///
/// The closures capture user state, which may be left inconsistent. This is
/// accepted: the alternative is a page that stops updating.
pub(super) fn call<T>(hook: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(hook)).map_err(message)
}

/// Calls an asynchronous hook and awaits its future. Returns the panic message
/// if either panics.
pub(super) async fn call_async<F: Future>(hook: impl FnOnce() -> F) -> Result<F::Output, String> {
    let future = call(hook)?;
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(message)
}

fn message(payload: Box<dyn Any + Send>) -> String {
    let text = match payload.downcast::<&'static str>() {
        Ok(text) => (*text).to_owned(),
        Err(payload) => payload.downcast::<String>().map_or_else(
            |payload| {
                // Its destructor belongs to the user and may panic, too.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(std::mem::forget);
                "with a payload that is not a string".to_owned()
            },
            |text| *text,
        ),
    };
    format!("panicked: {text}")
}
