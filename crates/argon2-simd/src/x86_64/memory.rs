//! Memory from the system, on huge pages if it provides them. Blocks are read at random, and with pages of 4 KiB most
//! reads would also have to look up their page.

use memmap2::MmapMut;
use pulp::bytemuck;
use zeroize::Zeroize;

use super::block::Block;

/// The memory that a hashing thread keeps from one hash to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory(Option<MmapMut>);

impl Memory {
    /// At least `needed` blocks, whatever they contain. `None` if the system has no memory.
    pub(super) fn blocks(&mut self, needed: usize) -> Option<&mut [Block]> {
        if self.held() < needed {
            // Frees the old memory first; its contents are not needed.
            self.0 = None;
            let map = MmapMut::map_anon(needed.checked_mul(size_of::<Block>())?).ok()?;
            // If the system does not know the advice, pages are small.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            self.0 = Some(map);
        }
        bytemuck::try_cast_slice_mut(self.0.as_deref_mut()?).ok()
    }

    /// The number of blocks in this memory.
    pub(crate) fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len() / size_of::<Block>())
    }

    /// Overwrites the data that the last hash left.
    pub(crate) fn wipe(&mut self) {
        if let Some(Ok(words)) = self.0.as_deref_mut().map(bytemuck::try_cast_slice_mut::<u8, u64>) {
            words.zeroize();
        }
    }

    /// Returns all of it to the system if it is more than `usual` blocks.
    pub(crate) fn shrink(&mut self, usual: usize) {
        if self.held() > usual {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_while_it_suffices() {
        let mut memory = Memory::default();
        memory.blocks(64).unwrap()[63][127] = 7;
        memory.shrink(64);
        assert_eq!(memory.blocks(10).unwrap().len(), 64);
        assert_eq!(memory.blocks(64).unwrap()[63][127], 7, "the same memory");
        memory.wipe();
        assert_eq!(memory.blocks(64).unwrap()[63][127], 0);
        memory.blocks(100).unwrap();
        assert_eq!(memory.held(), 100);
        memory.shrink(64);
        assert_eq!(memory.held(), 0);
        assert!(memory.blocks(usize::MAX).is_none());
    }
}
