// What every client must see with any library: the same checks as python/checks.py.
//
// A client is an object with `name`, `client` (its id) and these functions. All but the first return a promise:
//   refusal(error)                  [error code, description] if it is the library's own error, else undefined
//   login(username, password, scope)    the token response with the names of RFC 6749
//   refresh(refreshToken, scope)
//   revoke(token, hint)
//   call(method, path, accessToken, json)   {status, body}
// If a client can have a wrong secret, it also has `withWrongSecret`, another such client, and `refusesSecret(error)`,
// which says whether the error is the library's error for invalid_client.
import assert from 'node:assert/strict';

const ALL = 'items:read items:write';
const WRONG = ['invalid_grant', 'Incorrect username or password'];

export class Report {
  failed = false;

  async check(name, action) {
    try {
      await action();
      console.log(`ok ${name}`);
    } catch (error) {
      this.failed = true;
      console.log(`FAIL ${name}: ${error.name}: ${error.message.replaceAll('\n', ' ')}`);
    }
  }
}

/** The library's own error with which `promise` is rejected, as [code, description]. */
async function refused(client, promise) {
  let result;
  try {
    result = await promise;
  } catch (error) {
    const refusal = client.refusal(error);
    if (!refusal) throw error;
    return refusal;
  }
  assert.fail(`accepted: ${Object.keys(result)}`);
}

const words = (scope) => scope.split(' ').sort();

export async function run(report, c) {
  const checks = {
    async login() {
      const token = await c.login('alice', 'wonderland123');
      assert.equal(token.token_type?.toLowerCase() ?? 'bearer', 'bearer');
      assert.deepEqual(words(token.scope), words(ALL));
      assert.ok(token.expires_in > 0, `expires_in ${token.expires_in}`);
      assert.ok(token.refresh_token, 'no refresh token');
      const { status, body } = await c.call('GET', '/users/me', token.access_token);
      assert.deepEqual([status, body.username, body.scope], [200, 'alice', ALL]);
    },
    async scopes() {
      let token = await c.login('alice', 'wonderland123', 'items:read');
      assert.equal(token.scope, 'items:read');
      assert.equal((await c.call('GET', '/items', token.access_token)).status, 200);
      assert.equal((await c.call('POST', '/items', token.access_token, { name: 'tea' })).status, 403);
      token = await c.login('alice', 'wonderland123', ALL);
      assert.equal((await c.call('POST', '/items', token.access_token, { name: 'tea' })).status, 201);
    },
    async "a scope the user may not have is the library's invalid_scope"() {
      assert.equal((await refused(c, c.login('bob', 'builder456', 'items:write')))[0], 'invalid_scope');
    },
    async "wrong password is the library's invalid_grant"() {
      assert.deepEqual(await refused(c, c.login('alice', 'wrong')), WRONG);
    },
    async 'so is one of odd characters'() {
      assert.deepEqual(await refused(c, c.login('alice', 'pä&ss=w+o%72d 密')), WRONG);
    },
    async 'so is an unknown user, in the same words'() {
      // Each client uses its own name, since failures of one name are counted together.
      assert.deepEqual(await refused(c, c.login(`nobody of ${c.name}`, 'wonderland123')), WRONG);
    },
    async refresh() {
      const first = await c.login('alice', 'wonderland123');
      const second = await c.refresh(first.refresh_token);
      assert.notEqual(second.refresh_token, first.refresh_token);
      assert.notEqual(second.access_token, first.access_token);
      assert.deepEqual(words(second.scope), words(ALL));
      assert.equal((await c.call('GET', '/users/me', second.access_token)).status, 200);
    },
    async 'refresh to fewer scopes'() {
      const first = await c.login('alice', 'wonderland123');
      const second = await c.refresh(first.refresh_token, 'items:read');
      assert.equal(second.scope, 'items:read');
      assert.equal((await c.call('POST', '/items', second.access_token, { name: 'tea' })).status, 403);
    },
    async 'a used refresh token is invalid_grant and ends its line'() {
      const first = await c.login('alice', 'wonderland123');
      const second = await c.refresh(first.refresh_token);
      assert.equal((await refused(c, c.refresh(first.refresh_token)))[0], 'invalid_grant');
      assert.equal((await refused(c, c.refresh(second.refresh_token)))[0], 'invalid_grant');
    },
    async 'revoke, twice'() {
      const token = (await c.login('alice', 'wonderland123')).refresh_token;
      await c.revoke(token, 'refresh_token');
      assert.equal((await refused(c, c.refresh(token)))[0], 'invalid_grant');
      await c.revoke(token, 'refresh_token');
    },
  };
  for (const [name, action] of Object.entries(checks)) await report.check(`${c.name}: ${name}`, action);

  if (c.withWrongSecret) {
    const other = c.withWrongSecret;
    await report.check(`${c.name}: wrong secret is the library's error for a refused client and spends nothing`, async () => {
      await assert.rejects(other.login('alice', 'wonderland123'), c.refusesSecret);
      const token = await c.login('alice', 'wonderland123');
      await assert.rejects(other.refresh(token.refresh_token), c.refusesSecret);
      await c.refresh(token.refresh_token);
    });
  }
}
