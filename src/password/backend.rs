//! Computes hashes: with the vectorised Argon2 if the processor has vectors, otherwise with the `argon2` crate.

use argon2::{Algorithm, Argon2, Block, Version};
use zeroize::Zeroize;

use super::params::Argon2Params;

/// The memory that a hashing thread keeps from one hash to the next.
#[derive(Default)]
pub(super) struct Memory {
    blocks: Vec<Block>,
    #[cfg(feature = "simd")]
    simd: argon2_simd::Memory,
    /// Whether the last hash has left something in it.
    pub(super) is_used: bool,
}

impl Memory {
    /// Overwrites what the last hash left. With it, an attacker could test passwords faster than with the stored hash.
    pub(super) fn wipe(&mut self) {
        if std::mem::take(&mut self.is_used) {
            self.blocks.iter_mut().zeroize();
            #[cfg(feature = "simd")]
            self.simd.wipe();
        }
    }

    /// Frees all of it if it is more than the `usual` number of blocks.
    pub(super) fn shrink(&mut self, usual: usize) {
        if self.blocks.len() > usual {
            self.wipe();
            self.blocks = Vec::new();
        }
        #[cfg(feature = "simd")]
        self.simd.shrink(usual);
    }

    /// The number of blocks.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> usize {
        #[cfg(feature = "simd")]
        if self.simd.kibibytes() > 0 {
            return self.simd.kibibytes();
        }
        self.blocks.capacity()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Writes a hash into `output`. `None` if a length or a cost is out of range.
pub(super) fn fill(
    algorithm: Algorithm,
    version: Version,
    params: Argon2Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Memory,
) -> Option<()> {
    let checked = params.argon2(output.len())?;
    memory.is_used = true;
    #[cfg(feature = "simd")]
    if let Some(vectors) = simd::vectors()
        && salt.len() >= argon2::MIN_SALT_LEN
    {
        let costs = argon2_simd::Costs::new(algorithm, version, &checked);
        let inputs = argon2_simd::Inputs { password, salt, ..argon2_simd::Inputs::default() };
        if vectors.hash_into(costs, inputs, output, &mut memory.simd).is_ok() {
            return Some(());
        }
    }
    let needed = checked.block_count();
    if memory.blocks.len() < needed {
        // Freed first: growing would take more than is needed, and leave a copy behind.
        memory.shrink(0);
        memory.blocks = vec![Block::new(); needed];
        memory.is_used = true;
    }
    Argon2::new(algorithm, version, checked)
        .hash_password_into_with_memory(password, salt, output, memory.blocks.as_mut_slice())
        .ok()
}

#[cfg(feature = "simd")]
mod simd {
    use std::{fmt, sync::OnceLock};

    use argon2_simd::Vectors;

    use crate::observe;

    /// The widest vectors of this processor that compute the same hash as the `argon2` crate.
    pub(super) fn vectors() -> Option<Vectors> {
        static CHOSEN: OnceLock<Option<Vectors>> = OnceLock::new();
        *CHOSEN.get_or_init(|| choose(Vectors::detected(), |vectors| vectors.agree_with_reference()))
    }

    fn choose<V: fmt::Debug>(mut detected: impl Iterator<Item = V>, agree: impl Fn(&V) -> bool) -> Option<V> {
        detected.find(|vectors| {
            let agree = agree(vectors);
            if !agree {
                observe::misconfigured(&format!(
                    "vectors that compute wrong hashes on this processor are not used: {vectors:?}"
                ));
            }
            agree
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn vectors_are_used_if_the_processor_has_some() {
            assert_eq!(vectors().is_some(), Vectors::detected().next().is_some());
        }

        #[test]
        fn vectors_that_compute_a_wrong_hash_are_not_chosen() {
            assert_eq!(choose(["avx512", "avx2"].into_iter(), |_| true), Some("avx512"));
            assert_eq!(choose(["avx512", "avx2"].into_iter(), |&vectors| vectors != "avx512"), Some("avx2"));
            assert_eq!(choose(["avx512", "avx2"].into_iter(), |_| false), None);
        }

        #[cfg(feature = "tracing")]
        #[test]
        fn vectors_with_a_wrong_hash_are_logged() {
            let log = observe::tests::logged(|| {
                choose(["first of this test", "second"].into_iter(), |&vectors| vectors == "second");
            });
            assert!(log.contains("wrong hashes") && log.contains("first") && !log.contains("second"), "{log}");
        }
    }
}
