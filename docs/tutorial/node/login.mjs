// A web application that logs in through oxd-server: `node login.mjs`, then open http://localhost:8080.
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import { accessToken, keep, oxd, register } from './oxd.mjs'

const HERE = process.env.HERE ?? 'http://localhost:8080'
const sessions = new Map() // what is known of each browser, by the name in its cookie
const uris = { authorization_redirect_uri: `${HERE}/callback`, client_frontchannel_logout_uris: [`${HERE}/ended`] }
const site = { op_host: process.env.OP ?? 'http://127.0.0.1:8100', post_logout_redirect_uri: `${HERE}/`, ...uris }
const grant_types = ['authorization_code', 'refresh_token']
const oxd_id = await register({ ...site, grant_types, scope: ['openid', 'profile'] })
const login = '<a href="/login">Log in</a>'
const same = (one, two) => one && one.length === two.length && timingSafeEqual(Buffer.from(one), Buffer.from(two))
const escape = text => String(text).replace(/[&<>"']/g, sign => `&#${sign.charCodeAt()};`)

const pages = {
  async 'GET /login' () {
    const state = randomBytes(32).toString('base64url') // our own: it need not stand in the URL
    return { to: (await oxd('get_authorization_url', { oxd_id, state })).authorization_url, session: { state } }
  },
  async 'GET /callback' (query, { state = '' }) {
    if (!same(state, query.state ?? '')) return { status: 403, text: 'This login did not begin in this browser.' }
    if (query.error) return { text: `Not logged in: ${escape(query.error)}. ${login}`, session: {} }
    return { to: '/', session: keep({}, await oxd('get_tokens_by_code', { oxd_id, state, code: query.code })) }
  },
  'POST /logout': async (query, { id_token: id_token_hint }) => ( // with this user's own id_token
    { to: id_token_hint ? (await oxd('get_logout_uri', { oxd_id, id_token_hint })).uri : '/', session: {} }),
  async 'GET /ended' ({ sid }) { // the OP loads this in a frame: look for its session, not for a cookie
    for (const [name, user] of sessions) if (sid && user.id_token_claims?.sid?.[0] === sid) sessions.delete(name)
    return { text: '' }
  },
  async 'GET /' (query, user) {
    if (!user.access_token) return { text: login }
    const { claims } = await oxd('get_user_info', { oxd_id, access_token: await accessToken(oxd_id, user) })
    return { text: `Hello, ${escape(claims.name[0])}! <form method=post action=logout><button>Log out</button></form>` }
  }
}

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, HERE)
  const [, name] = /\bsession=([\w-]+)/.exec(request.headers.cookie) ?? []
  const { status, text, to, session } = await (pages[`${request.method} ${pathname}`] ?? pages['GET /'])(
    Object.fromEntries(searchParams), sessions.get(name) ?? {}
  ).catch(error => ({ status: 502, text: `oxd-server: ${escape(error.message)}. ${login}` }))
  if (session) { // a new name: whoever knew the old one knows nothing now
    const fresh = randomBytes(32).toString('base64url')
    sessions.set(fresh, session).delete(name)
    response.setHeader('Set-Cookie', `session=${fresh}; Path=/; HttpOnly; SameSite=Lax`)
  }
  const headers = { 'Content-Type': 'text/html; charset=utf-8', ...(to && { Location: to }) }
  response.writeHead(status ?? (to ? 302 : 200), headers).end(text)
}).listen(new URL(HERE).port, new URL(HERE).hostname)
