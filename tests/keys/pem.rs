//! Valid and invalid PEM files.

use base64::{Engine, engine::general_purpose::STANDARD};
use tower_oauth2_password::{JwtValidator, Key, KeyError, TokenValidator, VerificationKey};

use super::{AUDIENCE, ISSUER, fixture, header, issue, jwt, keys};

/// The object identifier rsaEncryption.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];

type Constructor<K> = fn(&[u8]) -> Result<K, KeyError>;

const PRIVATE: [(&str, Constructor<Key>); 3] =
    [("EdDSA", Key::eddsa_pem), ("ES256", Key::es256_pem), ("RS256", Key::rs256_pem)];
const PUBLIC: [(&str, Constructor<VerificationKey>); 3] = [
    ("EdDSA", VerificationKey::eddsa_pem),
    ("ES256", VerificationKey::es256_pem),
    ("RS256", VerificationKey::rs256_pem),
];

#[tokio::test]
async fn what_a_private_key_signs_its_public_key_verifies() {
    for ((name, key), (algorithm, public)) in keys().into_iter().zip(PUBLIC) {
        let public = public(&fixture(&format!("{name}.pub"))).unwrap();
        assert_eq!(public.id(), key.id(), "{name}: the thumbprint is the public key's");
        let token = issue(&jwt(key)).await;
        assert_eq!((&header(&token)["alg"], &header(&token)["typ"]), (&algorithm.into(), &"at+jwt".into()));
        let validator = JwtValidator::new(public, ISSUER, AUDIENCE);
        let access = validator.validate(&token).unwrap();
        assert_eq!((access.subject(), access.issuer()), ("alice", Some(ISSUER)));
        assert_eq!(access.audience(), [AUDIENCE]);
        assert!(access.issued_at().unwrap() < access.expires_at().unwrap());
        let (message, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        assert!(validator.validate(&format!("{message}.{first}{}", &signature[1..])).is_err(), "{name}");
    }
}

#[tokio::test]
async fn another_key_of_the_same_kind_does_not_verify() {
    let (key, other) = (Key::eddsa_pem(&fixture("ed25519")).unwrap(), fixture("ed25519-next"));
    let other = Key::eddsa_pem(&other).unwrap();
    assert_ne!(key.id(), other.id());
    let token = issue(&jwt(other.with_id(key.id()))).await;
    assert!(jwt(key).validate(&token).is_err());
}

#[test]
fn rsa_keys_may_be_in_pkcs1() {
    let key = Key::rs256_pem(&fixture("rsa2048-pkcs1")).unwrap();
    assert_eq!(key.id(), keys()[2].1.id());
    assert_eq!(VerificationKey::rs256_pem(&fixture("rsa2048-pkcs1.pub")).unwrap().id(), key.id());
}

#[test]
fn wrong_private_keys_are_rejected_with_the_reason() {
    let short = KeyError::TooShort { bytes: 128 };
    for (name, [eddsa, es256, rs256]) in [
        ("ed25519", [None, Some(KeyError::Unreadable), Some(KeyError::Unreadable)]),
        ("p256", [Some(KeyError::Unreadable), None, Some(KeyError::Unreadable)]),
        ("rsa2048", [Some(KeyError::Unreadable), Some(KeyError::Unreadable), None]),
        ("rsa1024", [Some(KeyError::Unreadable), Some(KeyError::Unreadable), Some(short)]),
        ("p384", [Some(KeyError::Unreadable); 3]),
        ("secp256k1", [Some(KeyError::Unreadable); 3]),
        ("ed448", [Some(KeyError::Unreadable); 3]),
        ("p256-sec1", [Some(KeyError::Unreadable); 3]),
        ("garbage", [Some(KeyError::Unreadable); 3]),
        ("certificate", [Some(KeyError::Unreadable); 3]),
        ("ed25519-encrypted", [Some(KeyError::Encrypted); 3]),
        ("rsa2048-encrypted", [Some(KeyError::Encrypted); 3]),
        ("ed25519.pub", [Some(KeyError::NotPrivate); 3]),
        ("p256.pub", [Some(KeyError::NotPrivate); 3]),
        ("rsa2048.pub", [Some(KeyError::NotPrivate); 3]),
        ("rsa2048-pkcs1.pub", [Some(KeyError::NotPrivate); 3]),
    ] {
        for ((algorithm, constructor), expected) in PRIVATE.into_iter().zip([eddsa, es256, rs256]) {
            assert_eq!(constructor(&fixture(name)).err(), expected, "{name} as {algorithm}");
        }
    }
}

#[test]
fn wrong_public_keys_are_rejected_with_the_reason() {
    let short = KeyError::TooShort { bytes: 128 };
    for (name, [eddsa, es256, rs256]) in [
        ("ed25519.pub", [None, Some(KeyError::Unreadable), Some(KeyError::Unreadable)]),
        ("p256.pub", [Some(KeyError::Unreadable), None, Some(KeyError::Unreadable)]),
        ("rsa2048.pub", [Some(KeyError::Unreadable), Some(KeyError::Unreadable), None]),
        ("rsa1024.pub", [Some(KeyError::Unreadable), Some(KeyError::Unreadable), Some(short)]),
        ("p256-compressed.pub", [Some(KeyError::Unreadable); 3]),
        ("p384.pub", [Some(KeyError::Unreadable); 3]),
        ("secp256k1.pub", [Some(KeyError::Unreadable); 3]),
        ("ed448.pub", [Some(KeyError::Unreadable); 3]),
        ("certificate", [Some(KeyError::Unreadable); 3]),
        ("ed25519", [Some(KeyError::NotPublic); 3]),
        ("p256-sec1", [Some(KeyError::NotPublic); 3]),
        ("rsa2048-pkcs1", [Some(KeyError::NotPublic); 3]),
        ("ed25519-encrypted", [Some(KeyError::Encrypted); 3]),
    ] {
        for ((algorithm, constructor), expected) in PUBLIC.into_iter().zip([eddsa, es256, rs256]) {
            assert_eq!(constructor(&fixture(name)).err(), expected, "{name} as {algorithm}");
        }
    }
}

#[test]
fn a_truncated_or_broken_file_is_an_error() {
    for (name, private) in ["ed25519", "p256", "rsa2048"].into_iter().zip(PRIVATE) {
        let (pem, public_pem) = (fixture(name), fixture(&format!("{name}.pub")));
        let end = |pem: &[u8]| pem.windows(9).position(|window| window == b"-----END ").unwrap() - 1;
        for cut in (0..end(&pem)).step_by(7) {
            assert!(private.1(&pem[..cut]).is_err(), "{name} cut at {cut}");
        }
        for cut in (0..end(&public_pem)).step_by(3) {
            for (_, public) in PUBLIC {
                let mut broken = public_pem[..cut].to_vec();
                assert!(public(&broken).is_err(), "{name} cut at {cut}");
                broken.extend(b"\n-----END PUBLIC KEY-----\n");
                assert!(public(&broken).is_err(), "{name} cut at {cut} and closed");
            }
        }
    }
}

fn public_pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn well_formed_files_with_impossible_keys_are_refused() {
    for length in [0, 1, 31, 33, 64] {
        let mut der = vec![0x30, length + 10, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, length + 1, 0x00];
        der.extend(vec![9; length.into()]);
        let key = VerificationKey::eddsa_pem(public_pem(&der).as_bytes());
        assert_eq!(key.err(), Some(KeyError::Unreadable), "{length} bytes");
    }
    // A modulus longer than any backend verifies.
    let modulus = vec![0x7F; 1_200];
    let mut der = [&[0x30, 0x82, 0x04, 0xB9, 0x02, 0x82, 0x04, 0xB0][..], &modulus, &[0x02, 0x03, 1, 0, 1]].concat();
    der = [&[0x30, 0x82, 0x04, 0xCE, 0x30, 0x0D, 0x06, 0x09][..], RSA, &[0x05, 0, 0x03, 0x82, 0x04, 0xBE, 0], &der]
        .concat();
    let length = u16::try_from(der.len() - 4).unwrap().to_be_bytes();
    der[2..4].copy_from_slice(&length);
    assert_eq!(VerificationKey::rs256_pem(public_pem(&der).as_bytes()).err(), Some(KeyError::Unreadable));
}

#[test]
fn errors_say_how_to_fix_the_key() {
    for (error, fix) in [
        (KeyError::Unreadable, "openssl pkcs8 -topk8"),
        (KeyError::Encrypted, "openssl pkey"),
        (KeyError::NotPrivate, "needs the private key"),
        (KeyError::NotPublic, "-pubout"),
        (KeyError::TooShort { bytes: 128 }, "128 bytes"),
    ] {
        assert!(error.to_string().contains(fix), "{error}");
    }
}
