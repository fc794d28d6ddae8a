//! The cost of a hash, and its caps.

use argon2::Params;

use crate::error::InvalidConfig;

const LARGEST_MEMORY: u32 = 262_144;
const MOST_PASSES: u32 = 10;
const MOST_LANES: u32 = 16;

/// The cost of new hashes. The default is Argon2id with 19,456 KiB, 2 passes and 1 lane, as OWASP recommends.
///
/// A stored hash names its own cost. One beyond the limits of [`new`](Self::new) counts as a wrong password.
///
/// ```
/// use tower_oauth2_password::{Argon2Params, HashingPool};
///
/// let stronger = Argon2Params::new(65_536, 3, 1)?;
/// assert_ne!(stronger, Argon2Params::default());
/// let pool = HashingPool::new().with_params(stronger);
/// # Ok::<(), tower_oauth2_password::InvalidConfig>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Params {
    pub(super) m_cost: u32,
    pub(super) t_cost: u32,
    pub(super) p_cost: u32,
}

impl Default for Argon2Params {
    fn default() -> Self {
        Self { m_cost: 19_456, t_cost: 2, p_cost: 1 }
    }
}

impl Argon2Params {
    /// Memory in KiB, passes, and lanes.
    ///
    /// # Errors
    /// When out of range: 8 KiB a lane to 262,144 KiB, 1 to 10 passes, 1 to 16 lanes.
    pub fn new(m_cost: u32, t_cost: u32, p_cost: u32) -> Result<Self, InvalidConfig> {
        let params = Self { m_cost, t_cost, p_cost };
        let is_in_range = params.within_caps() && params.argon2(Params::DEFAULT_OUTPUT_LEN).is_some();
        let range = "m is 8*p to 262144, t 1 to 10, p 1 to 16";
        let hint = format!("Argon2 with m={m_cost} KiB, t={t_cost}, p={p_cost} is out of range: {range}");
        InvalidConfig::unless(is_in_range, hint).map(|()| params)
    }

    pub(super) fn within_caps(self) -> bool {
        self.m_cost <= LARGEST_MEMORY && self.t_cost <= MOST_PASSES && self.p_cost <= MOST_LANES
    }

    pub(super) fn argon2(self, output: usize) -> Option<Params> {
        Params::new(self.m_cost, self.t_cost, self.p_cost, Some(output)).ok()
    }

    /// What a hash costs: the KiB that it fills.
    pub(super) fn work(self) -> u64 {
        u64::from(self.m_cost) * u64::from(self.t_cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_costs_its_memory_in_every_pass() {
        assert_eq!(Argon2Params::new(64, 3, 2).unwrap().work(), 192);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        assert_eq!(Argon2Params::new(19_456, 2, 1).unwrap(), Argon2Params::default());
        for (m, t, p) in [(8, 1, 1), (128, 1, 16), (262_144, 10, 16)] {
            assert!(Argon2Params::new(m, t, p).is_ok(), "m={m}, t={t}, p={p}");
        }
        for (m, t, p) in [(7, 1, 1), (127, 1, 16), (262_145, 1, 1), (64, 0, 1), (64, 11, 1), (64, 1, 0), (256, 1, 17)] {
            let error = Argon2Params::new(m, t, p).unwrap_err().to_string();
            assert!(error.contains(&format!("m={m} KiB, t={t}, p={p}")), "{error}");
        }
    }
}
