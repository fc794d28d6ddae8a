// jose.mjs ISSUER AUDIENCE JWKS TOKEN...: verifies tokens with the keys of a JWK Set, then signs others with keys of its
// own. Prints one line of JSON: `verified` has the claims of each token or the error, `signed` tokens by the name of their
// algorithm, `jwks` their public keys.
import { SignJWT, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';

const [issuer, audience, published, ...tokens] = process.argv.slice(2);
const keys = createLocalJWKSet(JSON.parse(published));
const requiredClaims = ['iss', 'sub', 'aud', 'exp', 'iat', 'jti', 'client_id'];
const verified = [];
for (const token of tokens) {
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, requiredClaims, typ: 'at+jwt' });
    verified.push({ kid: protectedHeader.kid, claims: payload });
  } catch (error) {
    verified.push({ error: error.code });
  }
}

const signed = {};
const jwks = { keys: [] };
for (const alg of ['EdDSA', 'Ed25519', 'ES256', 'RS256']) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const kid = `jose-${alg}`;
  jwks.keys.push({ ...(await exportJWK(publicKey)), kid, alg, use: 'sig' });
  const sign = (typ) => new SignJWT({ scope: 'items:read', client_id: 'demo-web' })
    .setProtectedHeader({ alg, kid, typ }).setIssuer(issuer).setAudience(audience).setSubject('alice')
    .setJti('1').setIssuedAt().setExpirationTime('5 minutes').sign(privateKey);
  signed[alg] = [await sign('at+jwt'), await sign('JWT')];
}
console.log(JSON.stringify({ verified, signed, jwks }));
