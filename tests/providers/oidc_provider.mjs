// The real `oidc-provider`, with opaque access tokens, introspection, revocation and rotating refresh tokens. Its port
// is chosen by the system and printed as one JSON line; it ends when its stdin ends.
// argv: path of the oidc-provider package, JSON of its clients, life of access tokens in seconds.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modulePath, clients, accessTokenLife] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modulePath}/lib/index.js`).href);

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

let accessTokenSeconds = Number(accessTokenLife);
const provider = new Provider(issuer, {
  clients: JSON.parse(clients),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' }] },
  cookies: { keys: ['only for tests'] },
  scopes: ['openid', 'email', 'offline_access', 'mail.read'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false,
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, email: `${sub}@example.org`, email_verified: sub !== 'mallory' }),
  }),
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    // With a `resource` in the request (RFC 8707), access tokens are JWTs for that audience.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: 'mail.read', audience: resource, accessTokenTTL: 3600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  issueRefreshToken: () => true,
  rotateRefreshToken: () => true,
  pkce: { required: () => true },
  ttl: { AccessToken: () => accessTokenSeconds, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Interaction: 600, Session: 600, Grant: 86400 },
});
// How often the token endpoint was asked: GET /test/token-requests. How long access tokens live from now on:
// POST /test/access-token-seconds?N.
let tokenRequests = 0;
const answer = provider.callback();
server.on('request', (request, response) => {
  if (request.method === 'POST' && request.url === '/token') tokenRequests += 1;
  const [path, query] = request.url.split('?');
  if (path === '/test/token-requests') response.end(String(tokenRequests));
  else if (path === '/test/access-token-seconds') {
    accessTokenSeconds = Number(query);
    response.end();
  }
  else answer(request, response);
});
process.stdin.on('end', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
