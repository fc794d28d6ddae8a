//! The Lua scripts. Each decides one thing on one key, before a deadline, by Redis's own clock.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident: $file:literal,)*) => {
        $(pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("now.lua"), include_str!($file))));)*

        const SOURCES: &[&str] = &[$(concat!(include_str!("now.lua"), include_str!($file))),*];
    };
}

scripts! {
    INDEX: "index.lua",
    INSERT: "insert.lua",
    FIND: "find.lua",
    ROTATE: "rotate.lua",
    REVOKE: "revoke.lua",
    MEMBERS: "members.lua",
    FORGET: "forget.lua",
    RESERVE: "reserve.lua",
    SETTLE: "settle.lua",
    DENY: "deny.lua",
}

/// Loads all scripts, so that the first use of none costs a second round trip.
pub(super) fn load_all(pipe: &mut redis::Pipeline) {
    for source in SOURCES {
        pipe.cmd("SCRIPT").arg("LOAD").arg(*source).ignore();
    }
}
