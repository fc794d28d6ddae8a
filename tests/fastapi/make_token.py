#!/usr/bin/env python3
"""Makes a token like FastAPI's tutorial: PyJWT, HS256, claims `sub`, `scope`, `exp`.

    make_token.py KEY SUBJECT SCOPES MINUTES     e.g.  make_token.py "$SECRET_KEY" johndoe "me items" 30
    make_token.py KEY --named NAME               a token of tokens.json, such as `expired`

KEY is text, not hex. MINUTES may be negative: then the token has expired.
Prints the token on one line. `--check KEY TOKEN` prints the claims of a token instead, as JSON, if PyJWT accepts it.
"""

import json
import pathlib
import sys
from datetime import datetime, timedelta, timezone

import jwt

NAMED = pathlib.Path(__file__).with_name("tokens.json")


def make(key, claims, minutes, algorithm="HS256"):
    """A signed token. `minutes` is the time from now to `exp`, None for no `exp`."""
    claims = dict(claims)
    if minutes is not None:
        claims["exp"] = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    return jwt.encode(claims, None if algorithm == "none" else key, algorithm=algorithm)


def named(key, name):
    """The token with that name in tokens.json, signed with its own `key` if it has one."""
    if name not in (known := json.loads(NAMED.read_text())):
        sys.exit(f"no token {name!r} in {NAMED}; there are: {', '.join(known)}")
    spec = known[name]
    if "raw" in spec:
        return spec["raw"]
    claims = dict(spec["claims"])
    if "nbf_minutes" in spec:
        claims["nbf"] = datetime.now(timezone.utc) + timedelta(minutes=spec["nbf_minutes"])
    return make(spec.get("key", key), claims, spec["minutes"], spec.get("algorithm", "HS256"))


def main(arguments):
    match arguments:
        case ["--check", key, token]:
            print(json.dumps(jwt.decode(token, key, algorithms=["HS256"])))
        case [key, "--named", name]:
            print(named(key, name))
        case [key, subject, scopes, minutes]:
            print(make(key, {"sub": subject, "scope": scopes}, float(minutes)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
