//! Argon2 (RFC 9106) on vectors of 256 or 512 bits, in safe code. What the `argon2` crate computes, bit for bit, in half
//! to two thirds of its time: the crate leaves vectors to the compiler, and its blocks to pages of 4 KiB.
//!
//! This module knows nothing of the others, so that tests and benchmarks may include it.

mod avx2;
mod avx512;
mod block;
mod fill;
mod hash;
mod memory;
#[cfg(test)]
mod tests;

use argon2::{Algorithm, Argon2, Params, Version};
use pulp::{
    NullaryFnOnce,
    x86::{V3, V4},
};

use self::block::{Backend, Block};
pub(crate) use self::{fill::Costs, memory::Memory};

/// The vectors of this processor, as proof that it has them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vectors {
    Avx512(V4),
    Avx2(V3),
}

impl Vectors {
    /// What this processor has, the widest first.
    pub(crate) fn detected() -> impl Iterator<Item = Self> {
        [V4::try_new().map(Self::Avx512), V3::try_new().map(Self::Avx2)].into_iter().flatten()
    }

    /// Writes the hash of password, salt, key and associated data into `output`. `None` if there is no memory, or a length or cost is out of range.
    pub(crate) fn hash(self, costs: Costs, inputs: [&[u8]; 4], output: &mut [u8], memory: &mut Memory) -> Option<()> {
        let memory = memory.blocks(costs.layout()?.blocks())?;
        match self {
            Self::Avx512(backend) => backend.vectorize(Call { backend, costs, inputs, output, memory }),
            Self::Avx2(backend) => backend.vectorize(Call { backend, costs, inputs, output, memory }),
        }
    }

    /// Whether hashes of every kind, with two blocks of addresses a segment or several lanes, are those of the `argon2`
    /// crate.
    pub(crate) fn agrees_with_reference(&self) -> bool {
        let mut memory = Memory::default();
        [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id].into_iter().all(|algorithm| {
            [Version::V0x10, Version::V0x13].into_iter().all(|version| {
                [(520, 2, 1), (71, 2, 2)].into_iter().all(|(memory_kib, passes, lanes)| {
                    let costs = Costs { algorithm, version, memory: memory_kib, passes, lanes };
                    costs.reference().is_some_and(|hash| self.computes(hash, costs, &mut memory))
                })
            })
        })
    }

    fn computes(self, expected: [u8; 80], costs: Costs, memory: &mut Memory) -> bool {
        let mut hash = [0; 80];
        self.hash(costs, [PASSWORD, SALT, &[], &[]], &mut hash, memory).is_some() && hash == expected
    }
}

const PASSWORD: &[u8] = b"wonderland123";
const SALT: &[u8] = b"sixteen bytes ..";

impl Costs {
    /// What the `argon2` crate computes.
    fn reference(self) -> Option<[u8; 80]> {
        let mut hash = [0; 80];
        let params = Params::new(self.memory, self.passes, self.lanes, Some(hash.len())).ok()?;
        Argon2::new(self.algorithm, self.version, params).hash_password_into(PASSWORD, SALT, &mut hash).ok()?;
        Some(hash)
    }
}

/// What is compiled with the instructions of `B` as a whole.
struct Call<'a, B> {
    backend: B,
    costs: Costs,
    inputs: [&'a [u8]; 4],
    output: &'a mut [u8],
    memory: &'a mut [Block],
}

impl<B: Backend> NullaryFnOnce for Call<'_, B> {
    type Output = Option<()>;

    #[inline(always)]
    fn call(self) -> Option<()> {
        let Self { backend, costs, inputs, output, memory } = self;
        fill::argon2(backend, costs, inputs, output, memory)
    }
}
