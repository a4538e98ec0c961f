-- version 1: lease pieces of work, those that are due or one by its id, due or not.
-- KEYS: 1 items, 2 due, 3 leases, 4 nudged.
-- ARGV: 1 token, 2 milliseconds, 3 how many, 4 id or "".
-- Returns msgpack: the items. A lapsed lease is nobody's: its token is written over, so its holder can change nothing.
local now = clock()
local ids
if ARGV[4] ~= '' then
  local due = redis.call('ZSCORE', KEYS[2], ARGV[4])
  if not due or (redis.call('HEXISTS', KEYS[3], ARGV[4]) == 1 and tonumber(due) > now) then return cmsgpack.pack({}) end
  ids = {ARGV[4]}
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[3])
end
local found = {}
for n, id in ipairs(ids) do
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), id)
  redis.call('HSET', KEYS[3], id, ARGV[1])
  redis.call('HDEL', KEYS[4], id)
  found[n] = redis.call('HGET', KEYS[1], id)
end
return cmsgpack.pack(found)
