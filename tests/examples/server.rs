//! The example server as a process, tested from outside.

mod browser;
mod fastapi;
mod logs;
mod oauth2_crate;
mod passkeys;
mod promises;
mod registry_clients;
mod single_page_app;
mod slow_clients;
mod small_examples;
mod swagger_ui;
mod two_processes;

use test_support::client;
