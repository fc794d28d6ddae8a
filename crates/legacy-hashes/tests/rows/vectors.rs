//! Rows that others published, for programs that do not run here.

use super::*;

#[tokio::test]
async fn users_of_spring_move_in() {
    for (password, row) in [
        // Spring Security's reference, "Password Storage".
        ("password", "{bcrypt}$2a$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG"),
        // Spring Security's Argon2PasswordEncoderTests.
        (
            "sometestpassword",
            "{argon2}$argon2id$v=19$m=4096,t=3,p=1$QUFBQUFBQUFBQUFBQUFBQQ$hmmTNyJlwbb6HAvFoHFWF+u03fdb0F2qA+39oPlcAqo",
        ),
        (
            "sometestpassword",
            "{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=512,t=5,p=4$QUFBQUFBQUFBQUFBQUFBQQ$\
             PNv4C3K50bz3rmON+LtFpdisD7ePieLNq+l5iUHgc1k",
        ),
    ] {
        moves_in(old_hashes(), row, password, row).await;
    }
}

#[tokio::test]
async fn users_of_springs_pbkdf2_move_in_with_its_settings() {
    let of_version_5_5 = |prf| Pbkdf2Settings::new(prf, 185_000, 8).unwrap();
    for (settings, row) in [
        // Spring Security's reference, "Password Storage".
        (
            of_version_5_5(Prf::Sha1),
            "{pbkdf2}5d923b44a6d129f3ddf3e3c8d29412723dcbde72445e8ef6bf3b508fbf17fa4ed4d6b99ca763d8dc",
        ),
        // Spring Security's Pbkdf2PasswordEncoderTests: `passivity` and `matchWhenSha256ThenSuccess`.
        (
            of_version_5_5(Prf::Sha1).with_secret("secret"),
            "{pbkdf2}ab1146a8458d4ce4e65789e5a3f60e423373cfa10b01abd23739e5ae2fdc37f8e9ede4ae6da65264",
        ),
        (
            of_version_5_5(Prf::Sha256).with_secret("secret"),
            "{pbkdf2}821447f994e2b04c5014e31fa9fca4ae1cc9f2188c4ed53d3ddb5ba7980982b51a0ecebfc0b81a79",
        ),
    ] {
        moves_in(old_hashes().with_spring_pbkdf2(settings), row, "password", row).await;
    }
}

#[tokio::test]
async fn users_of_asp_net_move_in() {
    // PasswordHasherTest of ASP.NET Core.
    for row in [
        "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
        "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw",
        "AQAAAAIAAAD6AAAAIJbVi5wbMR+htSfFp8fTw8N8GOS/Sje+S/4YZcgBfU7EQuqv4OkVYmc4VJl9AGZzmRTxSkP7LtVi9IWyUxX8IAAfZ8v+ZfhjCc\
         udtC1YERSqE1OEdXLW9VukPuJWBBjLuw==",
        "AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M",
        "AQAAAAEAA9CQAAAAIESkQuj2Du8Y+kbc5lcN/W/3NiAZFEm11P27nrSN5/tId+bR1SwV8CO1Jd72r4C08OLvplNlCDc3oQZ8efcW+jQ=",
    ] {
        moves_in(old_hashes(), row, "my password", row).await;
    }
    // Its failure cases: too short, and with more at the end.
    for row in [
        "AQAAAAAAAAD6AAAAEAhftMyfTJyAAAAAAAAAAAAAAAAAAAih5WsjXaR3PA9M",
        "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4A=",
        "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHwAAAAAAAAAAAA",
    ] {
        assert_eq!(Table::new("alice", row).attempt("my password").await, (false, 1), "{row}");
    }
}

#[tokio::test]
async fn users_of_wordpress_move_in() {
    // Two that PHP's `password_verify` accepted: a demo site's administrator, and a reimplementation's golden vector.
    for (password, row) in [
        ("admin", "$wp$2y$10$Q1xinFjrZeLWJBvxviIL6u834Fu.evIEFHAUVisQ5O.w9Dm0sMdES"),
        ("grimoire-test-123", "$wp$2y$12$iWN5xRwDE7i9R5jVJvCyqOxS1CNnwUggQaF8O2W9Bg8TuXQz.ngrS"),
    ] {
        moves_in(old_hashes(), row, password, row).await;
    }
    let row = "$wp$2y$10$Q1xinFjrZeLWJBvxviIL6u834Fu.evIEFHAUVisQ5O.w9Dm0sMdES";
    assert_eq!(Table::new("alice", row).attempt(" admin\t").await, (true, 2), "WordPress cuts white space off");
}

#[tokio::test]
async fn users_of_phc_strings_move_in() {
    // RFC 7914, section 11 (PBKDF2-HMAC-SHA-256 with one round and 64 bytes; scrypt), cut to the usual length.
    for (password, row) in [
        ("passwd", "$pbkdf2-sha256$i=1,l=32$c2FsdA$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw"),
        ("passwd", "$pbkdf2-sha256$i=1$c2FsdA$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw"),
        ("password", "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI"),
    ] {
        moves_in(old_hashes(), row, password, row).await;
    }
}
