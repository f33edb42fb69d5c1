<?php
// phpredis, see ../talk: the client itself, or, by name, the session functions of the language on it, with a
// connection for each request or one that is kept.

/** The client itself, with one connection. */
function client(): Redis
{
    static $redis;
    if (!$redis) {
        $new = new Redis();
        $new->connect(getenv('REDIS_HOST'), (int) getenv('REDIS_PORT'));
        $redis = $new;
    }
    return $redis;
}

/** `false` is what phpredis says of a missing key, and of an error that begins `-ERR`. */
function with_client(string $what, string $name, ?string $text): string
{
    if ($what === 'write') {
        return client()->setex("session:$name", 3600, $text) === true ? 'ok' : 'error not written: ' . client()->getLastError();
    }
    $value = client()->get("session:$name");
    return $value === false ? 'nothing' : "value $value";
}

function with_session(string $what, string $name, ?string $text): string
{
    session_id($name);
    try {
        session_start();
        $found = $_SESSION['text'] ?? null;
        if ($what === 'write') {
            $_SESSION['text'] = $text;
        }
        $is_written = session_write_close();
    } finally {
        if (session_status() === PHP_SESSION_ACTIVE) {
            session_abort();
        }
    }
    if (!$is_written) {
        return 'error not written';
    }
    return $what === 'write' ? 'ok' : ($found === null ? 'nothing' : "value $found");
}

$kind = $argv[1] ?? 'client';
if ($kind !== 'client') {
    ini_set('session.save_handler', 'redis');
    $options = $kind === 'php-session-persistent' ? '?persistent=1' : '';
    ini_set('session.save_path', 'tcp://' . getenv('REDIS_HOST') . ':' . getenv('REDIS_PORT') . $options);
    ini_set('session.use_cookies', '0');
    ini_set('session.use_only_cookies', '0');
}
// A warning is a failure.
set_error_handler(fn($level, $message) => throw new ErrorException($message));
while (($line = fgets(STDIN)) !== false) {
    [$what, $name, $text] = explode(' ', rtrim($line)) + [2 => null];
    try {
        $answer = $kind === 'client' ? with_client($what, $name, $text) : with_session($what, $name, $text);
    } catch (Throwable $error) {
        $answer = 'error ' . preg_replace('~\s+~', ' ', $error->getMessage());
    }
    // Not `echo`: a session cannot be started after that.
    fwrite(STDOUT, "$answer\n");
}
