-- version 1: put a piece of work on the list, in another's place, forward, or off the list.
-- KEYS: 1 items, 2 due, 3 leases, 4 nudged.
-- ARGV: 1 what ("add" | "bind" | "nudge" | "drop"), 2 id, 3 due in milliseconds, 4 item, 5 id that it takes the place of.
-- Returns msgpack: {1} when something changed.
-- An item that is there is never written over: its lease's holder alone may do that.
local what, id = ARGV[1], ARGV[2]
local now = clock()

local function drop(name)
  redis.call('ZREM', KEYS[2], name)
  redis.call('HDEL', KEYS[3], name)
  redis.call('HDEL', KEYS[4], name)
  return redis.call('HDEL', KEYS[1], name)
end

if what == 'drop' then return cmsgpack.pack({drop(id)}) end
if what == 'nudge' then
  local due = redis.call('ZSCORE', KEYS[2], id)
  if not due then return cmsgpack.pack({0}) end
  if redis.call('HEXISTS', KEYS[3], id) == 1 and tonumber(due) > now then
    redis.call('HSET', KEYS[4], id, 1)
  elseif tonumber(due) > now + tonumber(ARGV[3]) then
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), id)
  end
  return cmsgpack.pack({1})
end
if what == 'bind' then drop(ARGV[5]) end
local fresh = redis.call('HSETNX', KEYS[1], id, ARGV[4])
if fresh == 1 then redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), id) end
return cmsgpack.pack({fresh})
