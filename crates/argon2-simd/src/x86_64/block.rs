//! Blocks of 1 KiB, and what the compression function G (RFC 9106, section 3.5) is made of, on vectors of any width.

/// The words of a block, in the order of the backend that wrote them.
pub(super) type Block = [u64; 128];

/// A block that is aligned to a cache line, for use on the stack.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Aligned(pub(super) Block);

/// The block operations of one kind of processor. All of them must be inlined where its instructions are enabled.
pub(super) trait Backend: Copy {
    /// Rearranges words from the standard's order into this backend's.
    fn arrange(words: &Block) -> Block;

    /// The words of a block in the standard's order.
    fn words(block: &Block) -> Block;

    /// Sets `previous` and the block at `target` to G(`previous`, the block at `reference`); with `mix`, XORed with the
    /// old block at `target`. The first word of a block stays the first.
    fn compress(
        self,
        memory: &mut [Block],
        previous: &mut Aligned,
        reference: usize,
        target: usize,
        mix: bool,
    ) -> Option<()>;
}

/// Arithmetic on each word of a vector.
pub(super) trait Words: Copy {
    type Vector: Copy;

    /// a + b + 2 × the lower half of a × the lower half of b.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn rotate_right_32(self, a: Self::Vector) -> Self::Vector;
    fn rotate_right_24(self, a: Self::Vector) -> Self::Vector;
    fn rotate_right_16(self, a: Self::Vector) -> Self::Vector;
    fn rotate_right_63(self, a: Self::Vector) -> Self::Vector;
}

/// BLAKE2b's mixing function with multiplications (RFC 9106, section 3.6), on each word of four vectors.
#[inline(always)]
pub(super) fn mix<W: Words>(words: W, [a, b, c, d]: [W::Vector; 4]) -> [W::Vector; 4] {
    let a = words.multiply_add(a, b);
    let d = words.rotate_right_32(words.xor(d, a));
    let c = words.multiply_add(c, d);
    let b = words.rotate_right_24(words.xor(b, c));
    let a = words.multiply_add(a, b);
    let d = words.rotate_right_16(words.xor(d, a));
    let c = words.multiply_add(c, d);
    let b = words.rotate_right_63(words.xor(b, c));
    [a, b, c, d]
}

/// [`mix`] twice, interleaved: each half works while the other waits for its results.
#[inline(always)]
pub(super) fn mix_two<W: Words>(
    words: W,
    [a, b, c, d]: [W::Vector; 4],
    [e, f, g, h]: [W::Vector; 4],
) -> ([W::Vector; 4], [W::Vector; 4]) {
    let (a, e) = (words.multiply_add(a, b), words.multiply_add(e, f));
    let (d, h) = (words.rotate_right_32(words.xor(d, a)), words.rotate_right_32(words.xor(h, e)));
    let (c, g) = (words.multiply_add(c, d), words.multiply_add(g, h));
    let (b, f) = (words.rotate_right_24(words.xor(b, c)), words.rotate_right_24(words.xor(f, g)));
    let (a, e) = (words.multiply_add(a, b), words.multiply_add(e, f));
    let (d, h) = (words.rotate_right_16(words.xor(d, a)), words.rotate_right_16(words.xor(h, e)));
    let (c, g) = (words.multiply_add(c, d), words.multiply_add(g, h));
    let (b, f) = (words.rotate_right_63(words.xor(b, c)), words.rotate_right_63(words.xor(f, g)));
    ([a, b, c, d], [e, f, g, h])
}
