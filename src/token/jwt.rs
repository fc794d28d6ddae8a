/// Placeholder.
#[derive(Debug)]
pub struct Jwt;
