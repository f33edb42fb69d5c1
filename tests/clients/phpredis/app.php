<?php
// An ordinary PHP application: the session functions of the language, and nothing that knows of Redis.
// That phpredis keeps its sessions is a matter of settings, see flows.php.

// A session that could not be opened is a failure, not a stranger.
if (!session_start()) {
    http_response_code(503);
    exit('no session');
}

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);

if ($path === '/login') {
    $_SESSION = ['name' => $_GET['name'], 'visits' => 0, 'note' => ''];
    exit('welcome');
}

if (!isset($_SESSION['name'])) {
    http_response_code(401);
    exit('nobody');
}

switch ("$_SERVER[REQUEST_METHOD] $path") {
    case 'GET /name':
        exit($_SESSION['name']);
    case 'GET /slow-name':
        ask_service();
        exit($_SESSION['name']);
    case 'POST /slow-visit':
        ask_service();
        exit((string) ++$_SESSION['visits']);
    case 'POST /visit':
        exit((string) ++$_SESSION['visits']);
    case 'PUT /note':
        $_SESSION['note'] = file_get_contents('php://input');
        exit('noted');
    case 'GET /note':
        header('Content-Type: application/octet-stream');
        exit($_SESSION['note']);
    case 'POST /change-id':
        session_regenerate_id(true);
        exit('changed');
    case 'POST /logout':
        session_destroy();
        exit('bye');
    default:
        http_response_code(404);
}

/** Another service of this machine; that takes as long as it takes. */
function ask_service(): void
{
    stream_get_contents(stream_socket_client("tcp://127.0.0.1:$_GET[service]"));
}
