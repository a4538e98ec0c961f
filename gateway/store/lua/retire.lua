-- version 1: forget a dead process whose holds are all swept.
-- KEYS: 1 leases, 2 suspects, 3 holds of the process.
-- ARGV: 1 writer.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 and redis.call('HLEN', KEYS[3]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return 0
