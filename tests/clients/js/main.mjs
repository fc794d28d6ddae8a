// main.mjs BASE_URL: runs the JavaScript clients against an example server.
import assert from 'node:assert/strict';
import { OAuth2Client, OAuth2HttpError } from '@badgateway/oauth2-client';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import simple from 'simple-oauth2';
import { Report, run } from './checks.mjs';

const BASE = process.argv[2].replace(/\/$/, '');
const SERVER = { issuer: BASE, token_endpoint: `${BASE}/token`, revocation_endpoint: `${BASE}/revoke` };

/** A request with a bearer token, as any HTTP client sends it. */
async function call(method, path, accessToken, json) {
  const headers = { authorization: `Bearer ${accessToken}`, ...(json && { 'content-type': 'application/json' }) };
  return answer(await fetch(BASE + path, { method, headers, body: json && JSON.stringify(json) }));
}

async function answer(response) {
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : undefined };
}

const given = (parameters) => Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));

function oauth4webapi(style, id, secret) {
  const client = { client_id: id };
  const authentication = { basic: oauth.ClientSecretBasic, post: oauth.ClientSecretPost, none: oauth.None }[style](secret);
  const insecure = { [oauth.allowInsecureRequests]: true };
  return {
    name: `oauth4webapi, ${id}, ${style}`,
    call,
    async login(username, password, scope) {
      const response = await oauth.genericTokenEndpointRequest(
        SERVER, client, authentication, 'password', given({ username, password, scope }), insecure,
      );
      return oauth.processGenericTokenEndpointResponse(SERVER, client, response);
    },
    async refresh(token, scope) {
      const response = await oauth.refreshTokenGrantRequest(
        SERVER, client, authentication, token, { ...insecure, additionalParameters: given({ scope }) },
      );
      return oauth.processRefreshTokenResponse(SERVER, client, response);
    },
    async revoke(token, hint) {
      const response = await oauth.revocationRequest(
        SERVER, client, authentication, token, { ...insecure, additionalParameters: { token_type_hint: hint } },
      );
      await oauth.processRevocationResponse(response);
    },
    refusal: (error) => error instanceof oauth.ResponseBodyError && [error.error, error.error_description],
    // If the response has a challenge, the library does not read the body.
    refusesSecret: (error) => error instanceof oauth.WWWAuthenticateChallengeError && error.status === 401
      && error.cause[0].scheme === 'basic' && error.cause[0].parameters.realm !== undefined,
  };
}

/** The same author's client for whole applications, which can also read the responses of guarded routes. */
function openidClient(style, id, secret) {
  const authentication = { basic: openid.ClientSecretBasic, default: () => undefined, none: openid.None }[style](secret);
  const configuration = new openid.Configuration(SERVER, id, secret, authentication);
  openid.allowInsecureRequests(configuration);
  return {
    name: `openid-client, ${id}, ${style}`,
    async call(method, path, accessToken, json) {
      const body = json && JSON.stringify(json);
      const headers = new Headers(json && { 'content-type': 'application/json' });
      try {
        return await answer(
          await openid.fetchProtectedResource(configuration, accessToken, new URL(BASE + path), method, body, headers),
        );
      } catch (error) {
        if (!(error instanceof openid.WWWAuthenticateChallengeError)) throw error;
        const [challenge] = error.cause;
        assert.equal(challenge.scheme, 'bearer');
        if (error.status === 403) assert.equal(challenge.parameters.error, 'insufficient_scope');
        return { status: error.status };
      }
    },
    login: (username, password, scope) =>
      openid.genericGrantRequest(configuration, 'password', given({ username, password, scope })),
    refresh: (token, scope) => openid.refreshTokenGrant(configuration, token, given({ scope })),
    revoke: (token, hint) => openid.tokenRevocation(configuration, token, { token_type_hint: hint }),
    refusal: (error) => error instanceof openid.ResponseBodyError && [error.error, error.error_description],
    refusesSecret: (error) => error instanceof openid.WWWAuthenticateChallengeError && error.status === 401
      && error.cause[0].scheme === 'basic',
  };
}

function simpleOauth2(style, id, secret, options) {
  const client = new simple.ResourceOwnerPassword({
    client: { id, secret },
    auth: { tokenHost: BASE, tokenPath: '/token', revokePath: '/revoke' },
    options,
  });
  const refusal = (error) => error.isBoom && [error.data.payload.error, error.data.payload.error_description];
  return {
    name: `simple-oauth2, ${id}, ${style}`,
    call,
    login: async (username, password, scope) => (await client.getToken(given({ username, password, scope }))).token,
    refresh: async (token, scope) =>
      (await client.createToken({ refresh_token: token }).refresh(given({ scope }))).token,
    async revoke(token, hint) {
      assert.deepEqual(await client.createToken({ [hint]: token }).revoke(hint), {});
    },
    async runOwn(report) {
      await report.check(`${this.name}: revokeAll ends the access token at once, or is told that it cannot`, async () => {
        const token = await client.getToken({ username: 'alice', password: 'wonderland123' });
        try {
          await token.revokeAll();
        } catch (error) {
          assert.equal(refusal(error)?.[0], 'unsupported_token_type', error.message);
          return;
        }
        assert.equal((await call('GET', '/users/me', token.token.access_token)).status, 401);
        await assert.rejects(token.refresh(), (error) => refusal(error)?.[0] === 'invalid_grant');
      });
    },
    refusal,
    refusesSecret: (error) => refusal(error)?.[0] === 'invalid_client' && error.output.statusCode === 401,
  };
}

function badgateway(style, id, secret) {
  const client = new OAuth2Client({
    server: BASE,
    clientId: id,
    clientSecret: secret,
    tokenEndpoint: '/token',
    revocationEndpoint: '/revoke',
    authenticationMethod: style === 'default' ? undefined : style,
  });
  const plain = (token) => ({
    access_token: token.accessToken,
    refresh_token: token.refreshToken,
    expires_in: (token.expiresAt - Date.now()) / 1000,
    scope: token.scope.join(' '),
  });
  const refusal = (error) => error instanceof OAuth2HttpError && [error.oauth2Code, error.parsedBody.error_description];
  return {
    name: `@badgateway/oauth2-client, ${id}, ${style}`,
    call,
    login: async (username, password, scope) =>
      plain(await client.password({ username, password, scope: scope?.split(' ') })),
    refresh: async (token, scope) =>
      plain(await client.refreshToken({ refreshToken: token }, { scope: scope?.split(' ') })),
    async revoke(token, hint) {
      assert.deepEqual(await client.revoke({ refreshToken: token }, hint), {});
    },
    refusal,
    refusesSecret: (error) => refusal(error)?.[0] === 'invalid_client' && error.httpCode === 401,
  };
}

const body = { authorizationMethod: 'body' };
const loose = { credentialsEncodingMode: 'loose' };
const report = new Report();
for (const [make, style, id, ...options] of [
  [oauth4webapi, 'basic', 'demo-web'],
  [oauth4webapi, 'post', 'demo-web'],
  [oauth4webapi, 'none', 'demo-cli'],
  [openidClient, 'basic', 'demo-web'],
  [openidClient, 'default', 'demo-web'],
  [openidClient, 'none', 'demo-cli'],
  [simpleOauth2, 'default', 'demo-web'],
  [simpleOauth2, 'header, loose', 'demo-web', loose],
  [simpleOauth2, 'body', 'demo-web', body],
  [simpleOauth2, 'header with an empty secret', 'demo-cli'],
  [simpleOauth2, 'body with an empty secret', 'demo-cli', body],
  [simpleOauth2, 'empty id and secret', ''],
  [badgateway, 'default', 'demo-web'],
  [badgateway, 'client_secret_basic', 'demo-web'],
  [badgateway, 'client_secret_post', 'demo-web'],
  [badgateway, 'default', 'demo-cli'],
]) {
  const confidential = id === 'demo-web';
  const empty = make === simpleOauth2 ? '' : undefined;
  const client = make(style, id, confidential ? 'demo-web-secret' : empty, ...options);
  if (confidential) client.withWrongSecret = make(style, id, 'not-the-secret', ...options);
  await run(report, client);
  await client.runOwn?.(report);
}
process.exitCode = report.failed ? 1 : 0;
