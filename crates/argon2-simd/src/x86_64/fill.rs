//! Passes, slices and lanes (RFC 9106, sections 3.2 and 3.4).

use argon2::{Algorithm, Version};
use zeroize::Zeroizing;

use super::{
    blake2b,
    block::{Aligned, Backend, Block},
};
use crate::{Costs, Inputs};

const SLICES: usize = 4;

/// How the memory is divided: lanes one after another, of four segments each.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    lanes: usize,
    /// The number of blocks in a segment.
    segment: usize,
}

impl Layout {
    /// `None` if a lane has fewer than two blocks in each slice, or if the number of blocks overflows a `usize`.
    pub(super) fn of(costs: Costs) -> Option<Self> {
        let (lanes, memory) = (usize::try_from(costs.lanes).ok()?, usize::try_from(costs.memory).ok()?);
        let segment = memory.checked_div(lanes.checked_mul(SLICES)?)?;
        (segment >= 2).then_some(Self { lanes, segment })
    }

    fn lane(self) -> usize {
        SLICES * self.segment
    }

    pub(super) fn blocks(self) -> usize {
        self.lanes * self.lane()
    }
}

/// The segment that is being filled.
#[derive(Clone, Copy)]
struct Position {
    pass: usize,
    slice: usize,
    lane: usize,
}

impl Position {
    fn is_first_slice(self) -> bool {
        self.pass == 0 && self.slice == 0
    }
}

#[inline(always)]
pub(super) fn argon2<B: Backend>(
    backend: B,
    costs: Costs,
    inputs: Inputs<'_>,
    output: &mut [u8],
    memory: &mut [Block],
) -> Option<()> {
    let layout = Layout::of(costs)?;
    let memory = memory.get_mut(..layout.blocks())?;
    let inputs = Zeroizing::new(blake2b::inputs(costs, inputs, output.len())?);
    first_blocks::<B>(layout, &inputs, memory)?;
    for pass in 0..usize::try_from(costs.passes).ok()? {
        for slice in 0..SLICES {
            for lane in 0..layout.lanes {
                fill_segment(backend, costs, layout, Position { pass, slice, lane }, memory)?;
            }
        }
    }
    finish::<B>(layout, memory, output)
}

/// Fills the first two blocks of each lane.
fn first_blocks<B: Backend>(layout: Layout, inputs: &[u8; 64], memory: &mut [Block]) -> Option<()> {
    for (blocks, lane) in memory.chunks_exact_mut(layout.lane()).zip(0_u32..) {
        for (block, index) in blocks.iter_mut().zip(0_u32..2) {
            let seed = [inputs.as_slice(), index.to_le_bytes().as_slice(), lane.to_le_bytes().as_slice()].concat();
            let seed = Zeroizing::new(seed);
            let mut bytes = Zeroizing::new([0; size_of::<Block>()]);
            blake2b::long(&seed, bytes.as_mut_slice())?;
            let mut words = [0; 128];
            for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            *block = B::arrange(&words);
        }
    }
    Some(())
}

/// Hashes the XOR of the last blocks of all lanes.
fn finish<B: Backend>(layout: Layout, memory: &[Block], output: &mut [u8]) -> Option<()> {
    let mut sum = Zeroizing::new([0; 128]);
    for lane in memory.chunks_exact(layout.lane()) {
        for (sum, word) in sum.iter_mut().zip(lane.last()?) {
            *sum ^= word;
        }
    }
    let mut bytes = Zeroizing::new([0; size_of::<Block>()]);
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(B::words(&sum)) {
        *bytes = word.to_le_bytes();
    }
    blake2b::long(bytes.as_slice(), output)
}

#[inline(always)]
fn fill_segment<B: Backend>(
    backend: B,
    costs: Costs,
    layout: Layout,
    at: Position,
    memory: &mut [Block],
) -> Option<()> {
    // The first two blocks are already filled.
    let begin = if at.is_first_slice() { 2 } else { 0 };
    let lane = at.lane * layout.lane();
    let segment = lane + at.slice * layout.segment;
    let before = if at.slice == 0 && begin == 0 { lane + layout.lane() - 1 } else { segment + begin - 1 };
    let mut previous = Aligned(*memory.get(before)?);
    let mut addresses = Addresses::new(costs, at, memory.len());
    let mix = at.pass > 0 && costs.version != Version::V0x10;
    for index in begin..layout.segment {
        let random = match &mut addresses {
            Some(addresses) => addresses.next(backend, index, index == begin)?,
            None => {
                let [first, ..] = previous.0;
                first
            }
        };
        let reference = reference(layout, at, index, random);
        backend.compress(memory, &mut previous, reference, segment + index, mix)?;
    }
    Some(())
}

/// The block that `random` refers to (RFC 9106, section 3.4.2) while block `index` of a segment is being filled.
#[inline(always)]
fn reference(layout: Layout, at: Position, index: usize, random: u64) -> usize {
    let (low, high) = (random & 0xFFFF_FFFF, random >> 32);
    let lane = if at.is_first_slice() { at.lane } else { high as usize % layout.lanes };
    // All complete segments of the lane. In the same lane, also this segment so far. Never the previous block.
    let complete = if at.pass == 0 { at.slice * layout.segment } else { layout.lane() - layout.segment };
    let candidates = if lane == at.lane { complete + index - 1 } else { complete - usize::from(index == 0) };
    let oldest = if at.pass == 0 { 0 } else { (at.slice + 1) * layout.segment };
    // Recent blocks are more likely than old ones.
    let back = (candidates as u64 * ((low * low) >> 32)) >> 32;
    lane * layout.lane() + (oldest + candidates - 1 - back as usize) % layout.lane()
}

/// Pseudo-random words that depend only on the costs and the position.
struct Addresses {
    input: Block,
    current: Block,
}

impl Addresses {
    /// `None` if the blocks themselves supply the random words.
    fn new(costs: Costs, at: Position, blocks: usize) -> Option<Self> {
        let independent = match costs.algorithm {
            Algorithm::Argon2d => false,
            Algorithm::Argon2i => true,
            Algorithm::Argon2id => at.pass == 0 && at.slice < SLICES / 2,
        };
        let mut input = [0; 128];
        let [pass, lane, slice, all, passes, kind, ..] = &mut input;
        (*pass, *lane, *slice) = (at.pass as u64, at.lane as u64, at.slice as u64);
        (*all, *passes, *kind) = (blocks as u64, u64::from(costs.passes), costs.algorithm as u64);
        independent.then_some(Self { input, current: [0; 128] })
    }

    #[inline(always)]
    fn next<B: Backend>(&mut self, backend: B, index: usize, first: bool) -> Option<u64> {
        if first || index.is_multiple_of(128) {
            let [_, _, _, _, _, _, counter, ..] = &mut self.input;
            *counter += 1;
            let mut memory = [B::arrange(&self.input)];
            // Compresses zeros with the input, then zeros with the result.
            for _ in 0..2 {
                backend.compress(&mut memory, &mut Aligned([0; 128]), 0, 0, false)?;
            }
            let [block] = &memory;
            self.current = B::words(block);
        }
        self.current.get(index % 128).copied()
    }
}
