//! Secrets that must not leak, in any spelling.

use std::collections::HashMap;

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{
        GeneralPurpose,
        general_purpose::{NO_PAD, URL_SAFE_NO_PAD},
    },
};

const START: usize = 6;

#[derive(Default)]
pub struct Secrets {
    /// Spellings by their first bytes, so that one pass over a long log finds all of them.
    spellings: HashMap<[u8; START], Vec<Spelling>>,
}

struct Spelling {
    of: String,
    bytes: Vec<u8>,
}

impl Secrets {
    pub fn of(secrets: &[&str]) -> Self {
        let mut all = Self::default();
        secrets.iter().for_each(|secret| all.add(secret));
        all
    }

    pub fn add(&mut self, secret: &str) {
        self.add_bytes(secret, secret.as_bytes());
    }

    /// Adds the whole token, and its secret without the name of its family.
    pub fn add_refresh_token(&mut self, token: &str) {
        self.add(token);
        self.add_bytes(&format!("the secret of {token}"), &URL_SAFE_NO_PAD.decode(token).unwrap()[16..]);
    }

    /// Adds the whole token, and its signature.
    pub fn add_access_token(&mut self, token: &str) {
        self.add(token);
        self.add(token.rsplit('.').next().unwrap());
    }

    fn add_bytes(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= 8, "{name} is too short to be looked for");
        for bytes in spellings(secret) {
            let start = *bytes.first_chunk().unwrap();
            self.spellings.entry(start).or_default().push(Spelling { of: name.to_owned(), bytes });
        }
    }

    /// Fails if `text` contains one of them.
    pub fn assert_none_in(&self, place: &str, text: &[u8]) {
        for (at, start) in text.windows(START).enumerate() {
            for Spelling { of, bytes } in self.spellings.get(start).into_iter().flatten() {
                if text[at..].starts_with(bytes) {
                    let around = &text[at.saturating_sub(200)..text.len().min(at + 200)];
                    panic!("{of} is in {place}: {}", String::from_utf8_lossy(around));
                }
            }
        }
    }
}

/// The secret as it is, as a list of bytes, percent-encoded, in hex, and in base64, also as part of a longer text.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let each = |write: fn(&u8) -> String, between: &str| bytes.iter().map(write).collect::<Vec<_>>().join(between);
    let mut all = vec![
        each(|byte| byte.to_string(), ", "),
        each(|byte| format!("%{byte:02X}"), ""),
        each(|byte| format!("%{byte:02x}"), ""),
        each(|byte| format!("{byte:02X}"), ""),
        each(|byte| format!("{byte:02x}"), ""),
        each(|byte| if byte.is_ascii_alphanumeric() { char::from(*byte).into() } else { format!("%{byte:02X}") }, ""),
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        let base64 = GeneralPurpose::new(&alphabet, NO_PAD);
        for before in 0..3 {
            let encoded = base64.encode([&vec![0; before][..], bytes].concat());
            // Only the characters that do not depend on neighbouring bytes.
            let (first, last) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
            all.push(encoded[first..last].to_owned());
        }
    }
    [bytes.to_vec()].into_iter().chain(all.into_iter().map(String::into_bytes)).collect()
}
