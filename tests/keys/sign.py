"""Signs access tokens as another server would: with PyJWT and new keys.

sign.py ISSUER AUDIENCE prints one line of JSON: `signed` has tokens by the name of their algorithm, `jwks` the public keys.
"""

import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

issuer, audience = sys.argv[1:]
now = int(time.time())
claims = {"iss": issuer, "aud": audience, "sub": "alice", "jti": "1", "iat": now, "exp": now + 300}
claims |= {"scope": "items:read", "client_id": "demo-web"}
signed, keys = {}, []
for alg, algorithm, key in [
    ("EdDSA", OKPAlgorithm, ed25519.Ed25519PrivateKey.generate()),
    ("ES256", ECAlgorithm, ec.generate_private_key(ec.SECP256R1())),
    ("RS256", RSAAlgorithm, rsa.generate_private_key(public_exponent=65537, key_size=2048)),
]:
    kid = "pyjwt-" + alg
    keys.append(algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid})
    signed[alg] = [jwt.encode(claims, key, alg, headers={"kid": kid, "typ": typ}) for typ in ["at+jwt", "JWT"]]
print(json.dumps({"signed": signed, "jwks": {"keys": keys}}))
