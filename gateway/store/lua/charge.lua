-- version 1: apply one numbered settlement, or (n 0) sweep one hold of a dead process.
-- KEYS: 1 store, 2 mark of the hold, 3 holds, 4 swept holds, 5 writer, 6 rows of the day, 7 rows of the month, then the
--   owner of each part of the plan.
-- ARGV: 1 epoch that the caller knows, 2 charge (msgpack, core/plan.py Charge): 1 n, 2 hold, 3 closes, 4 late, 5 zero,
--   6 estimated, 7 actual, 8 nano, 9 row, 10 amounts, 11 parts, 12 counts, 13 day, 14 month, 15 once, 16 moved.
-- Returns msgpack: said, now, applied, nano, then spent and raise of each count.
-- A number is applied once: at or below the highest it is skipped, beyond the next it is a gap.
local MARK_MS, ONCE_MS, SWEPT_SECONDS = 60000, 3456000000, 3456000
local DAY_SECONDS, MONTH_SECONDS = 93 * 86400, 428 * 86400
local now = clock()
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return cmsgpack.pack({EPOCH, now}) end
local it = cmsgpack.unpack(ARGV[2])
local n, hold, actual, parts = it[1], it[2], it[7], it[11]
local applied = tonumber(redis.call('HGET', KEYS[5], 'n') or 0)
if n > 0 and n <= applied then return cmsgpack.pack({SKIPPED, now, applied}) end
if n > 0 and n ~= applied + 1 then return cmsgpack.pack({GAP, now, applied}) end
if now >= it[3] then return cmsgpack.pack({CLOSED, now, applied}) end
if it[15] == 1 and n > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[5], 'n', n)
  return cmsgpack.pack({DONE, now, n, 0})
end

-- Every level and count that may change, read once per owner and written once at the end.
local function per_fields(fields, per)
  local last = #fields
  fields[last + 1], fields[last + 2], fields[last + 3] = 'held|' .. per, 'spent|' .. per, 'raise|' .. per
end
local have, changed = {}, {}
local names = {}
for i, part in ipairs(parts) do
  local fields = {}
  for j, take in ipairs(part[2]) do fields[j] = take[1] end
  for _, spend in ipairs(part[3]) do per_fields(fields, spend[1]) end
  names[i], changed[i] = fields, {}
end
for _, count in ipairs(it[12]) do per_fields(names[count[1]], count[2]) end
for i, fields in ipairs(names) do
  have[i] = {}
  if #fields > 0 then
    local values = redis.call('HMGET', KEYS[7 + i], unpack(fields))
    for j, field in ipairs(fields) do have[i][field] = values[j] end
  end
end
local function set(i, field, value)
  local writes = changed[i]
  have[i][field] = value
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

-- `slots` false: the sweep has let the slots and the held money go already. The charge's plan is the hold's own, but for
-- a move whose answer was lost: then the hold's has the same parts, or all but the last.
local function release(record, slots)
  local _, passed = struct.unpack('<dd', record)
  local position, own = 0, parts
  if it[16] == 1 then own = cmsgpack.unpack(string.sub(record, HOLD_HEAD + 1))[1] end
  for i, part in ipairs(own) do
    for _, take in ipairs(part[2]) do
      local field, code = take[1], take[2] % SHADOW
      if passed == 0 or not has_bit(passed, position) then
        if code == SLOTS then
          if slots then set(i, field, max(0, tonumber(have[i][field] or 0) - take[5])) end
        elseif code ~= FOR_GOOD and actual[1] then
          set(i, field, correct(have[i][field], take[3], take[4], now, take[5] - actual[code]))
        end
      end
      position = position + 1
    end
    if slots then
      for _, spend in ipairs(part[3]) do
        local held = 'held|' .. spend[1]
        set(i, held, max(0, tonumber(have[i][held] or 0) - spend[5]))
      end
    end
  end
end

local function charge_whole()
  for i, part in ipairs(parts) do
    for _, take in ipairs(part[2]) do
      local field, code = take[1], take[2]
      if code < SHADOW and code ~= SLOTS then
        local used = take[5]
        if code ~= FOR_GOOD and actual[1] then used = actual[code] end
        set(i, field, correct(have[i][field], take[3], take[4], now, -used))
      end
    end
  end
end

-- What a late settlement changes in the row that the sweep booked as one request at its estimate.
local function difference(estimate)
  local more = {{'nano', it[8] - estimate}}
  if it[5] == 1 then more[#more + 1] = {'requests', -1} end
  if it[4] == 1 then more[#more + 1] = {'late_nano', it[8] - estimate} end
  if it[6] == 0 then
    more[#more + 1] = {'estimated_requests', -1}
    more[#more + 1] = {'estimated_nano', -estimate}
  else
    more[#more + 1] = {'estimated_nano', it[8] - estimate}
  end
  for _, pair in ipairs(it[10]) do
    if not (string.find(pair[1], 'requests', 1, true) or string.find(pair[1], 'nano', 1, true)) then
      more[#more + 1] = pair
    end
  end
  return more
end

local nano, amounts = it[8], it[10]
local record = redis.call('HGET', KEYS[3], hold)
local swept = not record and n > 0 and redis.call('HGET', KEYS[4], hold)
if record then
  release(record, true)
  redis.call('HDEL', KEYS[3], hold)
  if n == 0 then
    redis.call('HSET', KEYS[4], hold, record)
    redis.call('EXPIRE', KEYS[4], SWEPT_SECONDS)
  end
elseif n == 0 then
  return cmsgpack.pack({SKIPPED, now, applied})
elseif swept then
  release(swept, false)
  redis.call('HDEL', KEYS[4], hold)
  local estimate = cmsgpack.unpack(string.sub(swept, HOLD_HEAD + 1))[6]
  nano, amounts = nano - estimate, difference(estimate)
else
  redis.call('SET', KEYS[2], 1, 'PX', MARK_MS)
  if it[5] == 0 then charge_whole() end
end

local reply = {DONE, now, applied, nano}
for _, count in ipairs(it[12]) do
  local i, per = count[1], count[2]
  local spent = spent_add(have[i]['spent|' .. per], count[3], nano)
  set(i, 'spent|' .. per, spent)
  reply[#reply + 1] = spent_at(spent, count[3])
  reply[#reply + 1] = raise_at(have[i]['raise|' .. per], now)
end
for i, writes in ipairs(changed) do
  if #writes > 0 then redis.call('HSET', KEYS[7 + i], unpack(writes)) end
end

if #amounts > 0 then
  local fields = {}
  for j, pair in ipairs(amounts) do fields[j] = it[9] .. '\t' .. pair[1] end
  for key = 6, 7 do
    local values, writes = redis.call('HMGET', KEYS[key], unpack(fields)), {}
    for j, pair in ipairs(amounts) do
      writes[2 * j - 1], writes[2 * j] = fields[j], tonumber(values[j] or 0) + pair[2]
    end
    redis.call('HSET', KEYS[key], unpack(writes))
    if not values[1] then redis.call('EXPIRE', KEYS[key], key == 6 and DAY_SECONDS or MONTH_SECONDS) end
  end
end
if n > 0 then
  redis.call('HSET', KEYS[5], 'n', n)
  reply[3] = n
  if it[15] == 1 then redis.call('SET', KEYS[2], 1, 'PX', ONCE_MS) end
end
return cmsgpack.pack(reply)
