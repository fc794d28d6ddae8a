//! Access tokens that are JWTs (RFC 9068).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    InvalidToken, IssuedToken, TokenIssuer, TokenRequest, TokenValidator, access::AccessToken, key::Key,
    validator::JwtValidator, verification_key::VerificationKey,
};
use crate::error::{BoxError, TokenError};
use crate::observe;
use crate::secret::{debug_only, random};

const OWN_CLAIMS: &[&str] = &["iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id", "scope", "sid"];

/// Which of the two questions a validator is asked.
type Validate = fn(&dyn TokenValidator, &str) -> Result<AccessToken, InvalidToken>;

/// Issues and validates access tokens that are JWTs (RFC 9068). Cheap to clone. A server that only validates them needs a
/// [`JwtValidator`].
///
/// ```
/// use tower_oauth2_password::{Jwt, Key, TokenValidator};
///
/// let jwt = Jwt::new(Key::hs256([7; 32])?, "https://api.example", "api");
/// assert!(jwt.validate("not a token").is_err());
/// # Ok::<(), tower_oauth2_password::KeyError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Jwt {
    signing: Key,
    validator: JwtValidator,
    ttl: Duration,
    empty_scope: bool,
    /// With the longest lifetime of their tokens.
    others: Option<(Arc<dyn TokenValidator>, Duration)>,
}

impl Jwt {
    /// Tokens from `issuer` (`iss`), for `audience` (`aud`), that expire after 15 minutes.
    pub fn new(key: Key, issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        let (validator, ttl) = (JwtValidator::new(&key, issuer, audience), Duration::from_secs(900));
        Self { signing: key, validator, ttl, empty_scope: false, others: None }
    }

    /// The lifetime of a token, in whole seconds, at least one. The default is 15 minutes.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: ttl.max(Duration::from_secs(1)), ..self }
    }

    /// How far the clocks of issuer and validator may differ. The default is 0. More than 5 minutes count as 5 minutes
    /// (RFC 7519, section 4.1.4: "no more than a few minutes").
    pub fn with_leeway(self, leeway: Duration) -> Self {
        Self { validator: self.validator.with_leeway(leeway), ..self }
    }

    /// Sets the longest token in bytes that is issued and validated. The default is 4,096. Servers and proxies limit the
    /// size of headers, too.
    pub fn with_longest_token(self, bytes: usize) -> Self {
        Self { validator: self.validator.with_longest_token(bytes), ..self }
    }

    /// Also accepts tokens signed with `key`, so that keys can be rotated: add the next key everywhere, then sign with it,
    /// then remove the old one once its tokens have expired.
    ///
    /// ```
    /// use tower_oauth2_password::{Jwt, Key, TokenIssuer, TokenRequest, TokenValidator};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let (old, new) = (Key::hs256([1; 32])?, Key::hs256([2; 32])?);
    /// let before = Jwt::new(old.clone(), "https://api.example", "api");
    /// let after = Jwt::new(new, "https://api.example", "api").with_verification_key(old);
    /// let issued = before.issue(TokenRequest::new("alice")).await?;
    /// assert_eq!(after.validate(issued.token.expose())?.subject(), "alice");
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// # })?;
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    pub fn with_verification_key(self, key: impl Into<VerificationKey>) -> Self {
        Self { validator: self.validator.with_verification_key(key), ..self }
    }

    /// Also accepts the tokens that `validator` accepts, so that a move from another issuer logs nobody out. Its subjects are
    /// the same users. A token that lives for longer than `longest_ttl` from now on is refused: for so long it is remembered which
    /// subjects were ended. Remove it once the last of its tokens has expired.
    ///
    /// ```
    /// use std::time::Duration;
    /// use serde_json::Value;
    /// use tower_oauth2_password::{Jwt, JwtValidator, Key, TokenValidator};
    ///
    /// // jwt.encode({"sub": "johndoe", "scope": "me items", "exp": 4000000000}, "0123456789abcdef0123456789abcdef")
    /// let made_by_pyjwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    ///     eyJzdWIiOiJqb2huZG9lIiwic2NvcGUiOiJtZSBpdGVtcyIsImV4cCI6NDAwMDAwMDAwMH0.jO_WfxCuEcIdLQhLVQaYFuGm-rLG_pr4yTYxHgThusI";
    /// let key = Key::hs256("0123456789abcdef0123456789abcdef")?;
    /// let old = JwtValidator::new(&key, "https://api.example", "api")
    ///     .with_untyped_tokens()
    ///     .with_optional_id()
    ///     .with_optional_issue_time()
    ///     .with_optional_issuer()
    ///     .with_optional_audience("scope", Value::is_string);
    /// # let old = old.with_clock(|| 3_999_999_000);
    /// let jwt = Jwt::new(key, "https://api.example", "api").with_other_tokens(old, Duration::from_secs(30 * 60));
    /// # let jwt = jwt.with_clock(|| 3_999_999_000);
    /// assert_eq!(jwt.validate(made_by_pyjwt)?.subject(), "johndoe");
    /// # Ok::<(), tower_oauth2_password::BoxError>(())
    /// ```
    pub fn with_other_tokens(self, validator: impl TokenValidator, longest_ttl: Duration) -> Self {
        Self { others: Some((Arc::new(validator), longest_ttl)), ..self }
    }

    /// What `validate` makes of a token of ours, or else of one of the others.
    fn by_any(&self, token: &str, validate: Validate) -> Result<AccessToken, InvalidToken> {
        let own = validate(&self.validator, token);
        let (Err(_), Some((others, longest_ttl))) = (&own, &self.others) else { return own };
        let latest = Duration::from_secs((self.validator.clock)()).saturating_add(*longest_ttl);
        let in_time = |end: SystemTime| end.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|end| end <= latest);
        match validate(&**others, token) {
            Ok(token) if token.expires_at().is_some_and(in_time) => Ok(token),
            Err(InvalidToken::UnknownKey) => Err(InvalidToken::UnknownKey),
            _ => own,
        }
    }

    /// Writes the claim `scope` even if it is empty, for programs that require it. RFC 6749, section 3.3 has no empty scope,
    /// so the default leaves it out.
    pub fn with_empty_scope(self) -> Self {
        Self { empty_scope: true, ..self }
    }

    /// Takes the time from `clock`, in seconds since the Unix epoch, for tests.
    pub fn with_clock(self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { validator: self.validator.with_clock(clock), ..self }
    }

    fn sign(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        let id: [u8; 20] = random()?;
        let now = (self.validator.clock)();
        let ttl = request.ttl.map_or(self.ttl, |ttl| ttl.clamp(Duration::from_secs(1), self.ttl));
        let mut claims = request.claims;
        claims.retain(|name, _| !OWN_CLAIMS.contains(&name.as_str()));
        claims.insert("iss".to_owned(), (*self.validator.issuer).into());
        claims.insert("aud".to_owned(), (*self.validator.audience).into());
        claims.insert("exp".to_owned(), now.saturating_add(ttl.as_secs()).into());
        claims.insert("iat".to_owned(), now.into());
        claims.insert("jti".to_owned(), URL_SAFE_NO_PAD.encode(id).into());
        claims.insert("sub".to_owned(), request.subject.into());
        let scope = (self.empty_scope || !request.scope.is_empty()).then(|| request.scope.to_string());
        let optional = [("client_id", request.client_id), ("scope", scope), ("sid", request.session_id)];
        claims.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
        claims.extend(request.auth_time.map(|time| ("auth_time".to_owned(), time.into())));
        let amr = (!request.amr.is_empty()).then(|| ("amr".to_owned(), request.amr.into()));
        claims.extend(amr);

        let claims = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
        let message = format!("{}.{claims}", self.signing.verifying.header());
        let signature = self.signing.sign(message.as_bytes()).ok_or("the key did not sign")?;
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        let (length, longest) = (token.len(), self.validator.longest_token());
        if length > longest {
            let cause = format!(
                "it has {length} bytes: add fewer claims, or allow more than {longest} bytes with `with_longest_token`"
            );
            observe::failed("an access token is longer than the guard accepts", &*BoxError::from(cause));
            // It would be as long if it was tried again.
            return Err(TokenError::server_error().into());
        }
        Ok(IssuedToken::new(token, Duration::from_secs(ttl.as_secs())))
    }
}

debug_only!(Jwt { signing, validator });

impl TokenIssuer for Jwt {
    async fn issue(&self, request: TokenRequest) -> Result<IssuedToken, BoxError> {
        self.sign(request)
    }

    fn issuer(&self) -> Option<String> {
        Some(self.validator.issuer.to_string())
    }

    fn audience(&self) -> Option<String> {
        Some(self.validator.audience.to_string())
    }

    fn longest_ttl(&self) -> Duration {
        self.others.as_ref().map_or(self.ttl, |(_, ttl)| self.ttl.max(*ttl))
    }

    /// The public keys by which other servers validate the tokens: the signing key first, then those added with
    /// [`with_verification_key`](Jwt::with_verification_key). HMAC has no public key, so with HS256 alone the set is empty.
    ///
    /// ```
    /// use tower_oauth2_password::{Jwt, Key, TokenIssuer};
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----
    /// MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
    /// -----END PRIVATE KEY-----
    /// ";
    /// let jwt = Jwt::new(Key::eddsa_pem(pem)?, "https://api.example", "api").with_verification_key(Key::hs256([7; 32])?);
    /// assert_eq!(
    ///     jwt.jwks(),
    ///     serde_json::json!({ "keys": [{
    ///         "kty": "OKP",
    ///         "crv": "Ed25519",
    ///         "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    ///         "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    ///         "use": "sig",
    ///         "alg": "EdDSA",
    ///     }] })
    /// );
    /// # Ok::<(), tower_oauth2_password::KeyError>(())
    /// ```
    fn jwks(&self) -> Value {
        let mut keys: Vec<Value> = Vec::new();
        for key in self.validator.keys().iter().filter_map(VerificationKey::jwk) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        json!({ "keys": keys })
    }
}

impl TokenValidator for Jwt {
    fn validate(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self.by_any(token, <dyn TokenValidator>::validate)
    }

    fn validate_to_revoke(&self, token: &str) -> Result<AccessToken, InvalidToken> {
        self.by_any(token, <dyn TokenValidator>::validate_to_revoke)
    }

    fn longest_token(&self) -> usize {
        let others = self.others.as_ref().map_or(0, |(others, _)| others.longest_token());
        self.validator.longest_token().max(others)
    }
}

#[cfg(all(test, any(feature = "aws_lc_rs", feature = "rust_crypto")))]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];
    const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    const CLAIMS: &str = r#"{"iss":"https://api.example","aud":"api","exp":2000,"iat":1,"jti":"x","sub":"alice"}"#;

    fn jwt() -> Jwt {
        Jwt::new(Key::hs256(SECRET).unwrap(), "https://api.example", "api").with_clock(|| 1_000)
    }

    fn signed(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = Key::hs256(SECRET).unwrap().sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn bytes_that_are_not_utf8_are_not_a_token() {
        let with =
            |text: &str, member: &[u8]| [&text.as_bytes()[..text.len() - 1], b",\"x\":\"", member, b"\"}"].concat();
        assert!(jwt().validate(&signed(with(HEADER, b"y"), with(CLAIMS, b"y"))).is_ok());
        let bytes = b"\xCA";
        assert_eq!(jwt().validate(&signed(with(HEADER, bytes), CLAIMS)).err(), Some(InvalidToken::Malformed));
        assert_eq!(jwt().validate(&signed(HEADER, with(CLAIMS, bytes))).err(), Some(InvalidToken::Malformed));
    }

    #[test]
    fn an_issued_token_is_accepted_until_it_expires() {
        let mut request = TokenRequest::new("alice");
        request.client_id = Some("demo-web".to_owned());
        request.scope = "a b".parse().unwrap();
        request.claims.insert("tenant".to_owned(), "acme".into());
        request.claims.insert("sub".to_owned(), "mallory".into());
        let issued = jwt().sign(request).unwrap();
        let token = jwt().validate(issued.token.expose()).unwrap();
        assert_eq!((token.subject(), token.client_id()), ("alice", Some("demo-web")));
        assert_eq!(token.claim("tenant"), Some(&"acme".into()));
        assert_eq!((token.scope().as_str(), token.id().map(str::len)), ("a b", Some(27)), "20 bytes are random");
        assert_eq!(jwt().issuer().as_deref(), Some("https://api.example"));
        assert_eq!((token.issuer(), token.audience()), (Some("https://api.example"), &["api".to_owned()][..]));
        let at = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        assert_eq!((token.issued_at(), token.expires_at()), (at(1_000), at(1_900)));
        assert_eq!(issued.expires_in, Duration::from_secs(900));
        for (now, expected) in [(1_899, None), (1_900, Some(InvalidToken::Expired))] {
            assert_eq!(jwt().with_clock(move || now).validate(issued.token.expose()).err(), expected);
        }
    }

    #[test]
    fn no_token_is_issued_that_the_guard_rejects() {
        let with_claim = |length: usize| {
            let mut request = TokenRequest::new("alice");
            request.claims.insert("note".to_owned(), "x".repeat(length).into());
            jwt().sign(request)
        };
        let error = with_claim(4_000).unwrap_err().downcast::<TokenError>().unwrap();
        // Waiting does not help.
        assert_eq!((error.status().as_u16(), error.code(), error.retry_after_seconds()), (500, "server_error", None));
        let larger = jwt().with_longest_token(8_192);
        let mut request = TokenRequest::new("alice");
        request.claims.insert("note".to_owned(), "x".repeat(4_000).into());
        assert!(larger.validate(larger.sign(request).unwrap().token.expose()).is_ok());
        for length in (2_000..3_000).step_by(50) {
            if let Ok(issued) = with_claim(length) {
                assert!(jwt().validate(issued.token.expose()).is_ok(), "{length}");
            }
        }
    }

    #[test]
    fn a_token_over_4096_bytes_is_rejected_unparsed() {
        let of_length = |length: usize| {
            let padded = |(spaces, note): (usize, usize)| {
                let claims = CLAIMS.replace("\"iat\"", &format!("\"note\":\"{}\",\"iat\"", "x".repeat(note)));
                signed(format!("{HEADER}{}", " ".repeat(spaces)), claims)
            };
            let sizes = (0..3).flat_map(|spaces| (2_800..3_000).map(move |note| (spaces, note)));
            sizes.map(padded).find(|token| token.len() == length).unwrap()
        };
        assert_eq!(jwt().validate(&of_length(4_096)).err(), None);
        assert_eq!(jwt().validate(&of_length(4_097)).err(), Some(InvalidToken::Malformed));

        let issued = |(id, note): (usize, usize)| {
            let jwt = Jwt::new(Key::hs256(SECRET).unwrap().with_id("k".repeat(id)), "i", "a");
            let mut request = TokenRequest::new("alice");
            request.claims.insert("note".to_owned(), "x".repeat(note).into());
            jwt.sign(request).ok().map(|issued| issued.token.expose().len())
        };
        let sizes = (1..4).flat_map(|id| (2_700..2_950).map(move |note| (id, note)));
        assert_eq!(sizes.filter_map(issued).max(), Some(4_096));
    }

    #[test]
    fn clocks_may_differ_by_the_leeway_and_no_more() {
        let token = signed(HEADER, CLAIMS.replace("\"iat\":1", "\"iat\":1,\"nbf\":500"));
        for (now, leeway, expected) in [
            (499, 0, Some(InvalidToken::NotYetValid)),
            (500, 0, None),
            (1_999, 0, None),
            (2_000, 0, Some(InvalidToken::Expired)),
            (489, 10, Some(InvalidToken::NotYetValid)),
            (490, 10, None),
            (2_009, 10, None),
            (2_010, 10, Some(InvalidToken::Expired)),
            (2_299, 3_600, None),
            (2_300, 3_600, Some(InvalidToken::Expired)),
            (199, 3_600, Some(InvalidToken::NotYetValid)),
        ] {
            let jwt = jwt().with_clock(move || now).with_leeway(Duration::from_secs(leeway));
            assert_eq!(jwt.validate(&token).err(), expected, "at {now} with a leeway of {leeway}");
        }
    }

    #[test]
    fn a_lifetime_is_in_whole_seconds_and_at_least_one() {
        for (ttl, expected) in [(0, 1), (999, 1), (1_000, 1), (2_900, 2)] {
            let jwt = jwt().with_ttl(Duration::from_millis(ttl));
            let issued = jwt.sign(TokenRequest::new("alice")).unwrap();
            assert_eq!(issued.expires_in, Duration::from_secs(expected), "{ttl} ms");
            let expires_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1_000 + expected));
            assert_eq!(jwt.validate(issued.token.expose()).unwrap().expires_at(), expires_at, "{ttl} ms");
        }
    }

    #[test]
    fn debug_output_names_the_issuer_and_no_secret() {
        let secret = "a secret that nobody may ever see";
        let printed = format!("{:?}", Jwt::new(Key::hs256(secret).unwrap(), "https://api.example", "api"));
        assert!(printed.contains("HS256") && printed.contains("https://api.example"), "{printed}");
        assert!(!printed.contains("secret") && !printed.contains("97, 32, 115"), "{printed}");
    }

    #[test]
    fn validation_rules() {
        let (header, claims) = (HEADER, CLAIMS);
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
            ("R8.7", r#"["HS256","at+jwt",null]"#),
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

    #[tokio::test]
    async fn keys_rotate_under_one_id() {
        let [old, new] = [[1; 32], [2; 32]].map(|secret| Key::hs256(secret).unwrap().with_id("main"));
        let before = Jwt::new(old.clone(), "i", "a").issue(TokenRequest::new("alice")).await.unwrap();
        let strange = Jwt::new(Key::hs256([3; 32]).unwrap().with_id("main"), "i", "a");
        let strange = strange.issue(TokenRequest::new("alice")).await.unwrap();
        let after = Jwt::new(new, "i", "a").with_verification_key(old);
        assert!(after.validate(before.token.expose()).is_ok());
        assert_eq!(after.validate(strange.token.expose()).unwrap_err(), InvalidToken::Signature);
    }

    #[test]
    fn a_shared_issuer_says_the_same() {
        let jwt = Jwt::new(Key::hs256(SECRET).unwrap(), "i", "a").with_ttl(Duration::from_secs(77));
        fn says(issuer: &impl TokenIssuer) -> (Option<String>, Option<String>, Duration) {
            (issuer.issuer(), issuer.audience(), issuer.longest_ttl())
        }
        assert_eq!(says(&jwt), (Some("i".to_owned()), Some("a".to_owned()), Duration::from_secs(77)));
        assert_eq!(says(&Arc::new(jwt.clone())), says(&jwt));
    }

    #[test]
    fn jwks_list_each_public_key_once_and_no_secret() {
        let pem = b"-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
        let key = Key::eddsa_pem(pem).unwrap();
        let jwt = Jwt::new(key.clone(), "i", "a").with_verification_key(&key).with_verification_key(jwt().signing);
        assert_eq!(jwt.jwks(), json!({ "keys": [VerificationKey::from(key).jwk()] }));
        assert_eq!(jwt.jwks()["keys"][0]["kty"], "OKP");
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
