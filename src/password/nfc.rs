//! Passwords that are typed in several ways: one text has several spellings in Unicode, and keyboards differ.

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::secret::Secret;

/// The password in NFC (Unicode Standard Annex 15), if that is not how it was sent.
pub(super) fn nfc(password: &Secret) -> Option<Secret> {
    if is_nfc(password.expose()) {
        return None;
    }
    // NFC is at most three times as long. A buffer that grows would leave a copy behind.
    let mut text = String::with_capacity(3 * password.expose().len());
    text.extend(password.expose().nfc());
    Some(text.into())
}
