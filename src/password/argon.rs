//! Argon2 (RFC 9106) over stored PHC strings, with caps on what a stored hash may ask for.

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::phc::{Output, ParamsString, Salt},
};
use subtle::ConstantTimeEq;

/// The most that a stored hash may ask for; above, it is refused, not obeyed.
const LARGEST_MEMORY: u32 = 262_144;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 16;

/// The cost of new hashes: Argon2id with 19,456 KiB, 2 passes and 1 lane by default (OWASP's recommendation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    m_cost: u32,
    t_cost: u32,
    p_cost: u32,
}

impl Default for Argon2Params {
    fn default() -> Self {
        Self { m_cost: 19_456, t_cost: 2, p_cost: 1 }
    }
}

impl Argon2Params {
    /// Memory in KiB, passes, and lanes.
    ///
    /// # Errors
    /// When out of range: memory from 8 KiB a lane to 262,144 KiB, 1 to 10 passes, 1 to 16 lanes.
    pub fn new(m_cost: u32, t_cost: u32, p_cost: u32) -> Result<Self, crate::InvalidConfig> {
        let params = Self { m_cost, t_cost, p_cost };
        if params.within_caps() && params.argon2(Params::DEFAULT_OUTPUT_LEN).is_some() {
            Ok(params)
        } else {
            Err(crate::InvalidConfig::new(format!(
                "Argon2 with m={m_cost} KiB, t={t_cost}, p={p_cost} is out of range: m is 8*p to 262144, t 1 to 10, p 1 to 16"
            )))
        }
    }

    fn within_caps(&self) -> bool {
        self.m_cost <= LARGEST_MEMORY && self.t_cost <= MOST_PASSES && self.p_cost <= MOST_LANES
    }

    fn argon2(&self, output: usize) -> Option<Params> {
        Params::new(self.m_cost, self.t_cost, self.p_cost, Some(output)).ok()
    }

    /// What a hash costs, in KiB that are filled.
    pub(super) fn work(&self) -> u64 {
        u64::from(self.m_cost) * u64::from(self.t_cost)
    }

    pub(super) fn blocks(&self) -> usize {
        self.m_cost as usize
    }
}

/// A stored hash that can be checked within the caps.
pub(super) struct StoredHash {
    algorithm: Algorithm,
    version: Version,
    pub(super) params: Argon2Params,
    salt: Salt,
    output: Output,
}

impl StoredHash {
    pub(super) fn parse(phc: &str) -> Option<Self> {
        let hash = PasswordHash::new(phc).ok()?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
        // A PHC string without a version is of the first one.
        let version = hash.version.map_or(Ok(Version::V0x10), Version::try_from).ok()?;
        let stored = Params::try_from(&hash).ok()?;
        let params = Argon2Params { m_cost: stored.m_cost(), t_cost: stored.t_cost(), p_cost: stored.p_cost() };
        let (salt, output) = (hash.salt?, hash.hash?);
        let plain = stored.keyid().is_empty() && stored.data().is_empty();
        (plain && params.within_caps() && salt.as_ref().len() >= argon2::MIN_SALT_LEN).then_some(Self {
            algorithm,
            version,
            params,
            salt,
            output,
        })
    }

    pub(super) fn verify(&self, password: &str, memory: &mut Vec<Block>) -> bool {
        let expected = self.output.as_bytes();
        let mut computed = vec![0; expected.len()];
        fill(self.algorithm, self.version, self.params, password, self.salt.as_ref(), &mut computed, memory)
            && bool::from(computed.ct_eq(expected))
    }

    /// Whether a new hash would be another kind of hash than this one.
    pub(super) fn is_outdated(&self, current: Argon2Params) -> bool {
        self.algorithm != Algorithm::Argon2id
            || self.version != Version::V0x13
            || self.params != current
            || self.salt.as_ref().len() < argon2::RECOMMENDED_SALT_LEN
            || self.output.as_bytes().len() < Params::DEFAULT_OUTPUT_LEN
    }
}

/// The work of one verification, for an attempt that has no hash to check.
pub(super) fn spend(params: Argon2Params, password: &str, memory: &mut Vec<Block>) {
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    fill(Algorithm::Argon2id, Version::V0x13, params, password, &[0; 16], &mut output, memory);
}

/// A new hash with a random salt, as a PHC string.
pub(super) fn hash(params: Argon2Params, password: &str, memory: &mut Vec<Block>) -> Option<String> {
    let mut salt = [0; argon2::RECOMMENDED_SALT_LEN];
    getrandom::fill(&mut salt).ok()?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    if !fill(Algorithm::Argon2id, Version::V0x13, params, password, &salt, &mut output, memory) {
        return None;
    }
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params.argon2(output.len())?).ok()?,
        salt: Some(Salt::new(&salt).ok()?),
        hash: Some(Output::new(&output).ok()?),
    };
    Some(phc.to_string())
}

fn fill(
    algorithm: Algorithm,
    version: Version,
    params: Argon2Params,
    password: &str,
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Vec<Block>,
) -> bool {
    let Some(params) = params.argon2(output.len()) else { return false };
    let needed = params.block_count();
    if memory.len() < needed {
        memory.resize(needed, Block::new());
    }
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, output, memory.as_mut_slice())
        .is_ok()
}
