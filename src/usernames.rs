//! The one form of each username.

use std::sync::Arc;

#[cfg(feature = "unicode")]
use unicode_normalization::UnicodeNormalization;

use crate::secret::debug_only;
use crate::sync::unwind_guarded;

type Canonical = dyn Fn(&str) -> Option<String> + Send + Sync;

/// How usernames are spelled: typed in any of several ways, looked up, limited and stored in one.
///
/// Given to [`AuthorizationServer::with_usernames`](crate::AuthorizationServer::with_usernames), logins and limits use it. Use the
/// same one where names are stored, at sign-up.
///
/// 1. A name without a canonical form belongs to nobody. The verifier gets an empty name, so that such a login costs what any other
///    does, and its answer is ignored: the login is denied.
/// 2. Choose before the first sign-up: what is stored already stays as it is.
///
/// ```
/// use tower_oauth2_password::Usernames;
///
/// let usernames = Usernames::new(|typed| Some(typed.trim().to_ascii_lowercase()));
/// assert_eq!(usernames.canonical(" Alice "), Some("alice".to_owned()));
/// assert_eq!(usernames.canonical(" "), None);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Usernames(Arc<Canonical>);

debug_only!(Usernames {});

impl Usernames {
    /// By your own rule, which returns `None` for what is no username. Applied to its own result, it must change nothing.
    pub fn new(canonical: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(canonical))
    }

    /// By the profile UsernameCaseMapped of PRECIS (RFC 8265, section 3.3): lower case, NFC, full-width letters as the usual
    /// ones. A name has letters, digits and ASCII symbols, no spaces, and one direction of writing.
    ///
    /// ```
    /// use tower_oauth2_password::Usernames;
    ///
    /// let usernames = Usernames::precis();
    /// for typed in ["Zoë", "zoe\u{308}", "ＺＯë"] {
    ///     assert_eq!(usernames.canonical(typed).as_deref(), Some("zoë"));
    /// }
    /// assert_eq!(usernames.canonical("zoë \u{200b}"), None);
    /// ```
    #[cfg(feature = "unicode")]
    pub fn precis() -> Self {
        use precis_profiles::{UsernameCaseMapped, precis_core::profile::PrecisFastInvocation};
        Self::new(|typed| UsernameCaseMapped::enforce(typed).ok().map(String::from))
    }

    /// In lower case and NFC (Unicode Standard Annex 15). Every text is a name.
    #[cfg(feature = "unicode")]
    pub fn lowercase_nfc() -> Self {
        Self::new(|typed| Some(typed.nfc().collect::<String>().to_lowercase().nfc().collect()))
    }

    /// In lower case and NFKC, which also maps ligatures, full-width letters and superscripts to ordinary letters. Every text is a
    /// name.
    #[cfg(feature = "unicode")]
    pub fn lowercase_nfkc() -> Self {
        Self::new(|typed| Some(typed.nfkc().collect::<String>().to_lowercase().nfkc().collect()))
    }

    /// The form in which a name is stored and looked up. `None` if it is no username: empty, against the rule, or
    /// changed when the rule is applied again.
    pub fn canonical(&self, typed: &str) -> Option<String> {
        let rule = |name: &str| unwind_guarded(|| (self.0)(name)).flatten();
        // PRECIS maps some letters to ones that it refuses (RFC 8265, section 3.3.3: the rules must change nothing in the end).
        rule(typed).filter(|name| !name.is_empty() && rule(name).as_ref() == Some(name))
    }
}

/// How a username is looked up and counted: empty, which nobody has, if it has no canonical form.
pub(crate) fn account_of(usernames: Option<&Usernames>, typed: &str) -> String {
    usernames.map_or_else(|| typed.to_owned(), |names| names.canonical(typed).unwrap_or_default())
}

#[cfg(all(test, feature = "unicode"))]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_one() {
        let (precis, nfc, nfkc) = (Usernames::precis(), Usernames::lowercase_nfc(), Usernames::lowercase_nfkc());
        for (typed, by_precis, by_nfc, by_nfkc) in [
            ("alice", Some("alice"), Some("alice"), Some("alice")),
            ("ALICE", Some("alice"), Some("alice"), Some("alice")),
            ("Zoe\u{308}", Some("zoë"), Some("zoë"), Some("zoë")),
            ("ｚoë", Some("zoë"), Some("ｚoë"), Some("zoë")),
            ("ﬁn", None, Some("ﬁn"), Some("fin")),
            ("a b", None, Some("a b"), Some("a b")),
            ("a\u{200b}", None, Some("a\u{200b}"), Some("a\u{200b}")),
            ("שa", None, Some("שa"), Some("שa")),
            ("Ꭰ", None, Some("ꭰ"), Some("ꭰ")),
            ("", None, None, None),
        ] {
            let found = [&precis, &nfc, &nfkc].map(|usernames| usernames.canonical(typed));
            assert_eq!(found, [by_precis, by_nfc, by_nfkc].map(|name| name.map(str::to_owned)), "{typed:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_canonical_name_stays_as_it_is(typed in "\\PC{0,12}|[a-zA-ZÀ-ɏΑ-ωﬀ-ﬆＡ-ｚא-ת\u{300}-\u{36f}]{0,8}") {
            for usernames in [Usernames::precis(), Usernames::lowercase_nfc(), Usernames::lowercase_nfkc()] {
                if let Some(name) = usernames.canonical(&typed) {
                    proptest::prop_assert_eq!(usernames.canonical(&name), Some(name));
                }
            }
        }
    }
}
