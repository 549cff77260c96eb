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

#: keys: a counter. arguments: amount, milliseconds that it lives from its first count on
COUNT: Final = """
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if sum == tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return sum
"""

#: keys: the log, whose server has the one clock that all nodes ask
TIME: Final = "return redis.call('TIME')"
