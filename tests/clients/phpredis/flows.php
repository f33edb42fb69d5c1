<?php
// Proves that a PHP application keeps its users' sessions through the proxy as it does in Redis itself,
// in phpredis' two ways: a connection for every request, and one that a process keeps and re-uses.
// Both lock the session for the length of a request. The application (app.php) runs in PHP's own
// server, in several processes; what follows only knows its HTTP.
//
//   sessions  the life of a login, from the first visit to the refusal of its old cookie
//   restart   the server behind the proxy restarts; the application does not, and loses nobody

/** The application's process, and where it listens. */
final class Application
{
    private const SETTINGS = [
        'session.save_handler=redis',
        'redis.session.locking_enabled=1',
        'redis.session.lock_wait_time=20000', // in µs: a lock is waited for up to 20 s,
        'redis.session.lock_retries=1000',
        'redis.session.lock_expire=5',        // and one left by a lost request is free again before that
        'display_errors=0',                   // an uncaught exception is answered 500
        'log_errors=1',
        'html_errors=0',
    ];

    public readonly int $port;
    private $process;
    private $log;

    public function __construct(string ...$settings)
    {
        // PHP's server leaves its workers behind when it ends; timeout passes the signal to all of them.
        $command = ['setpriv', '--pdeathsig', 'TERM', 'timeout', '60', PHP_BINARY, '-S', '127.0.0.1:0'];
        foreach ([...self::SETTINGS, ...$settings] as $setting) {
            array_push($command, '-d', $setting);
        }
        $log = tempnam(sys_get_temp_dir(), 'php-server-');
        $files = [['file', '/dev/null', 'r'], ['file', $log, 'a'], ['file', $log, 'a']];
        $this->process = proc_open([...$command, __DIR__ . '/app.php'], $files, $pipes, null, ['PHP_CLI_SERVER_WORKERS' => 4] + getenv());
        $this->log = fopen($log, 'r');
        unlink($log);
        $deadline = microtime(true) + 10;
        while (!preg_match('~\(http://127\.0\.0\.1:(\d+)\) started~', $this->output(), $found)) {
            if (microtime(true) > $deadline) {
                throw new Exception("the application does not start: {$this->output()}");
            }
            usleep(20_000);
        }
        $this->port = (int) $found[1];
    }

    /** The processes that serve requests. */
    public function workers(): string
    {
        $children = fn($pid) => trim(file_get_contents("/proc/$pid/task/$pid/children"));
        return $children($children(proc_get_status($this->process)['pid']));
    }

    /** What PHP itself had to say, for the reader of a failure. */
    public function complaints(): array
    {
        return preg_grep('~ PHP (Warning|Notice|Fatal|Deprecated)~', explode("\n", $this->output()));
    }

    private function output(): string
    {
        return stream_get_contents($this->log, null, 0);
    }

    public function __destruct()
    {
        proc_terminate($this->process);
        proc_close($this->process);
    }
}

/** One user's browser: a cookie, and answers such as "200 alice". */
final class Browser
{
    public ?string $cookie = null;

    public function __construct(private readonly Application $application)
    {
    }

    public function ask(string $method, string $path, string $body = ''): string
    {
        return $this->receive($this->send($method, $path, $body));
    }

    /** Begins a request; several may be under way before the first is received. */
    public function send(string $method, string $path, string $body = '')
    {
        $socket = stream_socket_client("tcp://127.0.0.1:{$this->application->port}");
        stream_set_timeout($socket, 30);
        $cookie = $this->cookie === null ? '' : "Cookie: $this->cookie\r\n";
        fwrite($socket, "$method $path HTTP/1.0\r\nHost: localhost\r\n{$cookie}Content-Length: " . strlen($body) . "\r\n\r\n$body");
        return $socket;
    }

    public function receive($socket): string
    {
        $reply = stream_get_contents($socket);
        [$head, $body] = explode("\r\n\r\n", $reply, 2) + [1 => ''];
        if (preg_match_all('~^Set-Cookie: ([^;\r]*)~mi', $head, $cookies)) {
            $this->cookie = end($cookies[1]);
        }
        return (explode(' ', $head)[1] ?? 'no answer') . " $body";
    }
}

/** Once for each way of connecting; then neither may find the other's sessions. */
function sessions(array $applications): void
{
    foreach ($applications as $way => $application) {
        life_of_a_login($way, $application);
    }
    foreach ($applications as $way => $application) {
        $browser = new Browser($application);
        $browser->ask('POST', '/login?name=alice');
        foreach ($applications as $other_way => $other) {
            $elsewhere = new Browser($other);
            $elsewhere->cookie = $browser->cookie;
            if ($way !== $other_way) {
                same($elsewhere->ask('GET', '/name'), '401 nobody', "a session of $way is not found in $other_way");
            }
        }
        same($browser->ask('GET', '/name'), '200 alice', "but still is in $way");
    }
}

function life_of_a_login(string $way, Application $application): void
{
    $alice = new Browser($application);
    $bob = new Browser($application);

    same($alice->ask('GET', '/name'), '401 nobody', "$way: a stranger is not logged in");
    $alice->ask('POST', '/login?name=alice');
    same($alice->ask('GET', '/name'), '200 alice', "$way: a login is remembered");

    $visits = array_map(fn() => $alice->ask('POST', '/visit'), range(1, 20));
    same($visits, array_map(fn($i) => "200 $i", range(1, 20)), "$way: each of 20 requests in a row sees the write before it");

    $bob->ask('POST', '/login?name=bob');
    same($bob->ask('POST', '/visit'), '200 1', "$way: a second user has a session of his own");
    same($alice->ask('POST', '/visit'), '200 21', "$way: the first user's session is untouched by it");

    $every_byte = implode(array_map('chr', range(0, 255))) . "\r\n\$-1\r\n*1\r\n+OK\r\n";
    $alice->ask('PUT', '/note', $every_byte);
    same($alice->ask('GET', '/note'), "200 $every_byte", "$way: a value of every byte, and of protocol, comes back as it was");
    $large = random_bytes(100_000);
    $alice->ask('PUT', '/note', $large);
    same($alice->ask('GET', '/note'), "200 $large", "$way: a value of 100 KB comes back as it was");

    $crowd = [$alice, $bob, $alice, $bob, $alice, $bob, $alice, $bob];
    same(at_once($crowd, 'GET', '/name'), array_map(fn($one) => $one === $alice ? '200 alice' : '200 bob', $crowd),
        "$way: each of 8 parallel requests is answered with its own session");
    $increments = array_merge(...array_map(fn() => at_once(array_fill(0, 8, $alice), 'POST', '/visit'), range(1, 5)));
    sort($increments);
    same($increments, array_map(fn($i) => "200 $i", range(22, 61)), "$way: under the lock, 5 times 8 parallel writes lose no update");

    $former = clone $alice;
    $alice->ask('POST', '/change-id');
    same($alice->cookie !== $former->cookie, true, "$way: the session id can be changed");
    same([$alice->ask('POST', '/visit'), $alice->ask('GET', '/note')], ['200 62', "200 $large"], "$way: the data is found under the new id");
    same($former->ask('GET', '/name'), '401 nobody', "$way: the old id is refused");
    $alice->ask('PUT', '/note', 'short');
    same($alice->ask('GET', '/note'), '200 short', "$way: a short value replaces a long one");

    $stale = clone $alice;
    same($alice->ask('POST', '/logout'), '200 bye', "$way: a user can log out");
    same([(clone $stale)->ask('GET', '/name'), (clone $stale)->ask('POST', '/visit')], ['401 nobody', '401 nobody'],
        "$way: the cookie of a logged-out session is refused");
    same($bob->ask('POST', '/visit'), '200 2', "$way: the other user is still logged in");
    $stale->ask('POST', '/login?name=carol');
    same([$stale->ask('GET', '/name'), $stale->ask('POST', '/visit')], ['200 carol', '200 1'],
        "$way: a browser with a stale cookie can log in again, and starts anew");
}

function restart(array $applications): void
{
    foreach ($applications as $way => $application) {
        $workers[$way] = $application->workers();
        $alice[$way] = new Browser($application);
        $alice[$way]->ask('POST', '/login?name=alice');
        $alice[$way]->ask('PUT', '/note', 'kept');
        same($alice[$way]->ask('GET', '/name'), '200 alice', "$way: a login is remembered");
    }

    echo "restart\n";
    $meanwhile = [];
    do {
        array_push($meanwhile, ...at_once(array_values($alice), 'GET', '/name'));
        [$input, $none] = [[STDIN], null];
    } while (!stream_select($input, $none, $none, 0, 100_000));
    fgets(STDIN);
    printf("# meanwhile: %d of %d requests failed\n", count(array_filter($meanwhile, 'failed')), count($meanwhile));
    same(array_values(array_filter($meanwhile, fn($answer) => $answer !== '200 alice' && !failed($answer))), [],
        'a request in between is served or fails, but logs nobody out');

    foreach ($applications as $way => $application) {
        same(eventually($alice[$way], 'GET', '/name'), '200 alice', "$way: the same processes serve the same session again");
        same($alice[$way]->ask('GET', '/note'), '200 kept', "$way: with its data");
        $alice[$way]->ask('PUT', '/note', 'new');
        same($alice[$way]->ask('GET', '/note'), '200 new', "$way: and write it again");
        $carol = new Browser($application);
        $carol->ask('POST', '/login?name=carol');
        same($carol->ask('GET', '/name'), '200 carol', "$way: a new login works");
        $stale = clone $alice[$way];
        $alice[$way]->ask('POST', '/logout');
        same($stale->ask('GET', '/name'), '401 nobody', "$way: a logout works");
        same($application->workers(), $workers[$way], "$way: the application's processes are those they were");
    }
}

function at_once(array $browsers, string $method, string $path): array
{
    $sockets = array_map(fn($one) => $one->send($method, $path), $browsers);
    return array_map(fn($one, $socket) => $one->receive($socket), $browsers, $sockets);
}

/** The first answer that is not a failure of the application, at most 20 seconds from now. */
function eventually(Browser $browser, string $method, string $path): string
{
    $start = microtime(true);
    while (failed($answer = $browser->ask($method, $path)) && microtime(true) < $start + 20) {
        usleep(100_000);
    }
    printf("# served again after %.2f s\n", microtime(true) - $start);
    return $answer;
}

function failed(string $answer): bool
{
    return $answer[0] === '5';
}

function same($actual, $expected, string $fact): void
{
    global $facts;
    $facts[] = $actual === $expected;
    printf("%s %d - %s\n", end($facts) ? 'ok' : 'not ok', count($facts), $fact);
    if (!end($facts)) {
        // Bytes are shown as characters.
        $show = fn($value) => substr(json_encode($value, JSON_INVALID_UTF8_SUBSTITUTE), 0, 300);
        echo '#   expected ', $show($expected), "\n#   got      ", $show($actual), "\n";
    }
}

$flow = $argv[1] ?? '';
if (!in_array($flow, ['sessions', 'restart'])) {
    fwrite(STDERR, "usage: run sessions|restart\n");
    exit(2);
}
$address = 'tcp://' . getenv('REDIS_HOST') . ':' . getenv('REDIS_PORT');
$facts = [];
$applications = [
    'a connection for each request' => new Application("session.save_path=\"$address\""),
    'database 3, a connection kept' => new Application(
        "session.save_path=\"$address?database=3&persistent=1\"",
        // Strict mode asks EXISTS before it trusts a cookie, takes an error for a no and replaces the cookie:
        // whoever asks while no answer can be had is logged out, with a proxy or without. Not for `restart`.
        'session.use_strict_mode=' . (int) ($flow === 'sessions'),
    ),
];
$flow($applications);
$passed = $facts && !in_array(false, $facts);
foreach ($passed ? [] : $applications as $way => $application) {
    foreach ($application->complaints() as $complaint) {
        echo "# $way: $complaint\n";
    }
}
printf("1..%d\n", count($facts));
exit($passed ? 0 : 1);
