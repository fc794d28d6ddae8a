//! Keys from a JWK Set (RFC 7517, section 5), which are replaced while a validator runs.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{backend::provider, key_error::KeyError, validator::JwtValidator, verification_key::VerificationKey};
use crate::sync::{timeout_at, unwind_guarded_future, write};
use crate::{error::BoxError, observe};

const MOST_BYTES: usize = 65_536;
const MOST_KEYS: usize = 100;
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two reloads, however many tokens ask for one.
const REST: Duration = Duration::from_secs(60);
/// With the rest it is an hour.
const UNASKED: Duration = Duration::from_secs(3_540);
const FAILED: &str = "a JWK Set could not be used: the keys stay as they were";

impl JwtValidator {
    /// Accepts tokens from `issuer` (`iss`), for `audience` (`aud`), signed with a key of the JWK Set that `fetch` returns.
    ///
    /// 1. `fetch` is called here, then once an hour, and, at most once a minute, when a token of the issuer names an unknown
    ///    `kid`. That token is still refused; the next one is accepted if the new set has its key. A call may take 30 s.
    /// 2. Each set is used as [`replace_keys`](Self::replace_keys) says. If a later call fails, panics or takes too long,
    ///    the keys stay in force, and a warning is logged.
    /// 3. The task that fetches runs on the tokio runtime of this call. It ends within 90 s after the last clone of the
    ///    validator. If the runtime ends before, the keys stay as they are.
    ///
    /// Fetch over HTTPS: a set that others can change lets them sign tokens. If you do not trust the other server's size, read no
    /// more than 64 KiB. The crate has no HTTP client. With reqwest,
    /// `fetch` is `|| async { Ok(reqwest::get("https://login.example/jwks").await?.bytes().await?) }`.
    ///
    /// # Errors
    /// When the first call fails, takes more than 30 s, or its set is unusable; when tokio's timer is not enabled.
    ///
    /// ```
    /// use tower_oauth2_password::{BearerLayer, BoxError, JwtValidator};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// let fetch = || async { Ok(String::from_utf8(SET.into())?) };
    /// let validator = JwtValidator::from_jwks(fetch, "https://login.example", "api").await?;
    /// let guard = BearerLayer::new(validator);
    ///
    /// let unusable = || async { Ok(r#"{"keys":[]}"#) };
    /// let error = JwtValidator::from_jwks(unusable, "https://login.example", "api").await.unwrap_err();
    /// assert!(error.to_string().contains("the JWK Set has no usable key"));
    /// # Ok::<(), BoxError>(())
    /// # })?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub async fn from_jwks<Fetched, Set: AsRef<[u8]> + 'static>(
        fetch: impl Fn() -> Fetched + Send + Sync + 'static,
        issuer: impl Into<String>,
        audience: impl Into<String>,
    ) -> Result<Self, BoxError>
    where
        Fetched: Future<Output = Result<Set, BoxError>> + Send + 'static,
    {
        let load = async move || -> Result<_, BoxError> {
            let keys = unwind_guarded_future(async { Ok(read_set(fetch().await?.as_ref())?) });
            timeout_at(Instant::now() + DEADLINE, keys).await?.unwrap_or_else(|| Err("fetching it panicked".into()))
        };
        let (reloads, mut asked) = mpsc::channel(1);
        let mut validator = Self::of(load().await?, issuer.into(), audience.into());
        validator.reloads = Some(reloads);
        let keys = Arc::clone(&validator.keys);
        tokio::spawn(async move {
            // The channel closes with the last clone.
            while !matches!(timeout(UNASKED, asked.recv()).await, Ok(None)) {
                match load().await {
                    Ok(new) => *write(&keys) = new,
                    Err(error) => observe::failed(FAILED, &*error),
                }
                sleep(REST).await;
            }
        });
        Ok(validator)
    }

    /// Replaces the keys by those of a JWK Set (RFC 7517, section 5), in this validator and its clones, and returns how many
    /// they are. Keys of [`with_verification_key`](Self::with_verification_key) stay.
    ///
    /// A key that [`VerificationKey::from_jwk`] refuses is ignored. Of keys with one `kid`, none counts.
    ///
    /// # Errors
    /// When the set is larger than 64 KiB or has more than 100 keys, cannot be read, or has no usable key. The keys stay in
    /// force, and a warning is logged.
    ///
    /// ```
    /// use tower_oauth2_password::{Jwt, JwtValidator, Key, KeyError, TokenIssuer};
    ///
    /// let pem = b"-----BEGIN PRIVATE KEY-----
    /// MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
    /// -----END PRIVATE KEY-----
    /// ";
    /// let jwks = Jwt::new(Key::eddsa_pem(pem)?, "https://login.example", "api").jwks().to_string();
    /// let validator = JwtValidator::new(Key::hs256([7; 32])?, "https://login.example", "api");
    /// assert_eq!(validator.replace_keys(jwks.as_bytes())?, 1);
    /// assert_eq!(validator.replace_keys(b"<html>"), Err(KeyError::UnreadableJwkSet));
    /// # Ok::<(), KeyError>(())
    /// ```
    pub fn replace_keys(&self, jwks: &[u8]) -> Result<usize, KeyError> {
        let keys = read_set(jwks).inspect_err(|error| observe::failed(FAILED, error))?;
        write(&self.keys).clone_from(&keys);
        Ok(keys.len())
    }
}

/// The usable keys of a set, at least one.
fn read_set(jwks: &[u8]) -> Result<Vec<VerificationKey>, KeyError> {
    provider()?;
    let set = if jwks.len() > MOST_BYTES { Value::Null } else { serde_json::from_slice(jwks).unwrap_or_default() };
    let jwks = set.get("keys").and_then(Value::as_array).filter(|jwks| jwks.len() <= MOST_KEYS);
    let jwks = jwks.ok_or(KeyError::UnreadableJwkSet)?;
    // Keys that are unusable have ids, too.
    let is_only = |key: &VerificationKey| jwks.iter().filter(|jwk| jwk["kid"] == key.id()).count() < 2;
    let keys: Vec<_> = jwks.iter().filter_map(|jwk| VerificationKey::from_jwk(jwk).ok()).filter(is_only).collect();
    if keys.is_empty() { Err(KeyError::NoUsableKey) } else { Ok(keys) }
}

#[cfg(all(test, feature = "tracing", any(feature = "aws_lc_rs", feature = "rust_crypto")))]
mod tests {
    use super::*;
    use crate::{observe::tests::logged, token::key::Key};

    // Equal warnings are logged once in a while, so that no other test in this process may cause this one.
    #[test]
    fn an_unusable_set_is_logged() {
        let validator = JwtValidator::new(Key::hs256([7; 32]).unwrap(), "i", "a");
        let log = logged(|| assert_eq!(validator.replace_keys(br#"{"keys":[]}"#), Err(KeyError::NoUsableKey)));
        for part in [" WARN ", "the keys stay as they were", "the JWK Set has no usable key"] {
            assert!(log.contains(part), "{log}");
        }
    }
}
