//! An Authorization header for the token endpoint: the input as it is, and as id and secret in a Basic header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_oauth2_password_fuzz::{ask::Ask, base64, session::Session, urlencoded};

const LOGIN: &str = "grant_type=password&username=alice&password=wonderland123";

fn ask(header: &[u8], body: &str) {
    if let Some(ask) = Ask::post("/token", body.as_bytes()).authorized(header) {
        Session::new(false).ask(&ask);
    }
}

fuzz_target!(|header: &[u8]| {
    ask(header, LOGIN);
    let basic = format!("Basic {}", base64::print(header));
    ask(basic.as_bytes(), LOGIN);
    // Header and body may name the same client.
    let id = header.split(|byte| *byte == b':').next().unwrap_or_default();
    if let Ok(id) = std::str::from_utf8(id) {
        for id in [Some(id.to_owned()), urlencoded::decode(id)].into_iter().flatten() {
            ask(basic.as_bytes(), &format!("{LOGIN}&client_id={}", urlencoded::encode(&id)));
        }
    }
});
