-- Runs DEL or UNLINK, and leaves a tombstone for each session that was there, in one step.
--
-- KEYS: of each key the key, its tombstone, its birth mark; of one that is no session three times the key.
-- ARGV: the command; of each key how long its tombstone stands, in milliseconds (0: it leaves none).
--
-- Returns as write.lua does.
local count, destroyed = 0, 0
for i = 1, #KEYS, 3 do
  if redis.call(ARGV[1], KEYS[i]) == 1 then
    count = count + 1
    local window = ARGV[(i + 5) / 3]
    if window ~= '0' then redis.call('SET', KEYS[i + 1], window, 'PX', window) end
    if KEYS[i + 1] ~= KEYS[i] then destroyed = destroyed + 1 end
    if KEYS[i + 2] ~= KEYS[i] then redis.call('DEL', KEYS[i + 2]) end
  end
end
if destroyed == 0 then return count end
return {{ok = 'CLOAKROOM'}, count, 0, destroyed, 0, 0, 0}
