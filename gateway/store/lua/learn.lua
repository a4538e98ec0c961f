-- version 1: add one slice of what a process learned to the sums of a day, once.
-- KEYS: 1 the day's sums, 2 the number of this writer's last slice.
-- ARGV: number, field, value, field, value, ... Values stay text on their way: Lua would print 14 digits of them.
if tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[1]) then return 0 end
-- First, so that a slice that fails half-way is never added again.
redis.call('SET', KEYS[2], ARGV[1], 'EX', 86400)
for at = 2, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', KEYS[1], ARGV[at], ARGV[at + 1])
end
redis.call('EXPIRE', KEYS[1], 777600)
return 1
