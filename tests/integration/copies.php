<?php
// One process of an application: calls the server as the old PHP library does. For each call it opens a connection,
// writes the frame several times, reads once and closes. It prints one line for each call that failed.
// Arguments: port, number of calls, copies of each frame, then the frame's body.
[, $port, $calls, $copies, $body] = $argv;
$frame = sprintf('%04d%s', strlen($body), $body);
for ($number = 0; $number < $calls; $number++) {
    $socket = @stream_socket_client("tcp://127.0.0.1:$port", $code, $error, 30);
    if ($socket === false) {
        echo "no connection: $error\n";
        continue;
    }
    for ($copy = 0; $copy < $copies; $copy++) {
        @fwrite($socket, $frame);
    }
    $answer = (string) fread($socket, 8192);
    $whole = (int) substr($answer, 0, 4) === strlen($answer) - 4;
    if (!$whole || !str_contains($answer, '"status":"ok"')) {
        echo "not one answer: $answer\n";
    }
    fclose($socket);
}
