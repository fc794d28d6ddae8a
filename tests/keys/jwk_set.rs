//! Keys of others: JWK Sets, and replacing keys while a validator runs.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tower_oauth2_password::{BoxError, InvalidToken, Jwt, JwtValidator, Key, KeyError, TokenIssuer, TokenValidator};

use super::{AUDIENCE, ISSUER, fixture, issue, jwt, keys};

fn jwk(key: &Key) -> Value {
    jwt(key.clone()).jwks()["keys"][0].clone()
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn oct(id: &str) -> Value {
    json!({ "kty": "oct", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "kid": id })
}

/// The first key of each set, and the one that follows it.
fn two() -> [Key; 2] {
    ["ed25519", "ed25519-next"].map(|name| Key::eddsa_pem(&fixture(name)).unwrap())
}

async fn validator_and_token() -> (JwtValidator, String) {
    let [key, _] = two();
    (JwtValidator::new(&key, ISSUER, AUDIENCE), issue(&jwt(key)).await)
}

#[tokio::test]
async fn an_unusable_set_leaves_the_keys_in_force() {
    let (validator, token) = validator_and_token().await;
    let [_, other] = two();
    let usable = set(&[jwk(&other)]);
    let padded = |bytes: usize| format!("{usable}{}", " ".repeat(bytes - usable.len()));
    let of_keys = |count: usize| {
        let mut keys = vec![oct("secret"); count - 1];
        keys.push(jwk(&other));
        set(&keys)
    };
    let rsa1024 = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xFF; 128]), "e": "AQAB", "kid": "1" });
    let mut private = jwk(&other);
    private["d"] = private["x"].clone();
    for unreadable in [
        "",
        "<html>",
        "[]",
        "{}",
        "7",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        &format!("[[{}]]", jwk(&other)),
        &format!("{usable}x"),
        &format!("{usable}{usable}"),
        &padded(65_537),
        &of_keys(101),
    ] {
        assert_eq!(validator.replace_keys(unreadable.as_bytes()), Err(KeyError::UnreadableJwkSet), "{unreadable}");
        assert!(validator.validate(&token).is_ok(), "{unreadable}");
    }
    let unknown = json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" });
    for useless in [vec![], vec![oct("1")], vec![rsa1024.clone()], vec![unknown.clone()], vec![private], vec![json!(7)]]
    {
        assert_eq!(validator.replace_keys(set(&useless).as_bytes()), Err(KeyError::NoUsableKey), "{useless:?}");
        assert!(validator.validate(&token).is_ok(), "{useless:?}");
    }
    for usable in [padded(65_536), of_keys(100), set(&[oct("1"), rsa1024, unknown, Value::Null, jwk(&other)])] {
        assert_eq!(validator.replace_keys(usable.as_bytes()), Ok(1), "the others are ignored");
        assert_eq!(validator.validate(&token).err(), Some(InvalidToken::Signature), "the key was replaced");
        assert!(validator.validate(&issue(&jwt(other.clone())).await).is_ok());
    }
}

#[tokio::test]
async fn keys_with_one_id_do_not_count() {
    let (validator, _) = validator_and_token().await;
    let [eddsa, es256, rs256] = keys().map(|(_, key)| key);
    let same = |key: &Key| jwk(&key.clone().with_id("same"));
    let both = set(&[same(&eddsa), jwk(&rs256), same(&es256)]);
    assert_eq!(validator.replace_keys(both.as_bytes()), Ok(1));
    for key in [eddsa.clone().with_id("same"), es256.with_id("same"), rs256.clone()] {
        let is_alone = key.id() != "same";
        assert_eq!(validator.validate(&issue(&jwt(key)).await).is_ok(), is_alone);
    }
    for twice in [[same(&eddsa), same(&rs256)], [same(&eddsa), oct("same")], [oct("same"), same(&eddsa)]] {
        assert_eq!(validator.replace_keys(set(&twice).as_bytes()), Err(KeyError::NoUsableKey));
    }
    let mut nameless = jwk(&eddsa);
    nameless.as_object_mut().unwrap().remove("kid");
    assert_eq!(validator.replace_keys(set(&[nameless, jwk(&rs256)]).as_bytes()), Ok(2));
}

#[tokio::test]
async fn clones_share_the_keys_of_a_set_and_not_those_of_a_builder() {
    let (validator, old) = validator_and_token().await;
    let [_, new_key] = two();
    let (own_key, new) = (Key::hs256([7; 32]).unwrap(), issue(&jwt(new_key.clone())).await);
    let own = issue(&jwt(own_key.clone())).await;
    let clone = validator.clone();
    let wider = validator.clone().with_verification_key(own_key);
    let accepted = |validator: &JwtValidator| [&old, &new, &own].map(|token| validator.validate(token).is_ok());
    assert_eq!(
        [&validator, &clone, &wider].map(accepted),
        [[true, false, false], [true, false, false], [true, false, true]]
    );
    assert_eq!(clone.replace_keys(set(&[jwk(&new_key)]).as_bytes()), Ok(1));
    assert_eq!(
        [&validator, &clone, &wider].map(accepted),
        [[false, true, false], [false, true, false], [false, true, true]]
    );
}

#[derive(Clone)]
enum Answer {
    Set(String),
    Error,
    Panic,
    PanicAtOnce,
    Nothing,
}

/// A server with a JWK Set.
#[derive(Clone)]
struct Server(Arc<(Mutex<Answer>, AtomicUsize)>);

impl Server {
    fn new(answer: Answer) -> Self {
        Self(Arc::new((Mutex::new(answer), AtomicUsize::new(0))))
    }

    fn answers(&self, answer: Answer) {
        *self.0.0.lock().unwrap() = answer;
    }

    fn calls(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn fetch(&self) -> impl Future<Output = Result<String, BoxError>> + use<> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.0.lock().unwrap().clone();
        assert!(!matches!(answer, Answer::PanicAtOnce), "fetch panics before its future");
        async {
            match answer {
                Answer::Set(set) => Ok(set),
                Answer::Error => Err("no route".into()),
                Answer::Panic | Answer::PanicAtOnce => panic!("fetch panics"),
                Answer::Nothing => pending().await,
            }
        }
    }

    async fn validator(&self) -> Result<JwtValidator, BoxError> {
        let server = self.clone();
        JwtValidator::from_jwks(move || server.fetch(), ISSUER, AUDIENCE).await
    }
}

fn publishes(key: &Key) -> Answer {
    Answer::Set(set(&[jwk(key)]))
}

/// Lets the task run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn after(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_fetched_at_most_once_a_minute() {
    let [old, new] = two();
    let server = Server::new(publishes(&old));
    let validator = server.validator().await.unwrap();
    let (before, token) = (issue(&jwt(old.clone())).await, issue(&jwt(new.clone())).await);
    assert!(validator.validate(&before).is_ok());
    settle().await;
    assert_eq!(server.calls(), 1);

    server.answers(publishes(&new));
    assert_eq!(validator.validate(&token).err(), Some(InvalidToken::Signature));
    settle().await;
    assert_eq!(server.calls(), 2);
    assert!(validator.validate(&token).is_ok() && validator.validate(&before).is_err());

    for _ in 0..59 {
        assert!(validator.validate(&before).is_err());
        after(1).await;
    }
    assert_eq!(server.calls(), 2);
    after(2).await;
    assert_eq!(server.calls(), 3, "a token has asked meanwhile");
    after(120).await;
    assert_eq!(server.calls(), 3, "none asks");
    assert!(validator.validate(&before).is_err());
    settle().await;
    assert_eq!(server.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_set_may_take_half_a_minute_to_come() {
    let set = set(&[jwk(&two()[0])]);
    for (seconds, is_in_time) in [(29, true), (31, false)] {
        let set = set.clone();
        let fetch = move || {
            let set = set.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(set)
            }
        };
        assert_eq!(JwtValidator::from_jwks(fetch, ISSUER, AUDIENCE).await.is_ok(), is_in_time, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_an_hour() {
    let [old, new] = two();
    let server = Server::new(publishes(&old));
    let validator = server.validator().await.unwrap();
    settle().await;
    server.answers(publishes(&new));
    for (minutes, calls) in [(58, 1), (2, 2), (58, 2), (3, 3)] {
        for _ in 0..minutes {
            after(60).await;
        }
        assert_eq!(server.calls(), calls);
    }
    assert!(validator.validate(&issue(&jwt(new)).await).is_ok());
}

#[tokio::test(start_paused = true)]
async fn only_an_unknown_id_of_the_issuer_makes_it_fetch() {
    let [old, new] = two();
    let server = Server::new(publishes(&old));
    let validator = server.validator().await.unwrap();
    let unsigned = |header: Value| {
        let payload = json!({ "iss": ISSUER }).to_string();
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload))
    };
    for token in [
        &issue(&Jwt::new(new.clone(), "https://another.example", AUDIENCE)).await,
        &issue(&jwt(new.clone().with_id(old.id()))).await,
        &unsigned(json!({ "typ": "at+jwt", "alg": "EdDSA" })),
        &unsigned(json!({ "typ": "JWT", "alg": "EdDSA", "kid": "unknown" })),
        "x.y.z",
    ] {
        assert!(validator.validate(token).is_err());
        settle().await;
        assert_eq!(server.calls(), 1, "{token}");
    }
    assert!(validator.validate(&unsigned(json!({ "typ": "at+jwt", "alg": "EdDSA", "kid": "unknown" }))).is_err());
    settle().await;
    assert_eq!(server.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_leaves_the_keys_in_force() {
    let [old, new] = two();
    let server = Server::new(publishes(&old));
    let validator = server.validator().await.unwrap();
    let (before, token) = (issue(&jwt(old)).await, issue(&jwt(new.clone())).await);
    let failures = [
        Answer::Error,
        Answer::Panic,
        Answer::PanicAtOnce,
        Answer::Nothing,
        Answer::Set("<html>".into()),
        Answer::Set(set(&[oct("1")])),
    ];
    for (number, failure) in failures.into_iter().enumerate() {
        server.answers(failure);
        assert!(validator.validate(&token).is_err());
        settle().await;
        assert_eq!(server.calls(), number + 2);
        after(31).await;
        after(61).await;
        assert!(validator.validate(&before).is_ok());
    }
    server.answers(publishes(&new));
    assert!(validator.validate(&token).is_err());
    settle().await;
    assert!(validator.validate(&token).is_ok() && validator.validate(&before).is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_first_set_there_is_no_validator() {
    for (failure, cause) in [
        (Answer::Error, "no route"),
        (Answer::Panic, "panicked"),
        (Answer::PanicAtOnce, "panicked"),
        (Answer::Nothing, "not done in time"),
        (Answer::Set("<html>".into()), "no JWK Set"),
        (Answer::Set(set(&[oct("1")])), "no usable key"),
    ] {
        let begun = Instant::now();
        let error = Server::new(failure).validator().await.unwrap_err();
        assert!(error.to_string().contains(cause), "{cause}: {error}");
        assert!(begun.elapsed() <= Duration::from_secs(31), "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_clone() {
    let [key, new] = two();
    for while_it_rests in [false, true] {
        let server = Server::new(publishes(&key));
        let validator = server.validator().await.unwrap();
        let clone = validator.clone().with_verification_key(Key::hs256([7; 32]).unwrap());
        drop(validator);
        if while_it_rests {
            assert!(clone.validate(&issue(&jwt(new.clone())).await).is_err());
            settle().await;
            assert_eq!(server.calls(), 2);
        }
        settle().await;
        assert_eq!(Arc::strong_count(&server.0), 2, "the task holds it");
        drop(clone);
        settle().await;
        if while_it_rests {
            after(61).await;
        }
        assert_eq!(Arc::strong_count(&server.0), 1);
    }
}

#[test]
fn keys_survive_their_runtime() {
    let [key, new] = two();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (validator, token, unknown) = runtime.block_on(async {
        let server = Server::new(publishes(&key));
        (server.validator().await.unwrap(), issue(&jwt(key)).await, issue(&jwt(new)).await)
    });
    drop(runtime);
    assert!(validator.validate(&token).is_ok() && validator.validate(&unknown).is_err());
    let bare = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let [key, _] = two();
    let error = bare.block_on(async { Server::new(publishes(&key)).validator().await.unwrap_err() });
    assert!(error.to_string().contains("enable_time"), "{error}");
}
