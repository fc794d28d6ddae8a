//! Mistakes of newcomers, and what the compiler says to them. Each mistake is a program of a package that is made here and
//! checked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::{env, fs, path::Path, process::Command};

use serde_json::Value;

/// A name, a wrong statement, and what the message, the labels and the notes of one error must contain: the crate's own words,
/// or, where the compiler's are better, the types that are at odds.
type Mistake = (&'static str, &'static str, &'static [&'static str]);

const MISTAKES: [Mistake; 19] = [
    (
        "users_instead_of_a_verifier",
        "TokenEndpointLayer::new(users, jwt);",
        &["MemoryUsers` cannot verify logins", "such as `PasswordVerifier::new(users)`"],
    ),
    (
        "shared_users_instead_of_a_verifier",
        "AuthorizationServer::new(std::sync::Arc::new(users), jwt);",
        &["MemoryUsers>` cannot verify logins", "such as `PasswordVerifier::new(users)`"],
    ),
    (
        "swapped_arguments",
        "TokenEndpointLayer::new(jwt, PasswordVerifier::new(users));",
        &["Jwt` cannot verify logins", "expected a `Verifier`"],
    ),
    (
        "a_closure_that_changes_its_state",
        "let mut n = 0; TokenEndpointLayer::new(move |_: Login| { n += 1; async { Ok(Verdict::Denied) } }, jwt);",
        &["FnMut"],
    ),
    (
        "a_closure_with_another_argument",
        "TokenEndpointLayer::new(|_: &str| async { Ok(Verdict::Denied) }, jwt);",
        &["Login)", "(&str)"],
    ),
    (
        "a_closure_with_another_answer",
        "TokenEndpointLayer::new(|_: Login| async { true }, jwt);",
        &["Verdict, Box<", "bool"],
    ),
    (
        "a_closure_that_is_not_async",
        "TokenEndpointLayer::new(|_: Login| Ok(Verdict::Denied), jwt);",
        &["Future", "Verdict"],
    ),
    (
        "a_closure_whose_future_stays_on_its_thread",
        "let verify = |_: Login| async { let rc = std::rc::Rc::new(1); std::future::ready(()).await; drop(rc); \
         Ok(Verdict::Denied) }; TokenEndpointLayer::new(verify, jwt);",
        &["Send", "Rc<i32>", "await"],
    ),
    (
        "a_verifier_instead_of_users",
        "PasswordVerifier::new(PasswordVerifier::new(users));",
        &["is not a table of `Users`", "`MemoryUsers` is one"],
    ),
    (
        "a_key_instead_of_an_issuer",
        "TokenEndpointLayer::new(PasswordVerifier::new(users), key);",
        &["Key` cannot issue tokens", "`Jwt::new(key, ..)`"],
    ),
    (
        "a_validator_instead_of_an_issuer",
        "AuthorizationServer::new(PasswordVerifier::new(users), JwtValidator::new(key, \"i\", \"a\"));",
        &["JwtValidator` cannot issue tokens", "`Jwt` can"],
    ),
    (
        "a_key_instead_of_a_validator",
        "BearerLayer::new(key);",
        &["Key` cannot validate tokens", "such as `Jwt` or `JwtValidator`"],
    ),
    (
        "a_validator_with_another_answer",
        "BearerLayer::new(|token: &str| Some(AccessToken::new(token)));",
        &["Result<AccessToken, InvalidToken>"],
    ),
    (
        "a_validator_with_another_argument",
        "BearerLayer::new(|token: String| Ok(AccessToken::new(token)));",
        &["str)", "(String)"],
    ),
    (
        "a_validator_that_stays_on_its_thread",
        "let rc = std::rc::Rc::new(1); BearerLayer::new(move |_: &str| { let _ = *rc; Err(InvalidToken::Malformed) });",
        &["Rc<i32>", "Send"],
    ),
    (
        "clients_without_a_table",
        "AuthorizationServer::new(PasswordVerifier::new(users), jwt).with_clients([Client::public(\"cli\")]);",
        &["Client; 1]` is not a table of `Clients`", "`StaticClients::new(..)`"],
    ),
    (
        "attempts_instead_of_refresh_tokens",
        "RefreshTokens::new(MemoryAttemptStore::new());",
        &["is not a `RefreshStore`", "expected `MemoryRefreshStore`, `RedisRefreshStore`"],
    ),
    (
        "refresh_tokens_instead_of_attempts",
        "AttemptLimits::new(MemoryRefreshStore::new(), |_| None);",
        &["is not an `AttemptStore`", "expected `MemoryAttemptStore`, `RedisAttemptStore`"],
    ),
    (
        "attempts_instead_of_a_deny_list",
        "BearerLayer::new(jwt).with_deny_list(MemoryAttemptStore::new());",
        &["is not a `DenyList`", "expected `MemoryDenyList`, `RedisDenyList`"],
    ),
];

/// It must compile: what is wrong in the others is their mistake.
const RIGHT: &str = "BearerLayer::new(jwt.clone()).with_deny_list(MemoryDenyList::new()); \
                     TokenEndpointLayer::new(async |_: Login| Ok::<Verdict, BoxError>(Verdict::Denied), jwt.clone()); \
                     AuthorizationServer::new(PasswordVerifier::new(users), jwt);";

fn program(statement: &str) -> String {
    format!(
        "#![allow(unused, unreachable_code)]\nuse tower_oauth2_password::{{*, store::*}};\n\n\
         fn main() {{\n    let (users, key, jwt): (MemoryUsers, Key, Jwt) = todo!();\n    {statement}\n}}\n"
    )
}

/// The texts of each error of each program. All programs are checked at once, and without a network.
fn errors() -> BTreeMap<String, Vec<Vec<String>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let package = tmp.join("compile_errors");
    let _ = fs::remove_dir_all(&package);
    let programs = package.join("src/bin");
    fs::create_dir_all(&programs).unwrap();
    let manifest = format!(
        "[package]\nname = \"compile-errors\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\ntower-oauth2-password = {{ path = {root:?}, default-features = false }}\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    // The same versions, so that all of them were downloaded.
    fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    for (name, statement) in MISTAKES.iter().map(|(name, statement, _)| (*name, *statement)).chain([("right", RIGHT)]) {
        fs::write(programs.join(name).with_extension("rs"), program(statement)).unwrap();
    }

    let output = Command::new(env::var_os("CARGO").unwrap())
        .args(["check", "--bins", "--offline", "--keep-going", "--message-format=json", "--target-dir"])
        .arg(tmp.parent().unwrap())
        .current_dir(&package)
        .output()
        .unwrap();
    let mut errors: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["message"];
        if message["level"] == "error" && !message["spans"].as_array().unwrap().is_empty() {
            let name = line["target"]["name"].as_str().unwrap().to_owned();
            errors.entry(name).or_default().push(texts(message));
        }
    }
    assert!(!errors.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    errors
}

/// The message, the labels and the notes of one error.
fn texts(message: &Value) -> Vec<String> {
    let spans = message["spans"].as_array().unwrap();
    let labels = spans.iter().map(|span| &span["label"]);
    let own = [&message["message"]].into_iter().chain(labels).filter_map(|text| text.as_str().map(str::to_owned));
    own.chain(message["children"].as_array().unwrap().iter().flat_map(texts)).collect()
}

#[test]
fn the_compiler_names_the_fix_of_a_mistake() {
    let errors = errors();
    assert_eq!(errors.get("right"), None);
    for (name, _, expected) in MISTAKES {
        let errors = errors.get(name).unwrap_or_else(|| panic!("{name} compiles"));
        let names_it = |error: &Vec<String>| expected.iter().all(|part| error.iter().any(|text| text.contains(part)));
        assert!(errors.iter().any(names_it), "{name}: {expected:?} is not in {errors:#?}");
    }
}
