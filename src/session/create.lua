-- Sets a session that may not be there, if it was not destroyed: write.lua for the command that is asked most.
--
-- KEYS: the key, its tombstone. ARGV: what a stale writer is answered ('discard' or 'refuse'); a tombstone younger than
--   this, in milliseconds, makes the writer stale; the command, a SET, SETEX or PSETEX that says OK.
--
-- Returns as write.lua does.
local call = redis.call
local is_there, is_stale = call('EXISTS', KEYS[1]) == 1, false
if not is_there then
  local left = call('PTTL', KEYS[2])
  is_stale = left > 0 and (tonumber(redis.pcall('GET', KEYS[2])) or 0) - left < tonumber(ARGV[2])
end
if is_stale and ARGV[1] == 'refuse' then return {err = 'NOPERM session was destroyed'} end
if is_stale then return {{ok = 'CLOAKROOM'}, {ok = 'OK'}, 0, 0, 1, 0, 0} end
local reply = redis.pcall(unpack(ARGV, 3))
if is_there or reply.err then return reply end
return {{ok = 'CLOAKROOM'}, reply, 1, 0, 0, 0, 0}
