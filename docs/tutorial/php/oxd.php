<?php
const SECONDS = 90; // the server itself gives up after 80

/** Sends one command to oxd-server: a frame out, a frame back. */
function oxd(string $command, array $params): array
{
    $body = json_encode(['command' => $command, 'params' => $params]); // it escapes all that is not ASCII
    $stream = @fsockopen('127.0.0.1', (int) (getenv('OXD_PORT') ?: 8099), $number, $reason, SECONDS)
        ?: throw new RuntimeException("nothing: $reason");
    stream_set_timeout($stream, SECONDS);
    fwrite($stream, sprintf('%04d', strlen($body)) . $body);
    $answer = json_decode(stream_get_contents($stream, (int) stream_get_contents($stream, 4)), true);
    fclose($stream);
    if (($answer['data']['error'] ?? null) === 'server_busy') { // nothing has happened: the one error to repeat at once
        sleep(1);
        return oxd($command, $params);
    }
    if (($answer['status'] ?? null) !== 'ok') {
        throw new RuntimeException($answer['data']['error'] ?? 'nothing');
    }
    return $answer['data'];
}

/** Registers once, and keeps the oxd_id where nobody else can read it. */
function register(array $metadata): string
{
    umask(0077);
    $file = fopen('oxd_id', 'c+');
    flock($file, LOCK_EX);
    if (!$oxd_id = stream_get_contents($file)) {
        fwrite($file, $oxd_id = oxd('register_site', $metadata)['oxd_id']);
    }
    fclose($file);
    return $oxd_id;
}

/** Keeps what the OP sent in the session. A new refresh token takes the place of the old one. */
function keep(array $tokens): void
{
    $_SESSION = array_merge($_SESSION, array_filter($tokens));
    $_SESSION['until'] = $tokens['expires_in'] > 0 ? time() + $tokens['expires_in'] : PHP_INT_MAX;
}

/** Returns an access token that has not expired. */
function access_token(string $oxd_id): string
{
    if (time() > $_SESSION['until']) {
        $params = ['oxd_id' => $oxd_id, 'refresh_token' => $_SESSION['refresh_token']];
        keep(oxd('get_access_token_by_refresh_token', $params));
    }
    return $_SESSION['access_token'];
}
