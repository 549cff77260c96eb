"""What the engine does in one go, in its own language (Lua), so that nobody comes between.

The keys of a script are all in one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

#: keys: index, mark. arguments: the nonce that the index must have, the new index, its position, milliseconds to live
PUBLISH: Final = """
local mark = redis.call('GET', KEYS[2])
if mark and tonumber(mark) > tonumber(ARGV[3]) then return 2 end
local nonce = redis.call('GETRANGE', KEYS[1], %d, %d)
if nonce ~= ARGV[1] then return 1 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
return 0
"""

#: keys: a mark. arguments: number, milliseconds to live. A mark never becomes lower.
MARK: Final = """
local mark = redis.call('GET', KEYS[1])
if not mark or tonumber(mark) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 0
"""

#: keys: facts, log. arguments: record, most records. Remembers the id of the latest record that was trimmed.
APPEND: Final = """
local over = redis.call('XLEN', KEYS[2]) + 1 - tonumber(ARGV[2])
if over > 0 then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', over)) do
    redis.call('XDEL', KEYS[2], entry[1])
    redis.call('HSET', KEYS[1], 'trimmed', entry[1])
  end
end
local id = redis.call('XADD', KEYS[2], '*', 'r', ARGV[1])
return id
"""

#: keys: facts, log, bans. arguments: record, most records of the log, number, most bans. The list of bans also keeps
#: the number of each, so that the number of the latest one that was trimmed can be told.
APPEND_BAN: Final = (
    APPEND.replace("return id\n", "")
    + """
local over = redis.call('XLEN', KEYS[3]) + 1 - tonumber(ARGV[4])
if over > 0 then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', over)) do
    redis.call('XDEL', KEYS[3], entry[1])
    redis.call('HSET', KEYS[1], 'ban_floor', entry[2][4])
  end
end
redis.call('XADD', KEYS[3], '*', 'r', ARGV[1], 'n', ARGV[3])
redis.call('HSET', KEYS[1], 'ban', id)
return id
"""
)

#: keys: facts. arguments: a number that was seen, how far above all that was given the new floor is, 1 if records are
#: missing. The new floor, or 0 when somebody else has repaired it already.
REPAIR: Final = """
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
local floor = tonumber(redis.call('HGET', KEYS[1], 'floor') or 0)
local seen = tonumber(ARGV[1])
if floor > seen or (number >= seen and ARGV[3] == '0') then return 0 end
floor = math.max(number, seen) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'number', string.format('%.0f', floor), 'floor', string.format('%.0f', floor))
redis.call('HDEL', KEYS[1], 'ban')
return floor
"""

#: keys: a lease. arguments: its holder
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

#: keys: a token bucket. arguments: capacity, milliseconds in which it is refilled, milliseconds for which it is blocked
#: when empty, tokens to take (0: none, -1: one is given back). Tokens of a moment are counted as VMOD vsthrottle does.
#: 1 if there was none, tokens left, milliseconds for which it is blocked.
BUCKET: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'used', 'blocked')
local capacity, period, block, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local tokens, used, blocked = tonumber(kept[1]) or capacity, tonumber(kept[2]) or now, tonumber(kept[3]) or 0
local grown = period > 0 and (now - used) / period * capacity or capacity
local left = math.min(capacity, tokens + math.floor(math.min(grown, capacity)))
local denied = 0
if amount == 0 then return {0, left, math.max(blocked - now, 0)} end
if amount < 0 then
  tokens = tokens + 1
elseif block > 0 and now < blocked then
  denied, tokens, used = 1, math.max(left - 1, 0), now
elseif left > 0 then
  tokens, used, blocked = left - 1, now, 0
else
  denied = 1
  if block > 0 then blocked = now + block end
end
local whole = '%.0f'
redis.call('HSET', KEYS[1], 'tokens', tokens, 'used', whole:format(used), 'blocked', whole:format(blocked))
redis.call('PEXPIRE', KEYS[1], math.max(period, blocked - now) + 1000)
return {denied, math.min(tokens, capacity), math.max(blocked - now, 0)}
"""

#: keys: the log, whose server has the one clock that all nodes ask
TIME: Final = "return redis.call('TIME')"
