<?php // A web application that logs in through oxd-server: `php -S localhost:8080 login.php`.
require __DIR__ . '/oxd.php';
$here = getenv('HERE') ?: 'http://localhost:8080';
$login = '<a href="/login">Log in</a>';
$say = function (int $status, string $text) {
    http_response_code($status);
    exit($text);
};
set_exception_handler(fn ($error) => $say(502, 'oxd-server: ' . htmlspecialchars($error->getMessage()) . ". $login"));
$uris = ['authorization_redirect_uri' => "$here/callback", 'client_frontchannel_logout_uris' => ["$here/ended"]];
$rp = ['op_host' => getenv('OP') ?: 'http://127.0.0.1:8100', 'post_logout_redirect_uri' => "$here/"] + $uris;
$oxd_id = register($rp + ['scope' => ['openid', 'profile'], 'grant_types' => ['authorization_code', 'refresh_token']]);

// A session is called after the OP's, so that a logout that begins elsewhere finds it. Nobody else can tell its name.
$name = fn (?string $sid) => $sid ? hash_hmac('sha256', $sid, $oxd_id) : session_create_id();
$request = $_SERVER['REQUEST_METHOD'] . ' ' . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
session_id($request === 'GET /ended' ? $name($_GET['sid'] ?? null) : null); // it comes without our cookie
session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax']);

if ($request === 'GET /login') {
    $_SESSION = ['state' => bin2hex(random_bytes(32))]; // our own: it need not stand in the URL
    $url = oxd('get_authorization_url', ['oxd_id' => $oxd_id] + $_SESSION)['authorization_url'];
    header("Location: $url");
} elseif ($request === 'GET /callback') {
    ['state' => $state] = $_SESSION + ['state' => ''];
    if ($state === '' || !hash_equals($state, $_GET['state'] ?? '')) {
        $say(403, 'This login did not begin in this browser.');
    }
    if (isset($_GET['error'])) { // the user said no, or the OP did
        $say(200, 'Not logged in: ' . htmlspecialchars($_GET['error']) . ". $login");
    }
    $tokens = oxd('get_tokens_by_code', ['oxd_id' => $oxd_id, 'code' => $_GET['code'], 'state' => $state]);
    session_destroy(); // a new name: whoever knew the old one knows nothing now
    session_id($name($tokens['id_token_claims']['sid'][0] ?? null));
    session_start();
    keep($tokens);
    header('Location: /');
} elseif ($request === 'POST /logout' && isset($_SESSION['id_token'])) {
    session_destroy(); // here first, then at the OP, with this user's own id_token
    $uri = oxd('get_logout_uri', ['oxd_id' => $oxd_id, 'id_token_hint' => $_SESSION['id_token']])['uri'];
    header("Location: $uri");
} elseif ($request === 'GET /ended') {
    session_destroy();
} elseif (isset($_SESSION['access_token'])) {
    $user = oxd('get_user_info', ['oxd_id' => $oxd_id, 'access_token' => access_token($oxd_id)])['claims']['name'];
    echo 'Hello, ', htmlspecialchars($user[0]), '! <form method=post action=logout><button>Log out</button></form>';
} else {
    echo $login;
}
