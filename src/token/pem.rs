//! Reads keys in PEM, and checks what the crypto backend does not: the label of the block, the length of an RSA modulus.

use super::{backend::provider, key_error::KeyError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Private,
    Public,
}

/// How jsonwebtoken reads a PEM block.
pub(super) type Parse<K> = fn(&[u8]) -> jsonwebtoken::errors::Result<K>;

/// The key in a PEM block, if it is the wanted half of one.
pub(super) fn read<K>(pem: &[u8], wanted: Half, parse: Parse<K>) -> Result<K, KeyError> {
    provider()?;
    check(pem, wanted)?;
    parse(pem).map_err(|_| KeyError::Unreadable)
}

/// Rejects a block that is not the wanted half of a key, and says why.
fn check(pem: &[u8], wanted: Half) -> Result<(), KeyError> {
    let text = String::from_utf8_lossy(pem);
    let label = text.split_once("-----BEGIN ").and_then(|(_, rest)| rest.split_once("-----")).map(|(label, _)| label);
    match (label.unwrap_or_default(), wanted) {
        ("PRIVATE KEY" | "RSA PRIVATE KEY", _) if text.contains("\nProc-Type: 4,ENCRYPTED") => Err(KeyError::Encrypted),
        ("ENCRYPTED PRIVATE KEY", _) => Err(KeyError::Encrypted),
        ("PRIVATE KEY" | "RSA PRIVATE KEY", Half::Private) | ("PUBLIC KEY" | "RSA PUBLIC KEY", Half::Public) => Ok(()),
        ("PUBLIC KEY" | "RSA PUBLIC KEY", Half::Private) => Err(KeyError::NotPrivate),
        ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY", Half::Public) => Err(KeyError::NotPublic),
        _ => Err(KeyError::Unreadable),
    }
}

/// Rejects weak RSA keys, and those over 4,096 bits, which not every backend verifies.
pub(super) fn check_modulus(der: &[u8], half: Half) -> Result<(), KeyError> {
    check_bits(modulus(der, half).ok_or(KeyError::Unreadable)?)
}

/// The same for a modulus by itself.
pub(super) fn check_bits(modulus: &[u8]) -> Result<(), KeyError> {
    match 8 * modulus.len() - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize) {
        bits @ ..2_048 => Err(KeyError::TooShort { bytes: bits / 8 }),
        2_048..=4_096 => Ok(()),
        _ => Err(KeyError::Unreadable),
    }
}

/// The modulus in a PKCS#1 key: the first INTEGER of a public key, the second of a private one.
fn modulus(der: &[u8], half: Half) -> Option<&[u8]> {
    let (sequence, _) = element(der, 0x30)?;
    let after_version = if half == Half::Private { element(sequence, 0x02)?.1 } else { sequence };
    let (modulus, _) = element(after_version, 0x02)?;
    modulus.get(modulus.iter().take_while(|byte| **byte == 0).count()..)
}

/// The content of the DER element that `der` begins with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let [found, first] = *head;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81 => rest.split_first_chunk::<1>().map(|([length], rest)| (usize::from(*length), rest))?,
        0x82 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_depends_on_the_label() {
        for (text, private, public) in [
            ("-----BEGIN PRIVATE KEY-----\n", Ok(()), Err(KeyError::NotPublic)),
            ("-----BEGIN PUBLIC KEY-----\n", Err(KeyError::NotPrivate), Ok(())),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", Err(KeyError::Encrypted), Err(KeyError::Encrypted)),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
                Err(KeyError::Encrypted),
                Err(KeyError::Encrypted),
            ),
            ("-----BEGIN CERTIFICATE-----\n", Err(KeyError::Unreadable), Err(KeyError::Unreadable)),
            ("-----BEGIN EC PRIVATE KEY-----\n", Err(KeyError::Unreadable), Err(KeyError::NotPublic)),
            ("-----BEGIN PUBLIC KEY", Err(KeyError::Unreadable), Err(KeyError::Unreadable)),
            ("", Err(KeyError::Unreadable), Err(KeyError::Unreadable)),
        ] {
            assert_eq!(check(text.as_bytes(), Half::Private), private, "{text}");
            assert_eq!(check(text.as_bytes(), Half::Public), public, "{text}");
        }
    }

    #[test]
    fn a_modulus_has_256_to_512_bytes() {
        for (bytes, expected) in [
            (255, Err(KeyError::TooShort { bytes: 255 })),
            (256, Ok(())),
            (512, Ok(())),
            (513, Err(KeyError::Unreadable)),
        ] {
            let length = |bytes: u16| [0x82, bytes.to_be_bytes()[0], bytes.to_be_bytes()[1]];
            let mut public = vec![0x30];
            public.extend(length(bytes + 4));
            public.push(0x02);
            public.extend(length(bytes));
            public.resize(public.len() + usize::from(bytes), 0xFF);
            assert_eq!(check_modulus(&public, Half::Public), expected, "{bytes}");
        }
        assert_eq!(check_modulus(b"", Half::Public), Err(KeyError::Unreadable));
    }

    #[test]
    fn a_modulus_has_2048_to_4096_bits() {
        for (first, length, expected) in [
            (0x7F, 256, Err(KeyError::TooShort { bytes: 255 })),
            (0x80, 256, Ok(())),
            (0x01, 257, Ok(())),
            (0xFF, 512, Ok(())),
            (0x01, 513, Err(KeyError::Unreadable)),
        ] {
            let mut modulus = vec![0xFF; length];
            modulus[0] = first;
            assert_eq!(check_bits(&modulus), expected, "{first:x} {length}");
        }
        assert_eq!(check_bits(b""), Err(KeyError::TooShort { bytes: 0 }));
    }

    #[test]
    fn the_modulus_is_measured_without_its_sign_byte() {
        let mut public = vec![0x30, 0x82, 0x01, 0x08, 0x02, 0x82, 0x01, 0x01, 0x00];
        public.extend([0xFF; 256]);
        public.extend([0x02, 0x01, 0x03]);
        let modulus_bytes = |der: &[u8], half| modulus(der, half).map(<[u8]>::len);
        assert_eq!(modulus_bytes(&public, Half::Public), Some(256));
        for length in 0..public.len() - 3 {
            assert_eq!(modulus_bytes(&public[..length], Half::Public), None);
        }
        assert_eq!(modulus_bytes(&[0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x05], Half::Private), Some(1));
        let mut short = vec![0x30, 0x81, 0x83, 0x02, 0x81, 0x80];
        short.extend([0xFF; 128]);
        assert_eq!(modulus_bytes(&short, Half::Public), Some(128));
        assert_eq!(modulus_bytes(&[0x30, 0x84, 0, 0, 0, 1], Half::Public), None);
    }
}
