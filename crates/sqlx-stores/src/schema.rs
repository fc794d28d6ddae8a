//! The prefix and the version of the tables.

use tower_oauth2_password::BoxError;

pub(crate) const DEFAULT_PREFIX: &str = "oauth2_";
/// The version of the tables that this package creates and uses.
pub(crate) const VERSION: i64 = 1;
/// Names in Postgres have 63 bytes at most.
const LONGEST_PREFIX: usize = 30;

/// The prefix becomes part of statements, so it may hold nothing that needs quotes.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), BoxError> {
    let plain = prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let begins = prefix.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if plain && begins && prefix.len() <= LONGEST_PREFIX {
        return Ok(());
    }
    Err("the prefix of the tables must be 1 to 30 lower-case letters, digits and _, and begin with no digit".into())
}

pub(crate) fn check_version(found: i64, prefix: &str) -> Result<(), BoxError> {
    if found == VERSION {
        return Ok(());
    }
    let fix = if found > VERSION { "update this package" } else { "drop them or use another prefix" };
    Err(format!("the tables `{prefix}*` have version {found}, and this package uses version {VERSION}: {fix}").into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_needs_no_quotes() {
        for good in ["oauth2_", "a", "_", &"x".repeat(30)] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["", "2a", "A", "a-b", "a\"", "a;", "\u{e4}", &"x".repeat(31)] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_version_names_its_fix() {
        assert!(check_version(1, "p_").is_ok());
        let newer = check_version(2, "p_").unwrap_err().to_string();
        assert!(newer.contains("`p_*`") && newer.contains("version 2") && newer.contains("update"), "{newer}");
        assert!(check_version(0, "p_").unwrap_err().to_string().contains("drop"));
    }
}
