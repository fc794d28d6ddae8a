/// Placeholder.
#[derive(Debug)]
pub struct AttemptLimits;
