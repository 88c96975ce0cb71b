// An OpenID provider to log in at: the certified `oidc-provider`, on plain http and loopback only.
//
//   node provider.mjs '{"port": 0, "idTokenSigningAlgs": ["RS256"], ...}'
//
// Its standard output carries one JSON object a line: first {"issuer": ...}, when it is ready, and then
// one answer for each command line on its standard input:
//
//   {"command": "rotate_keys", "keepOld": false}   new signing keys, everything else goes on
//   {"command": "requests"}                        the requests since the last time this was asked
//   {"command": "open", "options": {...}}          one more provider in this process, with an issuer of its own
//
// "issuer" in a command says which provider is meant; without it, it is the first.
//
// It leaves as soon as its standard input closes, so that it never outlives the test that started it.
import { generateKeyPair, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

import { Provider } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';

// Every provider of this process keeps its clients, grants and sessions in the same place.
class SharedAdapter extends MemoryAdapter {
  constructor(model) {
    super(model);
  }
}

const DEFAULTS = {
  port: 0,
  idTokenSigningAlgs: ['RS256', 'PS256', 'ES256', 'EdDSA'],
  pkceRequired: true,
  rotateRegistrationAccessToken: true,
  rotateRefreshToken: true,
  alwaysIssueRefreshToken: true,
  extraScopes: ['oxd', 'uma_protection'],
  dpopNonce: false,
  clients: [],
  ttl: {},
  features: {},
  fapi: false,
  encrypts: false,
  authorizationDetailsTypes: [],
  tls: null, // {"key": ..., "cert": ..., "ca": ...}: https, and one more port where clients show certificates
};

const KEY_PAIRS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};

// A provider that encrypts, and that clients may encrypt to.
const ENCRYPTION = {
  enabledJWA: Object.fromEntries(['idToken', 'userinfo', 'authorization', 'requestObject'].flatMap((what) => [
    [`${what}EncryptionAlgValues`, ['RSA-OAEP', 'RSA-OAEP-256', 'ECDH-ES', 'ECDH-ES+A256KW', 'A128KW', 'dir']],
    [`${what}EncryptionEncValues`, ['A128CBC-HS256', 'A256CBC-HS512', 'A128GCM', 'A256GCM']],
  ])),
};

async function encryptionKey() {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'enc' };
}

// What the FAPI 2.0 Security Profile asks of a provider.
const FAPI_FEATURES = {
  fapi: { enabled: true, profile: '2.0' },
  pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true },
};

// RAR (RFC 9396): the person allows all that the page asks for; a token request may ask for some of it.
const authorizationDetails = (types) => ({
  enabled: true,
  types: Object.fromEntries(types.map((type) => [type, { validate: () => {} }])),
  authorizationDetailsForGrantSource: (ctx) => ctx.oidc.grant.rar,
  authorizationDetailsForAccessToken: ({ oidc: { params } }, _token, source) => {
    const asked = JSON.parse(params.authorization_details ?? 'null');
    if (!source) return asked; // a token for the client itself
    return source.rar?.filter(({ type }) => !asked || asked.some((detail) => detail.type === type));
  },
  authorizationDetailsForIntrospection: (_ctx, token) => token.rar,
});

const BY_CERTIFICATE = ['tls_client_auth', 'self_signed_tls_client_auth'];

// A certificate is good if its authority is known, or if the client has registered its key.
const CERTIFICATES = {
  enabled: true,
  certificateBoundAccessTokens: true,
  selfSignedTlsClientAuth: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.()?.toString(),
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) => {
    const { subject, subjectAltName } = ctx.socket.getPeerX509Certificate();
    if (property === 'tls_client_auth_san_dns') return subjectAltName === `DNS:${expected}`;
    return property === 'tls_client_auth_subject_dn' && subject.split('\n').reverse().join(',') === expected;
  },
};

async function generateKeys(algs) {
  return Promise.all(algs.map(async (alg) => {
    const { privateKey } = await promisify(generateKeyPair)(...KEY_PAIRS[alg]);
    return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
  }));
}

function findAccount(_ctx, sub) {
  const name = sub.charAt(0).toUpperCase() + sub.slice(1);
  return {
    accountId: sub,
    claims: () => ({
      sub,
      name: `${name} Example`,
      given_name: name,
      family_name: 'Example',
      preferred_username: sub,
      updated_at: 1511281970,
      email: `${sub}@example.com`,
      email_verified: true,
    }),
  };
}

function configuration(options, keys) {
  const algs = options.idTokenSigningAlgs;
  return {
    adapter: SharedAdapter,
    jwks: { keys },
    cookies: { keys: [options.cookieKey] },
    clients: options.clients,
    clientDefaults: { id_token_signed_response_alg: algs[0] },
    enabledJWA: {
      idTokenSigningAlgValues: algs,
      userinfoSigningAlgValues: algs,
      authorizationSigningAlgValues: [...algs, 'HS256'],
      ...(options.encrypts && ENCRYPTION.enabledJWA),
    },
    claims: {
      profile: ['name', 'given_name', 'family_name', 'preferred_username', 'updated_at'],
      email: ['email', 'email_verified'],
    },
    scopes: ['openid', 'offline_access', ...options.extraScopes],
    findAccount,
    pkce: { required: () => options.pkceRequired },
    ...(options.tls && { clientAuthMethods: [...BY_CERTIFICATE, 'client_secret_basic'] }),
    ...(options.fapi && { clientAuthMethods: ['private_key_jwt'] }),
    rotateRefreshToken: options.rotateRefreshToken,
    issueRefreshToken: (_ctx, client, token) => client.grantTypeAllowed('refresh_token')
      && (options.alwaysIssueRefreshToken || token.scopes.has('offline_access')),
    // The provider refuses to fetch a client's keys from loopback; here everything lives there.
    fetch: (url, { dispatcher, ...rest }) => globalThis.fetch(url, rest),
    ttl: {
      AccessToken: 600,
      AuthorizationCode: 60,
      ClientCredentials: 600,
      Grant: 3600,
      IdToken: 600,
      Interaction: 600,
      RefreshToken: 3600,
      Session: 3600,
      ...options.ttl,
    },
    features: {
      devInteractions: { enabled: true },
      registration: { enabled: true },
      registrationManagement: {
        enabled: true,
        rotateRegistrationAccessToken: options.rotateRegistrationAccessToken,
      },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
      deviceFlow: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({ scope: 'read write', accessTokenFormat: 'opaque', accessTokenTTL: 600 }),
        useGrantedResource: () => false,
      },
      dPoP: { enabled: true, nonceSecret: options.nonceSecret, requireNonce: () => options.dpopNonce },
      userinfo: { enabled: true },
      jwtUserinfo: { enabled: true },
      ...(options.fapi && FAPI_FEATURES),
      ...(options.tls && { mTLS: CERTIFICATES }),
      ...(options.authorizationDetailsTypes.length && {
        richAuthorizationRequests: authorizationDetails(options.authorizationDetailsTypes),
      }),
      encryption: { enabled: options.encrypts },
      ...options.features,
    },
  };
}

class Host {
  #options;
  #keys = [];
  #serve;
  #requests = [];
  #aliases = {};

  constructor(options) {
    this.#options = { ...DEFAULTS, cookieKey: randomUUID(), nonceSecret: randomBytes(32), ...options };
  }

  // Requests to the port of those with certificates are listed as "mtls POST /token".
  #listener(prefix) {
    return (request, response) => {
      this.#requests.push(`${prefix}${request.method} ${request.url.split('?')[0]}`);
      return this.#serve(request, response);
    };
  }

  async #listen(server, port) {
    await new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', resolve);
    });
    return server.address().port;
  }

  async start() {
    const { tls, port } = this.#options;
    const plain = tls ? createTlsServer(tls, this.#listener('')) : createServer(this.#listener(''));
    const scheme = tls ? 'https' : 'http';
    this.issuer = `${scheme}://${tls ? 'localhost' : '127.0.0.1'}:${await this.#listen(plain, port)}`;
    if (tls) {
      const asking = { ...tls, requestCert: true, rejectUnauthorized: false };
      const other = await this.#listen(createTlsServer(asking, this.#listener('mtls ')), 0);
      const paths = {
        token: 'token', userinfo: 'me', introspection: 'token/introspection', pushed_authorization_request: 'request',
      };
      this.#aliases = Object.fromEntries(Object.entries(paths)
        .map(([name, path]) => [`${name}_endpoint`, `https://localhost:${other}/${path}`]));
    }
    await this.rotateKeys({ keepOld: false });
    return { issuer: this.issuer };
  }

  // A provider's keys are fixed for its life, so a new one takes over on the same server.
  async rotateKeys({ keepOld }) {
    const fresh = await generateKeys(this.#options.idTokenSigningAlgs);
    if (this.#options.encrypts) fresh.push(await encryptionKey());
    this.#keys = keepOld ? [...fresh, ...this.#keys] : fresh;
    this.#serve = new Provider(this.issuer, {
      ...configuration(this.#options, this.#keys),
      discovery: { mtls_endpoint_aliases: this.#options.tls ? this.#aliases : undefined },
    }).callback();
    return { kids: fresh.map(({ kid }) => kid) };
  }

  requests() {
    return { requests: this.#requests.splice(0) };
  }
}

console.info = console.error; // standard output is for answers
console.log = console.error;

const hosts = new Map();
const named = (issuer) => hosts.get(issuer) ?? hosts.values().next().value;
const COMMANDS = {
  open: async ({ options }) => {
    const host = new Host(options);
    const started = await host.start();
    hosts.set(host.issuer, host);
    return started;
  },
  rotate_keys: ({ issuer, keepOld = false }) => named(issuer).rotateKeys({ keepOld }),
  requests: ({ issuer }) => named(issuer).requests(),
};
const answer = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);

answer(await COMMANDS.open({ options: JSON.parse(process.argv[2] ?? '{}') }));
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...params } = JSON.parse(line);
  answer(await COMMANDS[command](params));
}
process.exit(0);
