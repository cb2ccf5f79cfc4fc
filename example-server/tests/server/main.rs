//! Tests of the program through its public interfaces: sockets, signals and the command line.

mod api;
#[path = "../../src/traffic/client.rs"]
#[allow(dead_code, unreachable_pub)]
mod client;
#[path = "../../../ticket-core/tests/platform/cluster.rs"]
mod cluster;
mod commands;
mod connections;
mod disk;
mod failures;
mod kill;
mod labs;
mod openapi;
mod ops;
mod overload;
mod page;
mod postgres;
mod process;
mod scenarios;
mod shutdown;
