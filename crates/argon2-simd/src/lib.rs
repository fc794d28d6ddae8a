#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

#[cfg_attr(target_arch = "x86_64", path = "x86_64/mod.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "elsewhere.rs")]
mod processor;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};

/// Vectors of one width. A value proves that this processor has them.
///
/// ```
/// use argon2_simd::Vectors;
///
/// for vectors in Vectors::detected() {
///     assert!(vectors.agree_with_reference(), "{vectors:?}");
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Vectors(processor::Vectors);

impl Vectors {
    /// The vectors of this processor, widest first. There are none on processors other than x86-64, and none in a build
    /// without optimisation, where the `argon2` crate is faster.
    pub fn detected() -> impl Iterator<Item = Self> {
        processor::Vectors::detected().filter(|_| cfg!(any(optimised, test))).map(Self)
    }

    /// Writes the hash of `inputs` into `output`. It uses `costs.memory` KiB in `memory`, which keeps them for the next
    /// hash, with the data that this hash left: see [`Memory::wipe`].
    ///
    /// # Errors
    /// When a cost or a length is out of range (RFC 9106, section 3.1), or the system has no memory.
    pub fn hash_into(
        self,
        costs: Costs,
        inputs: Inputs<'_>,
        output: &mut [u8],
        memory: &mut Memory,
    ) -> Result<(), HashError> {
        self.0.hash(costs, inputs, output, &mut memory.0).ok_or(HashError)
    }

    /// Whether these vectors compute the same hashes as the `argon2` crate, for every variant and version, with one
    /// lane and with two. This takes some milliseconds. Call it once, before the first hash: nothing else detects a
    /// processor or a compiler that computes wrong results.
    #[must_use]
    pub fn agree_with_reference(self) -> bool {
        let mut memory = Memory::default();
        [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id].into_iter().all(|algorithm| {
            [Version::V0x10, Version::V0x13].into_iter().all(|version| {
                // One with two blocks of addresses in each segment, and one with several lanes.
                [(520, 2, 1), (71, 2, 2)].into_iter().all(|(kibibytes, passes, lanes)| {
                    let costs = Costs { algorithm, version, memory: kibibytes, passes, lanes };
                    costs.reference().is_some_and(|hash| self.compute(hash, costs, &mut memory))
                })
            })
        })
    }

    fn compute(self, expected: [u8; 80], costs: Costs, memory: &mut Memory) -> bool {
        let mut hash = [0; 80];
        let inputs = Inputs { password: PASSWORD, salt: SALT, ..Inputs::default() };
        self.hash_into(costs, inputs, &mut hash, memory).is_ok() && hash == expected
    }
}

impl fmt::Debug for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

const PASSWORD: &[u8] = b"wonderland123";
const SALT: &[u8] = b"sixteen bytes ..";

/// The variant of Argon2, and the costs of a hash.
///
/// ```
/// use argon2::{Algorithm, Params, Version};
/// use argon2_simd::Costs;
///
/// let costs = Costs::new(Algorithm::Argon2id, Version::V0x13, &Params::new(65_536, 3, 4, None)?);
/// assert_eq!((costs.memory, costs.passes, costs.lanes), (65_536, 3, 4));
/// # Ok::<(), argon2::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Argon2d, Argon2i or Argon2id.
    pub algorithm: Algorithm,
    /// 1.0 or 1.3.
    pub version: Version,
    /// Memory in KiB, at least 8 for each lane.
    pub memory: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes. They change the hash; all of them run on one thread.
    pub lanes: u32,
}

impl Costs {
    /// The costs in `params`. Ignores their key id and data.
    #[must_use]
    pub fn new(algorithm: Algorithm, version: Version, params: &Params) -> Self {
        Self { algorithm, version, memory: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() }
    }

    /// What the `argon2` crate computes.
    fn reference(self) -> Option<[u8; 80]> {
        let mut hash = [0; 80];
        let params = Params::new(self.memory, self.passes, self.lanes, Some(hash.len())).ok()?;
        Argon2::new(self.algorithm, self.version, params).hash_password_into(PASSWORD, SALT, &mut hash).ok()?;
        Some(hash)
    }
}

/// The inputs of a hash.
///
/// ```
/// let inputs = argon2_simd::Inputs { password: b"wonderland123", salt: b"sixteen bytes ..", ..Default::default() };
/// assert!(inputs.secret.is_empty() && inputs.associated_data.is_empty());
/// ```
#[derive(Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// The password (P).
    pub password: &'a [u8],
    /// The salt (S): 16 random bytes.
    pub salt: &'a [u8],
    /// A key that is not part of the stored hash (K), if any.
    pub secret: &'a [u8],
    /// Other data that the hash depends on (X), if any.
    pub associated_data: &'a [u8],
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").finish_non_exhaustive()
    }
}

/// The memory for hashes, kept from one hash to the next. On Linux it asks for huge pages.
///
/// ```
/// let mut memory = argon2_simd::Memory::default();
/// memory.wipe();
/// assert_eq!(memory.kibibytes(), 0, "nothing was hashed yet");
/// ```
#[derive(Debug, Default)]
pub struct Memory(processor::Memory);

impl Memory {
    /// The size of this memory in KiB.
    #[must_use]
    pub fn kibibytes(&self) -> usize {
        self.0.held()
    }

    /// Overwrites the data that the last hash left. An attacker who reads it can test passwords faster than with the
    /// hash.
    pub fn wipe(&mut self) {
        self.0.wipe();
    }

    /// Returns all of it to the system if it is more than `usual` KiB. The system clears it.
    pub fn shrink(&mut self, usual: usize) {
        self.0.shrink(usual);
    }
}

/// A cost or a length is out of range, or the system has no memory.
///
/// ```
/// let error = argon2_simd::HashError;
/// assert!(error.to_string().contains("out of range"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashError;

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cost or a length of the Argon2 hash is out of range, or the system has no memory for it")
    }
}

impl std::error::Error for HashError {}
