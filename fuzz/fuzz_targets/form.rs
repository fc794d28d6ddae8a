//! A form body for the token endpoint.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower_oauth2_password::Scope;
use tower_oauth2_password_fuzz::{ask::Ask, reply::Reply, session::Session, urlencoded};

fn ask(body: &[u8]) -> Reply {
    Session::new(false).ask(&Ask::post("/token", body))
}

fn error(reply: &Reply) -> Value {
    serde_json::from_slice::<Value>(reply.body()).expect("JSON")["error"].take()
}

fuzz_target!(|body: &[u8]| {
    let reply = ask(body);

    let pieces = urlencoded::pieces(body);
    let pairs: Option<Vec<_>> = pieces.iter().map(|(name, value)| name.as_deref().zip(value.as_deref())).collect();
    if let Some(pairs) = pairs {
        let printed = urlencoded::print(pairs);
        if printed.len() <= 16_384 {
            assert_eq!(urlencoded::pieces(&printed), pieces);
            let again = ask(&printed);
            assert_eq!((again.status(), error(&again)), (reply.status(), error(&reply)), "{printed:?}");
        }
    }

    for text in pieces.iter().filter_map(|(_, value)| value.as_deref()).chain(std::str::from_utf8(body)) {
        let Ok(scope) = text.parse::<Scope>() else {
            assert!(text.chars().any(|c| !(' '..='~').contains(&c) || c == '"' || c == '\\'), "{text:?}");
            continue;
        };
        let again: Scope = scope.to_string().parse().expect("a scope as it prints itself");
        assert!(again == scope && again.as_str() == scope.as_str());
        assert!(text.split(' ').all(|token| token.is_empty() || scope.contains(token)));
        let tokens: Vec<_> = scope.iter().collect();
        assert_eq!(scope.as_str(), tokens.join(" "));
        assert!((1..tokens.len()).all(|n| !tokens[..n].contains(&tokens[n])), "{scope}");
    }
});
