//! Scopes by the grammar of RFC 6749, section 3.3.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A set of scope tokens (RFC 6749, section 3.3): case-sensitive, order without meaning, duplicates dropped.
///
/// The text form keeps the tokens in the order in which they were first given. Stray spaces are ignored.
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
    /// The scope with no token in it.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether there is no token in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The tokens, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ').filter(|token| !token.is_empty())
    }

    /// Whether `token` is one of the tokens, compared whole.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// Whether every token of `self` is also one of `other`.
    #[must_use]
    pub fn is_subset_of(&self, other: &Scope) -> bool {
        let granted: BTreeSet<&str> = other.iter().collect();
        self.iter().all(|token| granted.contains(token))
    }

    /// The tokens separated by single spaces, as it goes over the wire.
    #[must_use]
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
        let mut seen = BTreeSet::new();
        let mut normal = String::with_capacity(text.len());
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if !token.bytes().all(is_scope_char) {
                return Err(InvalidScope);
            }
            if seen.insert(token) {
                if !normal.is_empty() {
                    normal.push(' ');
                }
                normal.push_str(token);
            }
        }
        Ok(Self { text: normal })
    }
}

fn is_scope_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

/// A scope with a character outside of RFC 6749, section 3.3: only printable ASCII without space, `"` and `\` may be
/// in a scope token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidScope;

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scope token may hold only printable ASCII without space, '\"' and '\\' (RFC 6749, section 3.3)")
    }
}

impl std::error::Error for InvalidScope {}

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
