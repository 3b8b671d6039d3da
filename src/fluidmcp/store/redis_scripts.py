"""What Redis does in one step, as Lua: nobody else's command comes in between. They expect an answer of their own kind
and take everything else that stands under a name (somebody else wrote it) for nothing.

`KEYS` are names of entries (store/redis_entries); each script says in which order. A script may arrive twice, when its
first answer was lost on the way: where that would make a difference, the answer is remembered for a few seconds under
the last name, which is of this one request.
"""

from typing import Final

_WRITE: Final = "#!lua\n"
"""The first line of scripts that are refused as a whole when there is no memory left. Without it a script goes on that
has begun to write."""
_FREE: Final = "#!lua flags=allow-oom\n"
"""Of scripts that make room."""

_MAKE_ROOM: Final = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
-- Whether the index has room for one more name; what is over leaves it.
local function has_room(index, name, most)
  local kind = redis.call('TYPE', index)['ok']
  if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', index) end
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now_ms())
  return redis.call('ZSCORE', index, name) or redis.call('ZCARD', index) < tonumber(most)
end
local function enter(index, name, ms)
  redis.call('ZADD', index, now_ms() + ms, name)
  local left = redis.call('PTTL', index)
  if left < tonumber(ms) then redis.call('PEXPIRE', index, ms) end
end
"""

PUT: Final = (
    _WRITE
    + _MAKE_ROOM
    + """
-- KEYS: the index, the names of the value, the names of the lock. ARGV: how many names there are, the sealed value, its
-- time to live in ms, the most values, the holder of the lock or ''.
local count = tonumber(ARGV[1])
for at = count + 2, #KEYS do
  if redis.pcall('GET', KEYS[at]) ~= ARGV[5] then return 'lost' end
end
if tonumber(ARGV[3]) <= 0 then
  for at = 2, count + 1 do redis.call('DEL', KEYS[at]) end
  redis.call('ZREM', KEYS[1], KEYS[2])
  return 'done'
end
if not has_room(KEYS[1], KEYS[2], ARGV[4]) then return 'full' end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
for at = 3, count + 1 do redis.call('DEL', KEYS[at]) end
enter(KEYS[1], KEYS[2], ARGV[3])
return 'done'
"""
)
"""'done', 'full' or 'lost'."""

TAKE: Final = (
    _FREE
    + """
-- KEYS: the index, the names of the value, that of the answer. ARGV: how long the answer is remembered, in ms.
local before = redis.pcall('GET', KEYS[#KEYS])
if type(before) == 'string' then return cmsgpack.unpack(before) end
local found = {}
for at = 2, #KEYS - 1 do
  local value = redis.pcall('GETDEL', KEYS[at])
  if type(value) == 'string' then found[#found + 1] = value end
end
redis.pcall('ZREM', KEYS[1], KEYS[2])
if #found > 0 then redis.call('SET', KEYS[#KEYS], cmsgpack.pack(found), 'PX', ARGV[1]) end
return found
"""
)
"""What stood under the names; nothing does any more."""

COUNT: Final = (
    _WRITE
    + _MAKE_ROOM
    + """
-- KEYS: the index, the names of the counter, that of the answer. ARGV: how long the answer is remembered in ms, the
-- window in ms, the most counters.
local before = tonumber(redis.pcall('GET', KEYS[#KEYS]) or '')
if before then return before end
if redis.call('EXISTS', KEYS[2]) == 0 then
  if not has_room(KEYS[1], KEYS[2], ARGV[3]) then return 0 end
  enter(KEYS[1], KEYS[2], ARGV[2])
end
local most = 0
for at = 2, #KEYS - 1 do
  local number = redis.pcall('INCR', KEYS[at])
  if type(number) ~= 'number' then
    redis.call('DEL', KEYS[at])
    number = redis.call('INCR', KEYS[at])
  end
  if number == 1 or redis.call('PTTL', KEYS[at]) < 0 then redis.call('PEXPIRE', KEYS[at], ARGV[2]) end
  if number > most then most = number end
end
redis.call('SET', KEYS[#KEYS], most, 'PX', ARGV[1])
return most
"""
)
"""The number of events; 0 where there is no room for another counter."""

LOCK: Final = (
    _WRITE
    + """
-- KEYS: the names of the lock. ARGV: the holder, the time to live in ms.
for _, name in ipairs(KEYS) do
  local holder = redis.pcall('GET', name)
  -- A lock without an end is none of ours.
  if type(holder) == 'string' and holder ~= ARGV[1] and redis.call('PTTL', name) >= 0 then return 0 end
end
for _, name in ipairs(KEYS) do redis.call('SET', name, ARGV[1], 'PX', ARGV[2]) end
return 1
"""
)
"""1: the lock is the holder's."""

UNLOCK: Final = (
    _FREE
    + """
-- KEYS: the names of the lock. ARGV: the holder.
for _, name in ipairs(KEYS) do
  if redis.pcall('GET', name) == ARGV[1] then redis.call('DEL', name) end
end
return 1
"""
)
