-- A session lives no longer than its lifetime, from its birth mark on. The mark stands for as long as its tombstone would besides.
-- `left` is its time to live (-1: it has none); all lengths are in milliseconds.
local function keep_lifetime(key, birth, left, lifetime, window)
  local life = redis.call('PTTL', birth) - window
  if life <= 0 then
    redis.call('SET', birth, 1, 'PX', lifetime + window)
    life = lifetime
  end
  if left == -1 or left > life then redis.call('PEXPIRE', key, life) end
end
