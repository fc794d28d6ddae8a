// grants.mjs BASE_URL: uses client_credentials and the server's own grant `urn:example:mailed-code` with openid-client and
// oauth4webapi.
import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { decodeJwt } from 'jose';
import { Report } from './checks.mjs';

const base = process.argv[2];
const OWN = 'urn:example:mailed-code';

/** `grant(type, parameters)` and `clientCredentials(parameters)`, which return the token response, and `refusal(error)`. */
async function openidClient(id, secret) {
  const authentication = secret ? openid.ClientSecretBasic(secret) : openid.None();
  const config = await openid.discovery(new URL(base), id, undefined, authentication);
  return {
    name: `openid-client, ${id}`,
    grantTypes: config.serverMetadata().grant_types_supported,
    grant: (type, parameters) => openid.genericGrantRequest(config, type, parameters),
    clientCredentials: (parameters) => openid.clientCredentialsGrant(config, parameters),
    refusal: (error) => error instanceof openid.ResponseBodyError && error.error,
  };
}

async function oauth4webapi(id, secret) {
  const client = { client_id: id };
  const authentication = secret ? oauth.ClientSecretPost(secret) : oauth.None();
  const issuer = new URL(base);
  const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2' });
  const server = await oauth.processDiscoveryResponse(issuer, found);
  return {
    name: `oauth4webapi, ${id}`,
    grantTypes: server.grant_types_supported,
    async grant(type, parameters) {
      const response = await oauth.genericTokenEndpointRequest(server, client, authentication, type, parameters);
      return oauth.processGenericTokenEndpointResponse(server, client, response);
    },
    async clientCredentials(parameters) {
      const response = await oauth.clientCredentialsGrantRequest(server, client, authentication, parameters);
      return oauth.processClientCredentialsResponse(server, client, response);
    },
    refusal: (error) => error instanceof oauth.ResponseBodyError && error.error,
  };
}

/** The code of the library's own error. */
async function refused(client, promise) {
  const error = await promise.then(() => assert.fail('accepted'), (error) => error);
  const refusal = client.refusal(error);
  if (!refusal) throw error;
  return refusal;
}

async function me(token) {
  const response = await fetch(`${base}/users/me`, { headers: { authorization: `Bearer ${token}` } });
  return response.json();
}

async function run(report, make) {
  const web = await make('web', 'web-secret');
  const cli = await make('cli');
  const reports = await make('reports', 'reports-secret');
  const mail = `${web.name.split(",")[0]}@api.example`;
  const sent = async () => (await fetch(`${base}/mail/${mail}`, { method: 'POST' })).text();

  const checks = {
    async 'the metadata lists the grants'() {
      assert.deepEqual(web.grantTypes, ['password', 'refresh_token', 'client_credentials', OWN]);
    },
    async 'the own grant is a login'() {
      const token = await web.grant(OWN, { mail, code: await sent(), scope: 'items:read' });
      assert.equal(token.scope, 'items:read');
      const { sub, client_id, amr, gty } = decodeJwt(token.access_token);
      assert.deepEqual([sub, client_id, amr, gty], ['alice', 'web', ['otp'], undefined]);
      assert.deepEqual(await me(token.access_token), { subject: 'alice', user: 'alice' });
      const refreshed = await web.grant('refresh_token', { refresh_token: token.refresh_token });
      assert.equal(decodeJwt(refreshed.access_token).sub, 'alice');
    },
    async 'a public client may use it, too'() {
      const token = await cli.grant(OWN, { mail, code: await sent() });
      assert.equal(decodeJwt(token.access_token).client_id, 'cli');
    },
    async 'a wrong code, or one that was used, is invalid_grant'() {
      const code = await sent();
      assert.equal(await refused(web, web.grant(OWN, { mail, code: 'wrong' })), 'invalid_grant');
      await web.grant(OWN, { mail, code });
      assert.equal(await refused(web, web.grant(OWN, { mail, code })), 'invalid_grant');
      await web.grant(OWN, { mail, code: await sent() });
    },
    async 'a parameter that is missing or empty is invalid_request'() {
      const code = await sent();
      for (const parameters of [{ mail }, { code }, { mail, code: '' }, {}]) {
        assert.equal(await refused(web, web.grant(OWN, parameters)), 'invalid_request', Object.keys(parameters));
      }
      await web.grant(OWN, { mail, code });
    },
    async 'a parameter that is given twice is invalid_request'() {
      const code = await sent();
      const twice = new URLSearchParams([['mail', mail], ['code', code], ['code', code]]);
      assert.equal(await refused(web, web.grant(OWN, twice)), 'invalid_request');
      await web.grant(OWN, { mail, code });
    },
    async 'a grant that the server does not have is unsupported_grant_type'() {
      const code = await sent();
      for (const type of ['urn:example:mailed-codes', 'http://auth0.com/oauth/grant-type/mfa-otp']) {
        assert.equal(await refused(web, web.grant(type, { mail, code })), 'unsupported_grant_type', type);
      }
    },
    async 'client_credentials is a token of the client, without a refresh token'() {
      const token = await reports.clientCredentials({});
      assert.deepEqual([token.scope, token.refresh_token], ['items:read', undefined]);
      const { sub, client_id, gty, amr, sid } = decodeJwt(token.access_token);
      assert.deepEqual([sub, client_id, gty], ['client:reports', 'reports', 'client_credentials']);
      assert.deepEqual([amr, sid], [undefined, undefined]);
      assert.deepEqual(await me(token.access_token), { subject: 'client:reports', user: null });
      assert.equal(await refused(reports, reports.clientCredentials({ scope: 'items:write' })), 'invalid_scope');
    },
    async 'a public client, or one without a subject, is unauthorized_client'() {
      for (const client of [cli, web]) {
        assert.equal(await refused(client, client.clientCredentials({})), 'unauthorized_client', client.name);
      }
    },
  };
  for (const [name, action] of Object.entries(checks)) await report.check(`${web.name.split(',')[0]}: ${name}`, action);
}

const report = new Report();
for (const make of [openidClient, oauth4webapi]) await run(report, make);
process.exitCode = report.failed ? 1 : 0;
