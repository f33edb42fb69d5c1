# A Rack application with its sessions in Redis, asked in this very process; see ../talk.
require 'rack'
require 'rack/session/redis'

application = lambda do |env|
  session = env['rack.session']
  text = Rack::Request.new(env).params['text']
  session['text'] = text if text
  session['text'] ? [200, {}, [session['text']]] : [401, {}, ['nobody']]
end
server = "redis://#{ENV.fetch('REDIS_HOST')}:#{ENV.fetch('REDIS_PORT')}/0/session"
browser = Rack::MockRequest.new(Rack::Session::Redis.new(application, redis_server: server))

$stdout.sync = true
cookies = {}
while (line = $stdin.gets)
  what, name, text = line.split
  begin
    path = what == 'write' ? "/?text=#{text}" : '/'
    reply = browser.get(path, cookies[name] ? { 'HTTP_COOKIE' => cookies[name] } : {})
    cookies[name] = reply['Set-Cookie'].split(';').first if reply['Set-Cookie']
    puts reply.status == 401 ? 'nothing' : what == 'write' ? 'ok' : "value #{reply.body}"
  rescue StandardError => error
    puts "error #{error.message.split.join(' ')}"
  end
end
