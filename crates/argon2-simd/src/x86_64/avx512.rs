//! Works on eight words at a time. A vector holds a quarter of a row (four words) and the same quarter of the next row,
//! also in memory. So four vectors hold two rows, four others hold two columns, and no vector is split between rounds.

use std::arch::x86_64::__m512i;

use pulp::{
    bytemuck::{cast, cast_mut, cast_ref},
    x86::V4,
};

use super::block::{Aligned, Backend, Block, Words, mix};

type Vector = [u64; 8];
/// Two rows.
type Rows = [Vector; 4];

impl Words for V4 {
    type Vector = __m512i;

    #[inline(always)]
    fn multiply_add(self, a: __m512i, b: __m512i) -> __m512i {
        let product = self.avx512f._mm512_mul_epu32(a, b);
        let sum = self.avx512f._mm512_add_epi64(a, b);
        self.avx512f._mm512_add_epi64(sum, self.avx512f._mm512_add_epi64(product, product))
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        self.avx512f._mm512_xor_si512(a, b)
    }

    #[inline(always)]
    fn rotate_right_32(self, a: __m512i) -> __m512i {
        self.avx512f._mm512_ror_epi64::<32>(a)
    }

    #[inline(always)]
    fn rotate_right_24(self, a: __m512i) -> __m512i {
        self.avx512f._mm512_ror_epi64::<24>(a)
    }

    #[inline(always)]
    fn rotate_right_16(self, a: __m512i) -> __m512i {
        self.avx512f._mm512_ror_epi64::<16>(a)
    }

    #[inline(always)]
    fn rotate_right_63(self, a: __m512i) -> __m512i {
        self.avx512f._mm512_ror_epi64::<63>(a)
    }
}

/// A round on two rows of a block. Each is a 4 by 4 matrix, and a vector holds one row of both. Mixes the columns
/// first, then the diagonals.
#[inline(always)]
fn round_of_rows(simd: V4, rows: [__m512i; 4]) -> [__m512i; 4] {
    let [a, b, c, d] = mix(simd, rows);
    let b = simd.avx512f._mm512_permutex_epi64::<0b00_11_10_01>(b);
    let c = simd.avx512f._mm512_permutex_epi64::<0b01_00_11_10>(c);
    let d = simd.avx512f._mm512_permutex_epi64::<0b10_01_00_11>(d);
    let [a, b, c, d] = mix(simd, [a, b, c, d]);
    let b = simd.avx512f._mm512_permutex_epi64::<0b10_01_00_11>(b);
    let c = simd.avx512f._mm512_permutex_epi64::<0b01_00_11_10>(c);
    let d = simd.avx512f._mm512_permutex_epi64::<0b00_11_10_01>(d);
    [a, b, c, d]
}

/// The same on two columns of a block. A vector holds a row of one matrix in words 0, 1, 4, 5, and one of the other in
/// words 2, 3, 6, 7.
#[inline(always)]
fn round_of_columns(simd: V4, columns: [__m512i; 4]) -> [__m512i; 4] {
    let left = cast::<Vector, __m512i>([1, 4, 3, 6, 5, 0, 7, 2]);
    let right = cast::<Vector, __m512i>([5, 0, 7, 2, 1, 4, 3, 6]);
    let [a, b, c, d] = mix(simd, columns);
    let b = simd.avx512f._mm512_permutexvar_epi64(left, b);
    let c = simd.avx512f._mm512_shuffle_i64x2::<0b01_00_11_10>(c, c);
    let d = simd.avx512f._mm512_permutexvar_epi64(right, d);
    let [a, b, c, d] = mix(simd, [a, b, c, d]);
    let b = simd.avx512f._mm512_permutexvar_epi64(right, b);
    let c = simd.avx512f._mm512_shuffle_i64x2::<0b01_00_11_10>(c, c);
    let d = simd.avx512f._mm512_permutexvar_epi64(left, d);
    [a, b, c, d]
}

#[inline(always)]
fn xor_into(simd: V4, into: &mut Vector, other: &Vector) -> __m512i {
    let sum = simd.xor(cast(*into), cast(*other));
    *into = cast(sum);
    sum
}

/// XORs the reference into two rows of the previous block, and runs the first round on the result.
#[inline(always)]
fn first_round(simd: V4, [p0, p1, p2, p3]: &mut Rows, [r0, r1, r2, r3]: &Rows) -> [__m512i; 4] {
    let rows = [xor_into(simd, p0, r0), xor_into(simd, p1, r1), xor_into(simd, p2, r2), xor_into(simd, p3, r3)];
    round_of_rows(simd, rows)
}

#[inline(always)]
fn store(simd: V4, mixed: [__m512i; 4], previous: &mut Rows, target: &mut Rows, mix: bool) {
    for (mixed, (previous, target)) in mixed.into_iter().zip(previous.iter_mut().zip(target)) {
        let mut sum = simd.xor(mixed, cast(*previous));
        if mix {
            sum = simd.xor(sum, cast(*target));
        }
        *previous = cast(sum);
        *target = cast(sum);
    }
}

impl Backend for V4 {
    #[inline(always)]
    fn arrange(words: &Block) -> Block {
        let mut block = [0; 128];
        let from: &[[[[u64; 4]; 4]; 2]; 4] = cast_ref(words);
        let to: &mut [[[[u64; 4]; 2]; 4]; 4] = cast_mut(&mut block);
        for ([even, odd], rows) in from.iter().zip(to) {
            for ((even, odd), vector) in even.iter().zip(odd).zip(rows) {
                *vector = [*even, *odd];
            }
        }
        block
    }

    #[inline(always)]
    fn words(block: &Block) -> Block {
        let mut words = [0; 128];
        let from: &[[[[u64; 4]; 2]; 4]; 4] = cast_ref(block);
        let to: &mut [[[[u64; 4]; 4]; 2]; 4] = cast_mut(&mut words);
        for (rows, [even, odd]) in from.iter().zip(to) {
            for (vector, (even, odd)) in rows.iter().zip(even.iter_mut().zip(odd)) {
                [*even, *odd] = *vector;
            }
        }
        words
    }

    #[inline(always)]
    fn compress(
        self,
        memory: &mut [Block],
        previous: &mut Aligned,
        reference: usize,
        target: usize,
        mix: bool,
    ) -> Option<()> {
        let [p0, p1, p2, p3]: &mut [Rows; 4] = cast_mut(&mut previous.0);
        let [r0, r1, r2, r3]: &[Rows; 4] = cast_ref(memory.get(reference)?);
        let [a0, a1, a2, a3] = first_round(self, p0, r0);
        let [b0, b1, b2, b3] = first_round(self, p1, r1);
        let [c0, c1, c2, c3] = first_round(self, p2, r2);
        let [d0, d1, d2, d3] = first_round(self, p3, r3);
        let [a0, b0, c0, d0] = round_of_columns(self, [a0, b0, c0, d0]);
        let [a1, b1, c1, d1] = round_of_columns(self, [a1, b1, c1, d1]);
        let [a2, b2, c2, d2] = round_of_columns(self, [a2, b2, c2, d2]);
        let [a3, b3, c3, d3] = round_of_columns(self, [a3, b3, c3, d3]);
        let [t0, t1, t2, t3]: &mut [Rows; 4] = cast_mut(memory.get_mut(target)?);
        store(self, [a0, a1, a2, a3], p0, t0, mix);
        store(self, [b0, b1, b2, b3], p1, t1, mix);
        store(self, [c0, c1, c2, c3], p2, t2, mix);
        store(self, [d0, d1, d2, d3], p3, t3, mix);
        Some(())
    }
}
