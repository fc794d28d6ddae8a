//! Refresh tokens in use. Each line is a form; `$0` is the refresh token of the first login, `$2` that of a page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_oauth2_password_fuzz::session;

fuzz_target!(|input: &[u8]| {
    session::lines(
        input,
        "/token",
        &[
            "grant_type=password&username=alice&password=wonderland123",
            "grant_type=password&username=bob&password=builder456&client_id=demo-cli",
            "page - grant_type=password&username=alice&password=wonderland123&client_id=demo-spa",
        ],
    );
});
