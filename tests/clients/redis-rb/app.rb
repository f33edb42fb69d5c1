# A Rack application with its sessions in Redis, on a free port, which it prints. See ../serve.
require 'rack'
require 'rack/handler/webrick'
require 'rack/session/redis'
require 'socket'

application = lambda do |env|
  request = Rack::Request.new(env)
  session = env['rack.session']
  answer = ->(status, text) { [status, { 'Content-Type' => 'text/plain' }, [text.to_s]] }
  # Another service of this machine is asked; that takes as long as it takes.
  ask_service = -> { TCPSocket.open('127.0.0.1', request.params['service'].to_i, &:read) }

  if request.path == '/login'
    session['name'] = request.params['name']
    session['visits'] = 0
    next answer[200, 'welcome']
  end
  next answer[401, 'nobody'] unless session['name']

  case "#{request.request_method} #{request.path}"
  when 'GET /name'
    answer[200, session['name']]
  when 'GET /slow-name'
    ask_service.call
    answer[200, session['name']]
  when 'POST /visit'
    answer[200, session['visits'] += 1]
  when 'POST /slow-visit'
    ask_service.call
    answer[200, session['visits'] += 1]
  when 'POST /logout'
    session.destroy
    answer[200, 'bye']
  else
    answer[404, 'nothing']
  end
end

server = "redis://#{ENV.fetch('REDIS_HOST')}:#{ENV.fetch('REDIS_PORT')}/0/rack:session"
app = Rack::Session::Redis.new(application, redis_server: server)
$stdout.sync = true
options = { Host: '127.0.0.1', Port: 0, AccessLog: [], Logger: WEBrick::Log.new($stderr, WEBrick::Log::WARN) }
Rack::Handler::WEBrick.run(app, **options) { |listening| puts listening.listeners.first.addr[1] }
