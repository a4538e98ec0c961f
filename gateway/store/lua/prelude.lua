-- Shared by every script; says in Lua what core/buckets.py and core/book.py say in Python, name for name.
-- Numbers are integers below 2^53 in doubles. They travel through struct, cmsgpack and command arguments (which print
-- 17 digits), never through `..` or cjson (which print 14).
--
-- Positions (core/plan.py):
--   plan   {parts, team, key, model, kind, nano, leased, moved}      part  {owner, takes, spends, deposit}
--   take   {field, code, rate, capacity, amount}
--   spend  {per, zone, ceiling, block, amount, number, start, end, next_end}
-- An owner's hash: a bucket is "<dddd" level, at, rate, capacity; slots a plain count; `spent|PER` "<ddd" number, now,
-- before; `held|PER` a plain sum; `raise|PER` "<dd" nano, until; `retries` what is left of a workspace's retry budget, full
-- when absent. A hold is "<dd" at, passed, and its plan.
local GRANTED, REFUSED, BARRED, EPOCH, STALE, DONE, SKIPPED, GAP, CLOSED = 0, 1, 2, 3, 4, 5, 6, 7, 8
local FOR_GOOD, SLOTS, SHADOW = 0, 4, 8
local FLOOR = -3000000000000000
local HOLD_HEAD = 16
local MOST_RETRIES = 3000000
local floor, min, max = math.floor, math.min, math.max

local function refill(raw, rate, capacity, now)
  if not raw then return capacity end
  local level, at, old_rate, old_capacity = struct.unpack('<dddd', raw)
  local slower, lower = min(rate, old_rate), min(capacity, old_capacity)
  if level < lower and now > at then
    local elapsed = min(now - at, floor((lower - level) / slower) + 1)
    level = min(level + slower * elapsed, lower)
  end
  return min(level, capacity)
end

local function correct(raw, rate, capacity, now, amount)
  if raw then
    local _
    _, _, rate, capacity = struct.unpack('<dddd', raw)
  end
  local level = refill(raw, rate, capacity, now) + amount
  return struct.pack('<dddd', max(FLOOR, min(level, capacity)), now, rate, capacity)
end

local function spent_at(raw, number)
  if not raw then return 0 end
  local this, now, before = struct.unpack('<ddd', raw)
  if number == this then return now end
  if number == this - 1 then return before end
  return 0
end

local function spent_add(raw, number, nano)
  local this, now, before = 0, 0, 0
  if raw then this, now, before = struct.unpack('<ddd', raw) end
  if number == this then
    now = now + nano
  elseif number == this - 1 then
    before = before + nano
  elseif number > this then
    before = number == this + 1 and now or 0
    this, now = number, nano
  end
  return struct.pack('<ddd', this, now, before)
end

local function raise_at(raw, now)
  if not raw then return 0 end
  local nano, till = struct.unpack('<dd', raw)
  return now < till and nano or 0
end

local function has_bit(bits, position)
  return floor(bits / 2 ^ position) % 2 == 1
end
