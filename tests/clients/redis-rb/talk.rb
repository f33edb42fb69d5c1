# redis-rb, see ../talk.
require 'redis'

$stdout.sync = true
redis = Redis.new(host: ENV.fetch('REDIS_HOST'), port: ENV.fetch('REDIS_PORT').to_i)
while (line = $stdin.gets)
  what, name, text = line.split
  begin
    if what == 'write'
      redis.setex("session:#{name}", 3600, text)
      puts 'ok'
    else
      value = redis.get("session:#{name}")
      puts value ? "value #{value}" : 'nothing'
    end
  rescue Redis::BaseError => error
    puts "error #{error.message.split.join(' ')}"
  end
end
