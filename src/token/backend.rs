//! The crypto backend of `jsonwebtoken`. It is named here directly: the library's process-wide choice panics where both
//! of its features are enabled, or none.

use jsonwebtoken::crypto::CryptoProvider;

use super::key_error::KeyError;

#[cfg(feature = "aws_lc_rs")]
static PROVIDER: Option<&CryptoProvider> = Some(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER);
#[cfg(all(feature = "rust_crypto", not(feature = "aws_lc_rs")))]
static PROVIDER: Option<&CryptoProvider> = Some(&jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER);
#[cfg(not(any(feature = "rust_crypto", feature = "aws_lc_rs")))]
static PROVIDER: Option<&CryptoProvider> = None;

pub(super) fn provider() -> Result<&'static CryptoProvider, KeyError> {
    PROVIDER.ok_or(KeyError::NoBackend)
}
