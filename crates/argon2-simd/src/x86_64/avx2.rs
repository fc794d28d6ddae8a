//! Works on four words at a time, a quarter of a row. Blocks are in the standard's order.

use std::arch::x86_64::__m256i;

use pulp::{
    bytemuck::{cast, cast_mut, cast_ref},
    x86::V3,
};

use super::block::{Aligned, Backend, Block, Words, mix_two};

type Vector = [u64; 4];
type Row = [Vector; 4];

impl Words for V3 {
    type Vector = __m256i;

    #[inline(always)]
    fn multiply_add(self, a: __m256i, b: __m256i) -> __m256i {
        let product = self.avx2._mm256_mul_epu32(a, b);
        let sum = self.avx2._mm256_add_epi64(a, b);
        self.avx2._mm256_add_epi64(sum, self.avx2._mm256_add_epi64(product, product))
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        self.avx2._mm256_xor_si256(a, b)
    }

    // AVX2 has no instruction that rotates words, but it has some that move halves and bytes.

    #[inline(always)]
    fn rotate_right_32(self, a: __m256i) -> __m256i {
        self.avx2._mm256_shuffle_epi32::<0b10_11_00_01>(a)
    }

    #[inline(always)]
    fn rotate_right_24(self, a: __m256i) -> __m256i {
        let bytes = [0x02_01_00_07_06_05_04_03_u64, 0x0a_09_08_0f_0e_0d_0c_0b];
        self.avx2._mm256_shuffle_epi8(a, cast([bytes; 2]))
    }

    #[inline(always)]
    fn rotate_right_16(self, a: __m256i) -> __m256i {
        let bytes = [0x01_00_07_06_05_04_03_02_u64, 0x09_08_0f_0e_0d_0c_0b_0a];
        self.avx2._mm256_shuffle_epi8(a, cast([bytes; 2]))
    }

    #[inline(always)]
    fn rotate_right_63(self, a: __m256i) -> __m256i {
        self.avx2._mm256_xor_si256(self.avx2._mm256_add_epi64(a, a), self.avx2._mm256_srli_epi64::<63>(a))
    }
}

/// Rotates the rows of a 4 by 4 matrix so that its diagonals become columns.
#[inline(always)]
fn diagonals_to_columns(simd: V3, [a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let b = simd.avx2._mm256_permute4x64_epi64::<0b00_11_10_01>(b);
    let c = simd.avx2._mm256_permute4x64_epi64::<0b01_00_11_10>(c);
    let d = simd.avx2._mm256_permute4x64_epi64::<0b10_01_00_11>(d);
    [a, b, c, d]
}

#[inline(always)]
fn columns_to_diagonals(simd: V3, [a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let b = simd.avx2._mm256_permute4x64_epi64::<0b10_01_00_11>(b);
    let c = simd.avx2._mm256_permute4x64_epi64::<0b01_00_11_10>(c);
    let d = simd.avx2._mm256_permute4x64_epi64::<0b00_11_10_01>(d);
    [a, b, c, d]
}

/// A round on two rows of a block. Each is a 4 by 4 matrix, with one vector for each matrix row.
#[inline(always)]
fn round_of_rows(simd: V3, first: [__m256i; 4], second: [__m256i; 4]) -> [[__m256i; 4]; 2] {
    let (first, second) = mix_two(simd, first, second);
    let (first, second) = (diagonals_to_columns(simd, first), diagonals_to_columns(simd, second));
    let (first, second) = mix_two(simd, first, second);
    [columns_to_diagonals(simd, first), columns_to_diagonals(simd, second)]
}

/// For each pair of words, the second word of `a` and the first of `b`.
#[inline(always)]
fn between(simd: V3, a: __m256i, b: __m256i) -> __m256i {
    cast(simd.avx._mm256_shuffle_pd::<0b0101>(cast(a), cast(b)))
}

/// A round on two columns of a block. Each is a 4 by 4 matrix, and a vector holds half a row of both.
#[inline(always)]
fn round_of_columns(simd: V3, [a, e, b, f, c, g, d, h]: [__m256i; 8]) -> [__m256i; 8] {
    let ([a, b, c, d], [e, f, g, h]) = mix_two(simd, [a, b, c, d], [e, f, g, h]);
    let (b, f) = (between(simd, b, f), between(simd, f, b));
    let (d, h) = (between(simd, h, d), between(simd, d, h));
    let ([a, b, g, d], [e, f, c, h]) = mix_two(simd, [a, b, g, d], [e, f, c, h]);
    let (b, f) = (between(simd, f, b), between(simd, b, f));
    let (d, h) = (between(simd, d, h), between(simd, h, d));
    [a, e, b, f, c, g, d, h]
}

#[inline(always)]
fn xor_into(simd: V3, into: &mut Vector, other: &Vector) -> __m256i {
    let sum = simd.xor(cast(*into), cast(*other));
    *into = cast(sum);
    sum
}

#[inline(always)]
fn xor_row(simd: V3, [p0, p1, p2, p3]: &mut Row, [r0, r1, r2, r3]: &Row) -> [__m256i; 4] {
    [xor_into(simd, p0, r0), xor_into(simd, p1, r1), xor_into(simd, p2, r2), xor_into(simd, p3, r3)]
}

impl Backend for V3 {
    #[inline(always)]
    fn arrange(words: &Block) -> Block {
        *words
    }

    #[inline(always)]
    fn words(block: &Block) -> Block {
        *block
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
        let mut state = Aligned([0; 128]);
        let state: &mut [Row; 8] = cast_mut(&mut state.0);
        let previous: &mut [Row; 8] = cast_mut(&mut previous.0);
        let reference: &[Row; 8] = cast_ref(memory.get(reference)?);
        let sources = previous.as_chunks_mut().0.iter_mut().zip(reference.as_chunks().0);
        for (([p, q], [r, s]), state) in sources.zip(state.as_chunks_mut::<2>().0) {
            let (first, second) = (xor_row(self, p, r), xor_row(self, q, s));
            *state = cast(round_of_rows(self, first, second));
        }
        let target: &mut [Row; 8] = cast_mut(memory.get_mut(target)?);
        for quarter in 0..4 {
            let columns = state.each_ref().map(|row| row.get(quarter).copied().unwrap_or_default());
            let mixed = round_of_columns(self, cast(columns));
            for (mixed, (previous, target)) in mixed.into_iter().zip(previous.iter_mut().zip(target.iter_mut())) {
                let (previous, target) = (previous.get_mut(quarter)?, target.get_mut(quarter)?);
                let mut sum = self.xor(mixed, cast(*previous));
                if mix {
                    sum = self.xor(sum, cast(*target));
                }
                *previous = cast(sum);
                *target = cast(sum);
            }
        }
        Some(())
    }
}
