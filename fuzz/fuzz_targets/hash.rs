//! Every kind of vectors that this processor has must compute what the argon2 crate computes, for any input.
#![no_main]

use argon2::{Algorithm, Argon2, AssociatedData, Block, ParamsBuilder, Version};

use argon2_simd::{Costs, Inputs, Memory, Vectors};
use libfuzzer_sys::fuzz_target;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id];

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> usize {
        self.take(1).first().copied().map_or(0, usize::from)
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Mostly small costs, within the limits for stored hashes, and sometimes too little memory for many lanes.
fn costs(input: &mut Input<'_>) -> Costs {
    let kind = input.byte();
    let lanes = input.byte();
    let lanes = if lanes < 128 { 1 } else { 1 + lanes % 16 };
    let passes = input.byte();
    let passes = if passes < 192 { 1 + passes % 3 } else { 1 + passes % 10 };
    let (memory, scale) = (input.byte(), input.byte());
    let memory = 8 + if scale < 224 { memory % 64 } else { memory << (scale % 5) };
    Costs {
        algorithm: ALGORITHMS[kind % 3],
        version: if kind < 128 { Version::V0x13 } else { Version::V0x10 },
        memory: memory as u32,
        passes: passes as u32,
        lanes: lanes as u32,
    }
}

fn reference(costs: Costs, inputs: Inputs<'_>, output: &mut [u8]) -> argon2::Result<()> {
    let params = ParamsBuilder::new()
        .m_cost(costs.memory)
        .t_cost(costs.passes)
        .p_cost(costs.lanes)
        .output_len(output.len())
        .data(AssociatedData::new(inputs.associated_data)?)
        .build()?;
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new_with_secret(inputs.secret, costs.algorithm, costs.version, params)?;
    argon2.hash_password_into_with_memory(inputs.password, inputs.salt, output, &mut memory[..])
}

fn check(input: &[u8]) {
    let mut input = Input(input);
    let costs = costs(&mut input);
    let mut expected = vec![0; 4 + input.byte()];
    let length = input.byte() % 64;
    let salt = [[0; 8].as_slice(), input.take(length)].concat();
    let (key, data) = (input.byte() % 33, input.byte() % 33);
    let (secret, associated_data) = (input.take(key), input.take(data));
    let inputs = Inputs { password: input.0, salt: &salt, secret, associated_data };

    let known = reference(costs, inputs, &mut expected).is_ok();
    assert_eq!(known, costs.memory >= 8 * costs.lanes, "{costs:?}");
    let vectors: Vec<_> = Vectors::detected().collect();
    assert!(!vectors.is_empty(), "this processor has not even AVX2: leave this target out");
    // Twice, so that each kind gets the memory as another one left it.
    let mut memory = Memory::default();
    for vectors in vectors.repeat(2) {
        let mut computed = vec![0; expected.len()];
        let hashed = vectors.hash_into(costs, inputs, &mut computed, &mut memory).is_ok();
        assert_eq!(hashed, known, "{vectors:?}, {costs:?}");
        assert_eq!(computed, expected, "{vectors:?}, {costs:?}");
    }
}

fuzz_target!(|input: &[u8]| check(input));
