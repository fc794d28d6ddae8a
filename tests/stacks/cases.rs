//! Sends every case of `tests/cases/*.json` to every stack. A case is a request and the expected reply.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Request;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    setup::{ADDRESS, in_memory},
    stacks::{self, Site, Stack, fresh_address},
};
use test_support::http::{Reply, chunked};

const LOGIN: &str = "grant_type=password&username=alice&password=wonderland123";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    rule: String,
    what: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    /// `id:secret`, sent as a Basic header.
    #[serde(default)]
    basic: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_hex: Option<String>,
    /// Pads the body with `x` to this length.
    #[serde(default)]
    pad_to: usize,
    #[serde(default)]
    chunked: bool,
    status: u16,
    #[serde(default)]
    error: Option<String>,
    /// Members that the reply's JSON must have.
    #[serde(default)]
    json: Map<String, Value>,
    #[serde(default)]
    reply_headers: Map<String, Value>,
    /// Text that the challenge must contain.
    #[serde(default)]
    challenge: Option<String>,
    /// Text that the reply must not contain.
    #[serde(default)]
    lacks: Option<String>,
}

async fn tokens(site: &Site) -> [(&'static str, String); 6] {
    let strong = site.post("/token", "grant_type=password&username=bob&password=builder456").await;
    [
        ("$LOGIN", LOGIN.to_owned()),
        ("$DEMO_WEB", STANDARD.encode("demo-web:demo-web-secret")),
        ("$LONG", "a".repeat(4_097)),
        ("$TOKEN", site.log_in("").await.text("access_token")),
        ("$STRONG", strong.text("access_token")),
        ("$NARROW", site.log_in("&scope=items:read").await.text("access_token")),
    ]
}

impl Case {
    async fn ask(&self, site: &Site, variables: &[(&str, String)], default_path: &str) -> Reply {
        let fill = |text: &str| variables.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        let endpoint = default_path != "/guarded";
        let method = self.method.as_deref().unwrap_or(if endpoint { "POST" } else { "GET" });
        let path = fill(self.path.as_deref().unwrap_or(default_path));
        let mut request = Request::builder().method(method).uri(path).header(ADDRESS, fresh_address());
        if endpoint && !self.headers.contains_key("content-type") {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        for (name, value) in self.headers.iter().filter_map(|(name, value)| Some((name, value.as_str()?))) {
            request = request.header(name, fill(value));
        }
        if let Some(basic) = &self.basic {
            request = request.header("authorization", format!("Basic {}", STANDARD.encode(basic)));
        }
        let mut body = match (&self.body, &self.body_hex) {
            (_, Some(hex)) => hex
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect(),
            (Some(text), None) => fill(text).into_bytes(),
            (None, None) => Vec::new(),
        };
        body.resize(body.len().max(self.pad_to), b'x');
        let body = if self.chunked { chunked(&body) } else { Either::Left(Full::new(Bytes::from(body))) };
        site.send(request.body(body).unwrap()).await
    }

    fn check(&self, reply: &Reply, of_endpoint: bool) -> Result<(), String> {
        let expect = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        expect(reply.status == self.status, &format!("status {}", self.status))?;
        let ours = of_endpoint && self.status != 404;
        if ours {
            expect(reply.header("content-type") == Some("application/json"), "JSON")?;
            expect(reply.header("cache-control") == Some("no-store"), "cache-control: no-store")?;
            expect(reply.header("pragma") == Some("no-cache"), "pragma: no-cache")?;
            expect(
                (reply.status == 401) == reply.headers.contains_key("www-authenticate"),
                "a challenge with 401 only",
            )?;
        }
        if let Some(error) = &self.error {
            let json = reply.json();
            expect(json["error"] == **error, error)?;
            let described = json["error_description"].as_str().unwrap_or_default();
            let allowed = |c: char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
            expect(!described.is_empty() && described.chars().all(allowed), "a description in RFC 6749's characters")?;
        }
        for (name, value) in &self.json {
            expect(reply.json()[name] == *value, &format!("{name}: {value}"))?;
        }
        for (name, value) in &self.reply_headers {
            expect(reply.header(name) == value.as_str(), &format!("{name}: {value}"))?;
        }
        if let Some(part) = &self.challenge {
            expect(reply.header("www-authenticate").is_some_and(|challenge| challenge.contains(part)), part)?;
        }
        if let Some(text) = &self.lacks {
            expect(!format!("{reply:?}").contains(text), &format!("no {text}"))?;
        }
        Ok(())
    }
}

async fn run(file: &str, default_path: &str, over: &[Stack]) {
    let cases: Vec<Case> = serde_json::from_str(file).unwrap();
    let mut broken = Vec::new();
    for stack in over {
        let site = stacks::start(*stack, &in_memory()).await;
        let mut variables = if *stack == Stack::Tonic { login_only() } else { tokens(&site).await.to_vec() };
        let first_step = site.post("/token", "grant_type=password&username=carol&password=second456").await;
        variables.push(("$MFA", first_step.text("mfa_token")));
        variables.push(("$COOKIE", cookie(&site).await));
        for case in &cases {
            // Requests for other paths reach the gRPC routes, which never reply with 404.
            if *stack == Stack::Tonic && case.status == 404 {
                continue;
            }
            let reply = case.ask(&site, &variables, default_path).await;
            if let Err(expected) = case.check(&reply, default_path != "/guarded") {
                broken.push(format!("{stack:?}, {}, {}: expected {expected}, got {reply:?}", case.rule, case.what));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The refresh token in the cookie of a page.
async fn cookie(site: &Site) -> String {
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(Either::Left(Full::from(format!("{LOGIN}&client_id=demo-spa"))));
    let reply = site.send(request.unwrap()).await;
    let (name, token) = reply.header("set-cookie").and_then(|set| set.split(';').next()?.split_once('=')).unwrap();
    assert_eq!((name, token.len()), ("__Host-refresh_token", 64), "{reply:?}");
    token.to_owned()
}

fn login_only() -> Vec<(&'static str, String)> {
    vec![("$LOGIN", LOGIN.to_owned()), ("$DEMO_WEB", STANDARD.encode("demo-web:demo-web-secret"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn token_endpoint() {
    run(include_str!("../cases/token.json"), "/token", &stacks::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_grants() {
    run(include_str!("../cases/grants.json"), "/token", &stacks::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_endpoint() {
    run(include_str!("../cases/revoke.json"), "/revoke", &stacks::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_pages() {
    run(include_str!("../cases/cookies.json"), "/token", &stacks::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_guard() {
    run(include_str!("../cases/guard.json"), "/guarded", &stacks::HTTP).await;
}
