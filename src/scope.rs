//! Scopes (RFC 6749, section 3.3).

use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};

/// A set of scope tokens (RFC 6749, section 3.3). They are case-sensitive, and their order has no meaning. The text form,
/// which JSON has, too, keeps the order in which they were first given. Duplicates are dropped, and stray spaces ignored.
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
#[derive(Clone, Default, Debug, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Scope(String);

impl Scope {
    /// A scope without tokens.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Whether the scope has no tokens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens, in the order in which they were first given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|token| !token.is_empty())
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
        &self.0
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
        f.write_str(&self.0)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_scope(text.as_bytes()) {
            return Err(InvalidScope);
        }
        let mut seen = BTreeSet::new();
        let tokens: Vec<&str> = text.split(' ').filter(|token| !token.is_empty() && seen.insert(*token)).collect();
        Ok(Self(tokens.join(" ")))
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        text.parse()
    }
}

/// `scope` of RFC 6749, section 3.3, but for stray spaces.
const fn is_scope(mut bytes: &[u8]) -> bool {
    while let [first, rest @ ..] = bytes {
        if !matches!(first, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E) {
            return false;
        }
        bytes = rest;
    }
    true
}

/// What a guard or a handler requires: all of some scope tokens, or any of them. As a constant, it cannot fail at run time:
/// a malformed scope does not compile.
///
/// ```
/// use tower_oauth2_password::{AccessToken, BearerLayer, RequiredScope};
///
/// const READ: RequiredScope = RequiredScope::all_of("items:read");
/// const EDIT: RequiredScope = RequiredScope::any_of("items:write admin");
///
/// let guard = BearerLayer::new(|text: &str| Ok(AccessToken::new(text))).with_required_scope(EDIT);
/// assert_eq!((READ.as_str(), EDIT.as_str()), ("items:read", "items:write admin"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RequiredScope {
    tokens: Cow<'static, str>,
    any: bool,
}

impl RequiredScope {
    /// All of these tokens, separated by spaces.
    ///
    /// # Panics
    /// When a token is malformed (RFC 6749, section 3.3). In a constant, this is a compile error. Parse a [`Scope`] that is not
    /// known before run time.
    pub const fn all_of(tokens: &'static str) -> Self {
        Self::checked(tokens, false)
    }

    /// At least one of these tokens, separated by spaces.
    ///
    /// # Panics
    /// As [`all_of`](Self::all_of).
    pub const fn any_of(tokens: &'static str) -> Self {
        Self::checked(tokens, true)
    }

    const fn checked(tokens: &'static str, any: bool) -> Self {
        assert!(is_scope(tokens.as_bytes()), "a character in the scope is not allowed (RFC 6749, section 3.3)");
        Self { tokens: Cow::Borrowed(tokens), any }
    }

    /// The tokens, separated by spaces.
    pub fn as_str(&self) -> &str {
        &self.tokens
    }

    pub(crate) fn is_met_by(&self, granted: &Scope) -> bool {
        let mut tokens = self.tokens.split(' ').filter(|token| !token.is_empty());
        if self.any { tokens.any(|token| granted.contains(token)) } else { tokens.all(|token| granted.contains(token)) }
    }
}

impl From<Scope> for RequiredScope {
    fn from(all: Scope) -> Self {
        Self { tokens: Cow::Owned(all.0), any: false }
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
    fn json_has_the_text_form_and_is_checked() {
        let scope: Scope = serde_json::from_str(r#""b a b""#).unwrap();
        assert_eq!((scope.as_str(), serde_json::to_string(&scope).unwrap()), ("b a", r#""b a""#.to_owned()));
        assert!(serde_json::from_str::<Scope>(r#""a\\b""#).is_err());
    }

    #[test]
    fn all_tokens_are_required_or_any() {
        let granted: Scope = "a b".parse().unwrap();
        for (required, met) in [
            (RequiredScope::all_of(" b  a "), true),
            (RequiredScope::all_of("a c"), false),
            (RequiredScope::all_of(""), true),
            (RequiredScope::any_of("c a"), true),
            (RequiredScope::any_of("c d"), false),
            (RequiredScope::any_of(""), false),
            ("a c".parse::<Scope>().unwrap().into(), false),
        ] {
            assert_eq!(required.is_met_by(&granted), met, "{required:?}");
        }
        assert!(std::panic::catch_unwind(|| RequiredScope::any_of("a\"b")).is_err());
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
