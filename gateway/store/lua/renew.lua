-- version 1: renew a process's lease, and tell it which store this is. Also the first call on every new connection.
-- KEYS: 1 store, 2 leases, 3 suspects, 4 writer.
-- ARGV: 1 writer, 2 epoch that the caller knows or '', 3 epoch to found, 4 lease in ms, 5 the number before the first
--   settlement that the caller can send again, 6 the latest beat that the caller saw, 7 layout.
-- Returns msgpack: now, epoch, lost, applied, live processes, layout.
-- A caller that knows an epoch finds another one, or none, or a store that fell back: its data is lost, for everybody.
local ROLLED_BACK_MS, WRITER_SECONDS = 30000, 3456000
local now = clock()
local writer, known = ARGV[1], ARGV[2]
local head = redis.call('HMGET', KEYS[1], 'epoch', 'beat', 'layout')
local epoch, layout = head[1], head[3] or ARGV[7]
if layout ~= ARGV[7] then return cmsgpack.pack({now, epoch, 0, 0, 0, layout}) end
if not epoch then
  epoch = ARGV[3]
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'layout', layout)
end
local lost = false
if known ~= '' and known ~= epoch then
  -- Once per epoch: after `accept-empty`, a process that comes late must not close the budgets again.
  lost = redis.call('HSETNX', KEYS[1], 'gone|' .. known, now) == 1
elseif known ~= '' then
  lost = tonumber(head[2] or 0) < tonumber(ARGV[6]) - ROLLED_BACK_MS
end
if lost then redis.call('HSET', KEYS[1], 'lost', 1) end
redis.call('HSET', KEYS[1], 'beat', now)
redis.call('ZADD', KEYS[2], now + ARGV[4], writer)
redis.call('HDEL', KEYS[3], writer)
local applied = redis.call('HGET', KEYS[4], 'n')
if not applied then
  applied = ARGV[5]
  redis.call('HSET', KEYS[4], 'n', applied)
end
redis.call('EXPIRE', KEYS[4], WRITER_SECONDS)
local live = redis.call('ZCOUNT', KEYS[2], now, '+inf')
local is_lost = redis.call('HGET', KEYS[1], 'lost') == '1' and 1 or 0
return cmsgpack.pack({now, epoch, is_lost, tonumber(applied), live, layout})
