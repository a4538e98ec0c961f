-- version 1: change a leased piece of work, as its lease's holder.
-- KEYS: 1 items, 2 due, 3 leases, 4 nudged.
-- ARGV: 1 what ("keep" | "renew" | "let" | "done"), 2 id, 3 token, 4 milliseconds, 5 item.
-- Returns msgpack: {1}, or {0} when the lease is another's by now and nothing was changed.
local what, id = ARGV[1], ARGV[2]
local now = clock()
if redis.call('HGET', KEYS[3], id) ~= ARGV[3] then return cmsgpack.pack({0}) end
if what == 'done' then
  for n = 1, 4 do redis.call(n == 2 and 'ZREM' or 'HDEL', KEYS[n], id) end
  return cmsgpack.pack({1})
end
if what ~= 'renew' then redis.call('HSET', KEYS[1], id, ARGV[5]) end
local wait = tonumber(ARGV[4])
if what == 'let' then
  redis.call('HDEL', KEYS[3], id)
  if redis.call('HDEL', KEYS[4], id) == 1 then wait = 0 end
end
redis.call('ZADD', KEYS[2], now + wait, id)
return cmsgpack.pack({1})
