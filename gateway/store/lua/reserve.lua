-- version 1: hold all of a plan or nothing. With an empty hold id it only looks.
-- KEYS: 1 store, 2 mark of the hold, 3 holds of the process, then the owner of each part of the plan.
-- ARGV: 1 epoch that the caller knows, 2 hold id, 3 plan (msgpack).
-- Returns msgpack: said, now, passed, lost, the level of each take, then spent, held, raise, next of each spend.
local now = clock()
local head = redis.call('HMGET', KEYS[1], 'epoch', 'lost')
if head[1] ~= ARGV[1] then return cmsgpack.pack({EPOCH, now}) end
local hold, old = ARGV[2], false
if hold ~= '' then
  if redis.call('EXISTS', KEYS[2]) == 1 then return cmsgpack.pack({BARRED, now}) end
  old = redis.call('HGET', KEYS[3], hold)
end
local lost = head[2] == '1' and 1 or 0
local parts = cmsgpack.unpack(ARGV[3])[1]
local reply, standings, all_fields = {REFUSED, now, 0, lost}, {}, {}
local size, ok, passed, retries = 4, true, 0, {}

for i = 1, #parts do
  local takes, spends = parts[i][2], parts[i][3]
  local count, fields = #takes, {}
  for j = 1, count do fields[j] = takes[j][1] end
  local last = count
  for j = 1, #spends do
    local per = spends[j][1]
    fields[last + 1], fields[last + 2], fields[last + 3] = 'held|' .. per, 'spent|' .. per, 'raise|' .. per
    last = last + 3
  end
  local saved
  if (parts[i][4] or 0) > 0 then
    last = last + 1
    fields[last], saved = 'retries', last
  end
  all_fields[i] = fields
  if last > 0 then
    local values = redis.call('HMGET', KEYS[3 + i], unpack(fields))
    for j = 1, count do
      local take, value = takes[j], values[j]
      local code, capacity, level = take[2], take[4]
      local shadow = code >= SHADOW
      if (shadow and code - SHADOW or code) == SLOTS then
        level = capacity - (value and tonumber(value) or 0)
      else
        level = refill(value, take[3], capacity, now)
      end
      if level < take[5] then
        if shadow then passed = passed + 2 ^ (size - 4) else ok = false end
      end
      size = size + 1
      reply[size] = level
    end
    for j = 1, #spends do
      local spend, at, s = spends[j], count + 3 * j, #standings
      if now < spend[7] or now >= spend[9] then return cmsgpack.pack({STALE, now}) end
      local following = now >= spend[8] and 1 or 0
      local held = values[at - 2] and tonumber(values[at - 2]) or 0
      local spent = spent_at(values[at - 1], spend[6] + following)
      local extra = raise_at(values[at], now)
      local room = spend[3] + extra - spent
      local over = spend[5] > 0 and held + spend[5] > room or spend[5] == 0 and room <= 0
      if spend[4] == 1 and (lost == 1 or over) then ok = false end
      standings[s + 1], standings[s + 2], standings[s + 3], standings[s + 4] = spent, held, extra, following
    end
    retries[i] = saved and values[saved]
  end
end

if old then
  reply[1] = GRANTED
  local _
  _, passed = struct.unpack('<dd', old)
elseif ok and hold ~= '' then
  reply[1] = GRANTED
  local position, spot = 4, 2
  for i = 1, #parts do
    local takes, spends, fields, write, w = parts[i][2], parts[i][3], all_fields[i], {}, 0
    local count = #takes
    for j = 1, count do
      local take = takes[j]
      position = position + 1
      if passed == 0 or not has_bit(passed, position - 5) then
        local level, code = reply[position] - take[5], take[2]
        reply[position] = level
        write[w + 1] = take[1]
        if code == SLOTS or code == SLOTS + SHADOW then
          write[w + 2] = take[4] - level
        else
          write[w + 2] = struct.pack('<dddd', level, now, take[3], take[4])
        end
        w = w + 2
      end
    end
    for j = 1, #spends do
      local held = standings[spot] + spends[j][5]
      standings[spot] = held
      write[w + 1], write[w + 2] = fields[count + 3 * j - 2], held
      w, spot = w + 2, spot + 4
    end
    if retries[i] then -- a budget that nothing was taken from is full
      write[w + 1], write[w + 2] = 'retries', min(MOST_RETRIES, tonumber(retries[i]) + parts[i][4])
      w = w + 2
    end
    if w > 0 then redis.call('HSET', KEYS[3 + i], unpack(write)) end
  end
  redis.call('HSET', KEYS[3], hold, struct.pack('<dd', now, passed) .. ARGV[3])
end

reply[3] = passed
for s = 1, #standings do reply[size + s] = standings[s] end
return cmsgpack.pack(reply)
