//! Argon2 (RFC 9106) hashes as PHC strings.

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Params, PasswordHash, Version};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::backend::{Memory, fill};
use super::params::Argon2Params;
use crate::secret::random;

/// A stored hash that can be checked, at a cost within the caps.
pub(super) struct StoredHash {
    algorithm: Algorithm,
    version: Version,
    pub(super) params: Argon2Params,
    salt: Salt,
    output: Output,
}

impl StoredHash {
    /// Or why it cannot be checked.
    pub(super) fn parse(phc: &str) -> Result<Self, &'static str> {
        let hash = PasswordHash::new(phc).map_err(|_| "it is not a PHC string, or its base64 is padded or cut off")?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| "its scheme is not Argon2")?;
        // A PHC string without a version has the first one.
        let version =
            hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(|_| "its version is unknown")?;
        let stored = Params::try_from(&hash).map_err(|_| "its parameters are not those of Argon2")?;
        let params = Argon2Params { m_cost: stored.m_cost(), t_cost: stored.t_cost(), p_cost: stored.p_cost() };
        let (salt, output) = hash.salt.zip(hash.hash).ok_or("it is cut off: the salt or the hash is missing")?;
        if !stored.keyid().is_empty() || !stored.data().is_empty() {
            return Err("it has a key id or associated data");
        }
        if !params.within_caps() {
            return Err("its cost is over the caps: m=262144, t=10, p=16");
        }
        if salt.as_ref().len() < argon2::MIN_SALT_LEN {
            return Err("its salt is too short");
        }
        Ok(Self { algorithm, version, params, salt, output })
    }

    pub(super) fn verify(&self, password: &str, memory: &mut Memory) -> bool {
        let expected = self.output.as_bytes();
        let mut computed = Zeroizing::new(vec![0; expected.len()]);
        fill(self.algorithm, self.version, self.params, password.as_bytes(), self.salt.as_ref(), &mut computed, memory)
            .is_some_and(|()| computed.ct_eq(expected).into())
    }

    /// Whether a new hash would be better than this one. One that costs more memory or more work than a new one stays.
    pub(super) fn is_outdated(&self, current: Argon2Params) -> bool {
        let is_stronger = self.params.m_cost > current.m_cost || self.params.work() > current.work();
        !is_stronger
            && (self.algorithm != Algorithm::Argon2id
                || self.version != Version::V0x13
                || self.params != current
                || self.salt.as_ref().len() < argon2::RECOMMENDED_SALT_LEN
                || self.output.as_bytes().len() < Params::DEFAULT_OUTPUT_LEN)
    }
}

/// The work of one hash, for an attempt that has none to check. No password is right.
pub(super) fn spend(params: Argon2Params, password: &str, memory: &mut Memory) -> Option<bool> {
    let mut output = Zeroizing::new([0; Params::DEFAULT_OUTPUT_LEN]);
    fill(Algorithm::Argon2id, Version::V0x13, params, password.as_bytes(), &[0; 16], output.as_mut(), memory);
    None
}

/// A new hash with a random salt, as a PHC string.
pub(super) fn hash(params: Argon2Params, password: &str, memory: &mut Memory) -> Option<String> {
    let salt: [u8; argon2::RECOMMENDED_SALT_LEN] = random().ok()?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    fill(Algorithm::Argon2id, Version::V0x13, params, password.as_bytes(), &salt, &mut output, memory)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params.argon2(output.len())?).ok()?,
        salt: Some(Salt::new(&salt).ok()?),
        hash: Some(Output::new(&output).ok()?),
    };
    Some(phc.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    // Made with Python's argon2-cffi 25.1.
    const PWDLIB_DEFAULT: &str =
        "$argon2id$v=19$m=65536,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$ibH4/qK6H3d2oHMJgAIZAnWxerGKTK8SPWiCIiVoBqU";
    const ARGON2I: &str =
        "$argon2i$v=19$m=64,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$FDaAI3gDEYWN+w3qxq8EDtVFmkwRKbtrXuj2hpKD9fQ";
    const ARGON2D: &str =
        "$argon2d$v=19$m=64,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$o0/d65sx1aIZVJ3MeEN+PD5N7dkP8+mYuNSTyh7p5m0";
    const FIRST_VERSION: &str =
        "$argon2i$v=16$m=64,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$FatBJ/VSP5VkirDeKqUQUhCdh5cqaZfAwXUnQPcpF5I";
    const FIRST_VERSION_UNSAID: &str =
        "$argon2i$m=64,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$FatBJ/VSP5VkirDeKqUQUhCdh5cqaZfAwXUnQPcpF5I";
    const FIRST_VERSION_ID: &str =
        "$argon2id$v=16$m=64,t=3,p=2$MDEyMzQ1Njc4OWFiY2RlZg$RIUEWx5qeIpFLyRycIT83V57UKz1ArjowLDnF+d3SUg";
    const ONE_PASS: &str =
        "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";
    const SHORTEST_SALT: &str = "$argon2id$v=19$m=64,t=2,p=1$OCBieXRlcy4$F/OKmCgxk0Bkn2w/iPBwbg";
    const MEMORY_NOT_OF_FOUR_LANES: &str =
        "$argon2id$v=19$m=71,t=2,p=3$MDEyMzQ1Njc4OWFiY2RlZg$b/l7HFcHvNl6mBo7uaVMnLiDMPf3kVkhR1xhJQufukI";
    const LONG: &str = "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY$\
        Vsm8w18UG6vAysTOtukRlWnaHWCQZdxww6XZglKvNc2HiKrbp3SLt2WJE9k/4LzbmCbWEkKKa+HBfi1f/LSFCA";
    const MOST_PASSES_AND_LANES: &str =
        "$argon2id$v=19$m=128,t=10,p=16$MDEyMzQ1Njc4OWFiY2RlZg$/w6oHzyNfFjmPutewsSQIsaP71J2apUQun34iCuDMJg";
    const TOO_MANY_PASSES: &str =
        "$argon2id$v=19$m=64,t=11,p=1$MDEyMzQ1Njc4OWFiY2RlZg$Q+BtWHbnNlqLBJ4Vg9fouDVyVVZl59F5WzPbMUufGDE";
    const TOO_MANY_LANES: &str =
        "$argon2id$v=19$m=136,t=1,p=17$MDEyMzQ1Njc4OWFiY2RlZg$jtnpXFEBRYskvaVW4xyEFzx1w/EGiEIZJcRU+Fdz0e4";
    const TOO_SHORT_OUTPUT: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$2pFui8u3G88";
    // Its password is "Grüße, мир 🌍".
    const BEYOND_ASCII: &str =
        "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$hp7EXbcYW24Ciuldu11cHw+z9Qln/DwoNX8HYJrh2Yg";

    fn verify(phc: &str, password: &str) -> bool {
        StoredHash::parse(phc).expect(phc).verify(password, &mut Memory::default())
    }

    fn small() -> Argon2Params {
        Argon2Params::new(64, 2, 1).unwrap()
    }

    #[test]
    fn hashes_of_other_programs_verify() {
        for phc in [
            PWDLIB_DEFAULT,
            ARGON2I,
            ARGON2D,
            FIRST_VERSION,
            FIRST_VERSION_UNSAID,
            FIRST_VERSION_ID,
            ONE_PASS,
            SHORTEST_SALT,
            MEMORY_NOT_OF_FOUR_LANES,
            LONG,
            MOST_PASSES_AND_LANES,
        ] {
            assert!(verify(phc, "wonderland123"), "{phc}");
            assert!(!verify(phc, "wonderland124"), "{phc}");
            assert!(!verify(phc, ""), "{phc}");
        }
        assert!(verify(BEYOND_ASCII, "Grüße, мир 🌍"));
    }

    #[test]
    fn memory_that_another_hash_used_changes_nothing() {
        let mut memory = Memory::default();
        for phc in [LONG, MOST_PASSES_AND_LANES, ONE_PASS, MEMORY_NOT_OF_FOUR_LANES, ARGON2D, ARGON2I, LONG] {
            assert!(StoredHash::parse(phc).unwrap().verify("wonderland123", &mut memory), "{phc}");
        }
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused() {
        let with = |cost: &str| {
            format!("$argon2id$v=19${cost}$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k")
        };
        assert!(StoredHash::parse(&with("m=262144,t=1,p=1")).is_ok());
        assert!(StoredHash::parse(&with("m=262145,t=1,p=1")).is_err());
        assert!(StoredHash::parse(&with("m=4194304,t=1,p=1")).is_err(), "4 GiB");
        assert!(StoredHash::parse(&with("m=4294967295,t=1,p=1")).is_err());
        assert!(StoredHash::parse(&with("m=4294967296,t=1,p=1")).is_err());
        assert!(StoredHash::parse(TOO_MANY_PASSES).is_err());
        assert!(StoredHash::parse(&with("m=64,t=4294967295,p=1")).is_err());
        assert!(StoredHash::parse(TOO_MANY_LANES).is_err());
    }

    #[test]
    fn a_hash_that_argon2_cannot_check_is_refused() {
        const SALT: &str = "MDEyMzQ1Njc4OWFiY2RlZg";
        const HASH: &str = "4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k";
        for phc in [
            "",
            "wonderland123",
            "$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e",
            "$pbkdf2-sha256$i=600000$MDEyMzQ1Njc4OWFiY2RlZg$4XHlkW01o5HKkdwRDbV9q8aKWen4PIr0is91zg2e36k",
            TOO_SHORT_OUTPUT,
            &format!("$argon2id$v=19$m=64,t=1,p=1${SALT}"),
            &format!("$argon2id$v=19$m=64,t=1,p=1${SALT}$"),
            &format!("$argon2id$v=19$m=64,t=1,p=1$${HASH}"),
            &format!("$argon2id$v=19$m=64,t=1,p=1$c2hvcnRlcg${HASH}"),
            &format!("$argon2id$v=19$m=64,t=1,p=1,keyid=c2VjcmV0${SALT}${HASH}"),
            &format!("$argon2id$v=19$m=64,t=1,p=1,data=c2VjcmV0${SALT}${HASH}"),
            &format!("$argon2id$v=19$m=7,t=1,p=1${SALT}${HASH}"),
            &format!("$argon2id$v=19$m=64,t=0,p=1${SALT}${HASH}"),
            &format!("$argon2id$v=19$m=64,t=1,p=0${SALT}${HASH}"),
            &format!("$argon2id$v=20$m=64,t=1,p=1${SALT}${HASH}"),
            &format!("$argon2x$v=19$m=64,t=1,p=1${SALT}${HASH}"),
            &format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${HASH}$more"),
            &format!(" $argon2id$v=19$m=64,t=1,p=1${SALT}${HASH}"),
            &format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${HASH}\n"),
        ] {
            assert!(StoredHash::parse(phc).is_err(), "{phc}");
        }
        assert!(StoredHash::parse(&format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${HASH}")).is_ok());
    }

    #[test]
    fn only_a_hash_with_the_current_parameters_is_current() {
        let outdated = |phc: &str, current| StoredHash::parse(phc).unwrap().is_outdated(current);
        let params = |m, t, p| Argon2Params::new(m, t, p).unwrap();
        assert!(!outdated(BEYOND_ASCII, small()));
        for weaker in [params(32, 2, 1), params(64, 1, 1), params(100, 1, 1), params(32, 9, 1)] {
            assert!(!outdated(BEYOND_ASCII, weaker), "a stronger hash stays");
        }
        assert!(!outdated(LONG, small()), "a longer salt and output than needed are well");
        for other in [params(65, 2, 1), params(64, 3, 1), params(64, 2, 2)] {
            assert!(outdated(BEYOND_ASCII, other));
        }
        assert!(outdated(ARGON2I, params(64, 3, 1)));
        assert!(outdated(ARGON2D, params(64, 3, 1)));
        assert!(outdated(FIRST_VERSION_ID, params(64, 3, 2)));
        assert!(outdated(SHORTEST_SALT, small()));
        let short_salt = BEYOND_ASCII.replace("$MDEyMzQ1Njc4OWFiY2RlZg$", "$MDEyMzQ1Njc4OWFiY2Rl$");
        let short_output = BEYOND_ASCII.trim_end_matches("2Yg");
        for phc in [short_salt.as_str(), short_output] {
            assert_ne!(phc, BEYOND_ASCII);
            assert!(outdated(phc, small()), "{phc}");
        }
    }

    #[test]
    fn a_new_hash_is_read_back_with_its_parameters() {
        let mut memory = Memory::default();
        let phc = hash(small(), "wonderland123", &mut memory).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=64,t=2,p=1$"), "{phc}");
        let stored = StoredHash::parse(&phc).unwrap();
        assert_eq!(stored.params, small());
        assert!(!stored.is_outdated(small()));
        assert!(stored.verify("wonderland123", &mut memory));
        assert!(!stored.verify("Wonderland123", &mut memory));
        assert_ne!(hash(small(), "wonderland123", &mut memory).unwrap(), phc, "the salt is random");
    }

    #[test]
    fn a_password_counts_to_its_last_byte() {
        let mut memory = Memory::default();
        for length in [72, 73, 256, 16_000] {
            let password = "a".repeat(length);
            let stored = hash(small(), &password, &mut memory).unwrap();
            assert!(verify(&stored, &password));
            for other in [format!("{}b", &password[1..]), format!("{password}a"), password[1..].to_owned()] {
                assert!(!verify(&stored, &other), "{length}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".*") {
            let _ = StoredHash::parse(&text);
        }

        #[test]
        fn any_text_like_a_hash_is_parsed_or_refused(
            text in r"\$argon2(i|d|id|x)?(\$v=[0-9a]{0,11})?(\$([mtp]|keyid|data|x)=[0-9A-Za-z+/]{0,11}(,[mtp]=[0-9]{0,11}){0,3})?(\$[0-9A-Za-z+/=]{0,90}){0,3}"
        ) {
            if let Ok(stored) = StoredHash::parse(&text) {
                proptest::prop_assert!(stored.params.within_caps());
            }
        }

        #[test]
        fn a_hash_that_parses_can_be_checked(
            (p, m) in (1..=16_u32).prop_flat_map(|p| (proptest::strategy::Just(p), 8 * p..300)),
            t in 1..=2_u32,
            salt in "[A-Za-z0-9]{11}[AQgw]|[A-Za-z0-9]{16}|[A-Za-z0-9]{64}",
            output in "[A-Za-z0-9]{16}|[A-Za-z0-9]{44}|[A-Za-z0-9]{84}",
        ) {
            let text = format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${output}");
            let stored = StoredHash::parse(&text).expect(&text);
            let mut memory = Memory::default();
            proptest::prop_assert!(!stored.verify("wonderland123", &mut memory));
            proptest::prop_assert!(memory.blocks() > 0, "nothing was hashed");
        }
    }
}
