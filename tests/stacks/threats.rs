//! Checks that the tests named in `manual::threats` exist, and tests claims of that page that no other test covers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::ServiceExt;

use super::setup::{ADDRESS, in_memory};
use super::{
    setup::over,
    stacks::{self, Stack},
};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Whether there is a test `folder::file::function`, or a case of the rule in `cases RULE`.
fn is_there(test: &str, files: &[PathBuf], root: &Path) -> bool {
    if let Some(rule) = test.strip_prefix("cases ") {
        return fs::read_dir(root.join("tests/cases")).unwrap().any(|file| {
            let cases = fs::read_to_string(file.unwrap().path()).unwrap();
            [format!("\"rule\": \"{rule}\""), format!("\"rule\": \"{rule},")].iter().any(|rule| cases.contains(rule))
        });
    }
    let Some((file, function)) = test.rsplit_once("::") else { return false };
    let file = format!("{}.rs", file.replace("::", "/"));
    files.iter().filter(|path| path.ends_with(&file)).any(|path| {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let start = format!("fn {function}(");
        let is_the_function = |line: &str| line.trim_start_matches("async ").starts_with(&start);
        lines.iter().position(|line| is_the_function(line)).is_some_and(|at| {
            let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            attributes.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        })
    })
}

#[test]
fn every_test_on_the_threats_page_exists() {
    let root = test_support::root();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("tests"), &mut files);
    sources(&root.join("crates"), &mut files);
    sources(&root.join("examples/passkeys/src"), &mut files);
    for wrong in
        ["flows::nothing", "flows::refused", "nowhere::attempts", "cases R99.1", "cases R2.", "attempts", "flows"]
    {
        assert!(!is_there(wrong, &files, root), "{wrong}");
    }

    let page = fs::read_to_string(root.join("src/manual/threats.md")).unwrap();
    let threats: Vec<&str> = page.split("\n- **").skip(1).filter(|threat| threat.contains("Tests:")).collect();
    assert!(threats.len() > 60, "{}", threats.len());
    for threat in threats {
        let (_, tests) = threat.split_once("Tests:").unwrap();
        let tests = tests.split("\n\n").next().unwrap().trim_end_matches('.');
        for test in tests.split(',') {
            let name = test.trim().strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            assert!(name.is_some_and(|name| is_there(name, &files, root)), "no test {test} for {threat}");
        }
    }
}

#[test]
fn every_rule_of_a_case_is_in_the_legend() {
    let root = test_support::root();
    let legend = fs::read_to_string(root.join("src/manual/rules.md")).unwrap();
    let mut count = 0;
    for file in ["token", "grants", "revoke", "cookies", "guard"] {
        let cases = fs::read_to_string(root.join(format!("tests/cases/{file}.json"))).unwrap();
        for rules in cases.split("\"rule\": \"").skip(1) {
            for rule in rules.split('"').next().unwrap().split(", ") {
                assert!(legend.contains(&format!("**{rule}** ")), "{file}: {rule}");
                count += 1;
            }
        }
    }
    assert!(count > 200, "{count}");
}

#[tokio::test]
async fn no_header_makes_a_new_address() {
    let endpoint = in_memory().auth.token_endpoint().into_service();
    let mut statuses = Vec::new();
    for at in 0..11 {
        let mut request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header(ADDRESS, "192.0.2.77");
        for name in ["x-forwarded-for", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip"] {
            request = request.header(name, format!("198.51.100.{at}"));
        }
        let request = request.header("forwarded", format!("for=198.51.100.{at}"));
        let form = Full::<Bytes>::from("grant_type=password&username=alice&password=wrong");
        statuses.push(endpoint.clone().oneshot(request.body(form).unwrap()).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [[400; 10].as_slice(), &[429]].concat());
}

#[test]
fn the_default_backend_is_aws_lc_rs() {
    let manifest = include_str!("../../Cargo.toml");
    let default = manifest.lines().find(|line| line.starts_with("default = ")).unwrap();
    assert!(default.contains("\"aws_lc_rs\"") && !default.contains("rust_crypto"), "{default}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_leaks_gives_nobody_a_token_or_a_name() {
    let server = test_support::redis::Redis::start();
    let stores = tower_oauth2_password::store::redis::RedisStores::open(&server.url()).unwrap();
    let setup = over(stores.refresh_tokens(), stores.attempts(), stores.deny_list(), |tokens| {
        tokens.with_grace(std::time::Duration::from_secs(60))
    });
    let site = stacks::start(Stack::Axum, &setup).await;
    let first = site.log_in("").await.text("refresh_token");
    let reply = site.refresh(&first, "").await;
    let (second, access) = (reply.text("refresh_token"), reply.text("access_token"));
    let failed = "grant_type=password&username=somebody-else&password=no-such-password";
    assert_eq!(site.post_from("192.0.2.78", "/token", failed).await.status, 400);

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut connection = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut ask = async |command: &[&[u8]]| -> redis::Value {
        let mut query = redis::Cmd::new();
        for part in command {
            query.arg(*part);
        }
        query.query_async(&mut connection).await.unwrap()
    };
    ask(&[b"CONFIG", b"SET", b"rdbcompression", b"no"]).await;
    let keys: Vec<Vec<u8>> = redis::from_redis_value(ask(&[b"KEYS", b"*"]).await).unwrap();
    let mut leaked = keys.concat();
    for key in &keys {
        leaked.extend(redis::from_redis_value::<Vec<u8>>(ask(&[b"DUMP", key]).await).unwrap());
    }
    let holds = |part: &[u8]| leaked.windows(part.len()).any(|window| window == part);
    assert!(keys.len() >= 2 && holds(b"alice"), "a family has its subject, so what is searched is there");
    for token in [&first, &second] {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(holds(&hex.as_bytes()[..32]), "the family's id");
        for secret in [&bytes[16..], &token.as_bytes()[22..], &hex.as_bytes()[32..]] {
            assert!(!holds(secret), "the token's secret");
        }
    }
    for text in [&access, "wonderland123", "somebody-else", "no-such-password", "192.0.2.78"] {
        assert!(!holds(text.as_bytes()), "{text}");
    }
}
