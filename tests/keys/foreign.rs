//! Tokens of other issuers, which deviate from RFC 9068: each deviation needs its option.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use test_support::oneshot::{guarded, post_form};
use tower_oauth2_password::{
    AuthorizationServer, BearerLayer, InvalidToken, Jwt, JwtValidator, Key, Login, TokenIssuer, TokenRequest,
    TokenValidator, Verdict, store::MemoryDenyList,
};

use super::{AUDIENCE, ISSUER};

const SECRET: [u8; 32] = [7; 32];
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

fn signed(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let message = format!("{header}.{claims}");
    let sum = Hmac::<Sha256>::new_from_slice(&SECRET).unwrap().chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sum))
}

/// A token of RFC 9068 with other members and claims. Null removes one.
fn changed(header: &Value, claims: &Value) -> String {
    let with = |mut whole: Value, changes: &Value| {
        for (name, value) in changes.as_object().unwrap() {
            whole[name] = value.clone();
        }
        whole.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        whole
    };
    let whole = json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000_u64, "iat": 1_700_000_000, "jti": "1", "sub": "7", "scope": "a b",
    });
    signed(&with(json!({ "alg": "HS256", "typ": "at+jwt" }), header), &with(whole, claims))
}

fn strict() -> JwtValidator {
    JwtValidator::new(Key::hs256(SECRET).unwrap(), ISSUER, AUDIENCE)
}

type Turn = fn(JwtValidator) -> JwtValidator;

const OPTIONS: [(&str, Turn); 7] = [
    ("untyped", JwtValidator::with_untyped_tokens),
    ("scope lists", JwtValidator::with_scope_lists),
    ("numeric", JwtValidator::with_numeric_subjects),
    ("no jti", JwtValidator::with_optional_id),
    ("no iat", JwtValidator::with_optional_issue_time),
    ("no iss", JwtValidator::with_optional_issuer),
    ("no aud", |validator| validator.with_optional_audience("token_use", |kind| kind == "access")),
];

fn lenient() -> JwtValidator {
    OPTIONS.iter().fold(strict(), |validator, (_, turn)| turn(validator))
}

#[test]
fn each_deviation_is_accepted_with_its_option_only() {
    let none = json!({});
    for (needed, header, claims) in [
        ("untyped", json!({ "typ": null }), none.clone()),
        ("untyped", json!({ "typ": "JWT" }), none.clone()),
        ("untyped", json!({ "typ": "jwt" }), none.clone()),
        ("scope lists", none.clone(), json!({ "scope": ["a", "b"] })),
        ("numeric", none.clone(), json!({ "sub": 7 })),
        ("no jti", none.clone(), json!({ "jti": null })),
        ("no iat", none.clone(), json!({ "iat": null })),
        ("no iss", none.clone(), json!({ "iss": null })),
        ("no aud", none.clone(), json!({ "aud": null, "token_use": "access" })),
    ] {
        let token = changed(&header, &claims);
        assert_eq!(strict().validate(&token).err(), Some(InvalidToken::Malformed), "{header} {claims}");
        for (option, turn) in OPTIONS {
            let validated = turn(strict()).validate(&token);
            assert_eq!(validated.is_ok(), option == needed, "{header} {claims} with {option}: {validated:?}");
        }
        let token = lenient().validate(&token).unwrap();
        assert_eq!((token.subject(), token.scope().as_str()), ("7", "a b"), "{header} {claims}");
    }
}

#[test]
fn scp_counts_where_there_is_no_scope() {
    for (claims, strictly, leniently) in [
        (json!({ "scope": null, "scp": "a b" }), "", "a b"),
        (json!({ "scope": null, "scp": ["a", "b"] }), "", "a b"),
        (json!({ "scope": "a", "scp": ["b"] }), "a", "a"),
        (json!({ "scope": null, "scp": [] }), "", ""),
    ] {
        let token = changed(&json!({}), &claims);
        assert_eq!(strict().validate(&token).unwrap().scope().as_str(), strictly, "{claims}");
        let token = lenient().validate(&token).unwrap();
        assert_eq!((token.scope().as_str(), token.claim("scp")), (leniently, claims.get("scp")), "{claims}");
    }
}

#[test]
fn what_no_option_names_is_refused_with_all_of_them() {
    let none = json!({});
    for (header, claims) in [
        (none.clone(), json!({ "exp": null })),
        (none.clone(), json!({ "exp": 1_700_000_000 })),
        (none.clone(), json!({ "sub": null })),
        (none.clone(), json!({ "sub": 7.5 })),
        (none.clone(), json!({ "sub": true })),
        (none.clone(), json!({ "sub": ["7"] })),
        (none.clone(), json!({ "jti": 1 })),
        (none.clone(), json!({ "iat": "1700000000" })),
        (none.clone(), json!({ "iss": "https://other.example" })),
        (none.clone(), json!({ "aud": "other", "token_use": "access" })),
        (none.clone(), json!({ "aud": [], "token_use": "access" })),
        (none.clone(), json!({ "aud": null })),
        (none.clone(), json!({ "aud": null, "token_use": "id" })),
        (none.clone(), json!({ "aud": null, "token_use": ["access"] })),
        (none.clone(), json!({ "nbf": 3_900_000_000_u64 })),
        (none.clone(), json!({ "scope": 7 })),
        (none.clone(), json!({ "scope": ["a b"] })),
        (none.clone(), json!({ "scope": ["a", ""] })),
        (none.clone(), json!({ "scope": ["a", 7] })),
        (none.clone(), json!({ "scope": ["a\"b"] })),
        (none.clone(), json!({ "scope": { "a": true } })),
        (none.clone(), json!({ "scope": null, "scp": 7 })),
        (json!({ "typ": "id_token" }), none.clone()),
        (json!({ "typ": "logout+jwt" }), none.clone()),
        (json!({ "typ": "" }), none.clone()),
        (json!({ "typ": 7 }), none.clone()),
        (json!({ "alg": "none" }), none.clone()),
        (json!({ "typ": "JWT", "crit": ["exp"] }), none.clone()),
    ] {
        let token = changed(&header, &claims);
        assert!(lenient().validate(&token).is_err(), "{header} {claims}");
        assert!(
            lenient().validate_to_revoke(&token).is_err() || claims["aud"] == "other" || claims.get("nbf").is_some()
        );
    }
    assert!(lenient().validate(&changed(&none, &none)).is_ok());
}

#[tokio::test]
async fn tokens_of_two_issuers_are_accepted_at_once() {
    let old = JwtValidator::new(Key::hs256(SECRET).unwrap(), "https://old.example", "old").with_longest_token(5_000);
    let jwt = Jwt::new(Key::hs256([8; 32]).unwrap(), ISSUER, AUDIENCE).with_other_tokens(old, CENTURY);
    let theirs = json!({ "iss": "https://old.example", "aud": "old" });
    let own = jwt.issue(TokenRequest::new("7")).await.unwrap();
    let other = changed(&json!({}), &theirs);
    for token in [own.token.expose(), &other] {
        assert_eq!(jwt.validate(token).unwrap().subject(), "7");
        assert_eq!(jwt.validate_to_revoke(token).unwrap().subject(), "7");
    }
    let mut expired = theirs.clone();
    expired["exp"] = 1.into();
    for claims in [json!({}), expired] {
        assert!(jwt.validate(&changed(&json!({}), &claims)).is_err(), "{claims}");
    }
    assert_eq!(jwt.longest_token(), 5_000);
}

/// For so long the deny list remembers which subjects were ended.
#[test]
fn a_token_that_lives_for_too_long_is_refused() {
    let jwt = |longest| {
        let old = lenient().with_clock(|| 1_000);
        let jwt = Jwt::new(Key::hs256([8; 32]).unwrap(), ISSUER, AUDIENCE).with_clock(|| 1_000);
        jwt.with_other_tokens(old, longest)
    };
    let day = jwt(Duration::from_secs(86_400));
    for (exp, is_accepted) in [(1_001, true), (87_400, true), (87_401, false), (4_000_000_000_u64, false)] {
        let token = changed(&json!({}), &json!({ "exp": exp }));
        assert_eq!(day.validate(&token).is_ok(), is_accepted, "{exp}");
        assert_eq!(day.validate_to_revoke(&token).is_ok(), is_accepted, "{exp}");
    }
    assert_eq!(day.longest_ttl(), Duration::from_secs(86_400));
    assert_eq!(jwt(Duration::from_secs(1)).longest_ttl(), Duration::from_secs(900));
    assert!(jwt(Duration::MAX).validate(&changed(&json!({}), &json!({}))).is_ok());
}

#[test]
fn a_key_that_the_other_issuer_has_not_shown_yet_is_unknown() {
    let shown = Key::hs256([9; 32]).unwrap().with_id("shown");
    let old = JwtValidator::new(shown, "https://old.example", "old");
    let jwt = Jwt::new(Key::hs256([8; 32]).unwrap(), ISSUER, AUDIENCE).with_other_tokens(old, CENTURY);
    let theirs = json!({ "iss": "https://old.example", "aud": "old" });
    for (id, expected) in [("shown", InvalidToken::Signature), ("hidden", InvalidToken::UnknownKey)] {
        let token = changed(&json!({ "kid": id }), &theirs);
        assert_eq!(jwt.validate_to_revoke(&token).err(), Some(expected), "{id}");
        assert_eq!(jwt.validate(&token).err(), Some(InvalidToken::Signature), "{id}");
    }
}

#[tokio::test]
async fn a_token_without_issuer_ends_with_its_subject_at_each_guard() {
    let list = MemoryDenyList::new();
    let jwt = Jwt::new(Key::hs256([8; 32]).unwrap(), ISSUER, AUDIENCE);
    let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt).with_deny_list(list.clone());
    let guard = BearerLayer::new(strict().with_optional_issuer()).with_deny_list(list);
    let token = changed(&json!({}), &json!({ "iss": null }));
    assert_eq!(guarded(guard.clone(), &token).await, 200);
    auth.revoke_subject("7").await.unwrap();
    assert_eq!(guarded(guard, &token).await, 401);
}

#[tokio::test]
async fn an_empty_scope_is_left_out_or_written() {
    let jwt = Jwt::new(Key::hs256(SECRET).unwrap(), ISSUER, AUDIENCE);
    for (jwt, expected) in [(jwt.clone(), None), (jwt.with_empty_scope(), Some(json!("")))] {
        let issued = jwt.issue(TokenRequest::new("alice")).await.unwrap();
        let payload = URL_SAFE_NO_PAD.decode(issued.token.expose().split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(claims.get("scope"), expected.as_ref());
        assert!(jwt.validate(issued.token.expose()).unwrap().scope().is_empty());
    }
}

/// Tokens without what their end needs: they end with their subject.
#[tokio::test]
async fn a_token_without_id_or_time_is_revoked_with_its_subject() {
    let jwt = Jwt::new(Key::hs256([8; 32]).unwrap(), ISSUER, AUDIENCE).with_other_tokens(lenient(), CENTURY);
    let auth = AuthorizationServer::new(|_: Login| async { Ok(Verdict::Denied) }, jwt)
        .with_deny_list(Arc::new(MemoryDenyList::new()));
    let no_id = changed(&json!({}), &json!({ "jti": null }));
    let no_time = changed(&json!({}), &json!({ "iat": null }));
    let later = changed(&json!({}), &json!({ "iat": 3_900_000_000_u64 }));

    let revoke = http::Request::post("/revoke");
    let (status, _, body) =
        post_form(auth.revocation_endpoint().into_service(), revoke, &format!("token={no_id}")).await;
    assert_eq!((status, &body["error"]), (400, &json!("unsupported_token_type")));
    for token in [&no_id, &no_time, &later] {
        assert_eq!(guarded(auth.guard(), token).await, 200);
    }
    auth.revoke_subject("7").await.unwrap();
    for (token, status) in [(&no_id, 401), (&no_time, 401), (&later, 200)] {
        assert_eq!(guarded(auth.guard(), token).await, status);
    }
}
