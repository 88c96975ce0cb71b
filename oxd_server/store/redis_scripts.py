"""What the store has Redis do in one step: scripts in Lua.

`KEYS[1]` is what all of the store's keys begin with. The first two arguments are the lock that the writer holds and
its owner, both empty without a lock: a writer whose lock has gone to another one writes nothing. The first write of a
script is one that a full Redis refuses, so that a script is done whole or not at all.
"""

from typing import Final

__all__ = [
    "ADD",
    "CHANGE",
    "CHANGE_SESSION",
    "LEAVE",
    "LIST",
    "LOCK",
    "NEWEST",
    "REMOVE",
    "RENEW_LOCK",
    "RENEW_SECRET",
    "SECRET",
    "SPEND",
    "UNLOCK",
    "UNSPEND",
]

_PRELUDE: Final = """
local p = KEYS[1]
if ARGV[1] ~= '' and redis.call('GET', p .. 'lock:' .. ARGV[1]) ~= ARGV[2] then return {'lost'} end
local at = 2
local function take() at = at + 1; return ARGV[at] end
local function index(id)
  local order = redis.call('HGET', p .. 'order', id)
  for _ = 1, tonumber(take()) do
    local key, plus = take(), take()
    redis.call('ZADD', p .. key, string.format('%.17g', tonumber(order) + tonumber(plus)), id)
  end
end
local function unindex(id)
  for _ = 1, tonumber(take()) do redis.call('ZREM', p .. take(), id) end
end
"""

ADD: Final = (
    _PRELUDE
    + """
local once, count = take(), tonumber(take())
if once ~= '' and not redis.call('SET', p .. 'secret:' .. once, take(), 'NX') then return {'done'} end
if once == '' then take() end
local taken = {'ok'}
for _ = 1, count do
  local id, site, session, name = take(), take(), take(), take()
  if redis.call('SET', p .. 'site:' .. id, site, 'NX') then
    redis.call('HSET', p .. 'order', id, redis.call('INCR', p .. 'last'))
    if session ~= '' then redis.call('SET', p .. 'session:' .. id, session) end
    redis.call('HSET', p .. 'name', id, name)
    redis.call('ZADD', p .. 'ids', 0, id)
    index(id)
  else
    taken[#taken + 1] = id
    for _ = 1, 2 * tonumber(take()) do take() end
  end
end
return taken
"""
)

CHANGE: Final = (
    _PRELUDE
    + """
local id, expected = take(), take()
local found = redis.call('GET', p .. 'site:' .. id)
if not found then return {'none'} end
if found ~= expected then return {'other', found} end
redis.call('SET', p .. 'site:' .. id, take())
redis.call('HSET', p .. 'name', id, take())
unindex(id)
index(id)
return {'ok'}
"""
)

CHANGE_SESSION: Final = (
    _PRELUDE
    + """
local id, expected = take(), take()
if redis.call('EXISTS', p .. 'site:' .. id) == 0 then return {'none'} end
local found = redis.call('GET', p .. 'session:' .. id) or ''
if found ~= expected then return {'other', found} end
redis.call('SET', p .. 'session:' .. id, take())
local most, count = tonumber(take()), tonumber(take())
if count == 0 then return {'ok'} end
local issued = p .. 'issued:' .. id
local longest = redis.call('PTTL', issued)
for _ = 1, count do
  local hash, login, lifetime = take(), take(), tonumber(take())
  redis.call('ZADD', issued, redis.call('INCR', p .. 'place'), hash)
  redis.call('SET', p .. 'login:' .. hash, login, 'PX', lifetime)
  longest = math.max(longest, lifetime)
end
redis.call('PEXPIRE', issued, longest)
local over = redis.call('ZCARD', issued) - most
if over > 0 then
  local oldest = redis.call('ZPOPMIN', issued, over)
  for place = 1, #oldest, 2 do redis.call('DEL', p .. 'login:' .. oldest[place]) end
end
for _, hash in ipairs(redis.call('ZRANGE', issued, 0, 7)) do
  if redis.call('EXISTS', p .. 'login:' .. hash) == 0 then redis.call('ZREM', issued, hash) end
end
return {'ok'}
"""
)

REMOVE: Final = (
    _PRELUDE
    + """
local id, expected = take(), take()
local found = redis.call('GET', p .. 'site:' .. id)
if not found then return {'none'} end
if found ~= expected then return {'other', found} end
for _, hash in ipairs(redis.call('ZRANGE', p .. 'issued:' .. id, 0, -1)) do redis.call('DEL', p .. 'login:' .. hash) end
redis.call('DEL', p .. 'site:' .. id, p .. 'session:' .. id, p .. 'issued:' .. id)
redis.call('HDEL', p .. 'order', id)
redis.call('HDEL', p .. 'name', id)
redis.call('ZREM', p .. 'ids', id)
unindex(id)
return {'ok'}
"""
)

SECRET: Final = (
    _PRELUDE
    + """
local key = p .. 'secret:' .. take()
redis.call('SET', key, take(), 'NX')
return {'ok', redis.call('GET', key)}
"""
)

SPEND: Final = (
    _PRELUDE
    + """
local token, expires_at, now, before = take(), take(), tonumber(take()), take()
local forgotten = redis.call('GET', p .. 'forgotten') or '0'
if now < tonumber(forgotten) then return {'back'} end
local known = redis.call('ZSCORE', p .. 'spent', token)
if known and tonumber(known) > now then return {'used'} end
redis.call('ZADD', p .. 'spent', expires_at, token)
local oldest = redis.call('ZRANGEBYSCORE', p .. 'spent', '-inf', before, 'WITHSCORES', 'LIMIT', 0, 8)
for place = 1, #oldest, 2 do redis.call('ZREM', p .. 'spent', oldest[place]) end
if #oldest > 0 and tonumber(oldest[#oldest]) > tonumber(forgotten) then
  redis.call('SET', p .. 'forgotten', oldest[#oldest])
end
return {'ok'}
"""
)

UNSPEND: Final = _PRELUDE + "redis.call('ZREM', p .. 'spent', take()); return {'ok'}"

RENEW_SECRET: Final = (
    _PRELUDE
    + """
local key, value = p .. 'secret:' .. take(), take()
if tonumber(take()) < tonumber(redis.call('GET', p .. 'forgotten') or '0') then
  redis.call('SET', key, value)
  redis.call('DEL', p .. 'spent', p .. 'forgotten')
end
redis.call('SET', key, value, 'NX')
return {'ok', redis.call('GET', key)}
"""
)

LIST: Final = (
    _PRELUDE
    + """
local ids = redis.call('ZRANGEBYLEX', p .. 'ids', take(), '+', 'LIMIT', 0, take())
if #ids == 0 then return {'ok', ids, {}} end
return {'ok', ids, redis.call('HMGET', p .. 'name', unpack(ids))}
"""
)

NEWEST: Final = (
    _PRELUDE
    + """
local sites = {'ok'}
for _, id in ipairs(redis.call('ZREVRANGE', p .. take(), 0, tonumber(take()) - 1)) do
  sites[#sites + 1] = redis.call('GET', p .. 'site:' .. id)
end
return sites
"""
)

LOCK: Final = (
    _PRELUDE
    + """
if redis.call('SET', p .. 'lock:' .. take(), take(), 'NX', 'PX', take()) then return {'ok'} end
return {'taken'}
"""
)

RENEW_LOCK: Final = _PRELUDE + "redis.call('PEXPIRE', p .. 'lock:' .. ARGV[1], take()); return {'ok'}"
LEAVE: Final = _PRELUDE + "redis.call('SET', p .. 'left:' .. ARGV[1], take(), 'PX', take()); return {'ok'}"
UNLOCK: Final = _PRELUDE + "redis.call('DEL', p .. 'lock:' .. ARGV[1]); return {'ok'}"
