//! Rows that cannot be checked: a wrong password after the time of one hash, and a reason in the log.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use test_support::log::Log;
use tower_oauth2_password::HashSchemes;

use super::*;

const PASSWORD: &str = "wonderland123";
const SALT_AND_HASH: &str = "KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e";

// Made with Python's bcrypt 5.0 of 72 times "x", and of "wonder".
const OF_72: &str = "$2b$05$Nq3Wl0sYv7TtB1kGz9cEieg/aXBk349QHZ.SZmWrr1bs/eE10MxS2";
const OF_WONDER: &str = "$2b$05$Nq3Wl0sYv7TtB1kGz9cEieCT012RMx8hMlvRnPeMLTrGlwXHqsfCS";

/// What the log says of a login with this row, which is refused after one hash.
async fn reason(row: &str) -> String {
    static USERS: AtomicU32 = AtomicU32::new(0);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // Each user's row is logged once in ten seconds.
    let name = format!("user-{}", USERS.fetch_add(1, Ordering::Relaxed));
    let table = Table::new(&name, row);
    for password in [PASSWORD, "", "x", row] {
        assert_eq!(table.attempt(password).await, (false, 1), "{row:?} with {password:?}");
    }
    assert_eq!(table.row().await, row, "it is not replaced");
    let text = log.text();
    assert!(text.contains(&format!("subject=\"{name}\"")), "{row:?}: {text}");
    assert!(row.len() < 8 || !text.contains(row), "{text}");
    text
}

fn accepted(row: &str) -> bool {
    matches!(old_hashes().read("alice", Some(row)), Some(Ok(_)))
}

#[tokio::test]
async fn weak_rows_are_refused_by_name() {
    for (row, said) in [
        ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "MD5-crypt"),
        ("$apr1$salt$xxxxxxxxxxxxxxxxxxxxx.", "MD5-crypt"),
        ("{CRYPT}$1$salt$qJH7.N4xYta3aEG/dfqo/0", "MD5-crypt"),
        ("$P$B9vZp1ED5PnY4omTg1SJmUTSxeMfRY.", "MD5 by phpass"),
        ("$H$9vZp1ED5PnY4omTg1SJmUTSxeMfRY.", "MD5 by phpass"),
        ("{MD5}X03MO1qnZdYdgyfeuILPmQ==", "MD5, which is not read"),
        ("md5$salt$67a1e09bb1f83f5007dc119c14d663aa", "MD5, which is not read"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "MD5, which is not read"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
        ("{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9gxxxxx", "SHA-1"),
        ("{SHA-1}{salt}5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "SHA-1"),
        ("sha1$salt$59b3e8d637cf97edbe2384cf59cb7453dfe30789", "SHA-1"),
        ("$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq", "SHA-1"),
        ("5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "SHA-1"),
        ("{SHA-256}97cde38028ad898ebc02e690819fa220e88c62e0", "SHA-2 without PBKDF2"),
        ("ANXrDknc7fGPpigibZXXZFMX4aoqz44JveK6jQuwY3eH/UyPhvr5xTPeGYEckLxz9A==", "ASP.NET Identity version 2"),
        ("AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==", "ASP.NET Identity version 2"),
        ("{noop}wonderland123", "clear text"),
        ("plain$salt$wonderland123", "clear text"),
        ("$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e", "known error"),
        ("$6$rounds=5000$salt$hash", "SHA-crypt"),
        ("!kMYLOvZB2UUuLV7nSEDXqTKPKJXFbXmdiV", "without a password"),
        ("{pbkdf2}5d923b44a6d129f3ddf3e3c8d29412723dcbde72445e8ef6", "with_spring_pbkdf2"),
    ] {
        let log = reason(row).await;
        assert!(log.contains(said), "{row}: {log}");
    }
}

#[tokio::test]
async fn malformed_rows_are_refused() {
    let hex = "00".repeat(32);
    let long = "x".repeat(1 << 20);
    for (row, said) in [
        ("", "empty"),
        (" ", "unknown"),
        ("\0", "unknown"),
        (PASSWORD, "unknown"),
        ("{", "unknown"),
        ("$", "unknown"),
        ("$$$$", "unknown"),
        ("{unknown}x", "unknown"),
        ("unknown$1$2$3", "unknown"),
        ("a:b$c$d", "unknown"),
        ("$wp$2b", "unknown"),
        (&long, "too long"),
        ("$2b$", "cut off"),
        ("$2b$12$", "cut off"),
        ("$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7", "cut off"),
        ("$2b$12$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7ee", "cut off"),
        ("$2b$12$KIXQ4lQe0gN1bPzGkCy5oü6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e", "cut off"),
        ("{bcrypt}x", "unknown"),
        ("{argon2}x", "PHC"),
        ("argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdA", "cut off"),
        ("$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg", "cut off"),
        ("pbkdf2_sha256$600000$salt", "cut off"),
        ("pbkdf2_sha256$600000$salt$AAAA$AAAA", "too many parts"),
        ("pbkdf2_sha256$600000$salt$", "cut off"),
        ("pbkdf2_sha256$600000$salt$AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "cut off"),
        ("pbkdf2_sha256$600000$$NNKm4YNxpeNngxQpa/oNtiPJfEPISlfh5wxcP27VZ5I=", "cut off"),
        ("pbkdf2_sha256$600000$salt$NNKm4YNxpeNngxQpa/oNtiPJfEPISlfh5wxcP27VZ5!=", "base64"),
        ("pbkdf2_sha256$+600000$salt$NNKm4YNxpeNngxQpa/oNtiPJfEPISlfh5wxcP27VZ5I=", "number"),
        ("pbkdf2_sha256$-1$salt$NNKm4YNxpeNngxQpa/oNtiPJfEPISlfh5wxcP27VZ5I=", "number"),
        ("pbkdf2_sha256$99999999999$salt$NNKm4YNxpeNngxQpa/oNtiPJfEPISlfh5wxcP27VZ5I=", "too large"),
        (&format!("pbkdf2:sha256:1$salt${hex}0"), "hexadecimal"),
        (&format!("pbkdf2:sha256:1$salt${}", hex.replace("00", "+0")), "hexadecimal"),
        (&format!("pbkdf2:sha256$salt${hex}"), "cut off"),
        (&format!("pbkdf2:md5:1$salt${hex}"), "PRF is unknown"),
        (&format!("scrypt:32767:8:1$salt${hex}{hex}"), "power of two"),
        (&format!("scrypt:32768:8:1$salt${hex}"), "cut off"),
        ("$scrypt$ln=4,r=8$AAAA$AAAA", "cut off"),
        ("$scrypt$ln=260,r=8,p=1$AAAA$AAAA", "too large"),
        ("$pbkdf2-sha256$i=1,x=2$AAAA$AAAA", "parameters"),
        ("AQAAAA", "cut off"),
        ("AQAAAAAAAAA", "cut off"),
        ("AQAAAAMAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==", "PRF is unknown"),
        ("{pbkdf2@SpringSecurity_v5_8}", "cut off"),
        ("{pbkdf2@SpringSecurity_v5_8}00", "cut off"),
        // A salt and no hash, 15 bytes of a hash, and more than a hash has.
        (&format!("{{pbkdf2@SpringSecurity_v5_8}}{}", "00".repeat(16)), "cut off"),
        (&format!("{{pbkdf2@SpringSecurity_v5_8}}{}", "00".repeat(16 + 15)), "cut off"),
        (&format!("{{pbkdf2@SpringSecurity_v5_8}}{}", "00".repeat(16 + 65)), "cut off"),
    ] {
        let log = reason(row).await;
        assert!(log.contains(said), "{row}: {log}");
    }
}

#[tokio::test]
async fn rows_over_a_cap_are_refused_before_any_work() {
    let (hex, base64) = ("00".repeat(64), format!("{}=", "A".repeat(43)));
    for (row, within) in [
        (format!("$2b$14${SALT_AND_HASH}"), true),
        (format!("$2b$15${SALT_AND_HASH}"), false),
        (format!("$2b$31${SALT_AND_HASH}"), false),
        (format!("$2b$03${SALT_AND_HASH}"), false),
        (format!("$wp$2y$15${SALT_AND_HASH}"), false),
        (format!("pbkdf2_sha256$2000000$salt${base64}"), true),
        (format!("pbkdf2_sha256$2000001$salt${base64}"), false),
        (format!("pbkdf2_sha256$0$salt${base64}"), false),
        (format!("pbkdf2:sha512:2000001$salt${hex}"), false),
        // Two blocks of SHA-1 for 32 bytes.
        ("AQAAAAAAD0JAAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==".to_owned(), true),
        ("AQAAAAAAD0JBAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==".to_owned(), false),
        // 128 MiB.
        (format!("scrypt:131072:8:1$salt${hex}"), true),
        (format!("scrypt:131072:8:2$salt${hex}"), false),
        (format!("scrypt:131072:16:1$salt${hex}"), false),
        (format!("scrypt:262144:8:1$salt${hex}"), false),
        (format!("scrypt:1:8:1$salt${hex}"), false),
        (format!("scrypt:2:0:1$salt${hex}"), false),
        (format!("scrypt:2:8:0$salt${hex}"), false),
        (format!("scrypt:2:65536:65536$salt${hex}"), false),
        (format!("scrypt:2147483648:4294967295:4294967295$salt${hex}"), false),
        (format!("$scrypt$ln=63,r=4294967295,p=4294967295$AAAA${}", "A".repeat(43)), false),
        (format!("$scrypt$ln=64,r=1,p=1$AAAA${}", "A".repeat(43)), false),
        ("argon2$argon2id$v=19$m=4194304,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg".to_owned(), false),
    ] {
        assert_eq!(accepted(&row), within, "{row}");
        if !within {
            assert!(reason(&row).await.contains("cap"), "{row}");
        }
    }
}

#[tokio::test]
async fn bcrypt_never_cuts_a_password() {
    let whole = "x".repeat(72);
    for table in [Table::new("alice", OF_72), Table::new("alice", &format!("bcrypt${OF_72}"))] {
        assert_eq!(table.attempt(&format!("{whole}x")).await, (false, 1), "its first 72 bytes are right");
        assert_eq!(table.attempt(&"x".repeat(4_096)).await, (false, 1));
        assert_eq!(table.attempt(&whole).await, (true, 2));
    }
    let table = Table::new("alice", OF_WONDER);
    assert_eq!(table.attempt("wonder\0land").await, (false, 1), "bcrypt ends at NUL");
    assert_eq!(table.attempt("wonder\0").await, (false, 1));
    assert_eq!(table.attempt("wonder").await, (true, 2));
}

/// A row that can be checked, with bytes changed, left out or added.
fn damaged() -> impl Strategy<Value = String> {
    let rows = prop::sample::select(vec![
        "$2b$04$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e",
        "$wp$2y$04$KIXQ4lQe0gN1bPzGkCy5o.6jFsgTgvW0cL7kJtqVqQyYt1F1l0p7e",
        "bcrypt_sha256$$2b$04$XiRBCHNYvswRWo8nOsgjKuEmlVmMU2IFvH1H/D6G5eN1co3C2AAXe",
        "pbkdf2_sha1$1$salt$bu+FOEysmSq6ab0MsZizG7qTUqc=",
        "scrypt$2$salt$1$1$c5icy+D5+MwFI2tlbuVcrwyh41MSRvmbO7RgcZ7ZbwZdZ8NobovWiVjvyoCnJEMQ7T2La+TQZ3Nlfw+AQzBQ8Q==",
        "argon2$argon2id$v=19$m=8,t=1,p=1$dW1SdFQyb3RkV1ViNjVJd3NmS1pNRw$EvWt+sfWBUfoY5PtqDOvR5YpWDfdEiN6SU7DlkJlJ9g",
        "$pbkdf2-sha256$1$o9R6731PSamVUqp1jhHCuA$tHZwt.gPepjw9IQmgqulZRkRhZQDbylXk.O2gS6Jczc",
        "$scrypt$ln=1,r=1,p=1$WSultHZu7d3bW6u1NmbMOQ$QjYHq98n/XDVsdMpcPjxBpG3wM0awKmVVtus8AUt9+A",
        "pbkdf2:sha1:1$6cjyXVKKCO38x4ha$59fe4ca0daa0a99b313126464c75856f4732d3f3",
        "AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M",
        "{bcrypt}$2a$04$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG",
        "{pbkdf2}5d923b44a6d129f3ddf3e3c8d29412723dcbde72445e8ef6bf3b508fbf17fa4ed4d6b99ca763d8dc",
    ]);
    (rows, any::<prop::sample::Index>(), 0..3_usize, ".{0,3}").prop_map(|(row, at, left_out, added)| {
        let at = at.index(row.len());
        format!("{}{added}{}", &row[..at], row.get(at + left_out..).unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_in_a_row_is_read_without_a_panic(row in prop_oneof![damaged(), ".{0,200}", "[$:{}=,a-z0-9]{0,80}"]) {
        let settings = Pbkdf2Settings::new(Prf::Sha1, 1, 8).unwrap();
        if let Some(Err(reason)) = old_hashes().with_spring_pbkdf2(settings).read("alice", Some(&row)) {
            prop_assert!(!reason.is_empty());
        }
    }
}

#[tokio::test]
async fn damaged_rows_let_nobody_in() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let (mut runner, mut checked) = (TestRunner::deterministic(), 0);
    while checked < 100 {
        let row = damaged().new_tree(&mut runner).unwrap().current();
        // A damaged cost may take seconds, and within the caps that is right.
        let Some(Ok(check)) = old_hashes().read("alice", Some(&row)) else { continue };
        if format!("{check:?}").contains("work: ") && !is_small(&format!("{check:?}")) {
            continue;
        }
        checked += 1;
        assert_eq!(Table::new("alice", &row).attempt(PASSWORD).await, (false, 1), "{row}");
    }
}

fn is_small(check: &str) -> bool {
    let digits: String = check.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u64>().unwrap() < 10_000
}
