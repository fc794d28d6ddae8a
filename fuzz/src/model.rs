//! The expected reply to a request: RFC 6749, 6750, 7009 and 7662 as this server has to read them.

use http::{HeaderMap, Method, header};

use crate::{
    ask::{Ask, FORM},
    base64, urlencoded,
    urlencoded::Piece,
    world::{CLIENTS, Logins, PAGE, PAGE_ORIGIN, USERS},
};

pub const BODY_LIMIT: usize = 16_384;
const LONGEST_TOKEN: usize = 4_096;

#[derive(Clone, Debug, PartialEq)]
pub enum Due {
    /// An error of RFC 6749, section 5.2.
    Refused(u16, &'static str),
    Tokens(Grant),
    Revoked,
    /// The result of introspection: the number of an access token, or that the token is not active.
    Introspected(Option<usize>),
    MethodNotAllowed,
    /// The inner service replies; the guard saw this access token.
    Passed(Option<usize>),
    /// The guard refuses, with its error code.
    Guarded(u16, Option<&'static str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub user: &'static str,
    pub client: Option<&'static str>,
    pub scope: Vec<String>,
    pub line: Line,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line {
    Begun,
    Rotated(usize),
    /// The successor is returned a second time.
    Repeated(usize),
}

/// All refresh tokens that came from one login.
#[derive(Debug)]
pub struct Family {
    pub tokens: Vec<String>,
    pub grant: Grant,
    pub ended: bool,
}

#[derive(Debug)]
pub struct Access {
    pub text: String,
    pub grant: Grant,
    pub denied: bool,
    /// The family of its session.
    pub family: usize,
}

#[derive(Debug, Default)]
pub struct Model {
    pub grace: bool,
    pub families: Vec<Family>,
    /// All refresh tokens, in the order in which they were issued.
    pub issued: Vec<String>,
    pub access: Vec<Access>,
    /// The answer removes the cookie.
    pub clears: bool,
    /// The calls that the verifier must get, and has not got yet.
    pub logins: Logins,
}

type Refusal = (u16, &'static str);
const INVALID_REQUEST: Refusal = (400, "invalid_request");
const INVALID_GRANT: Refusal = (400, "invalid_grant");
const INVALID_SCOPE: Refusal = (400, "invalid_scope");
const INVALID_CLIENT: Refusal = (401, "invalid_client");
const TOO_LARGE: Refusal = (413, "invalid_request");

const TOKEN: &[&str] = &["grant_type", "username", "password", "scope", "client_id", "client_secret", "refresh_token"];
const OTHERS: &[&str] = &["token", "token_type_hint", "client_id", "client_secret"];

impl Model {
    /// The expected reply. Revocation and reuse end families here; new tokens are added when the reply is known.
    pub fn due(&mut self, ask: &Ask) -> Due {
        self.clears = false;
        let path = ask.parts.uri.path();
        if path == "/guarded" {
            return self.guard(&ask.parts.headers);
        }
        if ask.parts.method != Method::POST {
            return if path == "/leaf" { Due::MethodNotAllowed } else { Due::Passed(None) };
        }
        let due = match path {
            "/token" | "/leaf" => read(ask, &["username", "password", "client_secret", "refresh_token"], TOKEN)
                .and_then(|form| self.token(ask, &form)),
            "/revoke" => read(ask, &["token", "client_secret"], OTHERS).and_then(|form| self.revoke(ask, &form)),
            "/introspect" => {
                read(ask, &["token", "client_secret"], OTHERS).and_then(|form| self.introspect(ask, &form))
            }
            _ => Ok(Due::Passed(None)),
        };
        due.unwrap_or_else(|(status, code)| Due::Refused(status, code))
    }

    fn token(&mut self, ask: &Ask, form: &Form) -> Result<Due, Refusal> {
        match form.get("grant_type") {
            None => Err(INVALID_REQUEST),
            Some("password") => self.log_in(ask, form),
            Some("refresh_token") => self.refresh(ask, form),
            Some(_) => Err((400, "unsupported_grant_type")),
        }
    }

    fn log_in(&mut self, ask: &Ask, form: &Form) -> Result<Due, Refusal> {
        let (Some(username), Some(password)) = (form.get("username"), form.get("password")) else {
            return Err(INVALID_REQUEST);
        };
        let forbidden = |c: char| c.is_ascii_control() && c != '\t' || c == '\u{FFFE}' || c == '\u{FFFF}';
        if username.contains(forbidden) || password.contains(forbidden) {
            return Err(INVALID_REQUEST);
        }
        let client = client(ask, form)?;
        let asked = scope(form)?;
        self.logins.push((username.to_owned(), password.to_owned(), client.map(str::to_owned), asked.clone()));
        let right = |user: &&(&str, &str, &str)| user.0 == username && user.1 == password && user.0 != "mallory";
        let (user, _, allowed) = USERS.iter().find(right).ok_or(INVALID_GRANT)?;
        let scope = narrowed(asked, allowed.split(' ').map(str::to_owned).collect())?;
        // The browser forgets the session of the cookie.
        if let Ok((token, true)) = presented(ask, form, client, "refresh_token")
            && let Some(n) = self.family_of(&token).filter(|n| self.families[*n].grant.client == client)
        {
            self.end(n);
        }
        Ok(Due::Tokens(Grant { user, client, scope, line: Line::Begun }))
    }

    fn refresh(&mut self, ask: &Ask, form: &Form) -> Result<Due, Refusal> {
        let in_body = form.get("refresh_token");
        if in_body.is_none() && cookies(&ask.parts.headers).is_empty() {
            return Err(INVALID_REQUEST);
        }
        if !in_body.unwrap_or_default().bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(INVALID_REQUEST);
        }
        let client = client(ask, form)?;
        let (token, in_cookie) = presented(ask, form, client, "refresh_token")?;
        let asked = scope(form)?;
        let n = self.family_of(&token).ok_or(INVALID_GRANT)?;
        let grace = self.grace || client == Some(PAGE);
        let family = &mut self.families[n];
        if family.grant.client != client {
            return Err(INVALID_GRANT);
        }
        let last = family.tokens.len() - 1;
        let line = match family.tokens.iter().position(|known| *known == token) {
            // No time passes here, and a token in a cookie rotates once in its grace period.
            Some(place) if place == last && place > 0 && client == Some(PAGE) => Line::Repeated(n),
            Some(place) if place == last => Line::Rotated(n),
            Some(place) if grace && place + 1 == last => Line::Repeated(n),
            _ => {
                self.end(n);
                self.clears = in_cookie;
                return Err(INVALID_GRANT);
            }
        };
        let scope = narrowed(asked, family.grant.scope.clone())?;
        Ok(Due::Tokens(Grant { user: family.grant.user, client, scope, line }))
    }

    /// Ends a session, with its access tokens.
    fn end(&mut self, family: usize) {
        self.families[family].ended = true;
        self.access.iter_mut().filter(|access| access.family == family).for_each(|access| access.denied = true);
    }

    /// The family that a refresh token names, whether or not its secret is right.
    fn family_of(&self, token: &str) -> Option<usize> {
        let id = |token: &str| Some(base64::url_safe(token).filter(|bytes| bytes.len() == 48)?[..16].to_vec());
        let named = id(token)?;
        self.families.iter().position(|family| !family.ended && id(&family.tokens[0]).as_ref() == Some(&named))
    }

    fn revoke(&mut self, ask: &Ask, form: &Form) -> Result<Due, Refusal> {
        let client = client(ask, form)?;
        let (token, in_cookie) = presented(ask, form, client, "token")?;
        let not_of = |owner: Option<&str>| client.is_some() && owner != client;
        if let Some(n) = self.family_of(&token) {
            if not_of(self.families[n].grant.client) {
                return Err(INVALID_GRANT);
            }
            self.end(n);
        } else if let Some(access) = self.access.iter_mut().find(|access| access.text == token) {
            if not_of(access.grant.client) {
                return Err(INVALID_GRANT);
            }
            access.denied = true;
        }
        self.clears = in_cookie;
        Ok(Due::Revoked)
    }

    fn introspect(&self, ask: &Ask, form: &Form) -> Result<Due, Refusal> {
        let client = client(ask, form)?;
        if client.is_none_or(|client| ["demo-cli", PAGE].contains(&client)) {
            return Err(INVALID_CLIENT);
        }
        let token = form.get("token").ok_or(INVALID_REQUEST)?;
        Ok(Due::Introspected(self.access.iter().position(|access| access.text == token && !access.denied)))
    }

    fn guard(&self, headers: &HeaderMap) -> Due {
        let fields: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
        let malformed = Due::Guarded(400, Some("invalid_request"));
        let field = match fields[..] {
            [] => return Due::Guarded(401, None),
            [only] => only.as_bytes(),
            _ => return malformed,
        };
        if !field.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t') {
            return malformed;
        }
        let Some((scheme, token)) = scheme(field) else { return malformed };
        if scheme != "bearer" {
            return Due::Guarded(401, None);
        }
        let padding = token.len() - token.trim_end_matches('=').len();
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        if token.len() == padding || !token[..token.len() - padding].chars().all(is_token) {
            return malformed;
        }
        let good = (token.len() <= LONGEST_TOKEN)
            .then(|| self.access.iter().position(|access| access.text == token && !access.denied))
            .flatten();
        match good {
            None => Due::Guarded(401, Some("invalid_token")),
            Some(n) if self.access[n].grant.scope.iter().any(|token| token == "items:write") => Due::Passed(Some(n)),
            Some(_) => Due::Guarded(403, Some("insufficient_scope")),
        }
    }
}

/// The requested scope without duplicates; empty if there is none.
fn scope(form: &Form) -> Result<Vec<String>, Refusal> {
    let mut asked = Vec::new();
    for token in form.get("scope").unwrap_or_default().split(' ').filter(|token| !token.is_empty()) {
        if !token.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\') {
            return Err(INVALID_SCOPE);
        }
        if !asked.iter().any(|known| known == token) {
            asked.push(token.to_owned());
        }
    }
    Ok(asked)
}

fn narrowed(asked: Vec<String>, allowed: Vec<String>) -> Result<Vec<String>, Refusal> {
    match &asked[..] {
        [] => Ok(allowed),
        asked_for if asked_for.iter().all(|token| allowed.contains(token)) => Ok(asked),
        _ => Err(INVALID_SCOPE),
    }
}

struct Form(Vec<(String, String)>);

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

fn read(ask: &Ask, not_in_query: &[&str], known: &[&str]) -> Result<Form, Refusal> {
    let query = urlencoded::pieces(ask.parts.uri.query().unwrap_or_default().as_bytes());
    if query.iter().any(|(name, _)| name.as_deref().is_some_and(|name| not_in_query.contains(&name))) {
        return Err(INVALID_REQUEST);
    }
    let headers = &ask.parts.headers;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_LIMIT as u64) {
        return Err(TOO_LARGE);
    }
    let types: Vec<_> = headers.get_all(header::CONTENT_TYPE).iter().map(http::HeaderValue::as_bytes).collect();
    let [only] = types[..] else { return Err(INVALID_REQUEST) };
    let essence = only.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !only.iter().all(|byte| byte.is_ascii()) || !essence.eq_ignore_ascii_case(FORM.as_bytes()) {
        return Err(INVALID_REQUEST);
    }
    if ask.body.len() > BODY_LIMIT {
        return Err(TOO_LARGE);
    }
    if ask.cut {
        return Err(INVALID_REQUEST);
    }
    let mut form: Vec<(String, String)> = Vec::new();
    for piece in urlencoded::pieces(&ask.body) {
        let (Some(name), Some(value)): Piece = piece else { return Err(INVALID_REQUEST) };
        if known.contains(&name.as_str()) {
            if form.iter().any(|(present, _)| *present == name) {
                return Err(INVALID_REQUEST);
            }
            form.push((name, value));
        }
    }
    Ok(Form(form))
}

/// The scheme in lower case, and what follows it after one or more spaces.
fn scheme(field: &[u8]) -> Option<(String, &str)> {
    let text = std::str::from_utf8(field).ok()?;
    let (scheme, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
    Some((scheme.to_ascii_lowercase(), rest.trim_matches(' ')))
}

/// The values of the cookie with the refresh token, and of no other.
fn cookies(headers: &HeaderMap) -> Vec<&[u8]> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(b"__Host-refresh_token=")).collect()
}

/// The token, and whether it is in the cookie.
fn presented(ask: &Ask, form: &Form, client: Option<&str>, parameter: &str) -> Result<(String, bool), Refusal> {
    let cookies = if client == Some(PAGE) { cookies(&ask.parts.headers) } else { Vec::new() };
    match (form.get(parameter), &cookies[..]) {
        (Some(token), []) => Ok((token.to_owned(), false)),
        (None, [token]) => Ok((String::from_utf8(token.to_vec()).map_err(|_| INVALID_REQUEST)?, true)),
        _ => Err(INVALID_REQUEST),
    }
}

/// Whether an allowed page sent the request, as its browser says.
fn from_allowed_page(ask: &Ask) -> bool {
    let one = |name| {
        let fields: Vec<_> = ask.parts.headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        if fields.len() > 1 { Err(()) } else { Ok(fields.first().copied()) }
    };
    let (Ok(site), Ok(origin), Ok(host)) = (one("sec-fetch-site"), one("origin"), one("host")) else { return false };
    let host = ask.parts.uri.authority().map(|authority| authority.as_str().as_bytes()).or(host);
    let is_listed = origin == Some(PAGE_ORIGIN.as_bytes());
    match site {
        _ if origin == Some(b"null") => false,
        Some(b"same-origin") => true,
        Some(b"same-site" | b"cross-site") => is_listed,
        Some(_) => false,
        None => is_listed || host.is_some_and(|host| origin == Some(&[b"https://", host].concat())),
    }
}

/// The client that the request authenticates as, if it may come from where it does.
fn client(ask: &Ask, form: &Form) -> Result<Option<&'static str>, Refusal> {
    let client = authenticated(&ask.parts.headers, form)?;
    if client == Some(PAGE) && !from_allowed_page(ask) { Err((403, "access_denied")) } else { Ok(client) }
}

fn authenticated(headers: &HeaderMap, form: &Form) -> Result<Option<&'static str>, Refusal> {
    let is_id = |id: &str| id.len() <= 256 && id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if form.get("client_id").is_some_and(|id| !is_id(id)) {
        return Err(INVALID_REQUEST);
    }
    let fields: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
    let names_no_client = |field: &[u8]| {
        let scheme = field.split(|byte| *byte == b' ').next().unwrap_or_default();
        scheme.is_empty() || scheme.eq_ignore_ascii_case(b"bearer")
    };
    let basic = match fields[..] {
        [] => None,
        [only] if names_no_client(only.as_bytes()) => None,
        [only] => Some(basic(only.as_bytes()).ok_or(INVALID_CLIENT)?),
        _ => return Err(INVALID_REQUEST),
    };
    let registered =
        |id: &str, secret: &str| CLIENTS.iter().find(|client| **client == (id, secret)).map(|found| found.0);
    let (id, secret) = (form.get("client_id"), form.get("client_secret"));
    match (basic.filter(|(id, secret)| !id.is_empty() || !secret.is_empty()), id, secret) {
        (None, None, None) => Ok(None),
        (None, None, Some(_)) => Err(INVALID_CLIENT),
        (None, Some(id), secret) => registered(id, secret.unwrap_or_default()).map(Some).ok_or(INVALID_CLIENT),
        (Some((id, _)), _, _) if id.is_empty() => Err(INVALID_CLIENT),
        (Some((id, secret)), _, Some(_)) => {
            let decoded = urlencoded::decode(&id).filter(|_| urlencoded::decode(&secret).is_some());
            let any = is_id(&id) || decoded.is_some_and(|id| is_id(&id));
            Err(if any { INVALID_REQUEST } else { INVALID_CLIENT })
        }
        (Some((id, secret)), body_id, None) => {
            let mut readings = vec![(id.clone(), secret.clone())];
            if let (Some(id), Some(secret)) = (urlencoded::decode(&id), urlencoded::decode(&secret)) {
                readings.push((id, secret));
            }
            readings.retain(|(id, _)| is_id(id));
            if readings.is_empty() {
                return Err(INVALID_CLIENT);
            }
            readings.retain(|(id, _)| body_id.is_none_or(|body_id| body_id == id));
            if readings.is_empty() {
                return Err(INVALID_REQUEST);
            }
            readings.iter().find_map(|(id, secret)| registered(id, secret)).map(Some).ok_or(INVALID_CLIENT)
        }
    }
}

/// Id and secret of a Basic header, as they were sent.
#[must_use]
pub fn basic(field: &[u8]) -> Option<(String, String)> {
    let (scheme, rest) = scheme(field)?;
    let text = String::from_utf8(base64::standard(rest)?).ok()?;
    let (id, secret) = text.split_once(':')?;
    (scheme == "basic").then(|| (id.to_owned(), secret.to_owned()))
}
