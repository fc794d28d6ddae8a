//! The input as a token, and as a token to sign: the first line is the JSON of the header, the rest that of the claims.
#![no_main]

use std::{str, sync::LazyLock};

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sha2::Sha256;
use tower_oauth2_password::{Jwt, Scope, TokenIssuer, TokenRequest, TokenValidator, VerificationKey};
use tower_oauth2_password_fuzz::{
    ask::split,
    base64,
    model::{Access, Grant, Line},
    session::Session,
    world::{AUDIENCE, ISSUER, JWT, NOW, SECRET, at_once},
};

const PUBLIC: &str = include_str!("../../tests/support/keys/ed25519.pub.pem");

static TWO_KEYS: LazyLock<Jwt> = LazyLock::new(|| {
    JWT.clone().with_verification_key(VerificationKey::eddsa_pem(PUBLIC.as_bytes()).expect("a public key"))
});

static GOOD: LazyLock<String> =
    LazyLock::new(|| at_once(TWO_KEYS.issue(TokenRequest::new("alice"))).expect("a token").token.expose().to_owned());

static KEY_ID: LazyLock<Option<String>> = LazyLock::new(|| {
    let header = base64::url_safe(GOOD.split('.').next().expect("a JWT")).expect("base64url");
    serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].as_str().map(str::to_owned)
});

/// The public key itself, which follows the algorithm in a DER file.
static PUBLIC_BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = PUBLIC.lines().nth(1).expect("one line of base64");
    base64::standard(text).expect("base64")[12..].to_vec()
});

fn signed(secret: &[u8], header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", base64::print_url_safe(header), base64::print_url_safe(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length").chain_update(&message);
    format!("{message}.{}", base64::print_url_safe(&mac.finalize().into_bytes()))
}

fn header_is_good(header: &Value) -> bool {
    let text = |name| header.get(name).and_then(Value::as_str);
    let typed = text("typ").map(str::to_ascii_lowercase);
    let key = header.get("kid").filter(|id| !id.is_null());
    header.is_object()
        && text("alg") == Some("HS256")
        && matches!(typed.as_deref(), Some("at+jwt" | "application/at+jwt"))
        && key.is_none_or(|id| id.as_str().is_some_and(|id| Some(id) == KEY_ID.as_deref()))
        && header.get("crit").is_none()
}

fn claims_are_good(claims: &Value) -> bool {
    let get = |name| claims.get(name);
    let optional = |name| get(name).filter(|value| !value.is_null());
    let audience = match get("aud") {
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string) && several.iter().any(|one| one == AUDIENCE)
        }
        other => other.is_some_and(|only| only == AUDIENCE),
    };
    claims.is_object()
        && audience
        && get("iss").is_some_and(|issuer| issuer == ISSUER)
        && get("exp").and_then(Value::as_f64).is_some_and(|end| end > NOW as f64)
        && get("iat").is_some_and(Value::is_number)
        && optional("nbf").is_none_or(|begin| begin.as_f64().is_some_and(|begin| begin <= NOW as f64))
        && ["jti", "sub"].into_iter().all(|name| get(name).is_some_and(Value::is_string))
        && ["client_id", "sid"].into_iter().all(|name| optional(name).is_none_or(Value::is_string))
        && get("scope").is_none_or(|scope| scope.as_str().is_some_and(|scope| scope.parse::<Scope>().is_ok()))
}

fuzz_target!(|input: &[u8]| {
    let mut session = Session::new(false);
    let grant = Grant { user: "alice", client: None, scope: Vec::new(), line: Line::Begun };
    session.model.access.push(Access { text: GOOD.clone(), grant, denied: false, family: usize::MAX });
    let token = session.fill(input);
    if let Ok(text) = str::from_utf8(&token) {
        assert_eq!(TWO_KEYS.validate(text).is_ok(), text == *GOOD, "{text}");
    }

    let Some((header, claims)) = split(input, b"\n") else { return };
    for secret in [b"", PUBLIC.as_bytes(), &PUBLIC_BYTES[..]] {
        assert!(TWO_KEYS.validate(&signed(secret, header, claims)).is_err(), "signed with a public key");
    }
    let parsed = [header, claims].map(|text| serde_json::from_slice::<Value>(text).ok());
    let accepted = TWO_KEYS.validate(&signed(&SECRET, header, claims));
    let [Some(header), Some(claims)] = parsed else {
        assert!(accepted.is_err(), "this is no JSON");
        return;
    };
    let good = header_is_good(&header) && claims_are_good(&claims);
    assert!(good || accepted.is_err(), "accepted: {header} {claims}");
    let printed = signed(&SECRET, header.to_string().as_bytes(), claims.to_string().as_bytes());
    let read = TWO_KEYS.validate(&printed);
    assert_eq!(read.is_ok(), good && printed.len() <= 4_096, "{header} {claims}: {:?}", read.err());
    if let Ok(read) = read {
        assert_eq!(claims["sub"], read.subject());
        assert_eq!(claims.get("client_id").and_then(Value::as_str), read.client_id());
        assert_eq!(claims["jti"].as_str(), read.id());
        let scope: Scope = claims.get("scope").and_then(Value::as_str).unwrap_or_default().parse().expect("a scope");
        assert_eq!(*read.scope(), scope);
        for name in ["iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id", "scope", "sid"] {
            assert!(read.claim(name).is_none(), "{name} is no claim of one's own");
        }
        let _ = (read.expires_at(), read.issued_at());
    }
});
