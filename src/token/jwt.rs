//! Access tokens as JWTs, in the form of RFC 9068.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AccessToken, InvalidToken, IssuedToken, Key, TokenIssuer, TokenRequest, TokenValidator};
use crate::{BoxError, Scope};

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 4_096;
const OWN_CLAIMS: &[&str] = &["iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id", "scope"];

type Clock = dyn Fn() -> u64 + Send + Sync;

/// Makes and checks access tokens as JWTs, in the form of RFC 9068. Cheap to clone.
///
/// ```
/// use tower_oauth2_password::{Jwt, Key, TokenValidator};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// assert!(jwt.validate("not a token").is_err());
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone)]
pub struct Jwt {
    signing: Key,
    verifying: Arc<Vec<Key>>,
    issuer: Arc<str>,
    audience: Arc<str>,
    ttl: Duration,
    leeway: Duration,
    clock: Arc<Clock>,
}

impl Jwt {
    /// Tokens by `issuer` (`iss`), for `audience` (`aud`), good for 15 minutes.
    #[must_use]
    pub fn new(key: Key, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            verifying: Arc::new(vec![key.clone()]),
            signing: key,
            issuer: Arc::from(issuer.into()),
            audience: Arc::from(audience.into()),
            ttl: Duration::from_secs(900),
            leeway: Duration::ZERO,
            clock: Arc::new(now),
        }
    }

    /// How long a token is good, in whole seconds.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How far the clocks of issuer and validator may differ: not at all unless set.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Also accepts tokens signed with `key`, so that keys can be rotated: add the next one everywhere, then sign
    /// with it, then drop the old one once its tokens have expired.
    #[must_use]
    pub fn with_verification_key(mut self, key: Key) -> Self {
        Arc::make_mut(&mut self.verifying).push(key);
        self
    }

    /// The time in seconds since the epoch, instead of the system's, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn sign(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        let mut id = [0; 20];
        getrandom::fill(&mut id)?;
        let now = (self.clock)();
        let mut claims = request.claims;
        claims.retain(|name, _| !OWN_CLAIMS.contains(&name.as_str()));
        claims.insert("iss".to_owned(), self.issuer.as_ref().into());
        claims.insert("aud".to_owned(), self.audience.as_ref().into());
        claims.insert("exp".to_owned(), now.saturating_add(self.ttl.as_secs()).into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("jti".to_owned(), URL_SAFE_NO_PAD.encode(id).into());
        claims.insert("sub".to_owned(), request.subject.into());
        if let Some(client_id) = request.client_id {
            claims.insert("client_id".to_owned(), client_id.into());
        }
        claims.insert("scope".to_owned(), request.scope.as_str().into());

        let header = json!({ "typ": "at+jwt", "alg": self.signing.algorithm(), "kid": self.signing.id() });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(Value::Object(claims).to_string(), &mut token);
        let signature = self.signing.sign(token.as_bytes()).ok_or("the key did not sign")?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(IssuedToken::new(token, Duration::from_secs(self.ttl.as_secs())))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("keys", &self.verifying)
            .finish_non_exhaustive()
    }
}

impl TokenIssuer for Jwt {
    async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        self.sign(request)
    }
}

// Known members that are there twice are refused by serde, unknown ones are not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
    #[serde(rename = "iat")]
    _iat: f64,
    jti: String,
    sub: String,
    client_id: Option<String>,
    #[serde(default)]
    scope: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl TokenValidator for Jwt {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        if token.len() > LONGEST {
            return Err(InvalidToken::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(InvalidToken::Malformed)?;
        let [header, payload, signature] = [decode(header)?, decode(payload)?, decode(signature)?];

        let header: Header = serde_json::from_slice(&header).map_err(|_| InvalidToken::Malformed)?;
        let typed = ["at+jwt", "application/at+jwt"].iter().any(|typ| header.typ.eq_ignore_ascii_case(typ));
        if !typed || header.crit {
            return Err(InvalidToken::Malformed);
        }
        let signed = self
            .verifying
            .iter()
            .filter(|key| header.kid.as_deref().is_none_or(|id| id == key.id()) && header.alg == key.algorithm())
            .any(|key| key.verify(message.as_bytes(), &signature));
        if !signed {
            return Err(InvalidToken::Signature);
        }

        let claims: Claims = serde_json::from_slice(&payload).map_err(|_| InvalidToken::Malformed)?;
        let for_us = match &claims.aud {
            Audience::One(audience) => **audience == *self.audience,
            Audience::Several(audiences) => audiences.iter().any(|audience| **audience == *self.audience),
        };
        if !for_us || *claims.iss != *self.issuer {
            return Err(InvalidToken::NotForThisServer);
        }
        let (now, leeway) = ((self.clock)() as f64, self.leeway.as_secs_f64());
        if claims.exp + leeway <= now {
            return Err(InvalidToken::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now + leeway) {
            return Err(InvalidToken::NotYetValid);
        }
        let scope: Scope = claims.scope.parse().map_err(|_| InvalidToken::Malformed)?;
        let mut access = AccessToken::new(claims.sub)
            .with_scope(scope)
            .with_id(claims.jti)
            .with_expires_at(claims.exp as u64)
            .with_claims(claims.others);
        if let Some(client_id) = claims.client_id {
            access = access.with_client_id(client_id);
        }
        Ok(access)
    }
}

/// Unpadded and canonical base64url, so that one token has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, InvalidToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| InvalidToken::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn jwt() -> Jwt {
        Jwt::new(Key::hs256(SECRET).unwrap(), "https://api.example", "api").with_clock(|| 1_000)
    }

    fn signed(header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = Key::hs256(SECRET).unwrap().sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn what_is_issued_is_accepted_until_it_expires() {
        let mut request = TokenRequest::new("alice");
        request.client_id = Some("demo-web".to_owned());
        request.scope = "a b".parse().unwrap();
        request.claims.insert("tenant".to_owned(), "acme".into());
        request.claims.insert("sub".to_owned(), "mallory".into());
        let issued = jwt().sign(request).unwrap();
        let token = jwt().validate(issued.token.expose()).unwrap();
        assert_eq!((token.subject(), token.client_id()), ("alice", Some("demo-web")));
        assert_eq!(token.claim("tenant"), Some(&"acme".into()));
        for (now, expected) in [(1_899, None), (1_900, Some(InvalidToken::Expired))] {
            assert_eq!(jwt().with_clock(move || now).validate(issued.token.expose()).err(), expected);
        }
    }

    #[test]
    fn rules_of_receipt() {
        let header = r#"{"alg":"HS256","typ":"at+jwt"}"#;
        let claims = r#"{"iss":"https://api.example","aud":"api","exp":2000,"iat":1,"jti":"x","sub":"alice"}"#;
        assert!(jwt().validate(&signed(header, claims)).is_ok());
        assert!(jwt().validate(&signed(r#"{"alg":"HS256","typ":"Application/AT+JWT"}"#, claims)).is_ok(), "R8.5");
        for (clause, header) in [
            ("R8.3", r#"{"alg":"none","typ":"at+jwt"}"#),
            ("R8.3", r#"{"alg":"nOnE","typ":"at+jwt"}"#),
            ("R8.3", r#"{"alg":"HS512","typ":"at+jwt"}"#),
            ("R8.3 kid", r#"{"alg":"HS256","typ":"at+jwt","kid":"other"}"#),
            ("R8.4", r#"{"alg":"HS256","typ":"at+jwt","crit":["b64"]}"#),
            ("R8.4", r#"{"alg":"HS256","typ":"at+jwt","crit":null}"#),
            ("R8.5", r#"{"alg":"HS256","typ":"JWT"}"#),
            ("R8.5", r#"{"alg":"HS256"}"#),
            ("R8.7", r#"{"alg":"HS256","alg":"HS256","typ":"at+jwt"}"#),
        ] {
            assert!(jwt().validate(&signed(header, claims)).is_err(), "{clause}: {header}");
        }
        for (clause, from, to) in [
            ("R8.6 iss", "https://api.example", "https://api.example/"),
            ("R8.6 aud", "\"aud\":\"api\"", "\"aud\":[\"other\"]"),
            ("R8.6 aud missing", "\"aud\":\"api\",", ""),
            ("R8.6 exp missing", "\"exp\":2000,", ""),
            ("R8.6 exp text", "2000", "\"2000\""),
            ("R8.6 iat missing", "\"iat\":1,", ""),
            ("R8.6 jti missing", "\"jti\":\"x\",", ""),
            ("R8.6 sub missing", ",\"sub\":\"alice\"", ""),
            ("R8.6 sub number", "\"alice\"", "7"),
            ("R8.6 nbf", "\"iat\":1", "\"iat\":1,\"nbf\":1001"),
            ("R8.7", "\"iat\":1", "\"iat\":1,\"sub\":\"bob\""),
        ] {
            let changed = claims.replace(from, to);
            assert_ne!(changed, claims);
            assert!(jwt().validate(&signed(header, &changed)).is_err(), "{clause}: {changed}");
        }
        let several = claims.replace("\"aud\":\"api\"", "\"aud\":[\"other\",\"api\"]");
        assert!(jwt().validate(&signed(header, &several)).is_ok(), "R8.6 aud");
        assert!(jwt().validate(&format!("{}=", signed(header, claims))).is_err(), "R8.7 padding");
    }

    #[test]
    fn keys_rotate() {
        let (old, new) = (Key::hs256([1; 32]).unwrap(), Key::hs256([2; 32]).unwrap());
        let before = Jwt::new(old.clone(), "i", "a");
        let after = Jwt::new(new, "i", "a").with_verification_key(old);
        let token = before.sign(TokenRequest::new("alice")).unwrap();
        assert!(after.validate(token.token.expose()).is_ok());
        let token = after.sign(TokenRequest::new("alice")).unwrap();
        assert_eq!(before.validate(token.token.expose()).err(), Some(InvalidToken::Signature));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused(text: String) {
            proptest::prop_assert!(jwt().validate(&text).is_err());
        }
    }
}
