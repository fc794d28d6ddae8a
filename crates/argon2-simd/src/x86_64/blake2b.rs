//! The hashes at both ends: H0 of the inputs, and H' of any length (RFC 9106, sections 3.2 and 3.3), based on BLAKE2b.

use blake2::{
    Blake2b512, Blake2bVarCore,
    digest::{
        Digest,
        block_api::{UpdateCore, VariableOutputCore},
        block_buffer::LazyBuffer,
    },
};

use crate::{Costs, Inputs};

pub(super) fn inputs(costs: Costs, inputs: Inputs<'_>, output: usize) -> Option<[u8; 64]> {
    let length = |bytes: usize| u32::try_from(bytes).ok().map(u32::to_le_bytes);
    let mut hash = Blake2b512::new();
    hash.update(costs.lanes.to_le_bytes());
    hash.update(length(output)?);
    hash.update(costs.memory.to_le_bytes());
    hash.update(costs.passes.to_le_bytes());
    hash.update((costs.version as u32).to_le_bytes());
    hash.update((costs.algorithm as u32).to_le_bytes());
    for input in [inputs.password, inputs.salt, inputs.secret, inputs.associated_data] {
        hash.update(length(input.len())?);
        hash.update(input);
    }
    Some(hash.finalize().into())
}

pub(super) fn long(input: &[u8], output: &mut [u8]) -> Option<()> {
    let length = u32::try_from(output.len()).ok()?.to_le_bytes();
    if output.len() <= 64 {
        return short(&[&length, input], output);
    }
    let mut hash: [u8; 64] = Blake2b512::new().chain_update(length).chain_update(input).finalize().into();
    let mut rest = output;
    loop {
        let (half, tail) = rest.split_first_chunk_mut::<32>()?;
        *half = *hash.first_chunk()?;
        rest = tail;
        if rest.len() <= 64 {
            return short(&[&hash], rest);
        }
        hash = Blake2b512::digest(hash).into();
    }
}

/// BLAKE2b with an output of up to 64 bytes.
fn short(inputs: &[&[u8]], output: &mut [u8]) -> Option<()> {
    let mut hash = Blake2bVarCore::new(output.len()).ok()?;
    let mut buffer = LazyBuffer::default();
    for input in inputs {
        buffer.digest_blocks(input, |blocks| hash.update_blocks(blocks));
    }
    let mut whole = Default::default();
    hash.finalize_variable_core(&mut buffer, &mut whole);
    output.copy_from_slice(whole.get(..output.len())?);
    Some(())
}
