-- version 1: one more attempt, in the hold's own workspace or in another one. All or nothing.
-- KEYS: 1 store, 2 holds of the process, 3 the workspace that pays, 4 the one that is asked, 5 the one that is left.
-- ARGV: 1 epoch that the caller knows, 2 hold id, 3 cost, 4 part of the workspace asked (msgpack), 5 the owner that the
--   hold leaves or '', 6 the plan after that (msgpack).
-- Returns msgpack: said, now, budget, passed, the level of each take.
-- What is left gives back all but the request unit; its takes stand before the new ones in the plan, emptied.
local now = clock()
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return cmsgpack.pack({EPOCH, now}) end
local hold, cost, part, leaves = ARGV[2], tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4]), ARGV[5]
local record = leaves ~= '' and redis.call('HGET', KEYS[2], hold)
if leaves ~= '' and not record then return cmsgpack.pack({BARRED, now}) end
local budget = tonumber(redis.call('HGET', KEYS[3], 'retries') or MOST_RETRIES)

local takes, fields, values = part[2], {}, {}
for j, take in ipairs(takes) do fields[j] = take[1] end
if #fields > 0 then values = redis.call('HMGET', KEYS[4], unpack(fields)) end
local reply, ok, passed = {REFUSED, now, budget, 0}, budget >= cost, 0
for j, take in ipairs(takes) do
  local level
  if take[2] % SHADOW == SLOTS then
    level = take[4] - tonumber(values[j] or 0)
  else
    level = refill(values[j], take[3], take[4], now)
  end
  if level < take[5] then
    if take[2] >= SHADOW then passed = passed + 2 ^ (j - 1) else ok = false end
  end
  reply[4 + j] = level
end
reply[4] = passed
if not ok then return cmsgpack.pack(reply) end

if cost > 0 then
  budget = budget - cost
  redis.call('HSET', KEYS[3], 'retries', budget)
end
local write = {}
for j, take in ipairs(takes) do
  if not has_bit(passed, j - 1) then
    local level, w = reply[4 + j] - take[5], #write
    reply[4 + j], write[w + 1] = level, take[1]
    if take[2] % SHADOW == SLOTS then
      write[w + 2] = take[4] - level
    else
      write[w + 2] = struct.pack('<dddd', level, now, take[3], take[4])
    end
  end
end
if #write > 0 then redis.call('HSET', KEYS[4], unpack(write)) end

if record then
  local at, bits = struct.unpack('<dd', record)
  local position, back = 0, {}
  for _, old in ipairs(cmsgpack.unpack(string.sub(record, HOLD_HEAD + 1))[1]) do
    for _, take in ipairs(old[2]) do
      local field, code = take[1], take[2] % SHADOW
      if old[1] == leaves and code ~= FOR_GOOD and not has_bit(bits, position) then
        local value, w = redis.call('HGET', KEYS[5], field), #back
        back[w + 1] = field
        if code == SLOTS then
          back[w + 2] = max(0, tonumber(value or 0) - take[5])
        else
          back[w + 2] = correct(value, take[3], take[4], now, take[5])
        end
      end
      position = position + 1
    end
  end
  if #back > 0 then redis.call('HSET', KEYS[5], unpack(back)) end
  redis.call('HSET', KEYS[2], hold, struct.pack('<dd', at, bits + passed * 2 ^ position) .. ARGV[6])
end
reply[1], reply[3] = GRANTED, budget
return cmsgpack.pack(reply)
