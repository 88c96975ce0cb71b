import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const PORT = Number(process.env.OXD_PORT ?? 8099)
const MILLISECONDS = 90_000 // the server itself gives up after 80 seconds

/** Sends one command to oxd-server: a frame out, a frame back. */
export async function oxd (command, params) {
  const body = Buffer.from(JSON.stringify({ command, params }))
  const stream = connect({ port: PORT, host: '127.0.0.1' })
  stream.setTimeout(MILLISECONDS, () => stream.destroy(new Error('nothing in time')))
  stream.write(Buffer.concat([Buffer.from(String(body.length).padStart(4, '0')), body]))
  let received = Buffer.alloc(0)
  for await (const piece of stream) {
    received = Buffer.concat([received, piece])
    if (received.length >= 4 && received.length === 4 + Number(received.subarray(0, 4))) break
  }
  const { status, data } = JSON.parse(received.subarray(4))
  if (data.error === 'server_busy') { // nothing has happened: the one error to repeat at once
    await sleep(1000)
    return oxd(command, params)
  }
  if (status !== 'ok') throw new Error(data.error)
  return data
}

/** Registers once, and keeps the oxd_id where nobody else can read it. */
export async function register (metadata) {
  if (!existsSync('oxd_id')) {
    const { oxd_id } = await oxd('register_site', metadata)
    writeFileSync('oxd_id', oxd_id, { mode: 0o600 })
  }
  return readFileSync('oxd_id', 'utf8')
}

/** Keeps what the OP sent. A new refresh token takes the place of the old one. */
export function keep (user, tokens) {
  for (const [name, value] of Object.entries(tokens)) if (value) user[name] = value
  user.until = tokens.expires_in > 0 ? Date.now() + 1000 * tokens.expires_in : Infinity
  return user
}

/** Returns an access token that has not expired. */
export async function accessToken (oxd_id, user) {
  const { refresh_token } = user
  if (Date.now() > user.until) keep(user, await oxd('get_access_token_by_refresh_token', { oxd_id, refresh_token }))
  return user.access_token
}
