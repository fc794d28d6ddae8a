//! Memory from the system, on huge pages where it gives them: blocks are read at random, and with pages of 4 KiB most
//! reads would also have to look their page up.

use memmap2::MmapMut;
use pulp::bytemuck;
use zeroize::Zeroize;

use super::block::Block;

/// What a hashing thread keeps from one hash to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory(Option<MmapMut>);

impl Memory {
    /// At least the memory of a hash, whatever it holds. `None` if the system has none.
    pub(super) fn blocks(&mut self, needed: usize) -> Option<&mut [Block]> {
        if self.held() < needed {
            // What is held goes first; nobody needs what it holds.
            self.0 = None;
            let map = MmapMut::map_anon(needed.checked_mul(size_of::<Block>())?).ok()?;
            // Where the system does not know the advice, pages are small.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            self.0 = Some(map);
        }
        bytemuck::try_cast_slice_mut(self.0.as_deref_mut()?).ok()
    }

    /// How many blocks are held.
    pub(crate) fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len() / size_of::<Block>())
    }

    /// Overwrites what the last hash left in it.
    pub(crate) fn wipe(&mut self) {
        if let Some(Ok(words)) = self.0.as_deref_mut().map(bytemuck::try_cast_slice_mut::<u8, u64>) {
            words.zeroize();
        }
    }

    /// Gives all back if it is more than `usual`.
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
