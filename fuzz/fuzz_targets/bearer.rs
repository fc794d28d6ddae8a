//! Authorization headers for the guard, one per line. `@0` is a valid access token, `@1` one with too little scope.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_oauth2_password_fuzz::{ask::Ask, session::Session};

fuzz_target!(|fields: &[u8]| {
    let mut session = Session::new(false);
    session.ask(&Ask::post("/token", b"grant_type=password&username=alice&password=wonderland123"));
    session.ask(&Ask::post("/token", b"grant_type=password&username=bob&password=builder456"));
    let fields = session.fill(fields);
    for prefix in [&b""[..], b"Bearer "] {
        let first = [prefix, &fields].concat();
        let ask = first.split(|byte| *byte == b'\n').try_fold(Ask::post("/guarded", b"body"), Ask::authorized);
        if let Some(mut ask) = ask {
            session.ask(&ask);
            ask.parts.headers.insert("content-type", "application/grpc+proto".parse().expect("a media type"));
            session.ask(&ask);
            ask.parts.headers.insert("te", "trailers".parse().expect("a coding"));
            ask.parts.version = http::Version::HTTP_2;
            session.ask(&ask);
        }
    }
});
