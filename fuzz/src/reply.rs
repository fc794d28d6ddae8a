//! What every reply must look like, and what the model learns from it.

use bytes::Bytes;
use http::{Response, Version, header};
use serde_json::{Map, Value};
use tower_oauth2_password::TokenValidator;

use crate::{
    ask::Ask,
    base64,
    model::{Access, Due, Family, Grant, Line, Model},
    world::{AUDIENCE, ISSUER, JWT, NOW, PAGE, Seen, is_endpoint},
};

/// The attributes of the cookie, up to its lifetime.
const COOKIE: &str = "Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=";

pub type Reply = Response<Bytes>;

/// Panics unless `reply` is the expected one, and adds its tokens to the model.
pub fn check(model: &mut Model, ask: &Ask, reply: &Reply, due: &Due) {
    let status = reply.status().as_u16();
    let is = |name, value: &str| reply.headers().get(name).is_some_and(|header| header == value);
    if let Due::Passed(token) = due {
        let Seen(subject) = reply.extensions().get().expect("the inner service's reply");
        assert_eq!(*subject, token.map(|n| model.access[n].grant.user.to_owned()));
        assert_eq!(reply.body()[..], ask.body, "a body that passes is not touched");
        return;
    }
    assert!(reply.extensions().get::<Seen>().is_none(), "this was not the inner service's to answer");
    assert_eq!(
        reply.headers().get_all(header::WWW_AUTHENTICATE).iter().count() == 1,
        match due {
            Due::Guarded(..) => true,
            _ => status == 401,
        }
    );
    if let Due::MethodNotAllowed = due {
        assert!(status == 405 && is(header::ALLOW, "POST") && reply.body().is_empty());
        return;
    }
    if let Due::Guarded(due_status, code) = due {
        guarded(ask, reply, *due_status, *code);
        return;
    }
    let body = object(reply);
    assert!(!body.values().any(Value::is_null), "{body:?}");
    assert!(reply.headers().get(header::RETRY_AFTER).is_none(), "nothing here is held back");
    if is_endpoint(&ask.parts.method, ask.parts.uri.path()) && *due != Due::Revoked {
        assert!(is(header::CACHE_CONTROL, "no-store") && is(header::PRAGMA, "no-cache"), "{due:?}, not {reply:?}");
    }
    let cookies: Vec<_> = reply.headers().get_all(header::SET_COOKIE).iter().collect();
    match due {
        Due::Tokens(grant) if grant.client == Some(PAGE) => assert!(cookies.len() == 1 && !model.clears),
        _ if model.clears => assert_eq!(cookies, [&format!("__Host-refresh_token=; {COOKIE}0")]),
        _ => assert!(cookies.is_empty(), "{due:?}, not {reply:?}"),
    }
    match due {
        Due::Refused(due_status, code) => {
            assert_eq!((status, body.get("error").and_then(Value::as_str)), (*due_status, Some(*code)), "{reply:?}");
            described(&body, &["error", "error_description"]);
            let closes = status == 413 && ask.parts.version <= Version::HTTP_11;
            assert_eq!(is(header::CONNECTION, "close"), closes);
            if status == 401 {
                assert!(is(header::WWW_AUTHENTICATE, "Basic realm=\"token\""));
            }
        }
        Due::Tokens(grant) => tokens(model, reply, &body, grant),
        Due::Revoked => assert!(status == 200 && body.is_empty(), "{reply:?}"),
        Due::Introspected(token) => introspected(model, reply, &body, *token),
        Due::Passed(_) | Due::MethodNotAllowed | Due::Guarded(..) => unreachable!("looked at above"),
    }
}

fn object(reply: &Reply) -> Map<String, Value> {
    assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/json");
    match serde_json::from_slice(reply.body()) {
        Ok(Value::Object(members)) => members,
        other => panic!("no JSON object: {other:?}"),
    }
}

fn members(body: &Map<String, Value>) -> Vec<&str> {
    let mut names: Vec<_> = body.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// RFC 6749, section 5.2: the characters that a description may contain.
fn described(body: &Map<String, Value>, due: &[&str]) {
    assert_eq!(members(body), due);
    for text in body.values().map(|value| value.as_str().expect("text")) {
        let allowed = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
        assert!(!text.is_empty() && text.chars().all(allowed), "{text:?}");
    }
}

/// RFC 6750, section 3. A gRPC call has its status in a header.
fn guarded(ask: &Ask, reply: &Reply, status: u16, code: Option<&str>) {
    let challenge = reply.headers()[header::WWW_AUTHENTICATE].to_str().expect("ASCII");
    let parameters = challenge.strip_prefix("Bearer realm=\"api\"").expect("a realm");
    match code {
        None => assert_eq!(parameters, ""),
        Some(code) => assert!(parameters.starts_with(&format!(", error=\"{code}\", error_description=\""))),
    }
    assert_eq!(parameters.ends_with(", scope=\"items:write\""), status == 403);
    assert_eq!(reply.headers()[header::CACHE_CONTROL], "no-store");
    let sent = |name| ask.parts.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let kind = sent(header::CONTENT_TYPE);
    let is_grpc = [&b"application/grpc+"[..], b"application/grpc;"].iter().any(|start| kind.starts_with(start))
        || kind == b"application/grpc";
    let due = if status == 403 { "7" } else { "16" };
    if is_grpc && sent(header::TE) == b"trailers" && ask.parts.method == http::Method::POST {
        assert!(reply.status() == 200 && reply.body().is_empty(), "{reply:?}");
        assert_eq!(reply.headers()["grpc-status"], due);
        return;
    }
    let is_web =
        |name: &[u8]| kind.strip_prefix(name).is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
    let is_text = is_web(b"application/grpc-web-text");
    if (is_text || is_web(b"application/grpc-web")) && ask.parts.method == http::Method::POST {
        assert!(reply.status() == 200 && reply.headers()[header::CONTENT_TYPE].as_bytes() == kind, "{reply:?}");
        let text = std::str::from_utf8(reply.body()).unwrap_or_default();
        let body = if is_text { base64::standard(text).expect("base64") } else { reply.body().to_vec() };
        let trailers = body.get(5..).unwrap_or_default();
        assert!(body.starts_with(&[0x80, 0, 0, 0]) && usize::from(body[4]) == trailers.len(), "{reply:?}");
        assert!(trailers.starts_with(format!("grpc-status:{due}\r\ngrpc-message:").as_bytes()), "{reply:?}");
        return;
    }
    assert_eq!(reply.status().as_u16(), status);
    let body = object(reply);
    assert_eq!(body.get("error").and_then(Value::as_str), code);
    described(&body, if code.is_some() { &["error", "error_description"] } else { &["error_description"] });
}

fn tokens(model: &mut Model, reply: &Reply, body: &Map<String, Value>, grant: &Grant) {
    assert_eq!(reply.status(), 200, "{reply:?}");
    let mut due = vec!["access_token", "expires_in", "refresh_token", "scope", "token_type"];
    due.retain(|name| *name != "refresh_token" || grant.client != Some(PAGE));
    assert_eq!(members(body), due);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&"bearer".into(), &900.into()));
    assert_eq!(body["scope"], grant.scope.join(" "));
    let access = body["access_token"].as_str().expect("text").to_owned();
    let cookie = reply.headers().get(header::SET_COOKIE).map(|cookie| cookie.to_str().expect("ASCII"));
    let refresh = match cookie.and_then(|cookie| cookie.split_once("; ")) {
        Some((pair, attributes)) => {
            assert_eq!(attributes, format!("{COOKIE}86400"));
            pair.strip_prefix("__Host-refresh_token=").expect("the cookie")
        }
        None => body["refresh_token"].as_str().expect("text"),
    }
    .to_owned();

    claims(&access, grant);
    assert!(model.access.iter().all(|known| known.text != access), "an access token is given out once");
    let family = match grant.line {
        Line::Begun => model.families.len(),
        Line::Rotated(n) | Line::Repeated(n) => n,
    };
    model.access.push(Access { text: access, grant: grant.clone(), denied: false, family });

    let bytes = base64::url_safe(&refresh).expect("a refresh token is base64url");
    assert_eq!((bytes.len(), refresh.len()), (48, 64));
    if let Line::Repeated(n) = grant.line {
        assert_eq!(model.families[n].tokens.last(), Some(&refresh));
        return;
    }
    assert!(!model.issued.contains(&refresh), "a refresh token is given out once");
    model.issued.push(refresh.clone());
    match grant.line {
        Line::Rotated(n) => {
            let family = &mut model.families[n];
            assert_eq!(refresh[..21], family.tokens[0][..21], "a line keeps its name");
            family.tokens.push(refresh);
        }
        _ => model.families.push(Family { tokens: vec![refresh], grant: grant.clone(), ended: false }),
    }
}

fn claims(token: &str, grant: &Grant) {
    let payload = base64::url_safe(token.split('.').nth(1).expect("a JWT")).expect("base64url");
    let claims: Map<String, Value> = serde_json::from_slice(&payload).expect("claims");
    let mut due = vec!["aud", "auth_time", "exp", "iat", "iss", "jti", "scope", "sid", "sub"];
    due.extend(grant.client.map(|_| "client_id"));
    due.sort_unstable();
    assert_eq!(members(&claims), due);
    assert_eq!((&claims["iss"], &claims["aud"]), (&ISSUER.into(), &AUDIENCE.into()));
    assert_eq!((&claims["iat"], &claims["exp"]), (&NOW.into(), &(NOW + 900).into()));
    assert_eq!((&claims["sub"], &claims["scope"]), (&grant.user.into(), &grant.scope.join(" ").into()));
    assert_eq!(claims.get("client_id").and_then(Value::as_str), grant.client);
    assert_eq!(claims["jti"].as_str().map(str::len), Some(27), "160 bits");
    let read = JWT.validate(token).expect("a token that was just made is good");
    assert_eq!((read.subject(), read.client_id()), (grant.user, grant.client));
    assert!(read.scope().iter().eq(grant.scope.iter()));
}

fn introspected(model: &Model, reply: &Reply, body: &Map<String, Value>, token: Option<usize>) {
    assert_eq!(reply.status(), 200);
    let Some(token) = token.map(|n| &model.access[n]) else {
        assert_eq!((body.len(), body.get("active")), (1, Some(&false.into())), "{reply:?}");
        return;
    };
    let mut due = vec!["active", "aud", "auth_time", "exp", "iat", "iss", "jti", "scope", "sub", "token_type"];
    due.extend(token.grant.client.map(|_| "client_id"));
    due.sort_unstable();
    assert_eq!(members(body), due);
    assert_eq!((&body["active"], &body["sub"]), (&true.into(), &token.grant.user.into()));
    assert_eq!((&body["scope"], &body["exp"]), (&token.grant.scope.join(" ").into(), &(NOW + 900).into()));
    assert_eq!(body.get("client_id").and_then(Value::as_str), token.grant.client);
}
