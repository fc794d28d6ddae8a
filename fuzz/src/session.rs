//! Requests one after another, each checked against the model.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, Uri};

use crate::{
    ask::Ask,
    base64,
    model::{self, BODY_LIMIT, Due, Model},
    reply::{self, Reply},
    urlencoded,
    world::World,
};

/// The names that the replies' own sentences may contain.
const NAMES: &[&str] = &["username", "password", "grant_type", "refresh_token", "client_id", "client_secret"];

pub struct Session {
    world: World,
    pub model: Model,
}

impl Session {
    #[must_use]
    pub fn new(grace: bool) -> Self {
        Self { world: World::new(grace), model: Model { grace, ..Model::default() } }
    }

    pub fn ask(&mut self, ask: &Ask) -> Reply {
        let due = self.model.due(ask);
        let reply = self.world.send(ask);
        reply::check(&mut self.model, ask, &reply, &due);
        let due_logins = std::mem::take(&mut self.model.logins);
        assert_eq!(self.world.take_logins(), due_logins, "the verifier is asked for what was sent, once, and else not");
        // All other replies are checked member by member.
        if matches!(due, Due::Refused(..) | Due::Guarded(..)) {
            self.check_echo(ask, &reply);
            self.world.take_logins();
        }
        reply
    }

    /// Text that was sent must not come back, unless the same text comes back to a request without it.
    fn check_echo(&mut self, ask: &Ask, reply: &Reply) {
        let said = text(reply);
        for sent in secrets(ask) {
            let telling = sent.len() >= 8 && sent.bytes().any(|byte| byte.is_ascii_alphanumeric());
            if telling && !NAMES.contains(&sent.as_str()) && said.contains(&sent) {
                let other = without(ask, &sent);
                // Printed again, the body may exceed the limit, and then it is refused for that.
                if other.body.len() > BODY_LIMIT && ask.body.len() <= BODY_LIMIT {
                    continue;
                }
                let other = self.world.send(&other);
                assert!(text(&other).contains(&sent), "{sent:?} comes back in {reply:?}, and not in {other:?}");
            }
        }
    }

    /// Replaces `$n` with the nth refresh token and `@n` with the nth access token (one hexadecimal digit). A following
    /// `~` and five digits change one byte: three digits give its position, the last two its new value.
    #[must_use]
    pub fn fill(&self, text: &[u8]) -> Vec<u8> {
        let refresh: Vec<_> = self.model.issued.iter().collect();
        let access: Vec<_> = self.model.access.iter().map(|access| &access.text).collect();
        let mut filled = Vec::new();
        let mut rest = text;
        while let [first, after @ ..] = rest {
            let known = match first {
                b'$' => &refresh,
                b'@' => &access,
                _ => &Vec::new(),
            };
            let token = hexadecimal(after, 1).and_then(|n| known.get(n));
            let Some(token) = token else {
                filled.push(*first);
                rest = after;
                continue;
            };
            let mut token = token.as_bytes().to_vec();
            rest = &after[1..];
            while let [b'~', edit @ ..] = rest
                && let (Some(at), Some(byte)) =
                    (hexadecimal(edit, 3), hexadecimal(edit.get(3..).unwrap_or_default(), 2))
            {
                let at = at % token.len();
                token[at] = byte as u8;
                rest = &edit[5..];
            }
            filled.extend(token);
        }
        filled
    }
}

fn hexadecimal(text: &[u8], digits: usize) -> Option<usize> {
    usize::from_str_radix(std::str::from_utf8(text.get(..digits)?).ok()?, 16).ok()
}

fn text(reply: &Reply) -> String {
    format!("{:?} {}", reply.headers(), String::from_utf8_lossy(reply.body()))
}

/// Everything that was sent as a value or as a credential.
fn secrets(ask: &Ask) -> Vec<String> {
    let query = ask.parts.uri.query().unwrap_or_default().as_bytes();
    let fields = || ask.parts.headers.get_all(AUTHORIZATION).iter();
    let basic = fields().filter_map(|field| model::basic(field.as_bytes())).flat_map(|(id, secret)| [id, secret]);
    // Without the scheme, since the reply depends on it.
    let raw = fields().filter_map(|field| field.to_str().ok());
    let raw = raw.map(|field| field.split_once(' ').map_or(field, |(_, rest)| rest));
    let values = [query, &ask.body].into_iter().flat_map(urlencoded::pieces).filter_map(|(_, value)| value);
    values.chain(basic).chain(raw.map(str::to_owned)).collect()
}

/// The same request with other text in place of `secret`.
fn without(ask: &Ask, secret: &str) -> Ask {
    let turned: String = secret
        .chars()
        .map(|c| match c {
            'z' | 'Z' => 'b',
            '9' => '0',
            _ if c.is_ascii_alphanumeric() => char::from(c as u8 + 1),
            other => other,
        })
        .collect();
    let rewritten = |text: &[u8]| -> Vec<u8> {
        let pieces = text.split(|byte| *byte == b'&').map(|piece| match urlencoded::pieces(piece).pop() {
            Some((Some(name), Some(value))) if value == secret => urlencoded::print([(name.as_str(), turned.as_str())]),
            _ => piece.to_vec(),
        });
        pieces.collect::<Vec<_>>().join(&b'&')
    };
    let mut other = ask.clone();
    for (_, field) in other.parts.headers.iter_mut().filter(|(name, _)| *name == AUTHORIZATION) {
        let scheme = field.to_str().ok().and_then(|field| field.strip_suffix(secret));
        if let Some(scheme) = scheme.filter(|scheme| scheme.is_empty() || scheme.ends_with(' ')) {
            *field = format!("{scheme}{turned}").parse().expect("a field as it was");
        }
    }
    other.body = rewritten(&ask.body);
    if let Some(query) = ask.parts.uri.query() {
        let query = String::from_utf8_lossy(&rewritten(query.as_bytes())).into_owned();
        other.parts.uri = format!("{}?{query}", ask.parts.uri.path()).parse::<Uri>().expect("a query as printed");
    }
    let in_the_form = other.body != ask.body;
    for field in other.parts.headers.get_mut(AUTHORIZATION).into_iter() {
        if let Some((id, password)) = model::basic(field.as_bytes()) {
            let [id, password] = [id, password].map(|text| match urlencoded::decode(&text) {
                _ if text == secret => turned.clone(),
                // Header and body name the same client, the header in encoded form.
                Some(decoded) if in_the_form && decoded == secret => urlencoded::encode(&turned),
                _ => text,
            });
            let value = format!("Basic {}", base64::print(format!("{id}:{password}").as_bytes()));
            *field = value.parse().expect("base64");
        }
    }
    other
}

/// Sends each line as a request: `token`, `revoke` or `introspect` with a form, `guard` with an Authorization header,
/// or only a form, which goes to `usual`. Before it, `page` or `stranger` and a Cookie header make it the request of a page of
/// this origin or of another site. A first line `grace` allows repeats.
pub fn lines(input: &[u8], usual: &str, before: &[&str]) {
    let lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    let mut session = Session::new(lines[0] == b"grace");
    for line in before.iter().map(|line| line.as_bytes()).chain(lines.into_iter().take(12)) {
        let words = |line| crate::ask::split(line, b" ").unwrap_or((b"", line));
        let (site, (cookie, line)) = match words(line) {
            (b"page", rest) => (Some("same-origin"), words(rest)),
            (b"stranger", rest) => (Some("cross-site"), words(rest)),
            _ => (None, (&b""[..], line)),
        };
        let (word, rest) = words(line);
        let (path, rest) = match word {
            b"token" => ("/token", rest),
            b"revoke" => ("/revoke", rest),
            b"introspect" => ("/introspect", rest),
            b"guard" => ("/guarded", rest),
            _ => (usual, line),
        };
        let rest = session.fill(rest);
        if path != "/guarded" {
            let mut ask = Ask::post(path, &rest);
            let headers = &mut ask.parts.headers;
            headers
                .extend(site.map(|site| (HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static(site))));
            let cookie = HeaderValue::from_bytes(&session.fill(cookie)).ok().filter(|_| site.is_some());
            headers.extend(cookie.map(|cookie| (COOKIE, cookie)));
            session.ask(&ask);
        } else if let Some(ask) = Ask::post(path, b"").authorized(&rest) {
            session.ask(&ask);
        }
    }
}
