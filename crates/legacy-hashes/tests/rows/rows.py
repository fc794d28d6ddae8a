"""Prints password hashes that the real programs make, as one line of JSON: [[name, password, row], ...]."""

import base64
import hashlib
import hmac
import json
import os

import bcrypt
import passlib.hash
from django.conf import settings

settings.configure()

from django.contrib.auth import hashers
from werkzeug.security import generate_password_hash

PASSWORDS = {"ASCII": "wonderland123", "beyond ASCII": "Grüße, мир 🌍", "long": "x" * 72}
rows = []


def add(program, make):
    for kind, password in PASSWORDS.items():
        rows.append([f"{program}, {kind}", password, make(password)])


for prefix in [b"2a", b"2b"]:
    salt = lambda: bcrypt.gensalt(rounds=5, prefix=prefix)
    add(f"bcrypt {prefix}", lambda password: bcrypt.hashpw(password.encode(), salt()).decode())
# PHP's name for 2b.
add("bcrypt 2y", lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(5)).decode().replace("$2b$", "$2y$"))

for hasher in [
    hashers.PBKDF2PasswordHasher,
    hashers.PBKDF2SHA1PasswordHasher,
    hashers.ScryptPasswordHasher,
    hashers.BCryptSHA256PasswordHasher,
    hashers.BCryptPasswordHasher,
    hashers.Argon2PasswordHasher,
]:
    # As Django makes them by default.
    rows.append([f"{hasher.__name__} by default", "wonderland123", hasher().encode("wonderland123", hasher().salt())])
    for name, value in {"iterations": 3, "work_factor": 16, "rounds": 5, "memory_cost": 64}.items():
        if hasattr(hasher, name):
            setattr(hasher, name, value)
    add(hasher.__name__, lambda password: hasher().encode(password, hasher().salt()))

for name, rounds in [("pbkdf2_sha256", 3), ("pbkdf2_sha512", 3), ("scrypt", 4)]:
    handler = getattr(passlib.hash, name)
    rows.append([f"passlib {name} by default", "wonderland123", handler.hash("wonderland123")])
    add(f"passlib {name}", handler.using(rounds=rounds).hash)

rows.append(["Werkzeug by default", "wonderland123", generate_password_hash("wonderland123")])
for method in ["scrypt:1024:8:1", "scrypt:2048:4:3", "pbkdf2:sha256:3", "pbkdf2:sha1:3", "pbkdf2:sha512:3"]:
    add(f"Werkzeug {method}", lambda password: generate_password_hash(password, method))


def wordpress(password):
    """wp_hash_password of wp-includes/pluggable.php in WordPress 6.8."""
    mac = hmac.digest(b"wp-sha384", password.strip(" \n\r\t\v\0").encode(), "sha384")
    return "$wp" + bcrypt.hashpw(base64.b64encode(mac), bcrypt.gensalt(5)).decode().replace("$2b$", "$2y$")


def spring(password):
    """Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_8."""
    salt = os.urandom(16)
    return "{pbkdf2@SpringSecurity_v5_8}" + (salt + hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 310_000)).hex()


add("WordPress", wordpress)
rows.append(["WordPress, spaces", " wonderland123\t", wordpress(" wonderland123\t")])
rows.append(["Spring pbkdf2", "wonderland123", spring("wonderland123")])
print(json.dumps(rows))
