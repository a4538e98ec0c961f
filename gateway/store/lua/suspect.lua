-- version 1: look for processes whose lease has lapsed. At most one look per gap, whoever asks.
-- KEYS: 1 store, 2 leases, 3 suspects.
-- ARGV: 1 epoch that the caller knows, 2 gap in ms.
-- Returns msgpack: now, then the processes that were lapsed at the last look too, and so are dead.
-- One look is not enough: after a store was frozen, every lease has lapsed while its process is well.
local now = clock()
local head = redis.call('HMGET', KEYS[1], 'epoch', 'looked')
local reply = {now}
if head[1] ~= ARGV[1] or now - tonumber(head[2] or 0) < tonumber(ARGV[2]) then return cmsgpack.pack(reply) end
redis.call('HSET', KEYS[1], 'looked', now)
for _, writer in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', now))) do
  local since = redis.call('HGET', KEYS[3], writer)
  if since then
    reply[#reply + 1] = writer
  else
    redis.call('HSET', KEYS[3], writer, now)
  end
end
return cmsgpack.pack(reply)
