//! What computes a hash, and the memory that it needs: the `argon2` crate, or vectors where the processor has them.

use argon2::{Algorithm, Argon2, Block, Version};
use zeroize::Zeroize;

use super::argon::Argon2Params;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
use super::simd::{self, Vectors};

/// What a hashing thread keeps from one hash to the next.
#[derive(Default)]
pub(super) struct Memory {
    blocks: Vec<Block>,
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    simd: simd::Memory,
    is_used: bool,
}

impl Memory {
    /// Whether it holds what a hash left in it.
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Overwrites what the last hash left: who reads it may try passwords on it in less time than on the hash.
    pub(super) fn wipe(&mut self) {
        if std::mem::take(&mut self.is_used) {
            self.blocks.iter_mut().zeroize();
            #[cfg(all(feature = "simd", target_arch = "x86_64"))]
            self.simd.wipe();
        }
    }

    /// Gives all back if it is more than the `usual` number of blocks.
    pub(super) fn shrink(&mut self, usual: usize) {
        if self.blocks.len() > usual {
            self.wipe();
            self.blocks = Vec::new();
        }
        #[cfg(all(feature = "simd", target_arch = "x86_64"))]
        self.simd.shrink(usual);
    }

    /// Where it is, and how many blocks it has.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        #[cfg(all(feature = "simd", target_arch = "x86_64"))]
        if self.simd.held() > 0 {
            return (self.simd.address(), self.simd.held());
        }
        (self.blocks.as_ptr() as usize, self.blocks.capacity())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Writes a hash into `output`. False if a length or a cost is out of range.
pub(super) fn fill(
    algorithm: Algorithm,
    version: Version,
    params: Argon2Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Memory,
) -> bool {
    let Some(checked) = params.argon2(output.len()) else { return false };
    #[cfg(all(feature = "simd", target_arch = "x86_64"))]
    if let Some(vectors) = vectors()
        && salt.len() >= argon2::MIN_SALT_LEN
    {
        memory.is_used = true;
        let Argon2Params { m_cost, t_cost, p_cost } = params;
        let costs = simd::Costs { algorithm, version, memory: m_cost, passes: t_cost, lanes: p_cost };
        if vectors.hash(costs, [password, salt, &[], &[]], output, &mut memory.simd).is_some() {
            return true;
        }
    }
    let needed = checked.block_count();
    if memory.blocks.len() < needed {
        // What is held goes first: one that grows would take more than is needed, and leave a copy behind.
        memory.shrink(0);
        memory.blocks = vec![Block::new(); needed];
    }
    memory.is_used = true;
    Argon2::new(algorithm, version, checked)
        .hash_password_into_with_memory(password, salt, output, memory.blocks.as_mut_slice())
        .is_ok()
}

/// The widest vectors of this processor that compute what the `argon2` crate does here.
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
fn vectors() -> Option<Vectors> {
    static CHOSEN: std::sync::OnceLock<Option<Vectors>> = std::sync::OnceLock::new();
    // Without optimization, vectors are many times slower than the crate, which may be optimized on its own.
    *CHOSEN.get_or_init(|| {
        if cfg!(debug_assertions) { None } else { choose(Vectors::detected(), Vectors::agrees_with_reference) }
    })
}

#[cfg(all(feature = "simd", target_arch = "x86_64"))]
fn choose<V: std::fmt::Debug>(mut detected: impl Iterator<Item = V>, agrees: impl Fn(&V) -> bool) -> Option<V> {
    detected.find(|vectors| {
        let agrees = agrees(vectors);
        if !agrees {
            crate::observe::wrong_hash(vectors);
        }
        agrees
    })
}

#[cfg(all(test, feature = "simd", target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_used_where_there_are_some_and_the_build_is_optimized() {
        assert_eq!(vectors().is_some(), !cfg!(debug_assertions) && Vectors::detected().next().is_some());
    }

    #[test]
    fn vectors_that_compute_another_hash_are_not_chosen() {
        assert_eq!(choose(["avx512", "avx2"].into_iter(), |_| true), Some("avx512"));
        assert_eq!(choose(["avx512", "avx2"].into_iter(), |&vectors| vectors != "avx512"), Some("avx2"));
        assert_eq!(choose(["avx512", "avx2"].into_iter(), |_| false), None);
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn vectors_that_are_not_chosen_for_their_hash_are_logged() {
        let log = crate::observe::tests::logged(|| {
            choose(["avx512", "avx2"].into_iter(), |&vectors| vectors != "avx512");
        });
        assert!(log.contains("wrong hashes") && log.contains("avx512") && !log.contains("avx2"), "{log}");
    }
}
