//! The whole server, bytes in, replies out: requests as text, separated by a line of `====`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_oauth2_password_fuzz::{
    ask::{Ask, split},
    session::Session,
};

fuzz_target!(|input: &[u8]| {
    let mut session = Session::new(false);
    let mut rest = Some(input);
    for _ in 0..6 {
        let Some(text) = rest else { break };
        let (request, after) = split(text, b"\n====\n").map_or((text, None), |(first, after)| (first, Some(after)));
        rest = after;
        if let Some(ask) = Ask::read(&session.fill(request)) {
            session.ask(&ask);
        }
    }
});
