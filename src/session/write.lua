-- Runs a write of sessions by their rules, in one step that nothing comes between.
--
-- KEYS: of each session the key, its tombstone, its birth mark.
-- ARGV: what a stale writer is answered ('discard' or 'refuse'); which word of the command is a value that may be there
--   already (0: none), that value's time to live, and how much later an end need not be moved to; how long the first value
--   may be before something is appended (''); of each session
--   1 expiry: of a key that has none (0: it is left alone; 'follow': a companion, which ends no sooner than the first)
--   2 lifetime: from its birth on (0: without an end)
--   3 window: how long its tombstone stands (0: it leaves none)
--   4 seen: a tombstone younger than this makes the writer stale (0: it cannot be)
--   5 birth: 'new', where a key that was not there is a new session for sure; 'moves', with the first key; or ''
--   6 whether the command may destroy it (1, or 0)
-- and then the command. Lengths are in milliseconds.
--
-- Returns what the command says. Where there is more to tell, an array: the mark, that, and the number of sessions that
-- were created, destroyed, written by a stale writer, given an expiry, only touched.
local call = redis.call
local count = #KEYS / 3
local first = 6 + 6 * count
local function word(i, n) return ARGV[6 * i - 1 + n] end
local was, stale = {}, {}
local created, destroyed, late, given, touched = 0, 0, 0, 0, 0
for i = 1, count do
  local seen, window = tonumber(word(i, 4)), tonumber(word(i, 3))
  was[i] = call('EXISTS', KEYS[3 * i - 2])
  if was[i] == 0 and seen > 0 then
    local left = call('PTTL', KEYS[3 * i - 1])
    local is_stale = left > 0 and (tonumber(redis.pcall('GET', KEYS[3 * i - 1])) or 0) - left < seen
    if not is_stale and word(i, 2) ~= '0' then
      -- The end of its lifetime has destroyed it, too: the birth mark stands for as long as a tombstone does.
      left = call('PTTL', KEYS[3 * i])
      is_stale = left > 0 and left <= window and window - left < seen
    end
    if is_stale then
      if ARGV[1] == 'refuse' then return {err = 'NOPERM session was destroyed'} end
      stale[i], late = true, late + 1
    end
  end
end
if ARGV[5] ~= '' then
  local length = redis.pcall('STRLEN', KEYS[1])
  if type(length) == 'number' and length > tonumber(ARGV[5]) then return {err = 'NOPERM session value too large'} end
end
local reply
local value = tonumber(ARGV[2])
if value > 0 and was[1] == 1 and redis.pcall('GET', KEYS[1]) == ARGV[first + value] then
  local later = tonumber(ARGV[3]) - call('PTTL', KEYS[1])
  if later < 0 or later > tonumber(ARGV[4]) then call('PEXPIRE', KEYS[1], ARGV[3]) end
  reply, touched = {ok = 'OK'}, 1
else
  reply = redis.pcall(unpack(ARGV, first))
end
if type(reply) == 'table' and reply.err then return reply end
local exact
if type(reply) == 'number' and math.abs(reply) > 9007199254740991 then
  -- A number here is not exact any more.
  if string.lower(ARGV[first]) == 'hincrby' then
    exact = call('HGET', KEYS[1], ARGV[first + 2])
  else
    exact = call('GET', KEYS[1])
  end
  reply = exact
end
for i = 1, count do
  local key, birth, expiry, lifetime = KEYS[3 * i - 2], KEYS[3 * i], word(i, 1), tonumber(word(i, 2))
  local window = tonumber(word(i, 3))
  if stale[i] then
    call('DEL', key)
  elseif was[i] == 1 and word(i, 6) == '1' and call('EXISTS', key) == 0 then
    if window > 0 then call('SET', KEYS[3 * i - 1], window, 'PX', window) end
    destroyed = destroyed + 1
    if lifetime > 0 and (count == 1 or word(2, 5) ~= 'moves') then call('DEL', birth) end
  else
    local left
    if was[i] == 0 and call('EXISTS', key) == 1 then created = created + 1 end
    if expiry ~= '0' or lifetime > 0 then left = call('PTTL', key) end
    if expiry == 'follow' then
      local other = call('PTTL', KEYS[1])
      if left >= 0 and left < other then
        call('PEXPIRE', key, other)
        left = other
      end
    elseif left == -1 and expiry ~= '0' then
      call('PEXPIRE', key, expiry)
      left, given = tonumber(expiry), given + 1
    end
    if lifetime > 0 and left ~= -2 then
      if word(i, 5) == 'moves' then
        if call('EXISTS', KEYS[3]) == 1 then call('RENAME', KEYS[3], birth) end
      elseif was[i] == 0 and word(i, 5) == 'new' then
        call('DEL', birth)
      end
      keep_lifetime(key, birth, left, lifetime, window)
    end
  end
end
if not exact and created + destroyed + late + given + touched == 0 then return reply end
if reply == nil then reply = false end
return {{ok = 'CLOAKROOM'}, reply, created, destroyed, late, given, touched}
