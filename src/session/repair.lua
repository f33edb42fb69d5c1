-- Gives an end to the sessions that have none, or a later one than they may.
--
-- KEYS: of each session the key, its birth mark.
-- ARGV: the database they are in ('': this one); of each the expiry it is given where it has none (0: it is left alone), its
--   lifetime (0: without an end), and how long its tombstone would stand, in milliseconds.
--
-- Returns as write.lua does, of a command that says 0.
local call, given = redis.call, 0
if ARGV[1] ~= '' then call('SELECT', ARGV[1]) end
for i = 1, #KEYS / 2 do
  local key, birth, at = KEYS[2 * i - 1], KEYS[2 * i], 3 * i - 2
  local left, expiry, lifetime = call('PTTL', key), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if left == -1 and expiry > 0 then
    call('PEXPIRE', key, expiry)
    left, given = expiry, given + 1
  end
  if left ~= -2 and lifetime > 0 then keep_lifetime(key, birth, left, lifetime, tonumber(ARGV[at + 3])) end
end
if given == 0 then return 0 end
return {{ok = 'CLOAKROOM'}, 0, 0, 0, 0, given, 0}
