/// Placeholder.
#[derive(Debug)]
pub struct Key;
/// Placeholder.
#[derive(Debug)]
pub struct KeyError;
