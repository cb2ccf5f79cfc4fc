//! The ticket platform's server.
fn main() {}
