//! Argon2 on vectors of 256 or 512 bits.

mod avx2;
mod avx512;
mod blake2b;
mod block;
mod fill;
mod memory;

use pulp::{
    NullaryFnOnce,
    x86::{V3, V4},
};

pub(crate) use self::memory::Memory;
use self::{
    block::{Backend, Block},
    fill::Layout,
};
use crate::{Costs, Inputs};

/// Vectors of one width. A value proves that this processor has them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vectors {
    Avx512(V4),
    Avx2(V3),
}

impl Vectors {
    /// The vectors of this processor, widest first.
    pub(crate) fn detected() -> impl Iterator<Item = Self> {
        [V4::try_new().map(Self::Avx512), V3::try_new().map(Self::Avx2)].into_iter().flatten()
    }

    pub(crate) fn hash(self, costs: Costs, inputs: Inputs<'_>, output: &mut [u8], memory: &mut Memory) -> Option<()> {
        let memory = memory.blocks(Layout::of(costs)?.blocks())?;
        match self {
            Self::Avx512(backend) => backend.vectorize(Call { backend, costs, inputs, output, memory }),
            Self::Avx2(backend) => backend.vectorize(Call { backend, costs, inputs, output, memory }),
        }
    }
}

/// The whole computation, compiled with the instructions of `B`.
struct Call<'a, B> {
    backend: B,
    costs: Costs,
    inputs: Inputs<'a>,
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
