-- Gives an expiry to the sessions that have none.
--
-- KEYS: the sessions. ARGV: the database they are in ('': this one); of each its expiry, in milliseconds.
--
-- Returns as write.lua does, of a command that says 0.
local given = 0
if ARGV[1] ~= '' then redis.call('SELECT', ARGV[1]) end
for i, key in ipairs(KEYS) do
  if redis.call('PTTL', key) == -1 then
    redis.call('PEXPIRE', key, ARGV[i + 1])
    given = given + 1
  end
end
if given == 0 then return 0 end
return {{ok = 'CLOAKROOM'}, 0, 0, 0, 0, given, 0}
