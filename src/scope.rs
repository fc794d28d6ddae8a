//! Scopes (RFC 6749, section 3.3).

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A set of scope tokens (RFC 6749, section 3.3). They are case-sensitive, and their order has no meaning. The text form
/// keeps the order in which they were first given. Duplicates are dropped, and stray spaces ignored.
///
/// ```
/// use tower_oauth2_password::Scope;
///
/// let granted: Scope = "items:read items:write".parse()?;
/// let asked: Scope = "items:read".parse()?;
/// assert!(asked.is_subset_of(&granted));
/// assert!(granted.contains("items:write"));
/// assert!(!granted.contains("items"), "tokens match whole, never in part");
/// assert!("a\"b".parse::<Scope>().is_err());
/// # Ok::<(), tower_oauth2_password::InvalidScope>(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct Scope {
    text: String,
}

impl Scope {
    /// A scope without tokens.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether the scope has no tokens.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The tokens, in the order in which they were first given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ').filter(|token| !token.is_empty())
    }

    /// Whether the scope has exactly this token.
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// Whether `other` has every token of this scope.
    pub fn is_subset_of(&self, other: &Scope) -> bool {
        let granted: BTreeSet<&str> = other.iter().collect();
        self.iter().all(|token| granted.contains(token))
    }

    /// The tokens separated by single spaces, as they are sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.is_subset_of(other) && other.is_subset_of(self)
    }
}

impl Eq for Scope {}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E)) {
            return Err(InvalidScope);
        }
        let mut seen = BTreeSet::new();
        let tokens: Vec<&str> = text.split(' ').filter(|token| !token.is_empty() && seen.insert(*token)).collect();
        Ok(Self { text: tokens.join(" ") })
    }
}

/// A scope token with a character that RFC 6749, section 3.3 does not allow.
///
/// ```
/// use tower_oauth2_password::{InvalidScope, Scope};
///
/// assert_eq!("items:\"read\"".parse::<Scope>(), Err(InvalidScope));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope token may hold only printable ASCII without space, '\"' and '\\' (RFC 6749, section 3.3)")]
pub struct InvalidScope;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_characters_are_those_of_the_rfc() {
        for byte in 0..=127_u8 {
            let allowed = byte == 0x21 || (0x23..=0x5B).contains(&byte) || (0x5D..=0x7E).contains(&byte);
            let text = format!("a{}b", char::from(byte));
            assert_eq!(text.parse::<Scope>().is_ok(), allowed || byte == b' ', "{text:?}");
        }
        assert_eq!("é".parse::<Scope>(), Err(InvalidScope));
        assert!(InvalidScope.to_string().contains("printable ASCII"));
    }

    #[test]
    fn order_and_repetition_mean_nothing() {
        let scope: Scope = "  b a  b ".parse().unwrap();
        assert_eq!((scope.as_str(), scope.to_string().as_str()), ("b a", "b a"));
        assert_eq!(scope.iter().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(scope, "a b".parse().unwrap());
        assert_ne!(scope, "a".parse().unwrap());
        assert_ne!(scope, "a b c".parse().unwrap());
        assert!(scope.contains("a") && !scope.contains("A") && !scope.is_empty());
        let empty: Scope = " ".parse().unwrap();
        assert!(empty.is_empty() && empty.iter().next().is_none() && empty.is_subset_of(&scope));
        assert_eq!(empty, Scope::empty());
    }
}
