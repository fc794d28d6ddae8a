//! Options for the tokens of other issuers.

use std::sync::Arc;

use serde_json::Value;

use super::{accepted::Accepted, validator::JwtValidator};

/// For the tokens of other issuers. Each accepts one thing that RFC 9068 does not allow; none is on by default. `exp`
/// and `sub` are always required.
impl JwtValidator {
    /// Also accepts tokens of type `JWT` and tokens without a type, as PyJWT and Keycloak write them.
    ///
    /// The type `at+jwt` distinguishes access tokens from ID tokens, which many issuers sign with the same key (RFC 8725, section
    /// 3.11). Without it, the audience must: check that yours is in no other kind of token.
    ///
    /// ```
    /// use tower_oauth2_password::{JwtValidator, Key};
    ///
    /// // The access tokens of Keycloak, in a realm that writes this audience, or none.
    /// let validator = JwtValidator::new(Key::hs256([7; 32])?, "https://login.example/realms/main", "api")
    ///     .with_untyped_tokens()
    ///     .with_optional_audience("typ", |typ| typ == "Bearer");
    /// # assert!(format!("{validator:?}").contains("login.example"));
    /// # Ok::<(), tower_oauth2_password::KeyError>(())
    /// ```
    pub fn with_untyped_tokens(self) -> Self {
        self.accepting(|accepted| accepted.untyped = true)
    }

    /// Also accepts a scope that is a list, and takes the claim `scp`, text or a list, where there is no `scope`.
    pub fn with_scope_lists(self) -> Self {
        self.accepting(|accepted| accepted.scope_lists = true)
    }

    /// Also accepts a `sub` that is a whole number. [`AccessToken::subject`](super::AccessToken::subject) has its digits.
    pub fn with_numeric_subjects(self) -> Self {
        self.accepting(|accepted| accepted.numeric_subjects = true)
    }

    /// Also accepts tokens without `jti`. They cannot be revoked one by one: the revocation endpoint answers 400
    /// `unsupported_token_type`.
    pub fn with_optional_id(self) -> Self {
        self.accepting(|accepted| accepted.no_id = true)
    }

    /// Also accepts tokens without `iat`. They are refused once all sessions of their subject were ended.
    pub fn with_optional_issue_time(self) -> Self {
        self.accepting(|accepted| accepted.no_issue_time = true)
    }

    /// Also accepts tokens without `iss`: the owner of the key is the issuer. Another `iss` is still refused.
    pub fn with_optional_issuer(self) -> Self {
        self.accepting(|accepted| accepted.no_issuer = true)
    }

    /// Also accepts tokens without `aud` whose `claim` is right, such as `typ`, which is `Bearer` in Keycloak's access tokens
    /// and `ID` in its ID tokens. Without an audience, this claim alone distinguishes access tokens from
    /// all else that the key signs.
    /// Another `aud` is still refused.
    pub fn with_optional_audience(
        self,
        claim: &str,
        is_right: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.accepting(|accepted| accepted.no_audience = Some((Arc::from(claim), Arc::new(is_right))))
    }

    fn accepting(mut self, change: impl FnOnce(&mut Accepted)) -> Self {
        change(&mut self.accepted);
        self
    }
}
