//! No vectors: this processor is not x86-64.

use crate::{Costs, Inputs};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Vectors {}

impl Vectors {
    pub(crate) fn detected() -> impl Iterator<Item = Self> {
        std::iter::empty()
    }

    pub(crate) fn hash(self, _: Costs, _: Inputs<'_>, _: &mut [u8], _: &mut Memory) -> Option<()> {
        match self {}
    }
}

#[derive(Debug, Default)]
pub(crate) struct Memory;

impl Memory {
    pub(crate) fn held(&self) -> usize {
        0
    }

    pub(crate) fn wipe(&mut self) {}

    pub(crate) fn shrink(&mut self, _: usize) {}
}
