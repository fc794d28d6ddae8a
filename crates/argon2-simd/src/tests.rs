use argon2::{AssociatedData, Block as ReferenceBlock, ParamsBuilder};
use proptest::prelude::*;

use super::*;

const KINDS: [Algorithm; 3] = [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id];
const USUAL: Inputs<'static> = Inputs { password: PASSWORD, salt: SALT, secret: b"", associated_data: b"" };
const VERSIONS: [Version; 2] = [Version::V0x10, Version::V0x13];

fn reference(costs: Costs, inputs: Inputs<'_>, output: usize) -> Vec<u8> {
    let params = ParamsBuilder::new()
        .m_cost(costs.memory)
        .t_cost(costs.passes)
        .p_cost(costs.lanes)
        .output_len(output)
        .data(AssociatedData::new(inputs.associated_data).unwrap())
        .build()
        .unwrap();
    let mut memory = vec![ReferenceBlock::new(); params.block_count()];
    let mut hash = vec![0; output];
    Argon2::new_with_secret(inputs.secret, costs.algorithm, costs.version, params)
        .unwrap()
        .hash_password_into_with_memory(inputs.password, inputs.salt, &mut hash, &mut memory[..])
        .unwrap();
    hash
}

fn all_vectors() -> Vec<Vectors> {
    let all: Vec<_> = Vectors::detected().collect();
    assert!(!all.is_empty(), "this processor has not even AVX2: run these tests on one that has it");
    all
}

/// Checks every kind of vectors that this processor has. Each hash gets the memory as the last one left it.
fn check(costs: Costs, inputs: Inputs<'_>, output: usize, memory: &mut Memory) {
    let expected = reference(costs, inputs, output);
    for vectors in all_vectors() {
        let mut computed = vec![0; output];
        vectors.hash_into(costs, inputs, &mut computed, memory).unwrap();
        assert_eq!(computed, expected, "{vectors:?}, {costs:?}, {:?}, {:?}", inputs.password, inputs.salt);
    }
}

fn check_every_kind((memory, passes, lanes): (u32, u32, u32)) {
    let mut held = Memory::default();
    for algorithm in KINDS {
        for version in VERSIONS {
            let costs = Costs { algorithm, version, memory, passes, lanes };
            check(costs, USUAL, 32, &mut held);
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn vectors_of_rfc_9106() {
    // Sections 5.1 to 5.3, then the same for version 1.0, from the reference implementation's kats/.
    for (algorithm, version, expected) in [
        (Algorithm::Argon2d, Version::V0x13, "512b391b6f1162975371d30919734294f868e3be3984f3c1a13a4db9fabe4acb"),
        (Algorithm::Argon2i, Version::V0x13, "c814d9d1dc7f37aa13f0d77f2494bda1c8de6b016dd388d29952a4c4672b6ce8"),
        (Algorithm::Argon2id, Version::V0x13, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"),
        (Algorithm::Argon2d, Version::V0x10, "96a9d4e5a1734092c85e29f410a45914a5dd1f5cbf08b2670da68a0285abf32b"),
        (Algorithm::Argon2i, Version::V0x10, "87aeedd6517ab830cd9765cd8231abb2e647a5dee08f7c05e02fcb763335d0fd"),
        (Algorithm::Argon2id, Version::V0x10, "b64615f07789b66b645b67ee9ed3b377ae350b6bfcbb0fc95141ea8f322613c0"),
    ] {
        let costs = Costs { algorithm, version, memory: 32, passes: 3, lanes: 4 };
        for vectors in all_vectors() {
            let mut computed = [0; 32];
            let inputs = Inputs { password: &[1; 32], salt: &[2; 16], secret: &[3; 8], associated_data: &[4; 12] };
            vectors.hash_into(costs, inputs, &mut computed, &mut Memory::default()).unwrap();
            assert_eq!(hexadecimal(&computed), expected, "{vectors:?}, {algorithm:?}, {version:?}");
        }
    }
}

#[test]
fn least_and_odd_costs() {
    for costs in [(8, 1, 1), (9, 10, 1), (15, 3, 1), (16, 3, 2), (128, 1, 16), (151, 10, 16), (71, 2, 3)] {
        check_every_kind(costs);
    }
}

#[test]
fn segments_of_one_to_three_blocks_of_addresses() {
    for segment in [127, 128, 129, 257] {
        check_every_kind((4 * segment, 2, 1));
        check_every_kind((4 * 2 * segment + 7, 1, 2));
    }
}

/// Takes minutes without optimisation.
#[test]
#[ignore = "slow: cargo test --release -p argon2-simd -- --ignored"]
fn large_costs() {
    for costs in [(19_456, 2, 1), (65_536, 3, 4), (262_144, 1, 1), (262_144, 2, 16), (262_143, 1, 7), (47_104, 10, 3)] {
        check_every_kind(costs);
    }
}

#[test]
fn outputs_of_any_length() {
    let mut held = Memory::default();
    let costs = Costs { algorithm: Algorithm::Argon2id, version: Version::V0x13, memory: 8, passes: 1, lanes: 1 };
    for output in (4..=200).chain([1_023, 1_024, 1_025]) {
        check(costs, Inputs { salt: b"8 bytes.", ..USUAL }, output, &mut held);
    }
}

#[test]
fn costs_without_a_layout_are_rejected() {
    let costs =
        |memory, lanes| Costs { algorithm: Algorithm::Argon2id, version: Version::V0x13, memory, passes: 1, lanes };
    for costs in [costs(7, 1), costs(0, 0), costs(127, 16), costs(8, 0)] {
        for vectors in all_vectors() {
            let hashed = vectors.hash_into(costs, USUAL, &mut [0; 32], &mut Memory::default());
            assert_eq!(hashed, Err(HashError), "{costs:?}");
        }
    }
}

#[test]
fn these_vectors_agree_with_the_reference() {
    for vectors in all_vectors() {
        assert!(vectors.agree_with_reference(), "{vectors:?}");
    }
}

#[test]
fn a_hash_that_differs_from_the_reference_is_noticed() {
    let costs = Costs { algorithm: Algorithm::Argon2id, version: Version::V0x13, memory: 71, passes: 2, lanes: 2 };
    let right = costs.reference().unwrap();
    let mut wrong = right;
    wrong[79] ^= 1;
    for vectors in all_vectors() {
        assert!(vectors.compute(right, costs, &mut Memory::default()));
        assert!(!vectors.compute(wrong, costs, &mut Memory::default()));
    }
}

fn any_costs() -> impl Strategy<Value = Costs> {
    let kinds = (prop::sample::select(&KINDS[..]), prop::sample::select(&VERSIONS[..]));
    let lanes = prop_oneof![3 => Just(1_u32), 2 => 1..=4_u32, 1 => 1..=16_u32];
    let size = lanes.prop_flat_map(|lanes| (Just(lanes), 8 * lanes..8 * lanes + 120));
    (kinds, size, prop_oneof![4 => 1..=3_u32, 1 => 4..=10_u32])
        .prop_map(|((algorithm, version), (lanes, memory), passes)| Costs { algorithm, version, memory, passes, lanes })
}

proptest! {
    // For more cases, use PROPTEST_CASES=100000 and --release.
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_hash_equals_the_reference(
        costs in any_costs(),
        password in prop::collection::vec(any::<u8>(), 0..300),
        salt in prop::collection::vec(any::<u8>(), 8..100),
        key in prop::collection::vec(any::<u8>(), 0..=32),
        data in prop::collection::vec(any::<u8>(), 0..=32),
        output in 4..=150_usize,
    ) {
        let inputs = Inputs { password: &password, salt: &salt, secret: &key, associated_data: &data };
        check(costs, inputs, output, &mut Memory::default());
    }
}
