//! What the server and the authenticator app share.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use totp_rs::Builder;
use tower_oauth2_password::{BoxError, InvalidConfig, Secret};
use zeroize::Zeroizing;

/// The length that RFC 4226, section 4, recommends, in bytes.
const LENGTH: usize = 20;

/// From what RFC 4226, section 4, requires up to the block of SHA-1, which would hash a longer key first.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;

/// What RFC 3986, section 2.3, leaves as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The secret that the server shares with a user's authenticator app.
///
/// Whoever reads it can make codes, so encrypt it in your table if you can keep a key elsewhere. It is overwritten on drop, and
/// `Debug` prints `[redacted]`.
///
/// ```
/// use tower_oauth2_password_totp::TotpSecret;
///
/// let secret = TotpSecret::generate()?;
/// let stored = secret.to_base32();
/// let again = TotpSecret::from_base32(stored.expose())?;
/// assert_eq!(again.to_base32().expose(), stored.expose());
/// assert_eq!(stored.expose().len(), 32); // 160 bits
/// assert_eq!(format!("{secret:?}"), "[redacted]");
/// # Ok::<(), tower_oauth2_password::BoxError>(())
/// ```
#[derive(Clone)]
pub struct TotpSecret(pub(crate) totp_rs::Secret);

impl TotpSecret {
    /// 160 random bits, as RFC 4226, section 4, recommends.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<Self, BoxError> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(totp_rs::Secret::from(bytes.as_slice())))
    }

    /// Reads what [`to_base32`](Self::to_base32) wrote, or what another program stored: base32 in capitals,
    /// without padding.
    ///
    /// # Errors
    /// If it is not base32, or has less than 128 bits (RFC 4226, section 4) or more than 512.
    pub fn from_base32(text: &str) -> Result<Self, InvalidConfig> {
        let secret = totp_rs::Secret::try_from_base32(text).ok().filter(|secret| LENGTHS.contains(&secret.len()));
        let hint = "a TOTP secret is base32 in capitals, without padding, of 128 to 512 bits; enrol the user again";
        secret.map(Self).ok_or_else(|| InvalidConfig::new(hint))
    }

    /// The secret in base32: for your table, and for users who type it into their app.
    pub fn to_base32(&self) -> Secret {
        self.0.to_base32().into()
    }

    /// The `otpauth://` URL of this secret, which authenticator apps read as a QR code. `issuer` is the name of your service, and
    /// `account` what the user calls the account. All characters are percent-encoded where they must be.
    ///
    /// Render the QR code yourself. A service on the network that does it would know the secret.
    ///
    /// ```
    /// use tower_oauth2_password_totp::TotpSecret;
    ///
    /// let secret = TotpSecret::from_base32("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")?;
    /// let url = "otpauth://totp/Tea%20%26%20Co:alice%40api.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
    ///     &issuer=Tea%20%26%20Co&algorithm=SHA1&digits=6&period=30";
    /// assert_eq!(secret.url("Tea & Co", "alice@api.example")?.expose(), url);
    /// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// If the issuer is empty or has a colon, which ends it in the URL.
    pub fn url(&self, issuer: &str, account: &str) -> Result<Secret, InvalidConfig> {
        if issuer.is_empty() || issuer.contains(':') {
            return Err(InvalidConfig::new("the issuer is the name of your service, not empty and without a colon"));
        }
        let encoded = |text| utf8_percent_encode(text, ENCODED);
        let (issuer, account, secret) = (encoded(issuer), encoded(account), self.to_base32());
        let secret = secret.expose();
        let url = format!(
            "otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
        );
        Ok(url.into())
    }

    /// The step that a code of six digits belongs to, if it is that of `time` (seconds since 1970), the one before, or the one
    /// after (RFC 6238, section 5.2).
    pub(crate) fn step_of(&self, code: &str, time: u64) -> Option<u64> {
        // SHA-1, six digits, 30 seconds, and one step either way.
        let totp = Builder::new().with_secret(self.0.clone()).build().ok()?;
        // Its arithmetic ends before that of u64 does.
        totp.check(code, time.min(u64::MAX / 2))
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
