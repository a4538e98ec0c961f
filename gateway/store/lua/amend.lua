-- version 1: add to the spend of one owner, as `gateway ledger rebuild` counted it.
-- KEYS: 1 owner.
-- ARGV: per, number, nano, repeated.
for at = 1, #ARGV, 3 do
  local spent = 'spent|' .. ARGV[at]
  local raw = redis.call('HGET', KEYS[1], spent)
  redis.call('HSET', KEYS[1], spent, spent_add(raw, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])))
end
return 0
