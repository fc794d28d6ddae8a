"""Checks access tokens as another server would: with PyJWT and the keys from a JWK Set URL.

verify.py JWKS_URL ISSUER AUDIENCE TOKEN... prints one line of JSON for each token: its claims, or the error.
"""

import json
import sys

import jwt

url, issuer, audience, *tokens = sys.argv[1:]
client = jwt.PyJWKClient(url)
for token in tokens:
    try:
        key = client.get_signing_key_from_jwt(token)
        assert jwt.get_unverified_header(token)["alg"] == key.algorithm_name, "another algorithm than the key's"
        claims = jwt.decode(
            token,
            key,
            algorithms=["EdDSA", "ES256", "RS256"],
            issuer=issuer,
            audience=audience,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]},
        )
        print(json.dumps({"kid": key.key_id, "claims": claims}))
    except jwt.PyJWTError as error:
        print(json.dumps({"error": type(error).__name__}))
