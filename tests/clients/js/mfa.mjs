// mfa.mjs BASE_URL PASSWORD SECRETS: logs in with auth0-auth-js and a second factor. SECRETS is a JSON object: for each user
// `secret`, of which pyotp computes the codes, and `recoveryCode`. The environment variable PYTHON is an interpreter that
// has pyotp. Few checks share a user: a code that was used blocks those of the same time and before.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AuthClient, MfaVerifyError, TokenByPasswordError, isMfaRequiredError } from '@auth0/auth0-auth-js';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { Report } from './checks.mjs';

const [base, password, json] = process.argv.slice(2);
const secrets = JSON.parse(json);
const { host: domain } = new URL(base);
const web = new AuthClient({ domain, clientId: 'web', clientSecret: 'web-secret' });
const other = new AuthClient({ domain, clientId: 'other', clientSecret: 'other-secret' });

/** What the user's app shows so many seconds from now. */
function code(user, later = 0) {
  const script = fileURLToPath(new URL('../python/otp.py', import.meta.url));
  const at = Math.floor(Date.now() / 1000) + later;
  return execFileSync(process.env.PYTHON, [script, secrets[user].secret, at], { encoding: 'utf8' }).trim();
}

/** Digits that are none of the user's codes. */
function wrongCode(user) {
  const right = [-30, 0, 30, 60].map((later) => code(user, later));
  return ['000000', '111111', '222222', '333333', '444444'].find((digits) => !right.includes(digits));
}

async function rejected(promise, type) {
  const error = await promise.then(() => assert.fail('accepted'), (error) => error);
  assert.ok(error instanceof type, `${error.stack}`);
  return error;
}

/** The token for the second step. */
async function mfaToken(username, client = web, scope) {
  const error = await rejected(client.getTokenByPassword({ username, password, scope }), TokenByPasswordError);
  assert.ok(isMfaRequiredError(error), `${error.cause?.error}`);
  assert.equal(error.statusCode, 403);
  return error.cause.mfa_token;
}

const enterOtp = (mfaToken, otp, client = web) => client.mfa.verify({ factorType: 'otp', mfaToken, otp });
const enterRecoveryCode = (mfaToken, recoveryCode) =>
  web.mfa.verify({ factorType: 'recovery-code', mfaToken, recoveryCode });

/** The description with which a second step is refused. */
async function refused(promise) {
  const error = await rejected(promise, MfaVerifyError);
  assert.deepEqual([error.statusCode, error.cause.error], [400, 'invalid_grant'], `${error.cause.error_description}`);
  return error.cause.error_description;
}

const keys = createRemoteJWKSet(new URL((await web.getServerMetadata()).jwks_uri));

async function claims(token) {
  const { payload } = await jwtVerify(token, keys, { issuer: base, audience: 'api', typ: 'at+jwt' });
  return payload;
}

async function me(token) {
  const response = await fetch(`${base}/users/me`, { headers: { authorization: `Bearer ${token}` } });
  return response.ok ? (await response.json()).user : response.status;
}

const checks = {
  async 'a user without a second factor logs in at once'() {
    const token = await web.getTokenByPassword({ username: 'ivan', password });
    assert.equal(await me(token.accessToken), 'ivan');
  },
  async 'a wrong password is told nothing of a second factor'() {
    const error = await rejected(web.getTokenByPassword({ username: 'alice', password: 'wrong' }), TokenByPasswordError);
    assert.deepEqual([error.statusCode, error.cause.error, error.cause.mfa_token], [400, 'invalid_grant', undefined]);
  },
  async 'password and code are a login'() {
    const token = await enterOtp(await mfaToken('alice', web, 'items:read'), code('alice'));
    assert.deepEqual([token.tokenType, token.scope, token.recoveryCode], ['bearer', 'items:read', undefined]);
    const { sub, client_id, amr, auth_time } = await claims(token.accessToken);
    assert.deepEqual([sub, client_id, amr], ['alice', 'web', ['pwd', 'otp', 'mfa']]);
    assert.ok(Math.abs(auth_time - Date.now() / 1000) < 60, `auth_time ${auth_time}`);
    assert.equal(await me(token.accessToken), 'alice');

    const refreshed = await web.getTokenByRefreshToken({ refreshToken: token.refreshToken });
    const after = await claims(refreshed.accessToken);
    assert.deepEqual([after.amr, after.auth_time, refreshed.scope], [amr, auth_time, 'items:read']);
  },
  async 'a recovery code is a login, and has a successor'() {
    const { recoveryCode } = secrets.bob;
    const first = await enterRecoveryCode(await mfaToken('bob'), recoveryCode);
    assert.deepEqual((await claims(first.accessToken)).amr, ['pwd', 'otp', 'mfa']);
    assert.ok(first.recoveryCode && first.recoveryCode !== recoveryCode, `${first.recoveryCode}`);

    const token = await mfaToken('bob');
    assert.equal(await refused(enterRecoveryCode(token, recoveryCode)), 'The code is wrong');
    const second = await enterRecoveryCode(token, first.recoveryCode);
    assert.equal((await claims(second.accessToken)).sub, 'bob');
  },
  async 'a wrong code is refused and spends nothing'() {
    const token = await mfaToken('carol');
    assert.equal(await refused(enterOtp(token, wrongCode('carol'))), 'The code is wrong');
    assert.equal((await claims((await enterOtp(token, code('carol'))).accessToken)).sub, 'carol');
  },
  async 'the same code twice is refused, and the next is not'() {
    const [otp, next] = [code('dave'), code('dave', 30)];
    const token = await mfaToken('dave');
    await enterOtp(token, otp);
    assert.equal(await refused(enterOtp(token, next)), 'The mfa_token is not valid');
    const again = await mfaToken('dave');
    assert.equal(await refused(enterOtp(again, otp)), 'The code is wrong');
    await enterOtp(again, next);
  },
  async 'of two logins with one code at once, one is refused'() {
    const otp = code('heidi');
    const tokens = [await mfaToken('heidi'), await mfaToken('heidi')];
    const answers = await Promise.allSettled(tokens.map((token) => enterOtp(token, otp)));
    assert.deepEqual(answers.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    assert.equal(await refused(Promise.reject(answers.find(({ reason }) => reason).reason)), 'The code is wrong');
  },
  async "another user's codes are refused, and stay right for them"() {
    const token = await mfaToken('frank');
    assert.equal(await refused(enterOtp(token, code('grace'))), 'The code is wrong');
    assert.equal(await refused(enterRecoveryCode(token, secrets.grace.recoveryCode)), 'The code is wrong');
    await enterRecoveryCode(await mfaToken('grace'), secrets.grace.recoveryCode);
    await enterOtp(token, code('frank'));
  },
  async "another client's mfa_token is refused, and not spent"() {
    const token = await mfaToken('grace', other);
    assert.equal(await refused(enterOtp(token, code('grace'))), 'The mfa_token is not valid');
    assert.equal((await claims((await enterOtp(token, code('grace'), other)).accessToken)).client_id, 'other');
  },
  async 'client_credentials is a token of the client'() {
    const reports = new AuthClient({ domain, clientId: 'reports', clientSecret: 'reports-secret' });
    // The library always sends an audience.
    const token = await reports.getTokenByClientCredentials({ audience: 'api' });
    assert.deepEqual([token.scope, token.refreshToken], ['items:read', undefined]);
    assert.equal((await claims(token.accessToken)).sub, 'client:reports');
    assert.equal(await me(token.accessToken), null);
  },
  async 'an mfa_token that was changed is refused, and no code is spent'() {
    const [token, otp] = [await mfaToken('frank'), code('frank', 30)];
    const flipped = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A');
    for (const wrong of [flipped, token.slice(0, -4), 'none']) {
      assert.equal(await refused(enterOtp(wrong, otp)), 'The mfa_token is not valid');
    }
    await enterOtp(token, otp);
  },
  async 'after five wrong codes the right one is a 429 with any mfa_token'() {
    const token = await mfaToken('erin');
    const wrong = wrongCode('erin');
    for (let count = 0; count < 5; count++) await refused(enterOtp(count % 2 ? token : await mfaToken('erin'), wrong));
    for (const blocked of [token, await mfaToken('erin')]) {
      const error = await rejected(enterOtp(blocked, code('erin')), MfaVerifyError);
      assert.equal(error.statusCode, 429);
      const seconds = Number(error.headers.get('retry-after'));
      assert.ok(seconds > 0 && seconds <= 300, `retry-after ${seconds}`);
    }
  },
};

const report = new Report();
for (const [name, action] of Object.entries(checks)) await report.check(`auth0-auth-js: ${name}`, action);
process.exitCode = report.failed ? 1 : 0;
